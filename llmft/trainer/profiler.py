"""Where a step's seconds go: by phase with the clock alone, and by operator in one step under torch's profiler.

The two do not meet in one step, since the profiler slows small operators down by more than large ones.

    profile/profile.txt      the tables, as they were printed
    profile/profile.json     their numbers
    profile/trace.json.gz    the traced step, for https://ui.perfetto.dev or chrome://tracing
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from time import perf_counter
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch import Trainer as Lightning
from torch.profiler import ProfilerActivity, profile

from llmft import durable
from llmft.algorithm.metrics import Stopwatch
from llmft.distributed import rank
from llmft.trainer.operators import Operators, operators
from llmft.trainer.profile import Profile
from llmft.trainer.profile_tables import Profiled, tables
from llmft.trainer.run import RunFolder

log = logging.getLogger(__name__)

OF_UPDATE = ("forward", "backward", "optimizer")
NO_KERNELS = (
    "torch's profiler was shown nothing of the GPU; operators are listed by the CPU's time. Often the driver lets only "
    "an administrator look (NVreg_RestrictProfilingToAdminUsers=0 lets everybody), or another profiler is at work"
)
NO_PHASE = ("step", "update", "sync", "evaluate")  # of the times in a row: what phases are parts of, or come after


class Measure(Callback):
    """Measures a few steps, prints where their seconds went and writes it into the run's folder.

    Where torch's profiler may not be used, or not for the GPU, it says so and the clock's part stands.
    """

    def __init__(self, asked: Profile, run: RunFolder) -> None:
        self.traced = range(asked.warm_up, asked.warm_up + asked.traced)
        self.timed = range(self.traced.stop, self.traced.stop + asked.timed)
        self.rows, self.trace_mb, self.folder = asked.rows, asked.trace_mb, run.path / "profile"
        self.steps: list[dict[str, float]] = []
        self.operators: Operators | None = None
        self.profiler: Any = None
        self.first, self.began = 0, 0.0
        self.before: dict[str, float] = {}  # the stopwatch when the step began
        self.open = True  # not reported yet

    def on_train_start(self, trainer: Lightning, pl_module: LightningModule) -> None:
        learner: Any = pl_module
        self.first = learner.steps_done
        on_cuda = learner.device.type == "cuda"
        learner.watch = Stopwatch(torch.cuda.synchronize if on_cuda else None)

    def on_train_batch_start(self, trainer: Lightning, pl_module: LightningModule, *_: Any) -> None:
        learner: Any = pl_module
        self._close_step()
        number = learner.steps_done - self.first
        if rank() == 0 and self.traced and number == self.traced.start:
            self.profiler = started(learner.device.type == "cuda")
        if number == self.timed.stop:
            self._report()
        self.began, self.before = perf_counter(), dict(learner.watch.seconds)

    def on_train_batch_end(self, trainer: Lightning, pl_module: LightningModule, *_: Any) -> None:
        learner: Any = pl_module
        number = learner.steps_done - self.first - 1
        if self.profiler is not None and number == self.traced[-1]:
            self._stop_profiler()
        if number in self.timed:
            watched = {name: now - self.before.get(name, 0.0) for name, now in learner.watch.seconds.items()}
            self.steps.append(phases(learner.row, watched))

    def on_train_end(self, trainer: Lightning, pl_module: LightningModule) -> None:
        self._close_step()
        self._report()

    def on_exception(self, trainer: Lightning, pl_module: LightningModule, exception: BaseException) -> None:
        self.on_train_end(trainer, pl_module)

    def _close_step(self) -> None:
        """What came after the step that was timed last, checkpoints and all, ends now."""
        if self.steps and "records" not in self.steps[-1]:
            seconds = self.steps[-1]
            seconds["records"] = perf_counter() - self.began - seconds["step"] - seconds.get("evaluate", 0.0)

    def _stop_profiler(self) -> None:
        profiler, self.profiler = self.profiler, None
        try:
            profiler.stop()
            self.operators = operators(profiler.events(), len(self.traced))
            if ProfilerActivity.CUDA in profiler.activities and not any(row.gpu_ms for row in self.operators.rows):
                log.warning("%s", NO_KERNELS)
            self._keep_trace(profiler)
        except Exception as error:
            log.warning("the profiler of operators gave nothing: %s", _first_line(error))

    def _keep_trace(self, profiler: Any) -> None:
        self.folder.mkdir(exist_ok=True)
        trace = self.folder / "trace.json.gz"
        profiler.export_chrome_trace(str(trace))
        size = trace.stat().st_size / 2**20
        if size > self.trace_mb:
            trace.unlink()
            log.warning("the trace had %.0f MiB, more than callbacks.profile.trace_mb; it was not kept", size)

    def _report(self) -> None:
        if not self.open or rank() != 0:
            return
        self.open = False
        if self.profiler is not None:
            self._stop_profiler()
        from rich.console import Console

        profiled = Profiled(self.steps, self.operators)
        shown = tables(profiled, self.rows, self.folder)
        Console().print(*shown, sep="\n")
        try:
            self.folder.mkdir(exist_ok=True)
            with (self.folder / "profile.txt").open("w", encoding="utf-8") as file:
                Console(file=file, width=100).print(*shown, sep="\n")
            durable.write_json(self.folder / "profile.json", profiled.plain())
        except OSError as error:
            log.warning("the profile was printed but not written: %s", error)


def phases(row: Mapping[str, float], watched: Mapping[str, float]) -> dict[str, float]:
    """The seconds of one step by phase, in their order, with what they are parts of: ``step``, and ``evaluate``.

    Args:
        row: the step's metrics.
        watched: of the learner's stopwatch.
    """
    times = {name[len("time/") : -len("_s")]: value for name, value in row.items() if name.startswith("time/")}
    collected = {name: seconds for name, seconds in times.items() if name not in NO_PHASE}
    update = {name: watched[name] for name in OF_UPDATE if name in watched}
    inside = {**collected, **update, "sync": times["sync"]}
    after = {name: times[name] for name in ("step", "evaluate") if name in times}
    return {**inside, "other": times["step"] - sum(inside.values()), **after}


def started(on_cuda: bool) -> Any:
    """A running profiler: of the GPU too, where it is used and may be looked at; None if nothing may."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # it would write every start and stop to standard error
    wanted = [[ProfilerActivity.CPU, ProfilerActivity.CUDA]] if on_cuda else []
    for activities in [*wanted, [ProfilerActivity.CPU]]:
        try:
            profiler = profile(activities=activities)
            profiler.start()
        except Exception as error:
            left = "the GPU is left out" if len(activities) > 1 else "no operators are listed"
            log.warning("torch's profiler may not look (%s); %s, and the phases stand", _first_line(error), left)
        else:
            return profiler
    return None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
