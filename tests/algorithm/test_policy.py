"""Policy optimisation: what a step collects, what its loss is, and that no way of cutting it up changes the gradient."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from llmft.batch import pack
from llmft.guidance.none import Unguided
from llmft.model.policy import prediction_scores
from llmft.protocols import Plan
from llmft.seeds import Seeds
from llmft.types import Author, Rollout, Sampling

F64 = torch.float64


def collect(parts, algorithm, *tasks):
    return algorithm.collect(parts.Stream(tasks), Seeds(0))


# ---------------------------------------------------------------- collecting


def test_groups_are_compared_and_the_undecided_cost_nothing(parts, policy):
    algorithm = parts.policy_optimization(policy, average="sequence")
    step = collect(parts, algorithm, parts.task(0, [1, 0], [3, 2]), parts.task(1, [1, 1], [4, 4]))
    # mean 1/2, unbiased deviation 1/√2
    advantage = 0.5 / (math.sqrt(0.5) + 1e-6)
    assert [one.advantages[0] for one in step.rollouts] == pytest.approx([advantage, -advantage, 0, 0], abs=1e-12)
    (update,) = step.updates
    assert len(update) == 2
    assert update.weight.sum().item() == pytest.approx(2 / 4)  # four rows count, two are packed
    assert update.weight[0].tolist() == pytest.approx([0, 0, 0, 1 / 12, 1 / 12, 1 / 12])


@pytest.mark.parametrize("coefficient", ["kl_coef", "entropy_coef"])
def test_divergence_and_entropy_are_trained_on_every_row(parts, policy, coefficient):
    algorithm = parts.policy_optimization(policy, **{coefficient: 0.1})
    step = collect(parts, algorithm, parts.task(0, [1, 0], [3, 2]), parts.task(1, [1, 1], [4, 4]))
    assert len(step.updates[0]) == 4
    assert ("reference" in step.updates[0].also) == (coefficient == "kl_coef")


def test_a_step_without_signal_has_nothing_to_update(parts, policy):
    step = collect(
        parts, parts.policy_optimization(policy), parts.task(0, [1, 1], [3, 2]), parts.task(1, [0, 0], [1, 1])
    )
    assert [len(update) for update in step.updates] == [0]
    assert step.metrics["train/no_signal"] == 1


def test_what_failed_is_compared_with_nothing(parts, policy):
    algorithm = parts.policy_optimization(policy, group_size=3, advantage="group")
    step = collect(parts, algorithm, parts.task(0, [1, None, 0], [3, 2, 2]), parts.task(1, [None, 1, None], [4, 4, 1]))
    assert [one.advantages[0] for one in step.rollouts] == [0.5, 0, -0.5, 0, 0, 0]
    assert step.updates[0].weight.sum().item() == pytest.approx(5 / 9)  # the lone survivor's 4 tokens count
    assert step.metrics["train/failed"] == step.metrics["train/failed/sandbox"] == 3


def test_metrics_of_collecting(parts, policy):
    algorithm = parts.policy_optimization(policy, group_size=3)
    step = collect(parts, algorithm, parts.task(0, [1, 0, None], [8, 2, 5]), parts.task(1, [0.6, 0.6, 0.6], [1, 1, 1]))
    metrics = dict(step.metrics)
    assert metrics.pop("train/reward_mean") == pytest.approx(2.8 / 5)
    assert metrics.pop("reward/right") == pytest.approx(2.8 / 5)
    assert metrics.pop("train/accuracy") == 4 / 5
    assert metrics.pop("train/length_mean") == 18 / 6
    assert metrics.pop("train/truncated") == 1 / 6
    assert metrics.pop("train/no_signal") == 1 / 2
    assert metrics.pop("train/failed") == metrics.pop("train/failed/sandbox") == 1
    assert metrics.pop("speed/generated_tokens") == 18
    assert metrics.pop("speed/tokens_per_s") > 0
    assert metrics.keys() == {"time/guide_s", "time/generate_s", "time/reward_s", "time/logps_s"}


def test_mini_batches_and_epochs(parts, policy):
    tasks = [parts.task(number, [1, 0], [number + 1, 1]) for number in range(4)]
    algorithm = parts.policy_optimization(policy, tasks_per_step=4, mini_batches=2, epochs=2)
    first, second, *again = collect(parts, algorithm, *tasks).updates
    assert [update.weight.sum().item() for update in (first, second)] == pytest.approx([1, 1])
    assert [int(update.weight.ne(0).sum()) for update in (first, second)] == [1 + 1 + 2 + 1, 3 + 1 + 4 + 1]
    assert [update.tokens.tolist() for update in again] == [first.tokens.tolist(), second.tokens.tolist()]
    # The gap between sampler and trainer means something only before the first optimizer step.
    assert ["mean/gap" in update.also for update in (first, second, *again)] == [True, False, False, False]


def test_the_gap_is_asked_of_the_first_update_that_is_made(parts, policy):
    algorithm = parts.policy_optimization(policy, mini_batches=2)
    step = collect(parts, algorithm, parts.task(0, [1, 1], [3, 2]), parts.task(1, [1, 0], [4, 4]))
    assert [len(update) for update in step.updates] == [0, 2]
    assert "mean/gap" in step.updates[1].also


def test_the_reference_is_the_policy_that_training_began_with(parts, policy):
    algorithm = parts.policy_optimization(policy, kl_coef=0.1, group_size=3, reference_rows=2)
    tasks = parts.task(0, [1, 0, 0], [3, 2, 8]), parts.task(1, [1, 1, 1], [1, 5, 2])
    before = policy.logp(pack_all(parts, algorithm, *tasks), temperature=0.7).detach()
    parts.shake(policy)
    update = collect(parts, algorithm, *tasks).updates[0]
    scored = update.weight > 0
    assert torch.allclose(update.also["reference"][scored].double(), before[scored], atol=1e-5)
    assert not torch.allclose(policy.logp(update, temperature=0.7)[scored], before[scored], atol=1e-2)


def pack_all(parts, algorithm, *tasks):
    rollouts = [parts.write(task, j).with_advantage(0.0) for task in tasks for j in range(algorithm.group_size)]
    return pack(rollouts, average="token", length=None, keep_all=True)


# ---------------------------------------------------------------- the loss


class Table(nn.Module):
    """A policy whose logits are its parameters: [B, T - 1, V]."""

    device = torch.device("cpu")

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def scores(self, batch, *, temperature, entropy):
        scored = prediction_scores(self.logits, batch.tokens[:, 1:], temperature=temperature, entropy=entropy)
        return type(scored)(*(one if one is None else nn.functional.pad(one, (1, 0)) for one in scored))


def table_and_part(parts, advantage, old):
    """One row: a prompt of one token, a response of one token, 2, out of three that are as likely as 1 : 2 : 1."""
    one = replace(parts.write(parts.task(0, [1], [1]), 0), prompt_ids=(0,), token_ids=(1,), logps=(math.log(old),))
    part = pack([one.with_advantage(advantage)], average="constant", length=4, keep_all=True, dtype=F64)
    return Table(torch.log(torch.tensor([[[1.0, 2.0, 1.0]]], dtype=F64))), part


def at_temperature_1(parts, **changes):
    algorithm = parts.policy_optimization(nn.Identity(), **changes)
    algorithm.temperature = 1.0
    return algorithm


def test_the_gradient_of_entropy(parts):
    # H = ¼·log 4 + ½·log 2 + ¼·log 4 = 1.5·log 2; dH/dlogit_i = -p_i·(log p_i + H):
    # for p = ¼: -¼·(1.5 - 2)·log 2 = +⅛·log 2; for p = ½: -½·(1.5 - 1)·log 2 = -¼·log 2
    table, part = table_and_part(parts, advantage=0.0, old=0.5)
    loss, metrics = at_temperature_1(parts, entropy_coef=0.1).loss(table, part)
    loss.backward()
    log2 = math.log(2)
    assert loss.item() == pytest.approx(-0.1 * 1.5 * log2 / 4, abs=1e-12)
    expected = [-0.1 / 4 * gradient for gradient in (log2 / 8, -log2 / 4, log2 / 8)]
    assert table.logits.grad.flatten().tolist() == pytest.approx(expected, abs=1e-12)
    assert metrics["train/entropy"].item() == pytest.approx(1.5 * log2, abs=1e-12)


def test_the_gradient_of_the_divergence(parts, monkeypatch):
    # π = ½ and π_ref = ¼: d = ½; k3 = ½ + log 2 - 1, and its gradient by log π is 1 - d = ½;
    # dlogπ/dlogit is 1{i is the token} - p_i = (-¼, ½, -¼)
    table, part = table_and_part(parts, advantage=0.0, old=0.5)
    part = replace(part, also={**part.also, "reference": torch.tensor([[0.0, math.log(0.25)]], dtype=F64)})
    monkeypatch.setattr(nn.Identity, "keep_reference", lambda self: None, raising=False)
    loss, metrics = at_temperature_1(parts, kl_coef=0.2).loss(table, part)
    loss.backward()
    k3 = 0.5 + math.log(2) - 1
    assert loss.item() == pytest.approx(0.2 * k3 / 4, abs=1e-12)
    assert table.logits.grad.flatten().tolist() == pytest.approx([-0.2 / 32, 0.2 / 16, -0.2 / 32], abs=1e-12)
    assert metrics["train/kl"].item() == pytest.approx(k3, abs=1e-12)


@pytest.mark.parametrize(
    ("old", "advantage", "loss", "slope", "cut"),
    [
        (0.5, 1.0, -1.0, -1.0, 0),  # ratio 1
        (0.25, 1.0, -1.2, 0.0, 1),  # ratio 2, clipped above at 1.2
        (0.25, -1.0, 2.0, 2.0, 0),
        (0.8, -1.0, 0.8, 0.0, 1),  # ratio 0.625, clipped below at 0.8
    ],
)
def test_the_gradient_of_the_surrogate(parts, old, advantage, loss, slope, cut):
    table, part = table_and_part(parts, advantage, old)
    got, metrics = at_temperature_1(parts).loss(table, part)
    got.backward()
    assert got.item() == pytest.approx(loss / 4, abs=1e-12)
    expected = [slope / 4 * direction for direction in (-0.25, 0.5, -0.25)]
    assert table.logits.grad.flatten().tolist() == pytest.approx(expected, abs=1e-12)
    assert metrics["train/clip_fraction"].item() == cut


def test_the_temperature_of_sampling_is_the_temperature_of_scoring(parts, policy):
    assert parts.policy_optimization(policy).temperature == 0.7
    rollouts = parts.Written()
    rollouts.sampling = Sampling(temperature=0.0, max_new_tokens=8)  # greedy log-probs are reported at 1
    assert parts.policy_optimization(policy, rollouts=rollouts).temperature == 1.0


def test_the_gap_is_zero_where_sampler_and_trainer_agree(parts, policy):
    algorithm = parts.policy_optimization(policy)
    tasks = parts.task(0, [1, 0], [3, 2]), parts.task(1, [0, 1], [4, 4])
    (update,) = collect(parts, algorithm, *tasks).updates
    exact = replace(update, logp=policy.logp(update, temperature=0.7).detach())
    _, metrics = algorithm.loss(policy, exact)
    assert metrics["train/logp_gap"].item() == pytest.approx(0, abs=1e-12)
    up_and_down = 0.25 * (-1) ** torch.arange(exact.logp.shape[1])  # a gap is no less for going both ways
    _, metrics = algorithm.loss(policy, replace(exact, logp=exact.logp + up_and_down))
    assert metrics["train/logp_gap"].item() == pytest.approx(0.25, abs=1e-7)  # float32 weights


# ---------------------------------------------------------------- the seam for off-policy rows


class OneTrace(Unguided):
    """One place of each group is an expert's."""

    def __init__(self, trace: Rollout) -> None:
        self.trace, self.seen = trace, []

    def plan(self, tasks, group_size, seeds):
        return [Plan(group_size - 1, (replace(self.trace, task=one.task),)) for one in tasks]

    def observe(self, groups):
        self.seen.extend(groups)

    def state_dict(self):
        return {"seen": len(self.seen)}

    def load_state_dict(self, state):
        self.seen = [None] * state["seen"]


