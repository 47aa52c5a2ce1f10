"""NaN and infinity: no weight ever sees them, and what is logged is what was."""

from __future__ import annotations

import json
import math

import pytest
import torch
from cutting import Cut, CutAfter
from lightning.pytorch import Callback
from miniature import TASKS, Line
from summed import summed

from llmft.config import Stop, compose
from llmft.config.checks import find_faults
from llmft.dataset.stream import TaskStream
from llmft.seeds import Seeds
from llmft.trainer import shelf, weights
from llmft.trainer.metrics import read

NAN, INF = math.nan, math.inf


class Broken(Line):
    """From some steps on one number is not one: of the loss, of the data, or of the gradient."""

    def __init__(self, where="loss", value=NAN, steps=(2,)):
        super().__init__()
        self.where, self.bad, self.steps = where, value, steps

    def loss(self, policy, part):
        loss, metrics = super().loss(policy, part)
        if self.step not in self.steps:
            return loss, metrics
        if self.where == "loss":
            return loss * self.bad, metrics
        policy.weight.register_hook(self._bad_gradient)
        return loss, metrics

    def _bad_gradient(self, gradient):
        changed = gradient.clone()
        if self.step in self.steps:
            changed[0, 1] = self.bad
        return changed


def newest(folder):
    return shelf.listed(folder / "checkpoints")[0]


def told(folder):
    """`nonfinite.json`, as a reader that knows no NaN would see it."""
    return json.loads((folder / "nonfinite.json").read_text(), parse_constant=lambda name: pytest.fail(name))


@pytest.mark.parametrize("where", ["loss", "gradient"])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_it_stops_before_the_update(where, value, session, outcome, tmp_path, record_property):
    folder = tmp_path / "run"
    one = session("line", folder, algorithm=Broken(where, value))
    with pytest.raises(Stop, match=r"step 2: loss .*, gradient norm .*; the weights are left as they were") as stop:
        one.fit()
    assert stop.value.code == 3
    assert newest(folder).name == "step_000001"
    kept = weights.load(newest(folder) / "weights.safetensors")
    for name, parameter in one.trainer.policy.named_parameters():
        assert torch.equal(parameter.detach(), kept[f"policy.{name}"])
    row = read(folder / "metrics.csv")[-1]
    assert row["step"] == 2
    assert not math.isfinite(row["train/loss" if where == "loss" else "train/grad_norm"])
    assert (told(folder)["step"], told(folder)["seed"], told(folder)["stream"]) == (2, 1, ["step", 1])

    session("line", folder, resume=True).fit()  # the machine was to blame: nothing of it is left
    session("line", tmp_path / "whole").fit()
    assert outcome(folder) == outcome(tmp_path / "whole")
    record_property("7", f"{value} in the {where}: that step stops, weights finite and as they were, exit 3")


def test_the_tasks_of_the_batch_are_named(session, tmp_path):
    class Poison(Callback):
        def on_after_backward(self, trainer, pl_module):
            if pl_module.steps_done == 1:
                next(pl_module.policy.parameters()).grad.view(-1)[7] = INF

    one = session("sft", callbacks={"poison": Poison()})
    with pytest.raises(Stop, match="gradient norm inf"):
        one.fit()
    drawn = TaskStream(TASKS, Seeds(1).child("tasks")).take(8)
    assert told(tmp_path / "run")["tasks"] == [one.task.id for one in drawn[4:]]


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_what_is_skipped_was_never_there(where, session, outcome, tmp_path, record_property):
    """Weights and optimizer are those of a run whose bad step made no updates."""
    silent = Line()
    silent.silent = {2}
    session("line", tmp_path / "silent", algorithm=silent, on_nonfinite="skip").fit()
    session("line", algorithm=Broken(where, INF), on_nonfinite="skip").fit()
    ends = [outcome(tmp_path / name)["state"] for name in ("silent", "run")]
    assert ends[0]["state_dict"] == ends[1]["state_dict"]
    assert ends[0]["optimizer_states"] == ends[1]["optimizer_states"]
    rows = read(tmp_path / "run" / "metrics.csv")
    assert [row["train/nonfinite"] for row in rows] == [0, 2, 0, 0]
    name = "train/loss" if where == "loss" else "train/grad_norm"
    assert [math.isfinite(row[name]) for row in rows] == [True, False, True, True]
    assert told(tmp_path / "run")["step"] == 2
    record_property("7", f"on_nonfinite=skip, {where}: counted, weights and optimizer as without that step")


def test_the_cap_counts_over_the_whole_run_and_its_continuations(session, tmp_path):
    class CutBefore(Callback):
        def on_train_batch_start(self, trainer, pl_module, *_):
            if pl_module.steps_done == 1:
                raise InterruptedError

    options = {"on_nonfinite": "skip", "max_nonfinite": 3}
    with pytest.raises(InterruptedError):
        session("line", algorithm=Broken(steps=(1,)), callbacks={"cut": CutBefore()}, **options).fit()
    # The second half counts its own steps from 1: two were skipped, a third may be, the fourth may not.
    with pytest.raises(Stop, match=r"step 2: .* trainer\.max_nonfinite=3 updates were skipped before") as stop:
        session("line", resume=True, algorithm=Broken(steps=(1,)), **options).fit()
    assert stop.value.code == 3


