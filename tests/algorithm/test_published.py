"""LUFFY's and ExGRPO's published cases through a whole step: guidance, scoring, comparing, packing and the loss."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from plain import token_loss
from published import Published
from torch import nn

from llmft.advantage.group import STD_FLOOR, group_advantages
from llmft.config import build, compose
from llmft.config.parts import plain
from llmft.guidance.none import Unguided
from llmft.protocols import Plan, TokenScores
from llmft.seeds import Seeds
from llmft.types import Author, Rollout, Sampling, Score, Task

F64 = torch.float64
TASKS = [Task(name, ({"role": "user", "content": name},), "math") for name in "ab"]  # rows 0 to 3, and 4 to 7
CASES = [
    *("published", "published_but_clip_on", "published_but_token_mean", "published_but_std"),
    *("mixed_policy_no_shaping_clip", "on_policy_script", "yaml_defaults", "gamma_0.3", "gamma_0.5", "off_logp"),
    *("off_p_logp", "off_square_root", "off_pow_0.5", "off_pow_0.25", "off_max_clip_0.5", "off_min_clip_0.2"),
    *("all_max_clip_0.8_sum", "all_max_clip_0.8_mean", "target_probs", "clip_upper_bound_1.5", "on_logp", "on_p_logp"),
    *("on_square_root", "on_pow_0.25", "on_p_div_p_0.1", "on_p_div_p_0.5", "partial_prefix"),
]
REPLAYED = ["published_mixed_phase", "warmup_on_policy_phase", "no_shaping_clip_off", "std_token_mean"]
REPLAYED += ["no_shaping_clip_on_only_on_tokens", "off_logp_uses_lp_not_ratio"]
BOTH = [("luffy", name) for name in CASES] + [("exgrpo", name) for name in REPLAYED]


class Table(nn.Module):
    """A policy whose parameters are the [8, 6] log-probabilities: token ``1 + 6·row + t`` is the t-th of its row."""

    device = torch.device("cpu")

    def __init__(self, logp):
        super().__init__()
        self.table = nn.Parameter(torch.tensor(logp))

    def logp(self, batch, *, temperature):
        weights = [batch.weight, *(one for name, one in batch.also.items() if name.startswith("weight/"))]
        counts = torch.stack([weight != 0 for weight in weights]).any(0)
        return torch.where(counts, self.table.flatten()[(batch.tokens - 1).clamp(min=0)], 0.0)

    def scores(self, batch, *, temperature, entropy):
        logp = self.logp(batch, temperature=temperature)
        return TokenScores(logp, logp.detach() ** 2)  # as good an entropy as any


class Rows(Unguided):
    """The published rows as responses: those with tokens by somebody else are given, or begun."""

    sampling = Sampling(temperature=1.0, max_new_tokens=6)

    def __init__(self, published, case):
        self.published, self.case = published, case
        self.stored = published.stored(case)
        self.guided = [bool(case.off_policy[row].any()) for row in range(8)]
        self.guiding = any(self.guided)

    def row(self, number):
        size = int(self.published.mask[number].sum())
        whose = Author.REPLAY if self.case.replays else Author.TRACE
        authors = tuple(whose if off else Author.POLICY for off in self.case.off_policy[number, :size])
        return Rollout(
            task=TASKS[number // 4],
            prompt_ids=(0, 0),
            token_ids=tuple(1 + 6 * number + t for t in range(size)),
            logps=tuple(self.stored[number, :size]),
            authors=authors,
            source=("replay" if self.case.replays else "trace") if self.guided[number] else "policy",
            text=str(number),
            finish="end",
        )

    def _rows(self, drawn, guided):
        first = 4 * TASKS.index(drawn.task)
        return [self.row(number) for number in range(first, first + 4) if self.guided[number] == guided]

    def plan(self, tasks, group_size, seeds):
        given = [tuple(self._rows(one, True)) for one in tasks]
        own = [group_size - len(rows) for rows in given]
        if self.case.name == "partial_prefix":
            return [Plan(own=count, begun=rows) for count, rows in zip(own, given, strict=True)]
        return [Plan(own=count, given=rows) for count, rows in zip(own, given, strict=True)]

    def collect(self, tasks, n, seeds):
        own = [self._rows(one, False) for one in tasks]
        assert [len(rows) for rows in own] == list(n)
        return own

    def complete(self, tasks, begun, seeds):
        return [list(rows) for rows in begun]

    def score(self, rollouts):
        return [Score(float(self.published.rewards[int(one.text)])) for one in rollouts]

    def require_sound(self, rollouts):
        """It never fails."""


@pytest.fixture(scope="module")
def published(shared):
    return Published(shared("vectors/vectors.json"))


def step_of(parts, published, case, algorithm=None, **changes):
    """The one update of a step on the published rows, in float64, with the algorithm and the policy."""
    policy, rows = Table(published.logp), Rows(published, case)
    options = {"group_size": 4, "advantage": case.advantage, **case.average, **case.bounds, **changes}
    loss = token_loss(**case.loss)
    if algorithm is None:
        algorithm = parts.policy_optimization(policy, rows, rows, loss, **options)
    else:
        algorithm = algorithm(policy, rows)
    algorithm.reward = rows
    algorithm.packing = algorithm.packing._replace(dtype=F64)
    (update,) = algorithm.collect(parts.Stream(TASKS), Seeds(0)).updates
    return algorithm, policy, update


def trained(algorithm, policy, update, micro_batch):
    """Loss, [8, 6] gradient and metrics, summed over parts of ``micro_batch`` rows."""
    sums = {}
    policy.zero_grad()
    for part in update.split(micro_batch):
        loss, metrics = algorithm.loss(policy, part)
        loss.backward()
        for name, value in {"loss": loss, **metrics}.items():
            sums[name] = sums.get(name, 0.0) + value.item()
    return sums["loss"], policy.table.grad.numpy().copy(), sums


@pytest.mark.parametrize("micro_batch", [8, 3])
@pytest.mark.parametrize(("paper", "name"), BOTH)
def test_a_published_case(parts, published, paper, name, micro_batch):
    case = published.case(paper, name)
    step = step_of(parts, published, case)
    loss, gradient, metrics = trained(*step, micro_batch)
    _, slopes, _ = published.by_hand(case)
    assert loss == pytest.approx(case.out["pg_loss"], abs=1e-9)
    assert gradient == pytest.approx(slopes / published.denominator(case), abs=1e-9)
    if "grad_wrt_LP" in case.tokens:
        assert gradient == pytest.approx(np.array(case.tokens["grad_wrt_LP"]), abs=1e-9)

    off = case.off_policy
    guided = {"train/off_policy_share", "train/off_policy_prob", "train/off_policy_weight"}
    assert guided & set(metrics) == (guided if off.any() else set())
    if off.any():
        assert metrics["train/off_policy_share"] == pytest.approx(off.sum() / published.mask.sum(), abs=1e-9)
        assert metrics["train/off_policy_prob"] == pytest.approx(case.out["off_policy_prob"], abs=1e-9)
        assert metrics["train/off_policy_weight"] == pytest.approx(case.out["off_ratio_mean"], abs=1e-9)
    own = published.mask & ~off
    assert metrics["train/entropy"] == pytest.approx((published.logp[own] ** 2).mean(), abs=1e-9)


# ---------------------------------------------------------------- the recipes, as their files have them


@cache
def composed(name):
    return compose([f"algorithm={name}", "rollout.max_new_tokens=6"])


def recipe(parts, published, name, case, **changes):
    """The step of a recipe; one update, and no bonus for entropy unless asked for."""
    cfg = composed(name)
    small = {"tasks_per_step": 2, "group_size": 4, "mini_batches": 1, "entropy_coef": 0.0, **changes}

    def made(policy, rows):
        live = {"policy": policy, "rollouts": rows, "reward": rows, "guidance": rows, "loss": build(cfg.loss)}
        return build({**plain(cfg.algorithm), **small}, **live)

    return step_of(parts, published, case, made)


@pytest.mark.parametrize(
    ("name", "paper", "case"),
    [
        ("luffy", "luffy", "published"),
        ("luffy_on_policy", "luffy", "on_policy_script"),
        ("exgrpo", "exgrpo", "published_mixed_phase"),
        ("exgrpo", "exgrpo", "warmup_on_policy_phase"),
    ],
)
def test_a_recipe_is_the_published_run(parts, published, name, paper, case):
    one = published.case(paper, case)
    loss, gradient, metrics = trained(*recipe(parts, published, name, one), 8)
    _, slopes, _ = published.by_hand(one)
    assert loss == pytest.approx(one.out["pg_loss"], abs=1e-9)
    assert gradient == pytest.approx(slopes / 6, abs=1e-9)
    assert (metrics["train/clip_fraction"] > 0) == (one.out["on_pg_clipfrac"] > 0)


def test_the_equations_of_luffys_paper(parts, published):
    """Deviation, all tokens as denominator, shaping, and CLIP on the policy's own tokens."""
    case = published.case("luffy", "published_but_std")
    arguments = {"off_reshape": "p_div_p_0.1"}  # neither token mean nor clip removed
    equations = case._replace(arguments=arguments)
    expected, slopes, _ = published.by_hand(equations)
    loss, gradient, _ = trained(*recipe(parts, published, "luffy_paper", equations), 8)
    assert loss == pytest.approx(expected.sum() / 37, abs=1e-9)
    assert gradient == pytest.approx(slopes / 37, abs=1e-9)


