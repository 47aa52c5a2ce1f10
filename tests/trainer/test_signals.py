"""Signals in every phase of a run, and twice: the checkpoint is there, the exit code says why, nothing is lost."""

from __future__ import annotations

import json
import os
import signal

import pytest
from lightning.pytorch import Callback
from summed import summed

from llmft import durable
from llmft.config import Stop
from llmft.trainer import shelf
from llmft.trainer.signals import Dropped, Interrupted, Signals, at_once

BOTH = {signal.SIGTERM: 143, signal.SIGUSR1: 143, signal.SIGINT: 130}


def send(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


class Send(Callback):
    """A signal before the updates of a step."""

    def __init__(self, number, step, times=1):
        self.number, self.step, self.times = number, step, times

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if pl_module.steps_done == self.step and self.times:
            self.times -= 1
            send(self.number)


@pytest.fixture
def sent(monkeypatch):
    """``sent(owner, "name", 3)``: a signal comes when that method is called for the third time, before it does a thing.

    The list that is returned gets an entry if the method went on nevertheless.
    """

    def patch(owner, name, call, number=signal.SIGTERM):
        real, calls, went_on = getattr(owner, name), [], []

        def method(*arguments, **named):
            calls.append(name)
            if len(calls) == call:
                send(number)
                went_on.append(name)
            return real(*arguments, **named)

        monkeypatch.setattr(owner, name, method)
        return went_on

    return patch


def interrupted(session, kind, folder, **options):
    """The step after which a run was interrupted."""
    with at_once(folder), pytest.raises(Stop) as stop:
        session(kind, folder, **options).fit()
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert summary["exit_code"] == stop.value.code
    assert f"continue with ckpt_path={folder}" in str(stop.value)
    return stop.value


@pytest.fixture(scope="module")
def wholes():
    return {}


@pytest.fixture
def whole(session, outcome, wholes, tmp_path):
    """What the uninterrupted run ends with; made once for all tests."""

    def run(kind, **options):
        key = (kind, *sorted(options.items()))
        if key not in wholes:
            session(kind, tmp_path / "whole", **options).fit()
            wholes[key] = outcome(tmp_path / "whole")
        return wholes[key]

    return run


PHASES = [  # what is called, for the how-manieth time, the step that is done then, and is the phase dropped
    ("collect", "collect", 1, 0, True),
    ("collect", "collect", 3, 2, True),
    ("generation", "generate", 3, 1, True),  # the first is that of the first evaluation
    ("reward", "score", 3, 1, True),
    ("evaluation before the first step", "_metrics", 1, 0, True),
    ("evaluation", "_metrics", 2, 2, True),
    ("last evaluation", "_metrics", 3, 4, True),
    ("forward", "loss", 5, 2, False),
    ("record", "log", 3, 2, False),
    ("save", "_seal", 2, 2, False),
    ("last save", "_seal", 4, 4, False),
]


def owner_of(name):
    from miniature import Graded

    from llmft.algorithm.policy import PolicyOptimization
    from llmft.sampler.native import Native
    from llmft.trainer.evaluation import Evaluation
    from llmft.trainer.run import RunFolder

    return {
        "collect": PolicyOptimization, "loss": PolicyOptimization, "generate": Native, "score": Graded,
        "_metrics": Evaluation, "log": RunFolder, "_seal": durable,
    }[name]  # fmt: skip


@pytest.mark.parametrize("case", PHASES, ids=[case[0] for case in PHASES])
def test_in_every_phase(case, session, sent, whole, outcome, tmp_path, monkeypatch, record_property):
    (phase, name, call, done, dropped), folder = case, tmp_path / "run"
    went_on = sent(owner_of(name), name, call)
    options = {"checkpoint_every": 3 if dropped else 1}  # at 3 it is the signal that makes the checkpoint
    stop = interrupted(session, "grpo", folder, **options)
    monkeypatch.undo()
    assert stop.code == 143
    assert str(stop).startswith(f"interrupted after step {done} of 4")
    assert went_on == ([] if dropped else [name])
    kept = [shelf.step_of(path) for path in shelf.listed(folder / "checkpoints")]
    assert kept[:1] == ([done] if done else [])
    assert json.loads((folder / "summary.json").read_text())["step"] == done  # also where its row is yet to be written
    session("grpo", folder, resume=True, **options).fit()
    ends = [outcome(folder), whole("grpo", **options)]
    for part in ("state", "rows", "samples"):
        assert ends[0][part] == ends[1][part]
    record_property(
        "8", f"{phase}: {'dropped' if dropped else 'finished'}, then checkpoint and exit, continued to the bit"
    )


@pytest.mark.parametrize("number", BOTH)
def test_a_rare_checkpoint_is_made_for_it(number, session, whole, outcome, tmp_path, record_property):
    """The updates of the step are finished; neither the evaluation that is due nor the next step begins."""
    rarely = {"checkpoint_every": 4, "evaluate": 2}
    stop = interrupted(session, "sft", tmp_path / "run", callbacks={"send": Send(number, step=1)}, **rarely)
    assert (stop.code, str(stop)[:32]) == (BOTH[number], "interrupted after step 2 of 4; c")
    assert (tmp_path / "run" / "checkpoints" / "step_000002").is_dir()
    assert "heldout" not in (tmp_path / "run" / "metrics.csv").read_text().splitlines()[-1]
    session("sft", tmp_path / "run", resume=True, **rarely).fit()
    ends = [outcome(tmp_path / "run"), whole("sft", **rarely)]
    for part in ("state", "rows", "samples"):
        assert ends[0][part] == ends[1][part]
    record_property("8", f"{number.name} in an update: finished, then checkpoint and exit, continued to the bit")


def test_the_evaluation_that_is_owed_is_paid_once(session, sent, whole, outcome, tmp_path, monkeypatch):
    """Killed after it was paid, and before a checkpoint knows: it is paid again, and its row stands there once."""
    from llmft.trainer.evaluation import Evaluation

    rarely = {"checkpoint_every": 3, "max_steps": 5, "keep_checkpoints": 9}
    sent(Evaluation, "_metrics", 2)
    interrupted(session, "sft", tmp_path / "run", **rarely)
    monkeypatch.undo()

    class Cut(Callback):
        def on_train_batch_start(self, trainer, pl_module, *_):
            if pl_module.steps_done == 2 and pl_module.owed is None:
                raise InterruptedError

    one = session("sft", tmp_path / "run", resume=True, callbacks={"cut": Cut()}, **rarely)
    one.run.objective = "train/loss"  # no new best, so no checkpoint after the evaluation
    with pytest.raises(InterruptedError):
        one.fit()
    session("sft", tmp_path / "run", resume=True, **rarely).fit()
    ends = [outcome(tmp_path / "run"), whole("sft", **rarely)]
    for part in ("state", "rows", "samples"):
        assert ends[0][part] == ends[1][part]


def test_a_reward_that_catches_everything_does_not_catch_it(session, tmp_path):
    class Part:
        minimum, bounded = 0.0, True

        def __call__(self, rollouts):
            send()
            return [0.0] * len(rollouts)

    reward = summed({"p": Part()}, max_failure_rate=1.0)
    stop = interrupted(session, "grpo", tmp_path / "run", evaluate=None, reward=reward)
    assert str(stop).startswith("interrupted after step 0 of 4")


@pytest.mark.parametrize("phase", ["update", "save", "save after the first"])
def test_the_second_does_not_wait(phase, session, sent, whole, outcome, tmp_path, monkeypatch, record_property):
    """The newest checkpoint of before is valid, and nothing half-written stays."""
    if phase == "save":
        sent(durable, "_seal", 2)
    if phase != "update":
        sent(durable, "_flush_all", 2)
    times = {"update": 2, "save": 0, "save after the first": 1}[phase]
    stop = interrupted(session, "sft", tmp_path / "run", callbacks={"send": Send(signal.SIGTERM, step=1, times=times)})
    monkeypatch.undo()
    assert "interrupted at once" in str(stop)
    checkpoints = tmp_path / "run" / "checkpoints"
    assert [path.name for path in checkpoints.iterdir()] == ["step_000001"]
    assert durable.fault(checkpoints / "step_000001") is None
    session("sft", tmp_path / "run", resume=True).fit()
    assert outcome(tmp_path / "run") == whole("sft")
    record_property("9", f"{phase}: at once, the checkpoint of before valid, nothing half-written")


def test_where_nothing_needs_finishing_it_stops_at_once(tmp_path):
    for number, code in BOTH.items():
        with pytest.raises(Stop, match="no run had begun") as stop, at_once(None):
            send(number)
        assert stop.value.code == code


def test_what_may_be_dropped_is_and_what_may_not_is_noted():
    def listening():
        signals = Signals()
        signals.listen()
        return signals

    with at_once(None):  # which puts the handlers back
        signals = listening()
        send(signal.SIGINT)
        assert signals.code == 130
        with pytest.raises(Dropped), signals.droppable():
            pytest.fail("a signal came before")
        with pytest.raises(Interrupted, match="143"):
            send()
        with pytest.raises(Dropped, match="143"), listening().droppable():
            send()


def test_handlers_are_put_back(session, sent, tmp_path):
    before = [signal.getsignal(number) for number in BOTH]
    with at_once(tmp_path):
        outer = [signal.getsignal(number) for number in BOTH]
        assert outer != before
        session("line", tmp_path / "one").fit()
        assert [signal.getsignal(number) for number in BOTH] == outer
        with pytest.raises(Stop):
            session("line", tmp_path / "two", callbacks={"send": Send(signal.SIGTERM, step=1)}).fit()
        assert [signal.getsignal(number) for number in BOTH] == outer
    assert [signal.getsignal(number) for number in BOTH] == before
