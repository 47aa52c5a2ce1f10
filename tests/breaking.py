"""Parts of a reward and plain functions that break in each way there is; worker processes import them by name."""

from __future__ import annotations

import ctypes
import os
import signal
import time
import zlib
from pathlib import Path
from subprocess import getoutput  # noqa: F401  which is not this module's to offer

BROKEN = {  # what a response says, and why it has no value
    "hang": "hung",
    "raise": "ValueError: no idea",
    "nan": "nan instead of a number",
    "none": "NoneType instead of a number",
    "word": "str instead of a number",
    "exit": "worker died (exit code 3)",
    "kill": "worker died (SIGKILL)",
    "segfault": "worker died (SIGSEGV)",
    "system": "SystemExit: 1",
}


def value(text: str) -> object:
    """1 for a response that ends in a, 0 for another, and what it takes to break for the words above."""
    if text == "hang":
        time.sleep(600)
    if text == "raise":
        raise ValueError("no\n idea")
    if text == "exit":
        os._exit(3)
    if text == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if text == "segfault":
        ctypes.string_at(0)
    if text == "system":
        raise SystemExit(1)
    if text == "pid":
        return float(os.getpid())
    return {"nan": float("nan"), "none": None, "word": "high"}.get(text, float(text.endswith("a")))


class Breaking:
    """A part that says nothing of its being bounded."""

    minimum = 0.0

    def __call__(self, rollouts):
        if rollouts[0].text == "short":
            return []
        return [value(one.text) for one in rollouts]


class Bounded(Breaking):
    bounded = True


class KilledOnce(Breaking):
    """Somebody kills the process that has the first response."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __call__(self, rollouts):
        if not self.trace.exists():
            self.trace.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(rollouts)


def brief(prompt: str, completion: str) -> float:
    print("what a function prints is no answer")
    return 1.0 if len(completion) <= len(prompt) else 0.0


def breaking(prompt: str, completion: str) -> float:
    return value(completion)  # type: ignore[return-value]


class RewardFunction:
    """As the original framework has it."""

    @staticmethod
    def coding_reward(prompt, generation):
        return 0.5


@staticmethod
def my_reward(prompt, generation):
    return 0.25 * len(generation)


RewardFunction.my_reward = my_reward
number = 3


def asks_for_more(prompt, completion, reference):
    return 0.0


class Sometimes:
    """Breaks as ``how`` says on a share of responses."""

    minimum = 0.0

    def __init__(self, *, how: str, share: float) -> None:
        self.how, self.share = how, share

    def __call__(self, rollouts):
        (one,) = rollouts
        breaks = zlib.crc32(one.text.encode()) < self.share * 2**32
        if breaks and self.how == "short":
            return []
        return [value(self.how) if breaks else float(len(one.text))]


class SometimesHere(Sometimes):
    """In the trainer's process, all of a batch at once."""

    bounded = True

    def __call__(self, rollouts):
        return [one for rollout in rollouts for one in super(SometimesHere, self).__call__([rollout])]