def test_given_rows_join_the_group_and_are_not_clipped(parts, policy):
    written = parts.write(parts.task(0, [1], [3]), 0)
    trace = replace(written, authors=(Author.TRACE,) * 3, source="trace", logps=(0.0,) * 3, text="2")
    guidance = OneTrace(trace)
    algorithm = parts.policy_optimization(policy, guidance=guidance, group_size=3, advantage="group")
    step = collect(parts, algorithm, parts.task(0, [0, 0, 1], [3, 2, 3]), parts.task(1, [0, 0, 0], [1, 1, 3]))
    assert [one.advantages[0] for one in step.rollouts[:3]] == pytest.approx([-1 / 3, -1 / 3, 2 / 3])
    assert [len(group) for group in guidance.seen] == [3, 3]
    assert step.metrics["train/reward_mean"] == 0  # of what the policy wrote
    (update,) = step.updates
    assert update.off_policy.any(1).tolist() == [False, False, True]
    logp = torch.full_like(update.logp, -3.0)
    loss = algorithm.price(logp, update).loss
    # The policy's own probability times the advantage; the ratio to a stored 0 is far below the clip.
    assert loss[update.off_policy].tolist() == pytest.approx([-math.exp(-3) * 2 / 3] * 3)


def test_the_guidance_keeps_its_state(parts, policy):
    guidance = OneTrace(parts.write(parts.task(0, [1], [3]), 0))
    guidance.seen = [None] * 5
    algorithm = parts.policy_optimization(policy, guidance=guidance)
    other = parts.policy_optimization(policy, guidance=OneTrace(guidance.trace))
    other.load_state_dict(algorithm.state_dict())
    assert other.state_dict() == {"guidance": {"seen": 5}, "entropy": {}}


