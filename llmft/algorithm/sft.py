"""Supervised fine-tuning: imitate the data's own answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt
from torch import Tensor, nn

from llmft.algorithm.groups import divide, score
from llmft.batch import Average, Component, pack
from llmft.chat import as_response
from llmft.config import Why
from llmft.distributed import sum_dicts
from llmft.loss.nll import negative_log_likelihood
from llmft.protocols import Drawn, Policy, Reward, State, Tasks, Tokens
from llmft.seeds import Seeds
from llmft.types import Batch, Rollout, Step, Task


class SFT:
    """The negative log-likelihood of each answer's tokens, the end token included, given the prompt.

    Args:
        tasks_per_step: tasks of one step, over all ranks.
        mini_batches: optimizer steps that the tasks of a step are shared out to.
        which: imitate the first of a task's traces, or all.
        without_trace: a task without a trace stops the run, or is passed over and leaves its place in the step empty.
        min_reward: imitate only traces with at least this reward (rejection sampling, as in RAFT,
            https://arxiv.org/abs/2304.06767); ``train/accepted`` is their share. None asks no reward.
        average: what a token's loss is averaged over (see `llmft.batch.Component`), and
        length: tokens that its constant averages divide by; None for the others.
        max_length: tokens of prompt and answer; a longer answer is cut and loses its end token, and an answer whose
            prompt leaves no room is left out. ``train/truncated`` is the share of both.
        packing: tokens of prompts and answers that are passed through the model together, in place of a number of
            rows; a longer row goes alone. None goes by rows (``trainer.micro_batch``). No answer sees another, and the
            gradient is the same.
    """

    def __init__(
        self,
        *,
        tasks_per_step: Annotated[int, Ge(1)],
        mini_batches: Annotated[int, Ge(1)],
        which: Literal["first", "all"],
        without_trace: Literal["stop", "skip"],
        min_reward: float | None,
        average: Average,
        length: Annotated[float, Gt(0)] | None,
        max_length: Annotated[int, Ge(2)],
        packing: Annotated[int, Ge(2), Why("nothing predicts a single token; use 2 or more, or null for none")] | None,
        tokens: Tokens,
        reward: Reward,
    ) -> None:
        Component(average, length)  # refuses a constant average without its constant
        if mini_batches > tasks_per_step:
            raise ValueError(
                f"algorithm.mini_batches={mini_batches}: a step has {tasks_per_step} tasks to share out; use at most that"
            )
        self.tasks_per_step, self.mini_batches, self.which = tasks_per_step, mini_batches, which
        self.average: Average = average
        self.length, self.max_length, self.packing, self.tokens = length, max_length, packing, tokens
        self.without_trace, self.min_reward, self.reward = without_trace, min_reward, reward

    @staticmethod
    def faults(tasks: Sequence[Task], settings: Mapping[str, Any]) -> list[str]:
        """Tasks without an answer to imitate."""
        without = [task.id for task in tasks if not task.traces]
        passed_over = settings.get("without_trace") == "skip"
        if not without or (passed_over and len(without) < len(tasks)):
            return []
        way_out = "" if passed_over else ", algorithm.without_trace=skip"
        return [
            f"algorithm=sft: {len(without)} of {len(tasks)} tasks have no answer to imitate ({without[0]!r} is the "
            f"first); choose a dataset with traces{way_out}, or an algorithm that needs none"
        ]

    def collect(self, tasks: Tasks, seeds: Seeds) -> Step:
        """The answers to the next tasks. Raises ValueError for a task without one, unless it is to be passed over."""
        drawn = tasks.take(self.tasks_per_step)
        groups, metrics = self._accepted([self.answers(one) for one in drawn])
        batches = [
            replace(pack(part, average=self.average, length=self.length, keep_all=True), packing=self.packing)
            for part in divide(drawn, groups, self.mini_batches)
        ]
        rollouts = [answer for group in groups for answer in group]
        return Step(batches, rollouts, {**self._metrics(rollouts), **metrics})

    def answers(self, drawn: Drawn) -> list[Rollout]:
        """The task's traces as responses. Raises ValueError if there are none, and that is not to be passed over."""
        task = drawn.task
        if not task.traces and self.without_trace == "stop":
            raise ValueError(self.faults([task], {})[0])
        traces = task.traces[:1] if self.which == "first" else task.traces
        prompt = self.tokens.prompt(task.messages, task.tools)
        return [as_response(self.tokens, task, prompt, trace, limit=self.max_length) for trace in traces]

    def _accepted(self, groups: list[list[Rollout]]) -> tuple[list[list[Rollout]], dict[str, float]]:
        """The answers whose reward is high enough, and their share of all."""
        if self.min_reward is None:
            return groups, {}
        least, scored = self.min_reward, score(groups, self.reward)
        self.reward.require_sound([one for group in scored for one in group])
        kept = [[one for one in group if not one.failed and one.reward >= least] for group in scored]
        sums = sum_dicts({"all": float(sum(map(len, groups))), "kept": float(sum(map(len, kept)))})
        return kept, {"train/accepted": sums["kept"] / sums["all"]} if sums["all"] else {}

    def loss(self, policy: Policy, part: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of one micro-batch, a share of the update's."""
        per_token = negative_log_likelihood(policy.logp(part, temperature=1.0))
        return (per_token * part.weight).sum(), {"train/nll": (per_token.detach() * part.also["mean"]).sum()}

    def report(self, sums: Mapping[str, float]) -> dict[str, float]:
        """The token mean of the negative log-likelihood, and ``train/perplexity``, its exponential."""
        return {**sums, "train/perplexity": math.exp(min(sums["train/nll"], 700.0))}  # exp(710) overflows

    def extra_modules(self) -> Mapping[str, nn.Module]:
        return {}

    def state_dict(self) -> State:
        return {}

    def load_state_dict(self, state: State) -> None:
        """Nothing to load: what a step trains on is a function of the tasks alone."""

    def _metrics(self, rollouts: Sequence[Rollout]) -> dict[str, float]:
        sums = sum_dicts(
            {
                "answers": len(rollouts),
                "train/length_mean": sum(len(rollout.token_ids) for rollout in rollouts),
                "train/truncated": sum(rollout.finish == "length" for rollout in rollouts),
            }
        )
        answers = sums.pop("answers")
        return {name: total / answers for name, total in sums.items()} if answers else {}
