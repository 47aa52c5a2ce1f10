"""What a person who waits sees: how far, how good, how fast, how long."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule
from lightning.pytorch import Trainer as Lightning
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

# Of these, a line shows those that the run has, in this order.
SHOWN = {
    "train/reward_mean": ("reward", "{:.3f}"),
    "train/accuracy": ("accuracy", "{:.3f}"),
    "train/perplexity": ("perplexity", "{:.3f}"),
    "train/loss": ("loss", "{:.4f}"),
    "speed/tokens_per_s": ("tokens/s", "{:,.0f}"),
}
HELDOUT = {"heldout/accuracy": ("accuracy", "{:.3f}"), "heldout/perplexity": ("perplexity", "{:.3f}")}
PLAIN_LINES = 20  # of a whole run, where no terminal can redraw one


class ShowProgress(Callback):
    """A bar on a terminal; elsewhere a line now and then. Evaluations get a line in both."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar: Progress | None = None
        self.began = time.monotonic()
        self.first = 0
        self.shown: dict[str, float] = {}  # the newest value of each metric
        self.logs: list[tuple[Any, Any]] = []  # those who log on the terminal: above the bar, as long as there is one

    def on_train_start(self, trainer: Lightning, pl_module: LightningModule) -> None:
        learner: Any = pl_module
        self.began, self.first = time.monotonic(), learner.steps_done
        if not trainer.is_global_zero:
            return
        self._tell_heldout(learner)
        if self.console.is_terminal:
            text = TextColumn("{task.fields[metrics]}")
            columns = (TextColumn("step {task.completed}/{task.total}"), BarColumn(24), text)
            self.bar = Progress(
                *columns, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=self.console
            )
            self.task = self.bar.add_task("", total=learner.max_steps, completed=learner.steps_done, metrics="")
            streams = {sys.stdout, sys.stderr}
            self.bar.start()
            self.logs = [(one, one.stream) for one in _handlers() if one.stream in streams]
            for handler, _ in self.logs:
                handler.setStream(sys.stdout)  # rich's, by now

    def on_train_batch_end(self, trainer: Lightning, pl_module: LightningModule, *_: Any) -> None:
        learner: Any = pl_module
        self.shown |= {name: learner.row[name] for name in SHOWN if name in learner.row}
        if not trainer.is_global_zero:
            return
        self._tell_heldout(learner)
        step = learner.steps_done
        if self.bar is not None:
            self.bar.update(self.task, completed=step, metrics=_line(self.shown, SHOWN))
        elif step % -(-learner.max_steps // PLAIN_LINES) == 0 or step == learner.max_steps:
            left = (time.monotonic() - self.began) / max(1, step - self.first) * (learner.max_steps - step)
            self._print(f"step {step}/{learner.max_steps}  {_line(self.shown, SHOWN)}  {_clock(left)} left")

    def on_train_end(self, trainer: Lightning, pl_module: LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: Lightning, pl_module: LightningModule, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
            for handler, stream in self.logs:
                handler.setStream(stream)

    def _tell_heldout(self, learner: Any) -> None:
        line = _line(learner.row, HELDOUT)
        if line:
            self._print(f"step {learner.steps_done}/{learner.max_steps}  held-out {line}")

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True)


def _handlers() -> list[Any]:
    return [one for one in logging.getLogger().handlers if isinstance(one, logging.StreamHandler)]


def _line(metrics: Mapping[str, float], names: Mapping[str, tuple[str, str]]) -> str:
    return "  ".join(
        f"{title} {form.format(metrics[name])}" for name, (title, form) in names.items() if name in metrics
    )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
