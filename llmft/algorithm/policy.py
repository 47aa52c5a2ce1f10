"""Policy optimisation against verifiable rewards: GRPO and its family, one recipe per YAML file.

for each step:
    for each task: sample a group of responses, score them, and compare each with the others of its group
    for each epoch, for each mini-batch of groups: one optimizer step on
        clipped ratio · advantage  +  kl_coef · KL(policy ‖ reference)  -  entropy_coef · entropy
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from llmft.algorithm.groups import compare, divide, score
from llmft.algorithm.metrics import Stopwatch, rollout_metrics
from llmft.algorithm.reference import reference_logp
from llmft.batch import Average, Component, pack
from llmft.config import Why
from llmft.distributed import gather
from llmft.loss.kl import k3
from llmft.loss.policy import clipped, clipped_surrogate, unclipped_ratio
from llmft.protocols import Guidance, Policy, Reward, Rollouts, State, Tasks, TokenScores
from llmft.seeds import Seeds
from llmft.types import Batch, Rollout, Step, Task


class PolicyOptimization:
    """Groups of responses, each trained by how much better than its group it is.

    A group whose rewards are all equal has no advantage and costs neither a forward nor a backward pass, unless
    ``kl_coef`` or ``entropy_coef`` is set: divergence and entropy are trained on every row.

    Args:
        tasks_per_step: tasks of one step, over all ranks.
        group_size: responses to each task, the given ones of the guidance included.
        mini_batches: optimizer steps that the groups of a step are shared out to.
        epochs: times that each mini-batch is trained on.
        clip_low: how far below 1 the ratio to the sampling policy may fall before the gradient is cut.
        clip_high: how far above 1.
        clip_dual: largest ratio that counts where the advantage is negative; None for no bound.
        normalize: divide advantages by the deviation of the group's rewards.
        average: what a token's loss is averaged over (see `llmft.batch.Component`), and
        length: tokens that its constant averages divide by; None for the others.
        kl_coef: weight of the divergence from the policy that training began with.
        entropy_coef: weight of the bonus for entropy.
        reference_rows: rows of one forward pass of that first policy.
    """

    def __init__(
        self,
        *,
        tasks_per_step: Annotated[int, Ge(1)],
        group_size: Annotated[int, Ge(2), Why("a group of one has no advantage; use 2 or more")],
        mini_batches: Annotated[int, Ge(1)],
        epochs: Annotated[int, Ge(1)],
        clip_low: Annotated[float, Ge(0)],
        clip_high: Annotated[float, Ge(0)],
        clip_dual: Annotated[float, Gt(1)] | None,
        normalize: bool,
        average: Average,
        length: Annotated[float, Gt(0)] | None,
        kl_coef: Annotated[float, Ge(0)],
        entropy_coef: Annotated[float, Ge(0)],
        reference_rows: Annotated[int, Ge(1)],
        policy: Policy,
        rollouts: Rollouts,
        reward: Reward,
        guidance: Guidance,
    ) -> None:
        Component(average, length)  # refuses a constant average without its constant
        if mini_batches > tasks_per_step:
            raise ValueError(
                f"algorithm.mini_batches={mini_batches}: a step has {tasks_per_step} tasks to share out; use at most that"
            )
        self.tasks_per_step, self.group_size = tasks_per_step, group_size
        self.mini_batches, self.epochs = mini_batches, epochs
        self.clip_low, self.clip_high, self.clip_dual = clip_low, clip_high, clip_dual
        self.normalize, self.length = normalize, length
        self.average: Average = average
        self.kl_coef, self.entropy_coef, self.reference_rows = kl_coef, entropy_coef, reference_rows
        self.policy, self.rollouts, self.reward, self.guidance = policy, rollouts, reward, guidance
        # Samplers report log-probs at their temperature, and greedy ones at 1: so must the policy, or no ratio starts at 1.
        self.temperature = rollouts.sampling.temperature or 1.0
        if kl_coef > 0:
            policy.keep_reference()

    @staticmethod
    def faults(tasks: Sequence[Task]) -> list[str]:
        """None: a task needs only a prompt here, and what it needs besides is for the reward to say."""
        return []

    def collect(self, tasks: Tasks, seeds: Seeds) -> Step:
        """Sample, score and compare a group of responses for each of the next tasks."""
        drawn, watch = tasks.take(self.tasks_per_step), Stopwatch()
        plans = self.guidance.plan(drawn, self.group_size, seeds)
        with watch("generate"):
            own = self.rollouts.collect(drawn, [plan.own for plan in plans], seeds)
        with watch("reward"):
            groups = score([[*mine, *plan.given] for mine, plan in zip(own, plans, strict=True)], self.reward)
        self.guidance.observe(gather(groups))
        groups = [compare(group, normalize=self.normalize) for group in groups]
        with watch("logps"):
            batches = [self._batch(part) for part in divide(drawn, groups, self.mini_batches)]
        updates = _mark_first(batches * self.epochs)
        return Step(updates, [one for group in groups for one in group], rollout_metrics(groups, watch))

    def loss(self, policy: Policy, part: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of one micro-batch, a share of the update's."""
        wanted = "gradient" if self.entropy_coef > 0 else "value"
        scores = policy.scores(part, temperature=self.temperature, entropy=wanted)
        per_token = self.surrogate(scores.logp, part)
        if self.kl_coef > 0:
            per_token = per_token + self.kl_coef * k3(scores.logp, part.also["reference"])
        if self.entropy_coef > 0 and scores.entropy is not None:
            per_token = per_token - self.entropy_coef * scores.entropy
        return (per_token * part.weight).sum(), self._metrics(scores, part)

    def surrogate(self, logp: Tensor, part: Batch) -> Tensor:
        """[B, T] policy-gradient loss of each token, by who wrote it.

        Tokens of a trace or a replay have the unclipped ratio to their stored log-probability: the policy begins far
        from their author, where clipping would cut the gradient of most of them.
        """
        own = clipped_surrogate(
            logp,
            part.logp,
            part.advantage,
            clip_low=self.clip_low,
            clip_high=self.clip_high,
            clip_dual=self.clip_dual,
        )
        return torch.where(part.off_policy, unclipped_ratio(logp, part.logp, part.advantage), own)

    def report(self, sums: Mapping[str, float]) -> dict[str, float]:
        """The sums as they are: each is a mean already."""
        return dict(sums)

    def extra_modules(self) -> Mapping[str, nn.Module]:
        return {}

    def state_dict(self) -> State:
        return {"guidance": self.guidance.state_dict()}

    def load_state_dict(self, state: State) -> None:
        self.guidance.load_state_dict(state["guidance"])

    def _batch(self, rollouts: Sequence[Rollout]) -> Batch:
        everyone_learns = self.kl_coef > 0 or self.entropy_coef > 0
        batch = pack(rollouts, average=self.average, length=self.length, keep_all=everyone_learns)
        if self.kl_coef == 0 or not len(batch):
            return batch
        logp = reference_logp(self.policy, batch, temperature=self.temperature, rows=self.reference_rows)
        return replace(batch, also={**batch.also, "reference": logp})

    def _metrics(self, scores: TokenScores, part: Batch) -> dict[str, Tensor]:
        logp, bounds = scores.logp.detach(), {"clip_low": self.clip_low, "clip_high": self.clip_high}
        cut = clipped(logp, part.logp, part.advantage, **bounds)
        metrics = {"train/clip_fraction": (cut * part.also["mean/own"]).sum()}
        if self.kl_coef > 0:
            metrics["train/kl"] = (k3(logp, part.also["reference"]) * part.also["mean"]).sum()
        if scores.entropy is not None:
            metrics["train/entropy"] = (scores.entropy.detach() * part.also["mean"]).sum()
        if "mean/gap" in part.also:
            metrics["train/logp_gap"] = ((logp - part.logp).abs() * part.also["mean/gap"]).sum()
        return metrics


def _mark_first(updates: Sequence[Batch]) -> list[Batch]:
    """Ask the first update for the gap between sampler and trainer: it alone sees the weights that were sampled from."""
    first = next((place for place, batch in enumerate(updates) if len(batch)), None)
    return [
        replace(batch, also={**batch.also, "mean/gap": batch.also["mean/own"]}) if place == first else batch
        for place, batch in enumerate(updates)
    ]
