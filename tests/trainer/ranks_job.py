"""What the processes of `test_ranks.py` run: they import it by name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
from double import in_float64
from lightning.pytorch import Callback
from miniature import TASKS, Graded, Line, make_session

from llmft.config import Stop
from llmft.dataset.stream import TaskStream
from llmft.distributed import gather, rank, world_size
from llmft.model.scratch import Scratch
from llmft.seeds import Seeds
from llmft.trainer import shelf, weights
from llmft.types import Step

KINDS = ("line", "grpo", "replay")
EVEN = {one.task.id for one in TaskStream(TASKS, Seeds(1).child("tasks")).take(len(TASKS)) if one.position % 2 == 0}


class EvenLine(Line):
    """Only tasks at even positions are trained on: of two processes, the second has none. It draws no dropout."""

    def collect(self, tasks, seeds):
        tasks.take, take = lambda count: [one for one in take(count) if one.position % 2 == 0], tasks.take
        try:
            step = super().collect(tasks, seeds)
        finally:
            del tasks.take
        updates = [type(one)(one.x, one.x.sum(1), torch.full((len(one),), 0.25)) for one in step.updates]
        return Step(updates, (), {})


class EvenGraded(Graded):
    """Groups of the other tasks have equal rewards, so no signal."""

    def score(self, rollouts):
        graded = zip(rollouts, super().score(rollouts), strict=True)
        return [type(score)(score.value * (one.task.id in EVEN), score.parts, score.correct) for one, score in graded]


def train(kind: str, folder: Path) -> dict[str, torch.Tensor]:
    """The weights after a run, in float64."""
    source = Scratch(hidden_size=32, layers=2, heads=2, ffn_size=64, context=256, rope_theta=1e4, init_std=0.2)
    strategy = {"devices": world_size(), "strategy": "ddp"} if world_size() > 1 else {}
    options = {"line": {"algorithm": EvenLine()}, "grpo": {"reward": EvenGraded()}, "replay": {"max_steps": 6}}[kind]
    session = make_session(kind, folder, source, source.tokens(), micro_batch=2, **options, **strategy)
    in_float64(session.trainer.policy)
    if kind == "grpo":
        session.trainer.algorithm.kl_in_loss = 0.0  # which would train every row, with signal or without
    session.fit()
    newest = gather([shelf.listed(folder / "checkpoints")[0]])[0]
    return weights.load(newest / "weights.safetensors")


def both(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {kind: train(kind, folder / kind) for kind in KINDS}


class Overflows(Line):
    """On the second process one step's data is too large to square."""

    def collect(self, tasks, seeds):
        step = super().collect(tasks, seeds)
        if rank() == 1 and self.step == 2:
            for update in step.updates:
                update.y.mul_(1e200)
        return step


class SignalOnTheSecond(Callback):
    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if rank() == 1 and pl_module.steps_done == 1 and pl_module.signals.code == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def faulty(folder: Path) -> dict[str, Any]:
    """What happens to both where something happens to the second."""
    two = {"devices": 2, "strategy": "ddp"}
    overflowed = make_session("line", folder / "skip", None, None, algorithm=Overflows(), on_nonfinite="skip", **two)
    overflowed.fit()
    make_session("line", folder / "whole", None, None, **two).fit()
    callbacks = {"signal": SignalOnTheSecond()}
    try:
        make_session("line", folder / "cut", None, None, callbacks=callbacks, checkpoint_every=4, **two).fit()
    except Stop as stop:
        told = str(stop)
    kept = gather([[path.name for path in shelf.listed(folder / "cut" / "checkpoints")]])
    make_session("line", folder / "cut", None, None, resume=True, checkpoint_every=4, **two).fit()
    policy = overflowed.trainer.policy.state_dict()
    return {"skipped": gather([{name: tensor.tolist() for name, tensor in policy.items()}]), "told": told, "kept": kept}


def fail(how: str) -> int:
    """The second of two processes fails while the first waits for it."""
    if rank() == 1 and how == "raise":
        raise ValueError("the second has no disk")
    if rank() == 1 and how == "stop":
        raise Stop(3, "not finite on the second")
    if rank() == 1 and how in ("SIGKILL", "SIGTERM"):  # the second before anyone handles it
        os.kill(os.getpid(), signal.Signals[how])
    return sum(gather([1]))


def wait(folder: Path) -> None:
    """Until a signal comes."""

    def stop(number, frame):
        raise Stop(143, f"process {rank()} was told")

    signal.signal(signal.SIGTERM, stop)
    (folder / str(rank())).touch()
    time.sleep(60)