class Long(Line):
    """From some steps on, the gradient is 1000 times as long."""

    def __init__(self, steps=(2,)):
        super().__init__()
        self.steps = steps

    def loss(self, policy, part):
        loss, metrics = super().loss(policy, part)
        return loss * (1000 if self.step in self.steps else 1), metrics

    def state_dict(self):
        return {**super().state_dict(), "step": self.step}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.step = state["step"]


def test_an_update_with_a_long_gradient_is_left_out(session, outcome, tmp_path):
    """However many there are; what is left is a run whose bad steps made no updates."""
    silent = Line()
    silent.silent = {2, 3}
    session("line", tmp_path / "silent", algorithm=silent).fit()
    session("line", algorithm=Long((2, 3)), skip_grad_norm=100.0, max_nonfinite=1).fit()
    ends = [outcome(tmp_path / name)["state"] for name in ("silent", "run")]
    assert ends[0]["state_dict"] == ends[1]["state_dict"]
    assert ends[0]["optimizer_states"] == ends[1]["optimizer_states"]
    assert ends[1]["progress"]["skipped"] == 0
    assert ends[1]["progress"]["updates_done"] == 4
    rows = read(tmp_path / "run" / "metrics.csv")
    assert [row["train/skipped_updates"] for row in rows] == [0, 2, 2, 0]
    assert all(row["train/grad_norm"] > 100 for row in rows[1:3])  # as it was, before it was scaled down
    assert all(row["train/grad_norm"] < 100 for row in (rows[0], rows[3]))
    assert "train/lr" not in rows[1]
    assert not (tmp_path / "run" / "nonfinite.json").exists()


def test_a_bound_counts_what_is_longer_and_nothing_else():
    from llmft.trainer.nonfinite import NonFinite

    refused = {"step": 1, "seeds": Seeds(1), "rollouts": ()}
    bound = NonFinite(on="skip", most=9, longest=500.0)
    assert [bound.refuses(0.1, norm, **refused) for norm in (499.0, 500.0, 500.1, INF)] == [False, False, True, True]
    assert bound.counts() == {"train/nonfinite": 1, "train/skipped_updates": 1}
    free = NonFinite(on="stop", most=9, longest=None)
    assert not free.refuses(0.1, 1e30, **refused)
    assert free.counts() == {}
    with pytest.raises(Stop):
        NonFinite(on="stop", most=9, longest=500.0).refuses(0.1, INF, **refused)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_run_with_long_gradients_that_was_cut_ends_as_a_whole_one(step, session, outcome, tmp_path):
    options = {"skip_grad_norm": 100.0}
    session("line", tmp_path / "whole", algorithm=Long((2, 3)), **options).fit()
    with pytest.raises(Cut):
        session("line", algorithm=Long((2, 3)), callbacks={"cut": CutAfter(step)}, **options).fit()
    session("line", resume=True, algorithm=Long((2, 3)), **options).fit()
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


@pytest.mark.parametrize("value", ["0", "-1", "'500'"])
def test_a_bound_that_would_leave_out_each_update_is_refused(value):
    (fault,) = find_faults(compose([f"trainer.skip_grad_norm={value}"]))
    assert str(fault).startswith(f"trainer.skip_grad_norm={value}: ".replace("'", ""))
    assert "'" in value or "for instance 500" in str(fault)


@pytest.mark.parametrize("value", [NAN, INF])
def test_a_reward_that_is_no_number_is_a_failed_rollout(value, session, tmp_path, record_property):
    """It is counted, and no mean has heard of it."""
    batches = []

    class Part:
        minimum, bounded = 0.0, True

        def __call__(self, rollouts):
            batches.append([value if sum(one.token_ids) % 4 == 0 else float(len(one.text)) for one in rollouts])
            return batches[-1]

    reward = summed({"p": Part()}, success_at=3, max_failure_rate=0.9)
    session("grpo", evaluate=None, reward=reward).fit()
    rows = read(tmp_path / "run" / "metrics.csv")
    assert sum(row["train/failed"] for row in rows) > 3
    for row, batch in zip(rows, batches, strict=True):
        good = [one for one in batch if math.isfinite(one)]
        assert row["train/failed"] == len(batch) - len(good)
        assert row["train/reward_mean"] == pytest.approx(sum(good) / len(good))
        assert math.isfinite(row["train/loss"])
    record_property("7", f"{value} as a reward: a failed rollout, counted")


def test_logits_that_are_no_numbers_end_with_3_as_well(session):
    class Poison(Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            with torch.no_grad():
                next(pl_module.policy.parameters()).fill_(NAN)

    with pytest.raises(Stop, match=r"step 2: the policy's logits are not finite") as stop:
        session("grpo", evaluate=None, callbacks={"poison": Poison()}).fit()
    assert stop.value.code == 3


def test_infinities_of_both_signs_have_a_mean():
    from llmft.trainer.learner import _mean

    assert math.isnan(_mean([INF, -INF]))
    assert _mean([0.1] * 10) == 0.1  # by plain addition it would be 0.09999999999999999
