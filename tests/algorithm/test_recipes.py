"""Each recipe as its YAML file has it: loss and gradient of one group of two responses, worked out by hand."""

import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import nn

from llmft.algorithm.reference import divergences
from llmft.batch import pack
from llmft.config import ROOT, build, compose
from llmft.config.parts import plain
from llmft.guidance.none import Unguided
from llmft.protocols import TokenScores
from llmft.seeds import Seeds
from llmft.types import Author, Rollout, Sampling, Score

F64 = torch.float64
OLD = [[-1.0], [-0.5, -2.0]]  # what the two responses were sampled with; the first is right, the second wrong
A = 0.5 / (math.sqrt(0.5) + 1e-6)  # rewards 1 and 0: mean ½, unbiased deviation √½
FAR = [[1.25], [0.75, 1.1]]  # ratios of the tokens: both clips bite
NEAR = [[1.0002], [1.25, 0.82]]  # responses whose geometric means are 1.0002 and √1.025
S = math.sqrt(1.025)
EXPECTED = {
    # recipe, ratios: loss of each row as it is weighted, gradient of each token, share that is clipped
    ("grpo", "far"): ([-1.2 * A / 2, (0.8 + 1.1) * A / 4], [0, 0, 1.1 * A / 4], 2 / 3),
    ("bnpo", "far"): ([-1.2 * A / 3, (0.8 + 1.1) * A / 3], [0, 0, 1.1 * A / 3], 2 / 3),
    ("dapo", "far"): ([-1.25 * A / 3, (0.8 + 1.1) * A / 3], [-1.25 * A / 3, 0, 1.1 * A / 3], 1 / 3),
    ("dr_grpo", "far"): ([-1.2 * 0.5 / 16, (0.8 + 1.1) * 0.5 / 16], [0, 0, 1.1 * 0.5 / 16], 2 / 3),  # 2 rows · 8 tokens
    ("gspo", "far"): ([-1.0004 * A / 2, 0.9997 * A / 2], [0, 0, 0], 1.0),  # √(0.75·1.1) = 0.908
    ("gspo", "near"): ([-1.0002 * A / 2, S * A / 2], [-1.0002 * A / 2, S * A / 4, S * A / 4], 0.0),
    # rewards 1 - 0.05·0.4 and 0 - 0.05·(-0.1), each less the other; ratios 1.25, cut, and 0.75·1.1 = 0.825
    ("rloo", "far"): ([-1.2 * 0.975 / 2, 0.825 * 0.975 / 2], [0, 0.825 * 0.975 / 2, 0.825 * 0.975 / 2], 1 / 2),
}
GONE = [[0.4], [-0.2, 0.1]]  # log π_old/π_ref of the tokens, for rloo


class Free(nn.Module):
    """A policy whose log-probabilities are its parameters."""

    device = torch.device("cpu")

    def __init__(self, ratios):
        super().__init__()
        logp = torch.zeros(2, 4, dtype=F64)
        reference = torch.zeros(2, 4, dtype=F64)
        for row, old in enumerate(OLD):
            for t, (one, ratio, gone) in enumerate(zip(old, ratios[row], GONE[row], strict=True)):
                logp[row, 2 + t], reference[row, 2 + t] = one + math.log(ratio), one - gone
        self.logp, self.reference = nn.Parameter(logp), reference

    def scores(self, batch, *, temperature, entropy):
        return TokenScores(self.logp, self.logp.detach().exp())

    def keep_reference(self):
        self.kept = True

    def reference_logp(self, batch, *, temperature):
        rows = (batch.length - 3).tolist()  # prompts have two tokens; the first response has one, the second two
        return self.reference[rows, : batch.tokens.shape[1]]


class Both:
    """The two responses to a task, the first of them right."""

    sampling = Sampling(temperature=1.0, max_new_tokens=8)

    def collect(self, tasks, n, seeds):
        return [[self.one(drawn.task, row) for row in range(2)] for drawn in tasks]

    @staticmethod
    def one(task, row):
        size = len(OLD[row])
        return Rollout(
            task, (1, 1), (2,) * size, tuple(OLD[row]), (Author.POLICY,) * size, "policy", str(row), "end"
        )  # fmt: skip


@cache
def composed(name):
    return compose([f"algorithm={name}", "rollout.max_new_tokens=8"])


def recipe(parts, name, policy, **changes):
    cfg = composed(name)
    assert cfg.algorithm._target_ == "llmft.algorithm.policy.PolicyOptimization"
    small = {"tasks_per_step": 1, "group_size": 2, "mini_batches": 1}
    live = {"policy": policy, "rollouts": Both(), "reward": parts.Known(), "guidance": Unguided()}
    return build({**plain(cfg.algorithm), **small, **changes}, **live, loss=build(cfg.loss))


