"""What a reward works with is killed in the middle of a step: the step ends as if nothing had been."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress

import pytest
import yaml
from killable import Apart, Boxed, good
from summed import summed

from llmft.config import ROOT
from llmft.reward.math import Math
from llmft.sandbox.client import ForkServers
from llmft.trainer.metrics import read


class InThisProcess:
    """The same values as `Apart` and `Boxed`, from nowhere else."""

    minimum, bounded = 0.0, True

    def __call__(self, rollouts):
        return [float(good(one.text)) for one in rollouts]


def unbounded():
    reward = summed({"good": Apart()}, success_at=3)
    return reward, lambda: reward.workers.pids()


def boxed():
    settings = yaml.safe_load((ROOT / "conf" / "sandbox" / "default.yaml").read_text())
    del settings["_target_"]
    sandbox = ForkServers(**{**settings, "servers": 2})
    if faults := sandbox.faults():
        pytest.skip(faults[0])
    reward = summed({"good": Boxed(sandbox)}, success_at=3, sandbox=sandbox)
    return reward, lambda: [one.process.pid for one in sandbox._connections]


def mathematical():
    part = Math(form=None, after=None, timeout_s=20, on_unreadable="literal", processes=2)
    reward = summed({"good": InThisProcess(), "equal": part}, success_at=3)
    return reward, lambda: part.verifier.workers.pids()


MAKERS = {"a part's worker": unbounded, "a fork server": boxed, "math-verify": mathematical}


def killed(pid):
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return time.monotonic()


class Hunted:
    """The reward, of whose processes one is killed a moment after it begins to score, each time but the first."""

    def __init__(self, reward, pids):
        self.reward, self.pids, self.calls = reward, pids, 0
        self.kills: list[float] = []  # how far into the scoring, as a share of it

    def score(self, rollouts):
        self.calls += 1
        if self.calls == 1:
            return self.reward.score(rollouts)
        pid, *_ = self.pids()  # it was asked before, so it has processes
        began, at = time.monotonic(), []
        killer = threading.Timer(0.01, lambda: at.append(killed(pid)))
        killer.start()
        scores = self.reward.score(rollouts)
        ended = time.monotonic()
        killer.join()
        self.kills += [(one - began) / (ended - began) for one in at]
        return scores

    def __getattr__(self, name):
        return getattr(self.reward, name)


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.slow) if one != "a fork server" else one for one in MAKERS]
)
def test_a_step_whose_reward_lost_a_process_ends_as_any_other(name, session, outcome, tmp_path, record_property):
    make = MAKERS[name]
    reward, _ = make()
    session("grpo", tmp_path / "whole", reward=reward).fit()
    reward.close()
    hunted = Hunted(*make())
    session("grpo", reward=hunted).fit()
    hunted.close()
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")  # weights, metrics and each reward, to the bit
    rows = read(tmp_path / "run" / "metrics.csv")
    assert all(row["train/failed"] == 0 for row in rows if "train/failed" in row)
    assert sum(row.get("train/grad_norm", 0.0) > 0 for row in rows) >= 3  # there was something to learn
    assert hunted.calls == 4 + 3  # of each step and each evaluation
    inside = sum(share < 1 for share in hunted.kills)
    assert inside >= 1  # a machine in a hurry is done before the others
    record_property(
        "14",
        f"{name} killed in {inside} of {hunted.calls} scorings: the same scores, no failed rollout, weights equal to the bit",
    )
