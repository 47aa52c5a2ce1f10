"""A run with traces and replay that is cut at any step ends as if nothing had happened, bit for bit."""

from __future__ import annotations

import pytest
from cutting import Cut, CutAfter
from miniature import Graded
from omegaconf import OmegaConf
from test_resume import CutBetweenUpdates

from llmft.config import build, compose
from llmft.trainer.metrics import read

STEPS = 6


@pytest.fixture(scope="module")
def recipe():
    """Traces in the first four steps, replay from the third on, half of whose questions are met again."""
    chosen = ["guidance.traces_until=4", "guidance.replay_from=2", "guidance.replay.start_accuracy=null"]
    return compose(["algorithm=hybrid", *chosen])


@pytest.fixture
def hybrid(session, recipe, tokens):
    """``hybrid(folder, resume=True)``: the miniature run of GRPO, guided by both."""

    def make(folder, **options):
        one = session("grpo", folder, max_steps=STEPS, evaluate=None, checkpoint_every=1, **options)
        algorithm = one.trainer.algorithm
        live = {"reward": Graded(), "longest": 6, "group_size": algorithm.group_size, "temperature": 1.0}
        live |= {"architecture": {}}
        node = OmegaConf.to_container(recipe.guidance, resolve=True)
        algorithm.guidance = build(node, tokens=tokens, **live)
        algorithm.guidance.begin(policy=one.trainer.policy, folder=folder / "guidance")
        return one

    return make


@pytest.mark.parametrize("make", [CutAfter, pytest.param(CutBetweenUpdates, marks=pytest.mark.slow)])
def test_cut_at_every_step(make, hybrid, outcome, tmp_path):
    hybrid(tmp_path / "whole").fit()
    expected = outcome(tmp_path / "whole")
    rows = read(tmp_path / "whole" / "metrics.csv")
    assert [row.get("guidance/guided", 0.0) > 0 for row in rows] == [True] * 4 + [False] * 2
    assert sum(row.get("guidance/replayed", 0.0) for row in rows) > 2, "nothing was replayed, so nothing was tested"
    read_by_symptoms = {"train/off_policy_prob", "train/accuracy/trace", "guidance/replayed", "guidance/guiding"}
    assert read_by_symptoms <= {name for row in rows for name in row}
    for step in range(make is CutAfter, STEPS):
        folder = tmp_path / str(step)
        with pytest.raises(Cut):
            hybrid(folder, callbacks={"cut": make(step)}).fit()
        hybrid(folder, resume=True).fit()
        assert outcome(folder) == expected, f"cut at step {step}"
