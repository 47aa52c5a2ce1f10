"""A run with replay that is cut anywhere and continued ends as if nothing had happened, its pool included."""

from __future__ import annotations

import os
import signal

import pytest
from cutting import Cut, CutAfter, CutBetweenUpdates

from llmft.config import Stop
from llmft.guidance.replay import Replay
from llmft.trainer.metrics import read

STEPS = 6
LONG = {"max_steps": STEPS, "evaluate": STEPS}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_source, tokens):
    """What the run that nobody disturbs ends with."""
    import miniature

    from llmft.trainer import curves

    folder = tmp_path_factory.mktemp("replay") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "draw", lambda *_: None)
        miniature.make_session("replay", folder, tiny_source, tokens, **LONG).fit()
    rows = read(folder / "metrics.csv")[1:]
    assert [row["guidance/guiding"] for row in rows] == [0.0, *[1.0] * (STEPS - 1)], "it begins late"
    assert sum(row["guidance/replayed"] for row in rows) > STEPS
    assert sum(row["train/refills"] for row in rows) > 0
    found = miniature.outcome(folder)
    assert len(found["guidance"]) > 3, "no shard was written, so nothing was tested"
    return found


def cut_and_continue(session, folder, callback, **options):
    with pytest.raises(Cut):
        session("replay", folder, callbacks={"cut": callback}, **LONG, **options).fit()
    session("replay", folder, resume=True, **LONG, **options).fit()


@pytest.mark.parametrize("make", [CutAfter, pytest.param(CutBetweenUpdates, marks=pytest.mark.slow)])
def test_cut_at_every_step(make, session, whole, outcome, tmp_path):
    for step in range(make is CutAfter, STEPS):
        cut_and_continue(session, tmp_path / str(step), make(step))
        assert outcome(tmp_path / str(step)) == whole, f"cut at step {step}"


@pytest.mark.slow
def test_cut_where_the_checkpoint_is_older(session, whole, outcome, tmp_path):
    """By as much as several shards, which are made again."""
    for step in (3, 5):
        folder = tmp_path / str(step)
        with pytest.raises(Cut):
            session("replay", folder, callbacks={"cut": CutAfter(step)}, checkpoint_every=4, **LONG).fit()
        session("replay", folder, resume=True, checkpoint_every=4, **LONG).fit()
        found = outcome(folder)
        assert {name: found[name] for name in found if name != "kept"} == {
            name: whole[name] for name in whole if name != "kept"
        }, f"cut at step {step}"


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
def test_cut_while_a_step_is_observed(moment, session, whole, outcome, tmp_path, monkeypatch):
    """The shard of a step that was never saved may be there; the step makes it again."""
    for step in (2, 4):
        real = Replay.observe

        def observe(self, groups, step=step, real=real):
            if moment == "after":
                real(self, groups)
            if self.steps == step - (moment == "before"):
                raise Cut
            if moment == "before":
                real(self, groups)

        with monkeypatch.context() as patch:
            patch.setattr(Replay, "observe", observe)
            with pytest.raises(Cut):
                session("replay", tmp_path / str(step), **LONG).fit()
        session("replay", tmp_path / str(step), resume=True, **LONG).fit()
        assert outcome(tmp_path / str(step)) == whole, f"cut in step {step}"


def test_a_step_that_a_signal_drops_leaves_the_pool_as_it_was(session, whole, outcome, tmp_path, monkeypatch):
    """After it was folded into the pool, and its shard written: the checkpoint is of the step before."""
    real = Replay.observe

    def observe(self, groups):
        real(self, groups)
        if self.steps == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Replay, "observe", observe)
        with pytest.raises(Stop, match="after step 3"):
            session("replay", tmp_path / "run", checkpoint_every=STEPS, **LONG).fit()
    session("replay", tmp_path / "run", resume=True, checkpoint_every=STEPS, **LONG).fit()
    found = outcome(tmp_path / "run")
    assert found["guidance"] == whole["guidance"]
    assert found["state"] == whole["state"]
