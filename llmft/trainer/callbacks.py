"""What happens after a step, in this order: keep some rollouts, evaluate, record, checkpoint.

The order is a promise: a checkpoint is made only when the step's row and samples are written, so a run that continues
from it finds everything up to it, and cuts whatever comes after.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch import Trainer as Lightning

from llmft.config import Stop
from llmft.config.faults import NON_FINITE
from llmft.protocols import Rollouts
from llmft.trainer import shelf
from llmft.trainer.evaluation import Evaluation
from llmft.trainer.run import RunFolder
from llmft.trainer.signals import Dropped, Signals

LOWER_IS_BETTER = ("loss", "perplexity", "nll", "kl", "truncated", "failed", "no_signal", "length_mean", "_s")


class Evaluate(Callback):
    """Adds held-out metrics to the row of a step; owes them to it where a signal drops the evaluation."""

    def __init__(self, evaluation: Evaluation, rollouts: Rollouts) -> None:
        self.evaluation, self.rollouts = evaluation, rollouts

    def on_train_start(self, trainer: Lightning, pl_module: LightningModule) -> None:
        learner: Any = pl_module
        if learner.steps_done == 0:
            self._evaluate(trainer, learner)

    def on_train_batch_end(self, trainer: Lightning, pl_module: LightningModule, *_: Any) -> None:
        self._evaluate(trainer, pl_module)

    def _evaluate(self, trainer: Lightning, learner: Any) -> None:
        if not self.evaluation.due(learner.steps_done, learner.max_steps):
            return
        began = perf_counter()
        try:
            with learner.signals.droppable(), trainer.precision_plugin.forward_context(), learner.watch("evaluate"):
                metrics = self.evaluation.run(learner.policy, self.rollouts, learner.seeds)
        except Dropped:
            learner.owed = dict(learner.row)
            raise
        took = perf_counter() - began
        learner.row = {**learner.row, **metrics, "time/evaluate_s": took}
        learner.seconds["time/evaluate_s"] = learner.seconds.get("time/evaluate_s", 0.0) + took


class Sample(Callback):
    """Writes some rollouts of a step into the run folder: before its evaluation, which may be owed and is not needed."""

    def __init__(self, run: RunFolder, *, samples_every: int, samples_per_step: int) -> None:
        self.run, self.every, self.count = run, samples_every, samples_per_step

    def on_train_batch_end(self, trainer: Lightning, pl_module: LightningModule, *_: Any) -> None:
        learner: Any = pl_module
        step = learner.steps_done
        if learner.rollouts and (step % self.every == 0 or step == learner.max_steps):
            self.run.sample(step, learner.rollouts, self.count)


class Record(Callback):
    """Writes the row of a step into the run folder and to the loggers."""

    def __init__(self, run: RunFolder, *, log_every: int) -> None:
        self.run, self.log_every = run, log_every

    def on_train_start(self, trainer: Lightning, pl_module: LightningModule) -> None:
        learner: Any = pl_module
        if learner.steps_done == 0 and learner.row:
            self._write(trainer, learner, 0)

    def on_train_batch_end(self, trainer: Lightning, pl_module: LightningModule, *_: Any) -> None:
        learner: Any = pl_module
        step, last = learner.steps_done, learner.steps_done == learner.max_steps
        # So that a user's callback can watch a metric, as it can in any Lightning run. `log_dict` would take milliseconds.
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in learner.row.items()})
        if step % self.log_every == 0 or last or _evaluated(learner):
            self._write(trainer, learner, step)
        if learner.nonfinite.newest.get("step") == step:
            self.run.note("nonfinite", learner.nonfinite.newest)
        if _evaluated(learner):
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                callback.on_validation_end(trainer, learner)

    def on_exception(self, trainer: Lightning, pl_module: LightningModule, exception: BaseException) -> None:
        learner: Any = pl_module
        if isinstance(exception, Stop) and exception.code == NON_FINITE:
            self._write(trainer, learner, learner.steps_done + 1)  # the value that stopped the run, as it was
            self.run.note("nonfinite", learner.nonfinite.newest)

    def _write(self, trainer: Lightning, learner: Any, step: int) -> None:
        self.run.log(step, learner.row)
        for logger in trainer.loggers:
            logger.log_metrics(learner.row, step=step)


class Save(Callback):
    """Makes checkpoints, and keeps the newest few and the best by the run's objective."""

    def __init__(self, run: RunFolder, *, every: int, keep: int) -> None:
        self.run, self.every, self.keep = run, every, keep
        self.best: dict[str, Any] = {}  # the best checkpoint so far: its step and its value
        self.saved: int | None = None  # the step of the newest checkpoint

    def on_train_start(self, trainer: Lightning, pl_module: LightningModule) -> None:
        self._prune(trainer)  # a process that was killed may not have come to it

    def on_train_batch_end(self, trainer: Lightning, pl_module: LightningModule, *_: Any) -> None:
        learner: Any = pl_module
        step, better = learner.steps_done, self._better(learner)
        if better or step % self.every == 0 or step == learner.max_steps:
            if better:
                self.best = {"step": step, "value": learner.row[self.run.objective]}
            self.save(trainer, step)

    def on_train_end(self, trainer: Lightning, pl_module: LightningModule) -> None:
        learner: Any = pl_module
        self.save(trainer, learner.steps_done)  # a user's callback may have ended the run before its last step

    def on_exception(self, trainer: Lightning, pl_module: LightningModule, exception: BaseException) -> None:
        learner: Any = pl_module
        if isinstance(exception, Dropped) and learner.steps_done:
            self.save(trainer, learner.steps_done)

    def save(self, trainer: Lightning, step: int) -> None:
        """Make a checkpoint, unless this step has one."""
        if self.saved == step:
            return
        self.run.flush()
        for logger in trainer.loggers:
            logger.save()  # what a checkpoint counts on, a killed process cannot lose
        trainer.save_checkpoint(self.run.checkpoints / shelf.folder_name(step))
        self.saved = step
        self._prune(trainer)

    def _prune(self, trainer: Lightning) -> None:
        if trainer.is_global_zero:
            shelf.prune(self.run.checkpoints, keep=self.keep, best=self.best.get("step"))

    def state_dict(self) -> dict[str, Any]:
        return dict(self.best)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = dict(state_dict)

    def _better(self, learner: Any) -> bool:
        """Is this step the best evaluated so far?"""
        name = self.run.objective
        value = learner.row.get(name)
        if value is None or not name.startswith("heldout/") or value != value:
            return False
        if not self.best:
            return True
        return value < self.best["value"] if name.endswith(LOWER_IS_BETTER) else value > self.best["value"]


class Listen(Callback):
    """Has signals noted while steps are made. The first of the callbacks, for what the others do is heeded, too."""

    def __init__(self, signals: Signals) -> None:
        self.signals = signals

    def on_train_start(self, trainer: Lightning, pl_module: LightningModule) -> None:
        # Not before: Lightning sets handlers of its own until here. When it is done it puts back those of before.
        self.signals.listen()


def _evaluated(learner: Any) -> bool:
    return any(name.startswith("heldout/") for name in learner.row)
