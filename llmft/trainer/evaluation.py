"""How good the policy is on tasks that it does not train on.

Every evaluation of a run draws the same random numbers, so two of them differ by the weights alone, and none of them
touches the streams that training draws from: a run that evaluates at every step ends with the weights of one that
never does.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from statistics import fmean
from typing import Annotated, Any, Literal, NamedTuple

import torch
from annotated_types import Ge
from torch import nn

from llmft.batch import pack
from llmft.chat import as_response
from llmft.distributed import gather, rank, sum_dicts, world_size
from llmft.protocols import Drawn, Reward, Rollouts, Tokens
from llmft.seeds import Seeds
from llmft.trainer.estimate import pass_at_k
from llmft.types import Rollout, Splits, Task


class Verdict(NamedTuple):
    """What evaluation keeps of one response."""

    correct: bool | None
    reward: float | None  # None where the machinery failed
    length: int
    truncated: bool
    parts: Mapping[str, float]


class Evaluation:
    """Accuracy, pass@k and length of sampled responses; perplexity of the data's own.

    Args:
        split: the tasks that nothing is trained on: ``heldout``, which is looked at while choices are made, or
            ``test``, which is looked at once. The metrics are called ``heldout/...`` for both.
        by: a key of the tasks' meta, such as ``tier``: ``heldout/accuracy/<value>`` is reported for each of its values
            besides; None for no such thing.
        every: steps between two evaluations; there is one before the first step and one after the last besides. None
            for none at all.
        tasks: how many held-out tasks, from the first; None for all.
        sample: whether to sample responses and score them.
        samples: responses to each task.
        temperature: of sampling.
        k: for which numbers pass@k is estimated.
        perplexity: whether to score each task's first trace.
        rows: traces that are scored in one forward pass; how many responses are written at once is the sampler's.
        context: tokens that the model can attend to; a longer trace is cut.
    """

    def __init__(
        self,
        *,
        split: Literal["heldout", "test"],
        by: str | None,
        every: Annotated[int, Ge(1)] | None,
        tasks: Annotated[int, Ge(1)] | None,
        sample: bool,
        samples: Annotated[int, Ge(1)],
        temperature: Annotated[float, Ge(0)],
        k: list[int],
        perplexity: bool,
        rows: Annotated[int, Ge(1)],
        splits: Splits,
        tokens: Tokens,
        reward: Reward,
        context: int,
    ) -> None:
        if impossible := [one for one in k if not 1 <= one <= samples]:
            raise ValueError(
                f"evaluation.k={k}: pass@{impossible[0]} needs as many samples; raise evaluation.samples={samples}"
            )
        self.every, self.sample, self.samples, self.temperature = every, sample, samples, temperature
        self.k, self.perplexity, self.rows, self.context = k, perplexity, rows, context
        evaluated: Sequence[Task] = getattr(splits, split)[:tasks]
        self.drawn = [Drawn(position, task) for position, task in enumerate(evaluated)]
        self.by = by
        if by is not None and (without := [task.id for task in evaluated if by not in task.meta]):
            raise ValueError(
                f"evaluation.by={by}: {len(without)} tasks to evaluate do not say what theirs is ({without[0]!r} is the "
                f"first); they say {', '.join(evaluated[0].meta) or 'nothing'}; use one of these, or null"
            )
        self.tokens, self.reward = tokens, reward

    def due(self, step: int, max_steps: int) -> bool:
        """Is there an evaluation after ``step`` steps?"""
        if self.every is None or not self.drawn:
            return False
        return step % self.every == 0 or step == max_steps

    def run(self, policy: nn.Module, rollouts: Rollouts, seeds: Seeds) -> dict[str, float]:
        """The metrics, over the tasks of all ranks; the same on each. Leaves no trace."""
        metrics: dict[str, float] = {}
        with _untouched(policy), torch.no_grad():
            if self.sample:
                metrics |= self._sampled(rollouts, seeds.child("evaluation"))
            if self.perplexity:
                metrics |= self._perplexity(policy)
        return metrics

    def _sampled(self, rollouts: Rollouts, seeds: Seeds) -> dict[str, float]:
        rollouts = copy.copy(rollouts)
        rollouts.sampling = replace(rollouts.sampling, temperature=self.temperature)
        mine = self.drawn[rank() :: world_size()]
        groups = rollouts.collect(mine, [self.samples] * len(mine), seeds)
        scores = iter(self.reward.score([rollout for group in groups for rollout in group]))
        scored = [[rollout.with_score(next(scores)) for rollout in group] for group in groups]
        self.reward.require_sound([rollout for group in scored for rollout in group])
        verdicts = [
            (drawn.position, [_verdict(rollout) for rollout in group])
            for drawn, group in zip(mine, scored, strict=True)
        ]
        everyone = sorted(gather(verdicts), key=lambda pair: pair[0])
        return self._metrics([group for _, group in everyone]) | self._accuracy_by(everyone)

    def _accuracy_by(self, everyone: Sequence[tuple[int, Sequence[Verdict]]]) -> dict[str, float]:
        """Accuracy for each value of what ``by`` names."""
        if self.by is None:
            return {}
        judged: dict[str, list[bool]] = {}
        for position, group in everyone:
            of_value = judged.setdefault(str(self.drawn[position].task.meta[self.by]), [])
            of_value += [verdict.correct for verdict in group if verdict.correct is not None]
        return {f"heldout/accuracy/{value}": fmean(right) for value, right in sorted(judged.items()) if right}

    def _metrics(self, groups: Sequence[Sequence[Verdict]]) -> dict[str, float]:
        flat = [verdict for group in groups for verdict in group]
        rewards = [verdict.reward for verdict in flat if verdict.reward is not None]
        judged = [[verdict.correct for verdict in group if verdict.correct is not None] for group in groups]
        means: dict[str, Sequence[float]] = {
            "heldout/accuracy": [one for group in judged for one in group],
            "heldout/reward_mean": rewards,
            "heldout/length_mean": [verdict.length for verdict in flat],
            "heldout/truncated": [verdict.truncated for verdict in flat],
        }
        for part in dict.fromkeys(name for verdict in flat for name in verdict.parts):
            means[f"heldout/reward/{part}"] = [verdict.parts[part] for verdict in flat if part in verdict.parts]
        for k in self.k:
            means[f"heldout/pass@{k}"] = [pass_at_k(len(one), sum(one), k) for one in judged if len(one) >= k]
        if self.samples > 1:
            means[f"heldout/avg@{self.samples}"] = [fmean(group) for group in judged if group]
        failed = {"heldout/failed": float(len(flat) - len(rewards))}
        return {name: fmean(values) for name, values in means.items() if values} | failed

    def _perplexity(self, policy: Any) -> dict[str, float]:
        sums = {"nll": 0.0, "tokens": 0.0}
        share = self.rows * world_size()
        for start in range(0, len(self.drawn), share):  # as often on every rank, since `pack` counts over all of them
            mine = self.drawn[start : start + share][rank() :: world_size()]
            answers = [self._answer(drawn.task) for drawn in mine if drawn.task.traces]
            batch = pack(answers, average="token", length=None, keep_all=True).to(policy.device)
            if len(batch):
                scored = batch.weight > 0
                sums["nll"] -= float((policy.logp(batch, temperature=1.0).double() * scored).sum())
                sums["tokens"] += float(scored.sum())
        sums = sum_dicts(sums)
        # A perplexity past any double is written as infinite.
        mean = sums["nll"] / sums["tokens"] if sums["tokens"] else None
        return {} if mean is None else {"heldout/perplexity": math.exp(mean) if mean < 700 else math.inf}

    def _answer(self, task: Task) -> Rollout:
        prompt = self.tokens.prompt(task.messages, task.tools)
        return as_response(self.tokens, task, prompt, task.traces[0], limit=self.context)


def _verdict(rollout: Rollout) -> Verdict:
    score = rollout.score
    assert score is not None
    correct = None if rollout.failed else score.correct
    return Verdict(correct, score.value, len(rollout.token_ids), rollout.finish == "length", dict(score.parts))


@contextmanager
def _untouched(policy: nn.Module) -> Iterator[None]:
    """Evaluation mode; random states and modes are put back afterwards."""
    import numpy as np

    modes = {module: module.training for module in policy.modules()}
    python, numpy = random.getstate(), np.random.get_state()
    policy.eval()
    try:
        with torch.random.fork_rng(enabled=True):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        for module, training in modes.items():
            module.training = training