@pytest.mark.parametrize(("name", "ratios"), EXPECTED)
def test_a_recipe(parts, name, ratios):
    policy = Free({"far": FAR, "near": NEAR}[ratios])
    algorithm = recipe(parts, name, policy)
    step = algorithm.collect(parts.Stream([parts.task(0, [1, 0], [1, 2])]), Seeds(0))
    # The step's own batch is in float32.
    part = algorithm.packing._replace(dtype=F64).batch(step.rollouts, guided=False)
    if name == "rloo":
        tolerance, gone = 1e-7, [one for row in GONE for one in row]  # its divergences are of that float32 batch
        k3 = sum(math.exp(-one) + one - 1 for one in gone) / 3
        assert step.metrics["train/kl"] == pytest.approx(k3, abs=1e-7)
    else:
        tolerance = 1e-9
        assert not hasattr(policy, "kept")
    loss, metrics = algorithm.loss(policy, part)
    loss.backward()
    rows, gradient, cut = EXPECTED[name, ratios]
    assert loss.item() == pytest.approx(sum(rows), abs=tolerance)
    assert policy.logp.grad[part.weight != 0].tolist() == pytest.approx(gradient, abs=tolerance)
    assert policy.logp.grad[part.weight == 0].tolist() == [0] * 5
    assert metrics["train/clip_fraction"].item() == pytest.approx(cut, abs=1e-12)
    assert "train/entropy" in metrics


def test_every_recipe_is_here():
    files = {path.stem for path in (ROOT / "conf" / "algorithm").glob("*.yaml")}
    published = {"luffy", "luffy_paper", "luffy_on_policy", "rl_sft_loss", "exgrpo"}  # see test_published.py
    assert files - published - {"sft", "hybrid"} == {name for name, _ in EXPECTED}


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_the_divergence_in_the_reward(parts, estimator):
    value = {"k1": lambda x: x, "k2": lambda x: x**2 / 2, "k3": lambda x: math.exp(-x) + x - 1}[estimator]
    algorithm = recipe(parts, "rloo", Free(FAR), kl_estimator=estimator, kl_coef=0.5)
    step = algorithm.collect(parts.Stream([parts.task(0, [1, 0], [1, 2])]), Seeds(0))
    difference = 1 - 0.5 * value(0.4) + 0.5 * (value(-0.2) + value(0.1))
    advantages = [one.advantages[0] for one in step.rollouts]
    assert advantages == pytest.approx([difference, -difference], abs=1e-7)
    assert step.metrics["train/reward_mean"] == 0.5  # what the reward said
    assert "reference" not in step.updates[0].also


def test_a_divergence_in_the_reward_is_a_signal_of_its_own(parts):
    """Equal rewards, unequal divergences: trained, and still counted as a group without signal."""
    step = recipe(parts, "rloo", Free(FAR)).collect(parts.Stream([parts.task(0, [1, 1], [1, 2])]), Seeds(0))
    assert [one.advantages[0] for one in step.rollouts] == pytest.approx([-0.025, 0.025], abs=1e-8)
    assert len(step.updates[0]) == 2
    assert step.metrics["train/no_signal"] == 1


def test_a_divergence_in_the_loss_is_in_no_advantage(parts):
    step = recipe(parts, "bnpo", Free(FAR), kl_coef=0.5).collect(
        parts.Stream([parts.task(0, [1, 0], [1, 2])]), Seeds(0)
    )
    assert [one.advantages[0] for one in step.rollouts] == pytest.approx([A, -A], abs=1e-12)
    assert "train/kl" not in step.metrics  # the updates have it


def test_only_what_the_policy_wrote_diverges(parts):
    task = parts.task(0, [1, 0], [1, 2])
    mixed = replace(Both.one(task, 1), authors=(Author.POLICY, Author.TOOL))
    trace = replace(Both.one(task, 1), authors=(Author.TRACE,) * 2, source="trace", logps=(0.0, 0.0))
    silent = replace(Both.one(task, 1), authors=(Author.TOOL,) * 2)
    failed = Both.one(task, 0).with_score(Score(None, failure="sandbox"))
    groups = [[trace, Both.one(task, 0)], [failed, silent, mixed]]
    gone, metrics = divergences(Free(FAR), groups, "k1", temperature=1.0, rows=2)
    assert gone[0] == pytest.approx([0, 0.4], abs=1e-7)
    assert gone[1] == pytest.approx([0, 0, -0.2], abs=1e-7)
    k3 = (math.exp(-0.4) + 0.4 - 1 + math.exp(0.2) - 0.2 - 1) / 2
    assert metrics == {"train/kl": pytest.approx(k3, abs=1e-7)}


