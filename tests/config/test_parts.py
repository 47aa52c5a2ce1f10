"""From nodes to objects."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue

from llmft.config import ROOT, build, find, part


def test_values_become_what_the_annotations_say(config, toys):
    built = build(config({"algorithm.rate": 1}).algorithm)
    assert isinstance(built, toys.Many)
    assert built.rate == 1.0
    assert isinstance(built.rate, float)
    assert built.names == ("a",)
    assert built.file == Path("x")
    assert built.limit is None
    assert built.both == 1


def test_a_constructor_gets_the_live_objects_that_it_takes_and_as_they_are(toys):
    memory, tokens = toys.Point(x=1.0, y=2.0), ["left", "alone"]
    node = OmegaConf.create({"_target_": "toys.Searching", "top_k": 3})
    built = build(node, memory=memory, tokens=tokens, policy=object())
    assert built.memory is memory
    assert built.tokens is tokens


def test_an_empty_node_is_none():
    assert build(OmegaConf.create({})) is None
    assert build(None) is None


def test_nodes_in_a_node_are_built(toys):
    node = {
        "_target_": "toys.Sum",
        "parts": {"one": {"_target_": "toys.Term", "scale": 2}, "two": {"_target_": "toys.Point", "x": 1, "y": 2}},
        "weights": {"one": 1, "two": 0.5},
    }
    built = build(OmegaConf.create(node))
    assert built.parts["one"].scale == 2.0
    assert built.parts["two"] == toys.Point(x=1.0, y=2.0)
    assert built.weights == {"one": 1.0, "two": 0.5}
    assert type(built.parts) is dict


def test_a_part_beside_groups_of_parts_is_live_for_them(toys):
    node = {
        "_target_": "toys.Sharing",
        "parts": {"one": {"_target_": "toys.Using", "scale": 2.0}, "own": {"_target_": "toys.Using", "term": None}},
        "term": {"_target_": "toys.Term", "scale": 3.0},
    }
    node["parts"]["own"] |= {"scale": 1.0}
    built = build(OmegaConf.create(node))
    assert built.parts["one"].term is built.term
    assert built.term.scale == 3.0
    assert built.parts["own"].term is None


def test_what_is_written_wins_over_what_is_live(toys):
    live = toys.Term(scale=5.0)
    node = {"_target_": "toys.Sharing", "parts": {}, "term": {"_target_": "toys.Term", "scale": 3.0}}
    assert build(OmegaConf.create(node), term=live).term.scale == 3.0
    del node["term"]
    assert build(OmegaConf.create(node), term=live).term is live


def test_interpolated_values_are_resolved_from_the_whole_config(toys):
    cfg = OmegaConf.create({"scale": 3.0, "term": {"_target_": "toys.Term", "scale": "${scale}"}})
    assert build(cfg.term).scale == 3.0


def test_a_group_of_named_parts_is_a_dict():
    group = OmegaConf.create({"a": {"_target_": "toys.Term", "scale": 1.0}, "b": None})
    assert build(group)["a"].scale == 1.0
    assert list(build(group)) == ["a"]


def test_named_parts_get_what_is_live_too():
    group = OmegaConf.create({"a": {"_target_": "toys.Searching", "top_k": 1}})
    assert build(group, memory=1, tokens=2, other=3)["a"].tokens == 2


def test_what_is_live_reaches_nodes_in_a_node(toys):
    tokens = ["left", "alone"]
    node = {
        "_target_": "toys.Sum",
        "parts": {"deep": {"_target_": "toys.Searching", "top_k": 3}, "other": {"_target_": "toys.Term", "scale": 1}},
        "weights": {"deep": 1},
    }
    built = build(OmegaConf.create(node), tokens=tokens, memory=None, others=1)
    assert built.parts["deep"].tokens is tokens
    assert built.parts["deep"].memory is None


def test_a_part_waits_for_what_is_live_and_can_be_pickled(toys):
    bound = part(OmegaConf.create({"_target_": "toys.Searching", "top_k": 3}))
    assert bound(memory=1, tokens=2).top_k == 3
    again = pickle.loads(pickle.dumps(bound))
    assert again.func is toys.Searching
    assert again.keywords == {"top_k": 3}


def test_what_cannot_be_built():
    with pytest.raises(ValueError, match="valid integer"):
        build({"_target_": "toys.Searching", "top_k": "3"})
    with pytest.raises(TypeError, match="scal"):
        build({"_target_": "toys.Term", "scal": 1.0})
    with pytest.raises(MissingMandatoryValue):
        build(OmegaConf.create({"_target_": "toys.Term", "scale": "???"}))


def test_paths_are_found_from_here_then_from_the_checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find("conf/train.yaml") == ROOT / "conf/train.yaml"
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/train.yaml").touch()
    assert find("conf/train.yaml") == Path("conf/train.yaml")
    assert find("nowhere/at/all") == Path("nowhere/at/all")
    assert find(tmp_path) == tmp_path
    assert find("~/x") == Path.home() / "x"