def test_more_mini_batches_than_tasks_are_refused(parts, policy):
    with pytest.raises(ValueError, match=r"algorithm.mini_batches=3: a step has 2 tasks"):
        parts.policy_optimization(policy, mini_batches=3)
    with pytest.raises(ValueError, match=r"algorithm.length=None: average=constant divides by it"):
        parts.policy_optimization(policy, average="constant")


# ---------------------------------------------------------------- independence of how the work is cut up

AVERAGES = st.sampled_from([("token", None), ("sequence", None), ("constant", 64.0), ("row_constant", 8.0)])
GROUPS = st.lists(
    st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, None]), st.integers(1, 8)), min_size=3, max_size=3),
    min_size=3,
    max_size=3,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(AVERAGES, GROUPS, st.data())
def test_the_micro_batch_does_not_change_the_gradient(parts, policy, average, groups, data):
    def one_of(*values):
        return data.draw(st.sampled_from(values))

    algorithm = parts.policy_optimization(
        policy,
        tasks_per_step=3,
        group_size=3,
        mini_batches=one_of(1, 2),
        refills=one_of(0, 1),
        advantage=one_of("group", "group_std", "leave_one_out"),
        ratio=one_of("token", "sequence_mean", "sequence_product"),
        average=average[0],
        length=average[1],
        overlong_buffer=one_of(0.0, 0.5),
        mask_truncated=one_of(False, True),
        kl_coef=(kl := one_of(0.0, 0.1)),
        kl_in=one_of("loss", "reward"),
        kl_estimator=one_of("k1", "k2", "k3"),
        entropy_coef=one_of(0.0, 0.01),
        clip_dual=one_of(None, 3.0),
    )
    if kl:
        parts.shake(policy)
    tasks = [parts.task(number, *zip(*group, strict=True)) for number, group in enumerate(groups)]
    for update in collect(parts, algorithm, *tasks).updates:
        if not len(update):
            continue
        whole, metrics = parts.gradient(algorithm, policy, update, None)
        for micro_batch in (1, 3):
            got, sums = parts.gradient(algorithm, policy, update, micro_batch)
            assert (got - whole).norm() <= 1e-9 * whole.norm()
            assert sums == pytest.approx(metrics, rel=1e-9, abs=1e-12)


def test_two_ranks_make_the_step_of_one(tmp_path):
    """Two real processes, one of them without signal, against one: the same gradients, metrics and weights."""
    one, two = run_ranks(1, tmp_path), run_ranks(2, tmp_path)
    assert one.keys() == two.keys()
    for name, expected in one.items():
        got = two[name]
        assert got["rows"] == expected["rows"]
        assert got.get("observed") == expected.get("observed")
        assert got["metrics"] == pytest.approx(expected["metrics"], rel=1e-9, abs=1e-12)
        for mine, theirs in zip(got["gradients"], expected["gradients"], strict=True):
            difference = torch.tensor(mine, dtype=F64) - torch.tensor(theirs, dtype=F64)
            assert difference.norm() <= 1e-9 * torch.tensor(theirs, dtype=F64).norm()


def run_ranks(world: int, folder: Path) -> dict:
    script = Path(__file__).with_name("ranks.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(folder / f"world_{world}"), str(world)]
    processes = [subprocess.Popen([*command, str(rank)], env=environment) for rank in range(world)]
    assert [process.wait(timeout=240) for process in processes] == [0] * world
    return json.loads((folder / f"world_{world}.json").read_text())
