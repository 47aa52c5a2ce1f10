"""Our losses against TRL's own trainers on the same tensors: value and gradient, for every recipe that TRL has.

TRL computes its loss inside of a trainer. Here the trainer's own method runs on a trainer that was never initialised
and has only what the method reads, around the very model that our policy holds. Its log-probabilities come out of a
kernel that reduces in float32, which bounds the agreement; with ours in their place it is that of float64.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from llmft.batch import pack
from llmft.seeds import Seeds
from llmft.types import Author, Rollout

F64 = torch.float64
KNOWN = "1.16"  # the TRL that this was written against
TOKENS, LENGTHS = 8, [[3, 8, 1, 5], [2, 2, 6, 4], [4, 4, 4, 4]]
REWARDS = [[1, 0, 0.5, 0], [0, 1, 1, 1], [1, 1, 1, 1]]  # the last group has no signal: we leave it out, TRL does not


@pytest.fixture(scope="module")
def trl():
    return pytest.importorskip("trl", reason="TRL is not installed")


class Near:
    """Responses whose log-probabilities lie around the policy's own, so that some are clipped and some are not."""

    def __init__(self, policy, sampling, spread):
        self.policy, self.sampling, self.spread = policy, sampling, spread

    def collect(self, tasks, n, seeds):
        return [[self.one(drawn.task, j) for j in range(count)] for drawn, count in zip(tasks, n, strict=True)]

    def one(self, task, j):
        draw, size = random.Random(f"{task.id} {j}"), task.meta["lengths"][j]
        ids = tuple(draw.randrange(3, 99) for _ in range(size))
        authors = (Author.POLICY,) * size
        written = Rollout(task, (10, 11, 12), ids, (0.0,) * size, authors, "policy", str(j), "end")
        alone = pack([written.with_advantage(0.0)], average="token", length=None, keep_all=True, dtype=F64)
        with torch.no_grad():
            logp = self.policy.logp(alone, temperature=self.sampling.temperature)[0, 3:]
        return replace(written, logps=tuple((logp + self.spread * torch.randn(size, dtype=F64)).tolist()))


def ours(parts, policy, spread, **changes):
    """The algorithm, the responses of its step, and its batch in float64."""
    torch.manual_seed(0)
    rollouts = Near(policy, parts.Written.sampling, spread)
    options = {"tasks_per_step": 3, "group_size": 4, **changes}
    algorithm = parts.policy_optimization(policy, rollouts=rollouts, **options)
    tasks = [parts.task(number, REWARDS[number], LENGTHS[number]) for number in range(3)]
    step = algorithm.collect(parts.Stream(tasks), Seeds(0))
    part = algorithm.packing._replace(dtype=F64, rows=5).batch(step.rollouts, guided=False)
    return algorithm, step.rollouts, part


def theirs(policy, rollouts, temperature):
    """The same responses as TRL lays them out: prompts and completions apart, one advantage per row."""
    shape = len(rollouts), max(len(one.token_ids) for one in rollouts)
    ids, mask = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64)
    old, reference = torch.zeros(shape, dtype=F64), torch.zeros(shape, dtype=F64)
    batch = pack(rollouts, average="token", length=None, keep_all=True, dtype=F64)
    if policy._reference:
        reference = policy.reference_logp(batch, temperature=temperature)[:, 3:]
    for row, one in enumerate(rollouts):
        size = len(one.token_ids)
        ids[row, :size], mask[row, :size] = torch.tensor(one.token_ids), 1
        old[row, :size] = torch.tensor(one.logps, dtype=F64)
    prompts = torch.tensor([one.prompt_ids for one in rollouts])
    return {
        "prompt_ids": prompts,
        "prompt_mask": torch.ones_like(prompts),
        "completion_ids": ids,
        "completion_mask": mask,
        "advantages": torch.tensor([one.advantages[0] for one in rollouts], dtype=F64),
        "old_per_token_logps": old,
        "old_logps": (old * mask).sum(1),
        "ref_per_token_logps": reference,
        "num_items_in_batch": mask.sum(),
    }


def trainer(kind, policy, exact, **settings):
    """A trainer of TRL with nothing but what its loss reads; ``exact`` with log-probabilities in float64."""
    from accelerate import Accelerator
    from trl.trainer.utils import add_fused_lm_head

    one = object.__new__(kind)
    one.model, one.accelerator = policy.model, Accelerator(cpu=True)
    one.args = SimpleNamespace(
        delta=settings.pop("delta", None), use_bias_correction_kl=False, steps_per_generation=1
    )  # fmt: skip
    defaults = {
        "loss_type": "grpo", "importance_sampling_level": "token", "beta": 0.0, "epsilon_low": 0.2, "epsilon_high": 0.2,
        "max_completion_length": TOKENS, "current_gradient_accumulation_steps": 1, "top_entropy_quantile": 1.0,
        "off_policy_mask_threshold": None, "aux_loss_enabled": False, "use_vllm": False, "use_adaptive_entropy": False,
        "vllm_importance_sampling_correction": False, "entropy_coef": 0.0,
        "_metrics": {"train": defaultdict(list), "eval": defaultdict(list)},
    }  # fmt: skip
    for name, value in {**defaults, **settings}.items():
        setattr(one, name, value)
    one._entropy_bonus_enabled = one.entropy_coef > 0
    if exact:
        one._get_per_token_logps_and_entropies = scores
    add_fused_lm_head(policy.model, temperature=0.7, outputs=("log_probs", "entropy"))
    return one


