"""The jobs of a sweep in processes of their own on this machine, by submitit.

A job's process leaves the sweep's group, so that a signal to the group, a Ctrl-C say, reaches the sweep alone, which
passes it on once. It ends, with a checkpoint, when the sweep is gone.
"""

from __future__ import annotations

import fcntl
import importlib
import inspect
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from omegaconf import DictConfig

from llmft.config import Stop
from llmft.config.faults import FAILED
from llmft.trainer.jobs import Job, shown
from llmft.trainer.performing import Outcome, perform
from llmft.trainer.signals import CODES, at_once

NO_LIMIT = 60 * 24 * 365 * 10  # minutes


class Processes:
    """Runs jobs in processes, ``at_once`` of them at a time.

    Args:
        task: what Hydra would call; the process imports the function that it wraps from its file.
        folder: for submitit's files: what was handed over, and what the jobs print.
        jobs: all that will be started.
    """

    def __init__(self, task: Callable[..., Any], folder: Path, jobs: Sequence[Job]) -> None:
        main = inspect.unwrap(task)
        self.main = (str(Path(inspect.getfile(main)).resolve()), main.__name__)
        self.at_once = min(job.cfg.sweep.at_once or room_for(job.cfg) for job in jobs)
        self.folder = folder
        self._started: list[Process] = []
        # Locked as long as this process lives, whichever way it ends.
        self.alive = tempfile.NamedTemporaryFile(prefix="llmft-sweep-")  # noqa: SIM115
        fcntl.flock(self.alive, fcntl.LOCK_EX)

    def place(self, job: Job) -> str:
        return f"{shown(job.folder)}, prints to {shown(self.folder / job.folder.name)}"

    def start(self, job: Job) -> None:
        """Start a process for ``job``; it is in ``running`` from then on, whatever signal comes."""
        from hydra.core.singleton import Singleton
        from submitit import LocalExecutor

        folder = self.folder / job.folder.name
        shutil.rmtree(folder, ignore_errors=True)
        executor = LocalExecutor(folder)
        executor.update_parameters(timeout_min=minutes(job.cfg), stderr_to_stdout=True)
        given = (self.main, job.cfg, Singleton.get_state(), self.alive.name, folder, os.environ.get(GPUS))
        # Inherited: submitit's own process, between this one and the job's, hears none of these.
        signal.pthread_sigmask(signal.SIG_BLOCK, CODES)
        try:
            self._started.append(Process(job, executor.submit(child, *given), folder))
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, CODES)

    @property
    def running(self) -> list[Job]:
        return [process.job for process in self._started]

    def ended(self) -> list[tuple[Job, Outcome]]:
        """Those that ended since it was asked for."""
        outcomes = [(process, process.outcome()) for process in self._started]
        self._started = [process for process, ended in outcomes if ended is None]
        return [(process.job, ended) for process, ended in outcomes if ended is not None]

    def stop(self) -> None:
        """Have the jobs end after their step, with a checkpoint; the second time, at once."""
        for process in self._started:
            process.to_stop = True

    def close(self) -> None:
        """Let go of the lock: what still runs ends."""
        self.alive.close()


class Process:
    def __init__(self, job: Job, submitted: Any, folder: Path) -> None:
        self.job, self.submitted, self.folder = job, submitted, folder
        self.to_stop = False

    def outcome(self) -> Outcome | None:
        """What became of the job; None while it runs."""
        if not self.submitted.done():
            if self.to_stop and (pid := self._pid()):
                self.to_stop = False
                os.kill(pid, signal.SIGTERM)
            return None
        try:
            return self.submitted.result()
        except Exception:  # submitit's own, where a process left no result
            return Outcome(FAILED, f"its process was killed, or out of memory; see {self.submitted.paths.stdout}")
        finally:
            for file in self.folder.glob("*.pkl"):
                file.unlink()

    def _pid(self) -> int | None:
        """Of the job's process; None before it has begun and after it has ended."""
        try:
            pid = int((self.folder / PID).read_text())
            os.kill(pid, 0)
        except (OSError, ValueError):
            return None
        return pid


PID, GPUS = "pid", "CUDA_VISIBLE_DEVICES"


def minutes(cfg: DictConfig) -> int:
    """How long a job may take. The plugin's own default is an hour: only what was typed counts."""
    typed = any(line.lstrip("+").startswith("hydra.launcher.timeout_min=") for line in cfg.hydra.overrides.hydra)
    return cfg.hydra.launcher.timeout_min if typed else NO_LIMIT


def room_for(cfg: DictConfig) -> int:
    """How many jobs like this one run side by side: by the threads that each has, and one where a GPU computes."""
    if cfg.trainer.accelerator != "cpu":
        return 1
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cpus // ((cfg.trainer.threads or cpus) * cfg.trainer.devices))


def child(main: tuple[str, str], cfg: DictConfig, state: Any, alive: str, folder: Path, visible: str | None) -> Outcome:
    """A job's process."""
    from hydra.core.singleton import Singleton
    from hydra.core.utils import setup_globals

    from llmft.config.entry import job

    os.setsid()
    os.environ.pop(GPUS, None)  # submitit hides them all
    if visible is not None:
        os.environ[GPUS] = visible
    signal.signal(signal.SIGUSR2, _terminate)  # submitit's, at the end of a job's time
    try:
        with at_once(None):
            (folder / f"{PID}.tmp").write_text(str(os.getpid()))
            (folder / f"{PID}.tmp").rename(folder / PID)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, CODES)
            threading.Thread(target=_end_with, args=(alive,), daemon=True).start()
            Singleton.set_state(state)
            setup_globals()
            file, name = main
            sys.path.insert(0, str(Path(file).parent))
            task = getattr(importlib.import_module(Path(file).stem), name)
            return perform(cfg, job(task))
    except Stop as stop:
        return Outcome(stop.code, stop.message)


def _terminate(number: int, frame: FrameType | None) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _end_with(alive: str) -> None:
    """Wait for the lock that the sweep holds as long as it lives."""
    try:
        with open(alive) as file:
            fcntl.flock(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        pass  # it has let go already
    os.kill(os.getpid(), signal.SIGTERM)
