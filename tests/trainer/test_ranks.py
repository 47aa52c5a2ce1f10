"""Two processes on one machine give what one gives, and fail as one."""

from __future__ import annotations

import math
import os
import signal
import threading
import time

import pytest
import ranks_job
import torch

from llmft.config import Stop
from llmft.trainer.metrics import read
from llmft.trainer.ranks import on_ranks


def test_one_process_is_this_one():
    assert on_ranks(1, "gloo", os.getpid) == os.getpid()


def test_two_processes_one_of_them_without_signal_end_as_one(tmp_path):
    """Features and text; the second process's tasks never give signal, so it goes along with empty passes."""
    (tmp_path / "one").mkdir(), (tmp_path / "two").mkdir()
    one, two = ranks_job.both(tmp_path / "one"), on_ranks(2, "gloo", ranks_job.both, tmp_path / "two")
    for kind in ranks_job.KINDS:
        assert one[kind].keys() == two[kind].keys()
        for name, tensor in one[kind].items():
            assert tensor.dtype == torch.float64
            torch.testing.assert_close(two[kind][name], tensor, rtol=1e-9, atol=1e-12, msg=f"{kind} {name}")
        rows = [(tmp_path / run / kind / "metrics.csv").read_text().splitlines() for run in ("one", "two")]
        assert len(rows[0]) == len(rows[1])
    alone, shared = (tmp_path / run / "replay" / "guidance" for run in ("one", "two"))
    assert len(list(alone.iterdir())) > 3
    assert {path.name: path.read_bytes() for path in shared.iterdir()} == {
        path.name: path.read_bytes() for path in alone.iterdir()
    }, "the same pool, to the bit"
    assert sum(row["guidance/replayed"] for row in read(tmp_path / "two" / "replay" / "metrics.csv")[1:]) > 4


@pytest.mark.parametrize(
    ("how", "expected", "told"),
    [("raise", RuntimeError, "the second has no disk"), ("stop", Stop, "not finite on the second"), ("SIGKILL", RuntimeError, "exit code -9"), ("SIGTERM", Stop, "no run had begun")],
)  # fmt: skip
@pytest.mark.slow
def test_what_fails_in_one_fails_the_run(how, expected, told):
    with pytest.raises(expected, match=told):
        on_ranks(2, "gloo", ranks_job.fail, how)


@pytest.mark.slow
def test_what_happens_to_one_is_answered_by_both(tmp_path, outcome, record_property):
    """Data of one that is not finite: both skip. A signal to one: both end after the step, with its checkpoint."""
    told = on_ranks(2, "gloo", ranks_job.faulty, tmp_path)
    rows = read(tmp_path / "skip" / "metrics.csv")
    assert [row["train/nonfinite"] for row in rows] == [0, 2, 0, 0]
    assert [math.isfinite(row["train/loss"]) for row in rows] == [True, False, True, True]
    assert told["skipped"][0] == told["skipped"][1]
    assert told["told"].startswith("interrupted after step 2 of 4")
    assert told["kept"][0] == ["step_000002"]
    assert outcome(tmp_path / "cut")["state"] == outcome(tmp_path / "whole")["state"]
    record_property("7", "infinity in one of two processes: both skip")
    record_property("8", "a signal to one of two processes: both end after the step, continued to the bit")


@pytest.mark.slow
def test_a_signal_reaches_all(tmp_path):
    def send():
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=send, daemon=True).start()
    with pytest.raises(Stop, match=r"process \d was told") as stop:
        on_ranks(2, "gloo", ranks_job.wait, tmp_path)
    assert stop.value.code == 143
