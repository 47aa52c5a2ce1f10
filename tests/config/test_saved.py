"""The saved config: it repeats the run, keeps secrets out, and knows whether a continued run is the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from llmft.config import compose, differing_keys, identity, settings, snapshot
from llmft.config.checks import find_faults


def test_a_snapshot_composes_to_the_same_settings_and_has_no_fault(tmp_path):
    cfg = compose(["algorithm=dr_grpo", "rollout.max_new_tokens=17", "seed=5", "debug=limit"])
    (tmp_path / "config.yaml").write_text(snapshot(cfg))
    again = compose(config_name="config", config_dir=tmp_path)
    assert settings(again) == settings(cfg)
    assert (again.algorithm.length, again.algorithm.tasks_per_step) == (17, 2)
    assert find_faults(again) == []
    assert snapshot(again) == snapshot(cfg)


def test_it_holds_hydras_patterns_but_not_where_this_run_was(tmp_path):
    saved = OmegaConf.create(snapshot(compose(["ckpt_path=logs/somewhere"])))
    assert OmegaConf.to_container(saved.hydra, resolve=False) == {
        "run": {"dir": "${paths.log_dir}/${task_name}/runs/${now:%Y-%m-%d_%H-%M-%S-%f}"},
        "sweep": {"dir": "${paths.log_dir}/${task_name}/multiruns"},
    }
    assert saved.ckpt_path is None


def test_a_folder_of_ones_own_is_a_pattern_only_if_it_is_one(monkeypatch):
    from hydra.core.hydra_config import HydraConfig

    for typed, kept in (("/tmp/mine", "${paths.log_dir}/"), ("mine/${task_name}", "mine/${task_name}")):
        monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
        cfg = compose([rf"hydra.run.dir='{typed}'"], with_hydra=True)
        HydraConfig.instance().set_config(cfg)
        saved = OmegaConf.create(snapshot(cfg))
        assert OmegaConf.to_container(saved.hydra, resolve=False)["run"]["dir"].startswith(kept)
        monkeypatch.setattr(HydraConfig.instance(), "cfg", None)


def test_what_came_from_the_environment_stays_there(monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    cfg = OmegaConf.create(
        {
            "direct": "${oc.env:SECRET_TOKEN}",
            "with_default": "${oc.env:NOT_SET,'a, b'}",
            "within": "x-${oc.env:SECRET_TOKEN}-y",
            "through": {"another": "${direct}", "deep": ["${within}"]},
            "decoded": "${oc.decode:${oc.env:SECRET_TOKEN}}",
            "escaped": r"costs \${5}",
            "plain": 1,
        }
    )
    text = OmegaConf.to_yaml(OmegaConf.create(settings(cfg)))
    assert "hunter2" not in text
    again = OmegaConf.create(text)
    for key in ("direct", "with_default", "within", "decoded", "escaped", "plain"):
        assert again[key] == cfg[key], key
    assert again.through.another == "hunter2"
    assert again.through.deep[0] == "x-hunter2-y"
    assert again.with_default == "a, b"
    assert again.escaped == "costs ${5}"
    assert cfg.direct == "hunter2"  # the resolver is back in its place
    monkeypatch.setenv("SECRET_TOKEN", "other")
    assert again.direct == "other"


SAVED = {"seed": 1, "trainer": {"max_steps": 10, "micro_batch": 4}, "tags": ["a"], "memory": {}}


@pytest.mark.parametrize(
    ("now", "keys"),
    [
        ({}, []),
        ({"seed": 2}, ["seed"]),
        ({"trainer": {"max_steps": 20, "micro_batch": 4}}, []),
        ({"trainer": {"max_steps": 5, "micro_batch": 4}}, ["trainer.max_steps"]),
        ({"trainer": {"max_steps": 20, "micro_batch": 2}, "tags": []}, ["tags", "trainer.micro_batch"]),
        ({"trainer": {"max_steps": 10}}, ["trainer.micro_batch"]),
        ({"memory": {"size": 1}}, ["memory.size"]),
        ({"seed": 2, "resume": {"allow": ["seed"]}}, []),
        ({"seed": 2, "tags": [], "resume": {"allow": ["seed"]}}, ["tags"]),
        ({"trainer": {"max_steps": 5, "micro_batch": 2}, "resume": {"allow": ["trainer"]}}, []),
        ({"trainer": {"max_steps": 10, "micro_batch": 2}, "resume": {"allow": ["train"]}}, ["trainer.micro_batch"]),
        ({"ckpt_path": "somewhere", "hydra": {"run": {"dir": "x"}}}, []),
    ],
)
def test_what_differs(now, keys):
    assert differing_keys(SAVED, {**SAVED, **now}) == keys


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.lists(st.integers())
)
KEYS = st.sampled_from(["seed", "objective", "algorithm", "trainer"])
TREES = st.dictionaries(KEYS, st.one_of(VALUES, st.dictionaries(st.text(min_size=1), VALUES, min_size=1)), min_size=1)


def same(one, other) -> bool:
    """Equal, but True is not 1."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other and isinstance(one, bool) == isinstance(other, bool)


@given(TREES, st.randoms())
def test_the_order_of_keys_does_not_name_a_run(tree, random):
    keys = list(tree)
    random.shuffle(keys)
    assert identity({key: tree[key] for key in keys}) == identity(tree)


@given(TREES, VALUES, st.data())
def test_any_other_value_names_another_run(tree, value, data):
    key = data.draw(st.sampled_from(sorted(tree)))
    changed = {**tree, key: value}
    assert (identity(changed) == identity(tree)) == same(tree[key], value)


@pytest.mark.parametrize("key", ["ckpt_path", "resume", "sweep", "extras", "logger", "paths", "tags", "hydra"])
def test_what_computes_nothing_names_no_run(key):
    assert (
        identity({"seed": 1, key: {"some": "thing"}}) == identity({"seed": 1, key: "another"}) == identity({"seed": 1})
    )
    assert identity({"seed": 1, f"{key}s": 2}) != identity({"seed": 1})


def test_how_a_config_was_typed_does_not_name_a_run(tmp_path):
    one = compose(["seed=2", "algorithm=sft", "optimizer.lr=1"])
    other = compose(
        ["optimizer.lr=1.0", "tags=[mine]", "algorithm=sft", "logger=tensorboard", "seed=2", "paths.log_dir=x"]
    )
    assert identity(settings(one)) == identity(settings(other)) != identity(settings(compose(["algorithm=sft"])))
    (tmp_path / "config.yaml").write_text(snapshot(one))
    assert identity(settings(OmegaConf.load(tmp_path / "config.yaml"))) == identity(settings(one))
