"""What a recipe carries from step to step is continued to the bit: an adapted coefficient, tasks drawn in refills."""

from __future__ import annotations

import csv

import pytest
from lightning.pytorch import Callback


class Cut(Exception):
    """The power fails."""


class CutAt(Callback):
    """Before an update of a step: its first or its second."""

    def __init__(self, step, update):
        self.step, self.update, self.seen = step, update, 0

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if pl_module.steps_done == self.step:
            self.seen += 1
            if self.seen == self.update:
                raise Cut


@pytest.mark.parametrize("update", [1, 2])
def test_cut_in_a_step_with_refills_and_an_adapted_coefficient(update, session, outcome, tmp_path):
    session("steered", tmp_path / "whole").fit()
    expected = outcome(tmp_path / "whole")
    rows = list(csv.DictReader((tmp_path / "whole" / "metrics.csv").open()))
    assert sum(float(row["train/refills"] or 0) for row in rows) > 0, "no step was refilled, so nothing was tested"
    assert len({row["train/entropy_coef"] for row in rows if row["train/entropy_coef"]}) > 2
    for step in (1, 3):
        folder = tmp_path / str(step)
        with pytest.raises(Cut):
            session("steered", folder, callbacks={"cut": CutAt(step, update)}).fit()
        session("steered", folder, resume=True).fit()
        assert outcome(folder) == expected, f"cut at step {step}"
