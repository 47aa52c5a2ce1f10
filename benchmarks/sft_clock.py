"""What stamps the end of every step of our side of `sft.py`: a class that a config can name."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from lightning.pytorch import Callback


class Clock(Callback):
    """The end of every step, in wall and processor seconds, and its loss; of the run that this process makes."""

    stamps: ClassVar[list[tuple[float, float]]] = []
    losses: ClassVar[list[float]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.stamps.append((time.perf_counter(), time.process_time()))
        self.losses.append(pl_module.row["train/loss"])
