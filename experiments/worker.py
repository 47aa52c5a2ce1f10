"""A stage in a process of its own: ``train.py``, or a module, as the command line would run it.

The processes are forked from one that has imported everything, so that a stage costs what it computes and no more: an
import takes seconds, and a table has some two hundred stages.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import runpy
import signal
import sys
import threading
from multiprocessing.process import BaseProcess
from pathlib import Path

from llmft.config import ROOT

PRELOADED = (
    "hydra.main",
    "llmft.algorithm.policy",
    "llmft.algorithm.sft",
    "llmft.dataset.lab.addition",
    "llmft.model.hf",
    "llmft.reward.weighted",
    "llmft.rollout.single",
    "llmft.sampler.native",
    "llmft.trainer.opening",
    "llmft.trainer.preflight",
    "llmft.trainer.trainer",
    # What these import only when they are used.
    "llmft.guidance.collect.command",
    "llmft.guidance.collect.own",
    "llmft.config.checks",
    "llmft.config.composition",
    "llmft.trainer.callbacks",
    "llmft.trainer.checkpoint",
    "llmft.trainer.curves",
    "llmft.trainer.learner",
    "llmft.trainer.progress",
    "llmft.trainer.report",
    "matplotlib.backends.backend_agg",
    "transformers.models.llama.modeling_llama",
)


def preload() -> None:
    """Import what every run imports; called in the process that the others are forked from."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in PRELOADED:
        importlib.import_module(name)


class Workers:
    """Starts processes for stages."""

    def __init__(self) -> None:
        os.environ["OMP_NUM_THREADS"] = "1"  # one stage, one thread: as many stages as CPUs can go on beside each other
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["experiments.preloaded"])

    def start(self, module: str, arguments: list[str], log: Path) -> BaseProcess:
        """A process that runs ``module`` (``train`` for ``train.py``) and prints to ``log``."""
        log.parent.mkdir(parents=True, exist_ok=True)
        process = self.context.Process(target=_stage, args=(module, arguments, str(log)), name=log.stem)
        process.start()
        return process


def _stage(module: str, arguments: list[str], log: str) -> None:
    os.setsid()  # a Ctrl-C reaches the command alone, which passes it on once
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if module == "train":
        sys.argv = [str(ROOT / "train.py"), *arguments]
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with_parent() -> None:
    """Have this process end, with a checkpoint, when the one that started it is gone, whatever took that one."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