def test_what_failed_has_no_divergence(parts):
    step = recipe(parts, "rloo", Free(FAR), group_size=2).collect(
        parts.Stream([parts.task(0, [None, 1], [1, 2])]), Seeds(0)
    )
    assert [one.advantages[0] for one in step.rollouts] == [0, 0]


@pytest.mark.parametrize(("estimator", "value", "slope"), [("k1", 0.7, 1.0), ("k2", 0.7**2 / 2, 0.7)])
def test_the_estimator_in_the_loss(parts, estimator, value, slope):
    """k3 is in test_policy. Here log π/π_ref is 0.7 everywhere, the advantages are 0, and each token weighs ⅓."""
    policy = Free([[1.0], [1.0, 1.0]])
    algorithm = recipe(parts, "bnpo", policy, kl_coef=0.2, kl_estimator=estimator)
    rollouts = [Both.one(parts.task(0, [1, 1], [1, 2]), row).with_advantage(0.0) for row in range(2)]
    part = pack(rollouts, average="token", length=None, keep_all=True, dtype=F64)
    part.also["reference"] = policy.logp.detach() - 0.7
    loss, metrics = algorithm.loss(policy, part)
    loss.backward()
    assert loss.item() == pytest.approx(0.2 * value, abs=1e-12)
    assert policy.logp.grad[part.weight != 0].tolist() == pytest.approx([0.2 * slope / 3] * 3, abs=1e-12)
    assert metrics["train/kl"].item() == pytest.approx(math.exp(-0.7) + 0.7 - 1, abs=1e-12)  # always k3


def test_the_penalty_for_length_is_compared(parts):
    """Of 8 tokens the last 4 cost: lengths 8 and 6 pay 1 and ½, which takes a right answer below a wrong one."""
    algorithm = parts.policy_optimization(Free(FAR), overlong_buffer=0.5, advantage="group", tasks_per_step=1)
    step = algorithm.collect(parts.Stream([parts.task(0, [0.4, 0], [8, 6])]), Seeds(0))
    assert [one.advantages[0] for one in step.rollouts] == pytest.approx([-0.05, 0.05])
    assert step.metrics["reward/overlong"] == -0.75
    assert step.metrics["train/reward_mean"] == 0.2


def test_truncated_responses_are_compared_and_not_trained(parts):
    options = {"tasks_per_step": 1, "group_size": 3, "advantage": "group", "average": "sequence"}
    tasks = [parts.task(0, [1, 0, 0], [2, 8, 3])]  # 8 tokens are all that there are
    for mask, rows, weights in [
        (False, 3, [1 / 6] * 2 + [1 / 24] * 8 + [1 / 9] * 3),
        (True, 2, [1 / 4] * 2 + [1 / 6] * 3),
    ]:
        algorithm = parts.policy_optimization(Free(FAR), mask_truncated=mask, **options)
        step = algorithm.collect(parts.Stream(tasks), Seeds(0))
        assert [one.advantages[0] for one in step.rollouts] == pytest.approx([2 / 3, -1 / 3, -1 / 3])
        (update,) = step.updates
        assert len(update) == rows
        assert update.weight[update.weight != 0].tolist() == pytest.approx(weights)
        assert step.metrics["train/truncated"] == pytest.approx(1 / 3)


def test_entropy_is_steered_update_by_update(parts):
    """A coefficient of the last update's making weighs this update's bonus."""
    policy = Free(FAR)
    algorithm = recipe(parts, "bnpo", policy, entropy_coef=0.1, entropy_target=0.5)
    rollouts = [Both.one(parts.task(0, [1, 1], [1, 2]), row).with_advantage(0.0) for row in range(2)]
    part = pack(rollouts, average="token", length=None, keep_all=True, dtype=F64)
    entropy = policy.logp.detach().exp()[part.weight != 0].mean().item()
    first, metrics = algorithm.loss(policy, part)
    assert first.item() == pytest.approx(-0.1 * entropy, abs=1e-12)
    reported = algorithm.report({name: value.item() for name, value in metrics.items()})
    assert reported["train/entropy_coef"] == 0.1
    second, _ = algorithm.loss(policy, part)
    assert second.item() == pytest.approx(-0.1 * 0.5 / entropy * entropy, abs=1e-12)
    again = recipe(parts, "bnpo", policy, entropy_coef=0.1, entropy_target=0.5)
    again.load_state_dict(algorithm.state_dict())
    assert again.loss(policy, part)[0].item() == second.item()
    assert again.report({"train/entropy": entropy})["train/entropy_coef"] == pytest.approx(0.05 / entropy)
