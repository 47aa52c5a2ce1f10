"""A run's manifest says how its reward scores here, and so does the log."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace

import pytest
from summed import summed

from llmft.config import compose, settings
from llmft.reward.exact import Exact
from llmft.trainer.opening import open_run
from llmft.trainer.preflight import Checked
from llmft.trainer.start import Start
from llmft.types import Splits


class Box:
    """A sandbox as far as a manifest knows it."""

    def __init__(self, level):
        self.level = level

    def facts(self):
        return {"level": self.level, "servers": 2}


@pytest.fixture
def opened(tmp_path):
    """``opened(level, ...)``: the manifest of a run whose sandbox has that level, opened and left."""

    def job(level, *overrides):
        reward = summed({"correct": Exact(form="#{answer}")}, sandbox=Box(level) if level else None)
        start = Start(tmp_path, "text", settings(compose(overrides)), (), {}, None)
        parts = dict.fromkeys(Checked._fields)
        checked = Checked(**{**parts, "reward": reward, "source": SimpleNamespace(), "splits": Splits((), (), ())})
        with open_run(start, checked):
            pass
        return json.loads((tmp_path / "manifest.json").read_text())

    return job


def test_what_the_reward_says_of_itself_is_in_the_manifest_and_in_the_log(opened, caplog):
    with caplog.at_level(logging.INFO, "llmft.trainer.opening"):
        manifest = opened("L2")
    assert manifest["reward"] == {"sandbox": {"level": "L2", "servers": 2}}
    assert caplog.messages == ["sandbox: level L2, servers 2"]


def test_a_reward_with_nothing_to_say_says_nothing(opened, caplog):
    with caplog.at_level(logging.INFO, "llmft.trainer.opening"):
        assert opened(None)["reward"] == {}
    assert caplog.messages == []


def test_a_run_that_goes_on_elsewhere_says_what_differs_there(opened, tmp_path):
    from omegaconf import OmegaConf

    opened("L2")
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(settings(compose()))))
    again = opened("L1", f"ckpt_path={tmp_path}")
    assert again["reward"] == {"sandbox": {"level": "L2", "servers": 2}}
    (resumed,) = again["resumed"]
    assert (resumed["from_step"], resumed["reward"]) == (0, {"sandbox": {"level": "L1", "servers": 2}})
