"""Health notes: told once, kept in the summary, and the same whether or not a run was cut."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest
from cutting import Cut, CutAfter

from llmft.config import build, compose
from llmft.config.checks import find_faults
from llmft.trainer.checkup import CheckUp
from llmft.types import Author, Rollout, Score, Task

AT = build(compose().callbacks)["health"]


class Wrong:
    """A reward that no response earns."""

    def score(self, rollouts):
        return [Score(0.0, {"correct": 0.0}, correct=False) for _ in rollouts]

    def require_sound(self, rollouts):
        """It never fails."""

    def faults(self, tasks):
        return []


def health(folder):
    return json.loads((folder / "summary.json").read_text())["health"]


def test_a_note_is_told_once_and_kept(session, tmp_path, caplog, capsys):
    with caplog.at_level(logging.WARNING):
        session("grpo", reward=Wrong(), max_steps=5, callbacks={"health": replace(AT, window=2)}).fit()
    notes = {note["name"]: note for note in health(tmp_path / "run")}
    assert (notes["equal_rewards"]["step"], notes["equal_rewards"]["steps"]) == (2, 4)
    told = [one.getMessage() for one in caplog.records if "were all equal" in one.getMessage()]
    assert len(told) == 1
    assert told[0].startswith("health: step 2: the rewards of 100% of the groups were all equal")
    assert "health   step 2 and 3 more: the rewards of 100% of the groups" in capsys.readouterr().out


def test_a_run_that_is_well_has_no_note(session, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        session("sft", max_steps=6, callbacks={"health": replace(AT, window=2)}).fit()
    assert health(tmp_path / "run") == []
    assert "health" not in caplog.text


@pytest.mark.parametrize("step", [1, 2, 4, 5])
def test_a_run_that_was_cut_tells_what_a_whole_one_tells(step, session, tmp_path):
    ill = {"reward": Wrong(), "max_steps": 6, "evaluate": None}
    watch = {"health": replace(AT, window=2)}
    session("grpo", tmp_path / "whole", callbacks=watch, **ill).fit()
    with pytest.raises(Cut):
        session("grpo", tmp_path / "cut", callbacks={**watch, "cut": CutAfter(step)}, **ill).fit()
    session("grpo", tmp_path / "cut", resume=True, callbacks=watch, **ill).fit()
    assert health(tmp_path / "cut") == health(tmp_path / "whole") != []


def test_a_step_whose_evaluation_is_owed_counts_once(tmp_path):
    task = Task("one", ({"role": "user", "content": "?"},), "math", "1")
    rollout = Rollout(task, (1,), (5,), (0.0,), (Author.POLICY,), "policy", "1", "end", Score(0.5, {"brief": 0.5}))
    row, run = {"train/no_signal": 1.0}, SimpleNamespace(health=[])
    whole, cut, again = (CheckUp(AT, run) for _ in range(3))
    learner = SimpleNamespace(row=row, rollouts=[rollout], owed=None, steps_done=1, algorithm=None)
    whole.on_train_batch_end(None, learner)
    learner.owed = row
    cut.on_exception(None, learner, Cut())
    again.load_state_dict(cut.state_dict())
    learner.owed, learner.rollouts = None, ()
    again.on_train_batch_end(None, learner)
    assert again.state_dict() == whole.state_dict()


def test_a_threshold_is_a_key():
    cfg = compose(["callbacks.health.logp_gap=0.2"])
    assert find_faults(cfg) == []
    assert build(cfg.callbacks)["health"].logp_gap == 0.2
    (fault,) = find_faults(compose(["callbacks.health.window=0"]))
    assert str(fault).startswith("callbacks.health.window=0: ")
    assert build(compose(["callbacks=none"]).callbacks) is None
