"""What is printed of a config."""

from __future__ import annotations

import warnings

from llmft.config import apply_extras, compose, print_tree


def test_the_tree_names_every_group_that_is_not_empty_and_hides_secrets(capsys, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    print_tree(compose(["task_name='${oc.env:SECRET_TOKEN}'"]))
    printed = capsys.readouterr().out
    for word in ("algorithm", "group_size: 8", "optimizer", "seed: 1", "${oc.env:SECRET_TOKEN}"):
        assert word in printed
    assert "hunter2" not in printed
    assert "memory" not in printed


def test_extras(capsys):
    with warnings.catch_warnings():
        apply_extras(compose(["extras.print_config=false", "extras.ignore_warnings=false"]))
        assert capsys.readouterr().out == ""
        apply_extras(compose(["extras.print_config=true"]))
        assert "algorithm" in capsys.readouterr().out
        assert warnings.filters[0][0] == "ignore"
