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


class CutBetweenUpdates(Callback):
    """Before the second optimizer step of a step."""

    def __init__(self, step):
        self.step, self.seen = step, 0

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if pl_module.steps_done == self.step:
            self.seen += 1
            if self.seen == 2:
                raise Cut
