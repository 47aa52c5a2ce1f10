"""The learner's promises, on a linear model whose batches have no tokens."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from lightning.pytorch import Callback
from miniature import Line

from llmft.config import Stop
from llmft.trainer import weights
from llmft.trainer.metrics import read


class Gradients(Callback):
    """The gradient of each optimizer step, before it is clipped away from what the loss said."""

    def __init__(self):
        self.seen = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.seen.append([parameter.grad.clone() for parameter in pl_module.policy.parameters()])


def final(folder):
    newest = sorted((folder / "checkpoints").iterdir())[-1]
    return weights.load(newest / "weights.safetensors")


def test_the_micro_batch_does_not_change_the_gradient(session, tmp_path):
    gradients = {}
    for micro_batch in (1, 3, 6):
        watch = Gradients()
        options = {"micro_batch": micro_batch, "max_grad_norm": None, "callbacks": {"watch": watch}}
        session("line", tmp_path / str(micro_batch), **options).fit()
        gradients[micro_batch] = watch.seen
    for micro_batch in (1, 3):
        for step, expected in zip(gradients[micro_batch], gradients[6], strict=True):
            for one, other in zip(step, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_the_loss_is_the_sum_over_the_parts_and_the_mean_over_the_updates(session, tmp_path):
    session("line", max_steps=1, micro_batch=4, algorithm=Line(updates=1)).fit()
    row = read(tmp_path / "run" / "metrics.csv")[0]
    assert row["train/loss"] == row["train/error"]  # the same sum, reported by the algorithm
    line = Line(updates=1)
    session("line", tmp_path / "whole", max_steps=1, micro_batch=6, algorithm=line).fit()
    assert read(tmp_path / "whole" / "metrics.csv")[0]["train/loss"] == pytest.approx(row["train/loss"], rel=1e-12)


def test_extra_modules_are_trained_and_kept(session, tmp_path):
    class Valued(Line):
        def loss(self, policy, part):
            loss, metrics = super().loss(policy, part)
            return loss + ((self.value(part.y[:, None])[:, 0] - 1) ** 2 * part.weight).sum(), metrics

    session("line", algorithm=Valued()).fit()
    assert final(tmp_path / "run")["extra.value.weight"].item() != 0.5


def test_a_step_without_signal_makes_no_update_and_counts(session, tmp_path):
    line, watch = Line(), Gradients()
    line.silent = {2, 3}
    session("line", algorithm=line, callbacks={"watch": watch}).fit()
    rows = read(tmp_path / "run" / "metrics.csv")
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert ["train/loss" in row for row in rows] == [True, False, False, True]
    assert len(watch.seen) == 4  # two updates in each of two steps
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "completed"


def test_batches_without_rows_are_no_updates(session, tmp_path):
    class Empty(Line):
        def collect(self, tasks, seeds):
            step = super().collect(tasks, seeds)
            return replace(step, updates=[next(iter(one.split(9))).none() for one in step.updates])

    watch = Gradients()
    session("line", algorithm=Empty(), callbacks={"watch": watch}).trainer.fit()
    assert watch.seen == []
    assert [row["step"] for row in read(tmp_path / "run" / "metrics.csv")] == [1, 2, 3, 4]


def test_the_policy_collects_without_dropout_and_learns_with_it(session):
    modes = []

    class Watching(Line):
        def collect(self, tasks, seeds):
            modes.append(("collect", one.trainer.policy.training, torch.is_grad_enabled()))
            return super().collect(tasks, seeds)

        def loss(self, policy, part):
            modes.append(("loss", policy.training, torch.is_grad_enabled()))
            return super().loss(policy, part)

    one = session("line", algorithm=Watching(updates=1), max_steps=2, micro_batch=9)
    one.fit()
    assert modes == [("collect", False, False), ("loss", True, True)] * 2


def test_a_run_without_any_signal_ends(session, tmp_path):
    line = Line()
    line.silent = {1, 2, 3, 4}
    session("line", algorithm=line).trainer.fit()
    assert final(tmp_path / "run")["policy.weight"].tolist() == [[0.5, 0.5, 0.5]]


def test_the_learning_rate_follows_our_steps(session, tmp_path):
    session("line", max_steps=4).fit()
    rates = [row["train/lr"] for row in read(tmp_path / "run" / "metrics.csv")]
    # two steps of warm-up, then from 1 to 0.1 by half a cosine whose end is the last step
    assert rates == pytest.approx([0.005, 0.01, 0.01, 0.001])


@pytest.mark.parametrize("step", [1, 3])
def test_a_loss_that_is_not_finite_stops_before_the_optimizer(step, session, tmp_path):
    line = Line()
    line.nonfinite_at = step
    with pytest.raises(Stop, match=rf"step {step}: loss inf, gradient norm (inf|nan)") as stop:
        session("line", algorithm=line).fit()
    assert stop.value.code == 3
    assert all(parameter.isfinite().all() for parameter in line.value.parameters())
    rows = read(tmp_path / "run" / "metrics.csv")
    assert math.isinf(rows[-1]["train/loss"])
    assert rows[-1]["step"] == step
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["exit_code"]) == ("failed", 3)


def test_the_tasks_of_a_bad_batch_are_named(session):
    bad = session("sft", max_steps=2, evaluate=None)
    with torch.no_grad():
        next(bad.trainer.policy.parameters()).fill_(math.nan)
    with pytest.raises(Stop, match=r"sum-\d-\d, sum-\d-\d, sum-\d-\d, sum-\d-\d"):
        bad.fit()


def test_the_gradient_is_clipped_to_the_norm(session, tmp_path):
    """Adam hides a gradient's scale, so what is clipped is seen at the parameters after plain descent."""
    one = session("line", max_steps=1, max_grad_norm=0.01, algorithm=Line(updates=1))
    one.trainer.optimizer = lambda parameters: torch.optim.SGD(parameters, lr=2.0)
    one.fit()
    moved = torch.cat([(value - 0.5).flatten() for value in final(tmp_path / "run").values()])
    assert moved.norm().item() == pytest.approx(2.0 * 0.5 * 0.01, rel=1e-4)  # the warm-up halves the rate
    assert read(tmp_path / "run" / "metrics.csv")[0]["train/grad_norm"] > 0.01


def test_frozen_weights_are_not_in_a_checkpoint(session, tmp_path):
    for resume in (False, True):
        one = session("sft", max_steps=2 + resume, resume=resume)
        for name, parameter in one.trainer.policy.named_parameters():
            parameter.requires_grad_("layers.1" in name)
        one.fit()
    assert {"layers.1" in name for name in final(tmp_path / "run")} == {True}


def test_nothing_to_train_is_refused(session):
    one = session("sft")
    one.trainer.policy.requires_grad_(False)
    with pytest.raises(ValueError, match="no weight of it is trained"):
        one.fit()


def test_a_user_callback_can_watch_a_metric_and_end_the_run(session, tmp_path):
    from lightning.pytorch.callbacks import EarlyStopping

    stop = EarlyStopping("heldout/perplexity", mode="max", patience=1, check_on_train_epoch_end=False)
    session("sft", evaluate=1, max_steps=9, callbacks={"stop": stop}).fit()
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["step"]) == ("completed", 2)
