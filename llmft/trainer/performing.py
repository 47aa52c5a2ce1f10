"""A job of a sweep, run by Hydra's own hand, and what became of it."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from hydra._internal.callbacks import Callbacks
from hydra.core.utils import JobReturn, JobStatus, run_job
from hydra.types import HydraContext
from omegaconf import DictConfig

from llmft.config import ConfigError, Stop
from llmft.config.faults import FAILED, FINISHED, INTERRUPTED, REFUSED
from llmft.trainer.jobs import Job, shown
from llmft.trainer.signals import CODES, Interrupted

INTERRUPTIONS = frozenset(CODES.values())


class Outcome(NamedTuple):
    code: int  # as a run by itself would have exited with
    error: str = ""
    value: Any = None  # what the job returned


def perform(cfg: DictConfig, task: Callable[[DictConfig], Any]) -> Outcome:
    """Run the job of the composed ``cfg`` here. Raises nothing: what goes wrong is the job's."""
    context = HydraContext(config_loader=None, callbacks=Callbacks())  # type: ignore[arg-type]
    try:
        return outcome(run_job(task, cfg, "hydra.sweep.dir", "hydra.sweep.subdir", context))
    except SystemExit as error:  # of a job that was interrupted, and has said so
        return Outcome(int(error.code or 0), "interrupted")
    except Interrupted as error:
        return Outcome(error.code, "interrupted")
    except (Exception, KeyboardInterrupt) as error:
        return _failure(error)


def outcome(ended: JobReturn) -> Outcome:
    """What Hydra says of a job, in our words."""
    if ended.status == JobStatus.COMPLETED:
        return Outcome(FINISHED, value=ended.return_value)
    return _failure(ended._return_value)


def _failure(error: BaseException) -> Outcome:
    if isinstance(error, Stop):
        return Outcome(error.code, error.message)
    if isinstance(error, KeyboardInterrupt):
        return Outcome(INTERRUPTED, "interrupted")
    if isinstance(error, ConfigError):
        return Outcome(REFUSED, "; ".join(str(fault) for fault in error.faults))
    traceback.print_exception(error)
    return Outcome(FAILED, f"{type(error).__name__}: {error}")


class Here:
    """Runs jobs in this process, one after another."""

    at_once = 1

    def __init__(self, task: Callable[[DictConfig], Any], after: Callable[[], None]) -> None:
        self.task, self.after = task, after
        self.running: list[tuple[Job, Outcome]] = []  # as good as: they have ended when they are asked for

    def place(self, job: Job) -> str:
        return shown(job.folder)

    def start(self, job: Job) -> None:
        self.running.append((job, perform(job.cfg, self.task)))
        self.after()

    def ended(self) -> list[tuple[Job, Outcome]]:
        ended, self.running = self.running, []
        return ended

    def stop(self) -> None:
        """Nothing runs beside this process."""

    def close(self) -> None:
        """Nothing is held."""
