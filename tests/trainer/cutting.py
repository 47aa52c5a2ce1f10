"""A run that is cut after a step."""

from __future__ import annotations

from lightning.pytorch import Callback


class Cut(BaseException):
    """The power fails."""


class CutAfter(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, *_):
        if pl_module.steps_done == self.step:
            raise Cut
