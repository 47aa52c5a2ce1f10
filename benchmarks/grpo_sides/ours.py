"""Our side: `train.py`, without evaluation and with one checkpoint, made after the last step, which is not counted."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback

from grpo_sides import AfterStep, Run, config, nothing
from llmft.config import ROOT, settings, snapshot

sys.path.insert(0, str(ROOT))  # for train.py
os.environ["LLMFT_TARGETS"] = f"{__name__}."  # so that a config may name `Clock`


class Clock(Callback):
    """Stamps the end of every step. A config names it; the run that is going on stands in the class."""

    current: tuple[Run, AfterStep] = (Run(), nothing)

    def __init__(self) -> None:
        self.last = 0.0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.last = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        now, row, (run, after_step) = time.perf_counter(), pl_module.row, self.current
        names = {"generate": "generate", "reward": "reward", "batch": "logps", "update": "update", "sync": "sync"}
        phases = {phase: row[f"time/{name}_s"] for phase, name in names.items()}
        run.add(now - self.last, phases, row["train/no_signal"], row["train/length_mean"])
        if after_step(pl_module.steps_done, pl_module.policy.model):
            trainer.should_stop = True
        self.last = time.perf_counter()


def run(tier: str, seed: int, steps: int, after_step: AfterStep = nothing, **_: Any) -> Run:
    """A run of ``steps`` steps, or fewer if ``after_step`` has enough."""
    from llmft.trainer.start import Start
    from train import fit

    overrides = [
        "evaluation.every=null",
        f"trainer.checkpoint_every={10**6}",
        "objective=train/reward_mean",
        f"trainer.max_steps={steps + 1}",
        f"+callbacks.clock._target_={__name__}.Clock",
    ]
    cfg, measured = config(tier, seed, overrides), Run()
    Clock.current = measured, after_step
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        fit(cfg, Start(Path(folder), snapshot(cfg), settings(cfg), tuple(overrides), {}, None))
    return measured.cut(0, steps)