@pytest.mark.parametrize(("name", "coefficient"), [("luffy", 0.001), ("luffy_paper", 0.01), ("exgrpo", 0.001)])
@pytest.mark.parametrize("micro_batch", [8, 2])
def test_the_bonus_for_entropy_is_a_mean_over_the_updates_tokens(parts, published, name, coefficient, micro_batch):
    case = published.case("luffy", "published")
    step = recipe(parts, published, name, case, entropy_coef=composed(name).algorithm.entropy_coef)
    with_bonus, _, _ = trained(*step, micro_batch)
    without, _, _ = trained(*recipe(parts, published, name, case), micro_batch)
    entropy = (published.logp[published.mask] ** 2).mean()
    assert with_bonus - without == pytest.approx(-coefficient * entropy, abs=1e-9)


def test_rl_with_sft_loss(parts, published):
    case = published.case("luffy", "published")
    expected = published.vectors["luffy"]["rl_with_sft_loss"]
    step = recipe(parts, published, "rl_sft_loss", case)
    for micro_batch in (8, 3):
        loss, gradient, metrics = trained(*step, micro_batch)
        assert loss == pytest.approx(expected["total_coef_1"], abs=1e-9)
        assert metrics["train/nll"] == pytest.approx(expected["sft_loss"], abs=1e-9)
        assert loss - metrics["train/nll"] == pytest.approx(expected["pg_loss_on"], abs=1e-9)
        # -A·r/6 for the policy's tokens, -1/11 for the expert's
        split = np.array(published.vectors["advantages"]["grpo_split_on_rows_only_no_std"])[:, None]
        own = np.where(published.mask, -split * np.exp(published.logp - published.old) / 6, 0)
        assert gradient == pytest.approx(np.where(case.off_policy, -1 / 11, own), abs=1e-9)
        # of 37 tokens, those of three responses whose own advantage is 0 are not trained
        assert metrics["train/off_policy_share"] == pytest.approx(11 / 24, abs=1e-9)


