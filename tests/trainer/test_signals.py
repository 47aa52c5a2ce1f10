"""Signals: the step is finished, the checkpoint made, and the run says that it was interrupted."""

from __future__ import annotations

import json
import os
import signal

import pytest
from lightning.pytorch import Callback

from llmft.config import Stop
from llmft.trainer.signals import after_the_step, at_once


class Send(Callback):
    """A signal to this process while a step runs."""

    def __init__(self, number, step, times=1):
        self.number, self.step, self.times = number, step, times

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if pl_module.steps_done == self.step and self.times:
            self.times -= 1
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 143), (signal.SIGINT, 130)])
def test_the_step_is_finished_and_kept(number, code, session, outcome, tmp_path):
    before = signal.getsignal(number)
    rarely = {"checkpoint_every": 4, "evaluate": 4}
    session("sft", tmp_path / "whole", **rarely).fit()
    with pytest.raises(Stop, match=r"interrupted after step 2 of 4; continue with ckpt_path=") as stop:
        session("sft", callbacks={"send": Send(number, step=1)}, **rarely).fit()
    assert stop.value.code == code
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["step"], summary["exit_code"]) == ("interrupted", 2, code)
    assert signal.getsignal(number) == before
    assert (tmp_path / "run" / "checkpoints" / "step_000002").is_dir()
    session("sft", resume=True, **rarely).fit()
    assert outcome(tmp_path / "run")["state"] == outcome(tmp_path / "whole")["state"]


def test_the_second_signal_does_not_wait(session, tmp_path):
    send = Send(signal.SIGTERM, step=1, times=2)  # before both updates of the second step
    with pytest.raises(Stop, match="interrupted at once"):
        session("sft", callbacks={"send": send}, checkpoint_every=9).fit()
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["step"]) == ("interrupted", 1)


def test_where_nothing_needs_finishing_it_stops_at_once(tmp_path):
    with at_once(tmp_path), pytest.raises(Stop) as stop:
        os.kill(os.getpid(), signal.SIGUSR1)
    assert stop.value.code == 143


def test_handlers_are_put_back(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with at_once(tmp_path):
        outer = signal.getsignal(signal.SIGTERM)
        with after_the_step(tmp_path) as heard:
            os.kill(os.getpid(), signal.SIGTERM)
            assert heard.code == 143
        assert signal.getsignal(signal.SIGTERM) is outer
    assert signal.getsignal(signal.SIGTERM) is before
