"""What a config of `luffy_step.py` names: a clock of its steps, and the problems that its groups have a signal on."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, ClassVar

from lightning.pytorch import Callback

from llmft.dataset.lab.addition import Addition
from llmft.types import Splits


class Clock(Callback):
    """The row of every step, with the seconds from the end of the one before; of the run that this process makes."""

    rows: ClassVar[list[dict[str, float]]] = []
    last: ClassVar[float] = 0.0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        type(self).last = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        now = time.perf_counter()
        self.rows.append({**pl_module.row, "total": now - self.last})
        type(self).last = time.perf_counter()


class Decided(Addition):
    """The training problems that stand in ``kept``, of those that the lab has."""

    kept: ClassVar[frozenset[str]] = frozenset()

    def load(self) -> Splits:
        splits = super().load()
        return replace(splits, train=tuple(task for task in splits.train if task.id in self.kept))