def test_the_scale_of_the_published_run(parts, published):
    """Theirs is the mean over 8 GPUs of sums over a GPU's 64 rows, each token of which weighs 1/8192."""
    facts = published.vectors["luffy"]["scaling_published_run"]
    length, gpus = facts["divisor_L"], facts["fsdp_mean_over_gpus"]
    cfg = compose(["algorithm=luffy", f"rollout.max_new_tokens={length}"])
    assert (cfg.algorithm.average, cfg.algorithm.length) == ("constant", length)
    assert cfg.algorithm.mini_batches == facts["optimizer_steps_per_rollout_batch"]
    case = published.case("luffy", "published")
    for divisor in (length, gpus * length):
        _, _, update = step_of(parts, published, case, average="constant", length=divisor)
        assert update.weight[update.weight != 0].tolist() == [1 / divisor] * 37


# ---------------------------------------------------------------- advantages


def test_the_published_advantages(parts, published):
    expected = published.vectors["advantages"]
    case = published.case("luffy", "published")
    kinds = {
        ("group", "union"): "dr_grpo_no_std",
        ("group_std", "union"): "grpo_std_unbiased_eps1e_6",
        ("group", "own"): "grpo_split_on_rows_only_no_std",
    }
    for (kind, baseline), name in kinds.items():
        _, _, update = step_of(parts, published, case, advantage=kind, baseline=baseline, entropy_coef=1.0)
        of_row = dict(zip(((update.tokens[:, 2] - 1) // 6).tolist(), update.advantage[:, 2].tolist(), strict=True))
        assert [of_row[row] for row in range(8)] == pytest.approx(expected[name], abs=1e-9)


def test_a_lone_response_is_compared_with_nothing(shared):
    """The published code gives it its whole reward, as over a mean of 0 and a deviation of 1; ours teaches nothing."""
    (theirs,) = json.loads(shared("vectors/vectors.json").read_text())["advantages"]["single_row_group"]
    assert pytest.approx(theirs, abs=1e-9) == (0.7 - 0) / (1 + STD_FLOOR)
    with pytest.raises(ValueError, match="nothing to compare with"):
        group_advantages([0.7], "group_std")


def test_one_own_response_beside_a_trace_teaches_nothing_of_its_own(parts, published):
    case = published.case("luffy", "published")
    rows = Rows(published, case)
    rows.row = lambda number: replace(Rows.row(rows, number), source="policy" if number in (1, 5) else "trace")
    rows.guided = [number not in (1, 5) for number in range(8)]
    algorithm = parts.policy_optimization(Table(published.logp), rows, rows, baseline="own", group_size=4)
    algorithm.reward = rows
    assert [len(update) for update in algorithm.collect(parts.Stream(TASKS), Seeds(0)).updates] == [0]