def scores(model, input_ids, attention_mask, logits_to_keep, **_):
    """[B, T] log-probabilities and entropies of the completions at temperature 0.7, in the model's own precision."""
    logits = model(input_ids=input_ids, attention_mask=attention_mask).logits[:, -logits_to_keep - 1 : -1] / 0.7
    logps = logits.log_softmax(-1)
    picked = logps.gather(-1, input_ids[:, -logits_to_keep:, None]).squeeze(-1)
    return picked, -(logps.exp() * logps).sum(-1), None


def loss_of_trl(kind, policy, inputs, exact, settings):
    """TRL's loss; skips where the installed TRL is not the one that this file knows."""
    import trl

    try:
        one = trainer(kind, policy, exact, **settings)
        policy.train()
        loss = one._compute_loss(policy.model, inputs)
    except (AttributeError, ImportError, KeyError, TypeError) as error:
        if trl.__version__.startswith(KNOWN):
            raise
        pytest.skip(f"TRL {trl.__version__} computes its loss from something else than {KNOWN}: {error}")
    return loss, one._metrics["train"]


def gradient(policy, loss):
    policy.zero_grad()
    loss.backward()
    return torch.cat([parameter.grad.flatten() for parameter in policy.parameters()])


CONSTANT = {"average": "row_constant", "length": float(TOKENS)}
RECIPES = {
    # ours; TRL's; how far the responses' log-probabilities are from the policy's
    "grpo": ({"average": "sequence"}, {}, 0.3),
    "bnpo": ({"average": "token"}, {"loss_type": "bnpo"}, 0.3),
    "dr_grpo": ({**CONSTANT, "advantage": "group"}, {"loss_type": "dr_grpo"}, 0.3),
    "dapo": ({"clip_high": 0.28}, {"loss_type": "dapo", "epsilon_high": 0.28}, 0.3),
    "gspo": (
        {"average": "sequence", "ratio": "sequence_mean", "clip_low": 3e-4, "clip_high": 4e-4},
        {"importance_sampling_level": "sequence", "epsilon_low": 3e-4, "epsilon_high": 4e-4},
        1e-3,
    ),
    "dual clip": ({"clip_dual": 1.3}, {"loss_type": "bnpo", "delta": 1.3}, 0.5),
    "kl": ({"average": "sequence", "kl_coef": 0.1}, {"beta": 0.1}, 0.3),
    "gspo with kl": (
        {"average": "sequence", "ratio": "sequence_mean", "kl_coef": 0.1},
        {"importance_sampling_level": "sequence", "beta": 0.1},
        0.3,
    ),
    "entropy": ({"entropy_coef": 0.05}, {"loss_type": "dapo", "entropy_coef": 0.05}, 0.3),
}


@pytest.mark.parametrize(("exact", "tolerance"), [(True, 1e-9), (False, 1e-5)])
@pytest.mark.parametrize("name", RECIPES)
def test_grpo_trainer(trl, parts, policy, name, exact, tolerance):
    changes, settings, spread = RECIPES[name]
    algorithm, rollouts, part = ours(parts, policy, spread, **changes)
    if changes.get("kl_coef"):
        shake(policy)
    mine, metrics = algorithm.loss(policy, part)
    expected = gradient(policy, mine)
    inputs = theirs(policy, rollouts, algorithm.temperature)
    loss, logged = loss_of_trl(trl.GRPOTrainer, policy, inputs, exact, settings)
    got = gradient(policy, loss)
    assert expected.norm() > 1e-6
    assert mine.item() == pytest.approx(loss.item(), abs=tolerance)
    assert (got - expected).norm() <= tolerance * expected.norm()
    compare_metrics(name, metrics, logged)


def compare_metrics(name, metrics, logged):
    """Ours are of the rows that are trained; TRL's of all. They are the same where all are trained."""
    if name not in ("kl", "gspo with kl", "entropy"):
        assert metrics["train/clip_fraction"].item() > 0, "nothing is clipped, so clipping was not tested"
        return
    assert metrics["train/entropy"].item() == pytest.approx(logged["entropy"][0], abs=1e-6)
    assert metrics["train/clip_fraction"].item() == pytest.approx(logged["clip_ratio/region_mean"][0], abs=1e-6)
    if "kl" in name:
        assert metrics["train/kl"].item() == pytest.approx(logged["kl"][0], abs=1e-6)


@pytest.mark.parametrize(("exact", "tolerance"), [(True, 1e-9), (False, 1e-5)])
def test_rloo_trainer(trl, parts, policy, exact, tolerance):
    changes = {"average": "sequence", "ratio": "sequence_product", "advantage": "leave_one_out"}
    algorithm, rollouts, part = ours(parts, policy, 0.4, **changes)
    mine, metrics = algorithm.loss(policy, part)
    expected = gradient(policy, mine)
    loss, _ = loss_of_trl(trl.RLOOTrainer, policy, theirs(policy, rollouts, algorithm.temperature), exact, {})
    assert 0 < metrics["train/clip_fraction"].item() < 1
    assert mine.item() == pytest.approx(loss.item(), abs=tolerance)
    assert (gradient(policy, loss) - expected).norm() <= tolerance * expected.norm()


def shake(policy):
    """Move the policy away from its reference."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.003 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
