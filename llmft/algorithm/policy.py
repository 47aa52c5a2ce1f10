"""Policy optimisation against verifiable rewards: GRPO and its family, one recipe per YAML file.

for each step:
    for each task: sample a group of responses and score them
    while groups have no signal, at most ``refills`` times: replace them by those of further tasks
    reward  +  overlong penalty  -  kl_coef · KL(policy ‖ reference): compare each response with its group
    for each epoch, for each mini-batch of groups: one optimizer step on
        reshaped, clipped ratio · advantage  +  kl_coef · KL(policy ‖ reference)  -  entropy coefficient · entropy
        +  sft_coef · negative log-likelihood of what others wrote
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn

from llmft.advantage.group import Advantage, Baseline
from llmft.algorithm.entropy import EntropyCoefficient
from llmft.algorithm.groups import Group, Sampled, choose, compare, divide, missing, noted, overlong_penalties, score
from llmft.algorithm.metrics import Stopwatch, rollout_metrics
from llmft.algorithm.reference import divergences
from llmft.algorithm.updates import Packing, mark_first
from llmft.batch import Average, Component
from llmft.config import Why
from llmft.distributed import gather
from llmft.loss.kl import ESTIMATORS, Estimator, k3
from llmft.loss.nll import negative_log_likelihood
from llmft.loss.ratio import Ratio, log_ratio
from llmft.loss.token import Bounds, Priced, TokenLoss
from llmft.protocols import Guidance, Policy, Reward, Rollouts, State, Tasks, TokenScores
from llmft.seeds import Seeds
from llmft.types import Batch, Rollout, Step, Task

BELOW = Why(
    "it is how far below 1 the ratio may fall: with less than 0 the bounds cross, with more than 1 there is none; use 0 to 1"
)
ABOVE = Why("it is how far above 1 the ratio may rise: with less than 0 the bounds cross; use 0 or more")
SHARE = Why("it is a share of rollout.max_new_tokens; use 0 to 1, for instance 0.2, or 0 for no penalty")


class PolicyOptimization:
    """Groups of responses, each trained by how much better than its group it is.

    A group whose rewards are all equal has no advantage and costs neither a forward nor a backward pass, unless
    divergence or entropy is in the loss: these are trained on every row. The penalties that are added to a reward
    before it is compared are no part of ``train/reward_mean``, which stays comparable with ``heldout/reward_mean``.

    Args:
        tasks_per_step: tasks of one step, over all ranks.
        group_size: responses to each task, the given ones of the guidance included.
        mini_batches: optimizer steps that the groups of a step are shared out to.
        epochs: times that each mini-batch is trained on.
        refills: rounds of further tasks at most, each of as many as there are groups without signal; with the last
            one, what still has none stays in the step, and ``train/refill_missing`` counts it.
        ratio: of each token's probabilities to those it was sampled with, or of each response's (see `log_ratio`).
        clip_low: how far below 1 the ratio may fall before the gradient is cut.
        clip_high: how far above 1.
        clip_dual: largest ratio that counts where the advantage is negative; None for no bound.
        advantage: how a reward is compared with others (see `group_advantages`), and
        baseline: with which: all of its group, or those of the responses that the policy wrote.
        average: what a token's loss is averaged over (see `llmft.batch.Component`), and
        length: tokens that its constant averages divide by; None for the others.
        overlong_buffer: share of the longest response in which its penalty grows (see `overlong_penalty`); 0 for none.
        mask_truncated: train nothing on a response that ran out of tokens: it is in its group's comparison and in no
            denominator, neither among the tokens nor among the rows (in TRL a masked row still counts as a row).
        kl_coef: weight of the divergence from the policy that training began with, and
        kl_in: whether it is added to the loss of each token, or taken off each response's reward.
        kl_estimator: of this divergence; ``train/kl`` is always k3.
        entropy_coef: weight of the bonus for entropy, and
        entropy_average: what it is averaged over, whoever wrote the tokens; None for what the loss is, and
        entropy_target: nats per token that it is adapted to; None to leave it, and
        entropy_lr: how fast it is learned; None to have it in inverse proportion (see `EntropyCoefficient`).
        reference_rows: rows of one forward pass without gradient: of that first policy, or to count for ``all_max``.
    """

    def __init__(
        self,
        *,
        tasks_per_step: Annotated[int, Ge(1)],
        group_size: Annotated[int, Ge(2), Why("a group of one has no advantage; use 2 or more")],
        mini_batches: Annotated[int, Ge(1)],
        epochs: Annotated[int, Ge(1)],
        refills: Annotated[int, Ge(0)],
        ratio: Ratio,
        clip_low: Annotated[float, Interval(ge=0, le=1), BELOW],
        clip_high: Annotated[float, Ge(0), ABOVE],
        clip_dual: Annotated[float, Gt(1)] | None,
        advantage: Advantage,
        baseline: Baseline,
        average: Average,
        length: Annotated[float, Gt(0)] | None,
        overlong_buffer: Annotated[float, Interval(ge=0, le=1), SHARE],
        mask_truncated: bool,
        kl_coef: Annotated[float, Ge(0)],
        kl_in: Literal["loss", "reward"],
        kl_estimator: Estimator,
        entropy_coef: Annotated[float, Ge(0)],
        entropy_average: Literal["token", "sequence"] | None,
        entropy_target: Annotated[float, Gt(0)] | None,
        entropy_lr: Annotated[float, Gt(0)] | None,
        reference_rows: Annotated[int, Ge(1)],
        policy: Policy,
        rollouts: Rollouts,
        reward: Reward,
        guidance: Guidance,
        loss: TokenLoss,
    ) -> None:
        Component(average, length)  # refuses a constant average without its constant
        if mini_batches > tasks_per_step:
            raise ValueError(
                f"algorithm.mini_batches={mini_batches}: a step has {tasks_per_step} tasks to share out; use at most that"
            )
        self.tasks_per_step, self.group_size, self.refills = tasks_per_step, group_size, refills
        self.mini_batches, self.epochs = mini_batches, epochs
        self.bounds: Bounds = {"clip_low": clip_low, "clip_high": clip_high, "clip_dual": clip_dual}
        self.ratio: Ratio = ratio
        self.advantage: Advantage = advantage
        self.baseline: Baseline = baseline
        self.mask_truncated = mask_truncated
        self.longest = rollouts.sampling.max_new_tokens
        self.overlong = overlong_buffer * self.longest
        self.kl_in_loss, self.kl_in_reward = (kl_coef, 0.0) if kl_in == "loss" else (0.0, kl_coef)
        self.kl_estimator: Estimator = kl_estimator
        self.entropy = EntropyCoefficient(entropy_coef, entropy_target, entropy_lr)
        self.policy, self.rollouts, self.reward, self.guidance = policy, rollouts, reward, guidance
        self.token_loss = loss
        # Samplers report log-probs at their temperature, and greedy ones at 1: so must the policy, or no ratio starts at 1.
        self.temperature = rollouts.sampling.temperature or 1.0
        self.in_passes = {"temperature": self.temperature, "rows": reference_rows}
        self.packing = Packing(
            policy=policy,
            **self.in_passes,
            loss=loss,
            average=average,
            length=length,
            entropy_average=entropy_average if entropy_coef > 0 else None,
            keep_all=self.kl_in_loss > 0 or entropy_coef > 0,
            reference=self.kl_in_loss > 0,
        )
        if kl_coef > 0:
            policy.keep_reference()

    @staticmethod
    def faults(tasks: Sequence[Task], settings: Mapping[str, Any]) -> list[str]:
        """None: a task needs only a prompt here, and what it needs besides is for the reward to say."""
        return []

    def collect(self, tasks: Tasks, seeds: Seeds) -> Step:
        """Sample and score a group of responses for each of the next tasks, refill, compare."""
        watch, rounds, guided = Stopwatch(), 0, self.guidance.guiding
        sampled = self._sample(tasks, self.tasks_per_step, seeds, watch)
        while (lacking := missing(sampled, self.tasks_per_step)) and rounds < self.refills:
            rounds += 1
            sampled += self._sample(tasks, lacking, seeds.child("refill", rounds), watch)
        self.reward.require_sound([rollout for one in sampled for rollout in one.group])
        self.guidance.observe(gather([one.group for one in sampled]))
        chosen = choose(sampled, self.tasks_per_step)
        with watch("logps"):
            groups, divergence = self._compare([one.group for one in chosen])
            parts = divide([one.drawn for one in chosen], groups, self.mini_batches)
            updates = mark_first([self._batch(part, guided) for part in parts] * self.epochs)
        refilled = {"train/refills": float(rounds), "train/refill_missing": float(lacking)} if self.refills else {}
        metrics = rollout_metrics([one.group for one in sampled], watch)
        return Step(
            updates,
            [one for group in groups for one in group],
            {**metrics, **divergence, **refilled, **self.guidance.metrics()},
        )

    def loss(self, policy: Policy, part: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of one micro-batch, a share of the update's."""
        scores = policy.scores(
            part, temperature=self.temperature, entropy="gradient" if self.entropy.value else "value"
        )
        priced = self.price(scores.logp, part)
        per_token = priced.loss
        if self.kl_in_loss:
            divergence = ESTIMATORS[self.kl_estimator](scores.logp, part.also["reference"])
            per_token = per_token + self.kl_in_loss * divergence
        loss = (per_token * part.weight).sum()
        if self.entropy.value and scores.entropy is not None:
            loss = loss - self.entropy.value * (scores.entropy * part.also.get("weight/entropy", part.weight)).sum()
        if "weight/sft" in part.also:
            imitation = (negative_log_likelihood(scores.logp) * part.also["weight/sft"]).sum()
            loss = loss + self.token_loss.sft_coef * imitation
        return loss, self._metrics(scores, priced, part)

    def price(self, logp: Tensor, part: Batch) -> Priced:
        """[B, T] policy-gradient loss of each token, by who wrote it."""
        ratio = log_ratio(logp, part.logp, part.also["mean/own"] != 0, ratio=self.ratio)
        bounds = self.bounds if self.token_loss.clips(guided="guided" in part.also) else None
        return self.token_loss(logp, part.logp, part.advantage, part.off_policy, ratio, bounds)

    def report(self, sums: Mapping[str, float]) -> dict[str, float]:
        """The sums as they are, each a mean already; the entropy's coefficient adapts to what the update had of it."""
        if not self.entropy.value:
            return dict(sums)
        used = self.entropy.value
        self.entropy.adapt(sums["train/entropy"])
        return {**sums, "train/entropy_coef": used}

    def extra_modules(self) -> Mapping[str, nn.Module]:
        return {}

    def state_dict(self) -> State:
        return {"guidance": self.guidance.state_dict(), "entropy": self.entropy.state_dict()}

    def load_state_dict(self, state: State) -> None:
        self.guidance.load_state_dict(state["guidance"])
        self.entropy.load_state_dict(state["entropy"])

    def _sample(self, tasks: Tasks, count: int, seeds: Seeds, watch: Stopwatch) -> list[Sampled]:
        """The scored groups of this rank's share of the next ``count`` tasks."""
        with watch("guide"):
            drawn = self.guidance.draw(tasks, count, seeds)
            plans = self.guidance.plan(drawn, self.group_size, seeds)
        with watch("generate"):
            own = self.rollouts.collect(drawn, [plan.own for plan in plans], seeds)
            if any(plan.begun for plan in plans):
                continued = self.rollouts.complete(drawn, [plan.begun for plan in plans], seeds)
                own = [[*mine, *more] for mine, more in zip(own, continued, strict=True)]
        with watch("reward"):
            groups = score([[*mine, *plan.given] for mine, plan in zip(own, plans, strict=True)], self.reward)
        if self.overlong:
            groups = [noted(group, "overlong", self._overlong_penalties(group)) for group in groups]
        return [Sampled(one, group) for one, group in zip(drawn, groups, strict=True)]

    def _compare(self, groups: Sequence[Group]) -> tuple[list[list[Rollout]], dict[str, float]]:
        """The groups with advantages, by their rewards and what is added to these; and metrics of it."""
        gone, metrics = [[0.0] * len(group) for group in groups], {}
        if self.kl_in_reward:
            gone, metrics = divergences(self.policy, groups, self.kl_estimator, **self.in_passes)
        compared = []
        for group, far in zip(groups, gone, strict=True):
            penalties = zip(self._overlong_penalties(group), far, strict=True)
            bonus = [penalty - self.kl_in_reward * one for penalty, one in penalties]
            compared.append(compare(group, advantage=self.advantage, baseline=self.baseline, bonus=bonus))
        return compared, metrics

    def _overlong_penalties(self, group: Group) -> list[float]:
        return overlong_penalties(group, self.longest, self.overlong)

    def _batch(self, rollouts: Sequence[Rollout], guided: bool) -> Batch:
        rollouts = [one for one in rollouts if not (self.mask_truncated and one.finish == "length")]
        return self.packing.batch(rollouts, guided=guided)

    def _metrics(self, scores: TokenScores, priced: Priced, part: Batch) -> dict[str, Tensor]:
        logp, shares = scores.logp.detach(), part.also
        of_what = shares["mean/own" if self.ratio == "token" else "mean/own_rows"]
        metrics = {"train/clip_fraction": (priced.cut * of_what).sum()}
        if "guided" in shares:
            metrics["train/off_policy_share"] = (part.off_policy * shares["mean"]).sum(dtype=torch.float64)
        if "mean/off" in shares:
            metrics["train/off_policy_prob"] = (logp.exp() * shares["mean/off"]).sum()
            metrics["train/off_policy_weight"] = (priced.ratio * shares["mean/off"]).sum()
        if "weight/sft" in shares:
            metrics["train/nll"] = (negative_log_likelihood(logp) * shares["weight/sft"]).sum()
        if "reference" in shares:
            metrics["train/kl"] = (k3(logp, shares["reference"]) * shares["mean"]).sum()
        if scores.entropy is not None:
            metrics["train/entropy"] = (scores.entropy.detach() * shares["mean/own"]).sum()
        if "mean/gap" in shares:
            metrics["train/logp_gap"] = ((logp - part.logp).abs() * shares["mean/gap"]).sum()
        return metrics
