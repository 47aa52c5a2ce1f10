"""Rollouts in one go: a prompt, a response, no turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from annotated_types import Ge, Interval

from llmft.protocols import Drawn, Sampler, Tokens
from llmft.seeds import Seeds
from llmft.types import Author, Completion, Rollout, Sampling, Task

NOTHING = Completion((), (), "length")  # where a beginning leaves no room


class Single:
    """The sampler's completions of each task's prompt.

    Args:
        temperature: of sampling; 0 is greedy.
        max_new_tokens: longest response.
        top_p: sample from the smallest set of tokens with this probability; 1 is all.
        top_k: sample from this many of the likeliest tokens; 0 is all.
        stop: a response ends with the first of these strings that it writes.
    """

    def __init__(
        self,
        *,
        temperature: Annotated[float, Ge(0)],
        max_new_tokens: Annotated[int, Ge(1)],
        top_p: Annotated[float, Interval(gt=0, le=1)],
        top_k: Annotated[int, Ge(0)],
        stop: list[str],
        sampler: Sampler,
        tokens: Tokens,
    ) -> None:
        self.sampling = Sampling(temperature, max_new_tokens, top_p, top_k, tuple(stop))
        self.sampler, self.tokens = sampler, tokens

    def collect(self, tasks: Sequence[Drawn], n: Sequence[int], seeds: Seeds) -> list[list[Rollout]]:
        """``n[i]`` responses to task i, unscored; a function of the weights, the task, its position and ``seeds``."""
        prompts = [self.tokens.prompt(drawn.task.messages, drawn.task.tools) for drawn in tasks]
        streams = [seeds.stream("rollout", drawn.position) for drawn in tasks]
        completed = self.sampler.generate(prompts, n, self.sampling, streams)
        return [
            [self._rollout(drawn.task, prompt, completion) for completion in completions]
            for drawn, prompt, completions in zip(tasks, prompts, completed, strict=True)
        ]

    def complete(self, tasks: Sequence[Drawn], begun: Sequence[Sequence[Rollout]], seeds: Seeds) -> list[list[Rollout]]:
        """The beginnings ``begun[i]`` of responses to task i, continued by the policy, unscored.

        The whole has at most ``sampling.max_new_tokens`` tokens; what was begun keeps its authors and log-probs. A
        function of the weights, the beginning, the task's position and ``seeds``.
        """
        rows = [
            (one.position, index, row)
            for one, some in zip(tasks, begun, strict=True)
            for index, row in enumerate(some)
            if len(row.token_ids) < self.sampling.max_new_tokens
        ]
        completed = self.sampler.generate(
            [row.prompt_ids + row.token_ids for _, _, row in rows],
            [1] * len(rows),
            self.sampling,
            [seeds.stream("continue", position, index) for position, index, _ in rows],
            [self.sampling.max_new_tokens - len(row.token_ids) for _, _, row in rows],
        )
        written = {(position, index): one for (position, index, _), (one,) in zip(rows, completed, strict=True)}
        return [
            [self._continued(row, written.get((one.position, index), NOTHING)) for index, row in enumerate(some)]
            for one, some in zip(tasks, begun, strict=True)
        ]

    def _continued(self, begun: Rollout, more: Completion) -> Rollout:
        ids = (begun.token_ids + more.token_ids)[: self.sampling.max_new_tokens]
        return replace(
            begun,
            token_ids=ids,
            logps=(begun.logps + more.logps)[: len(ids)],
            authors=(begun.authors + (Author.POLICY,) * len(more.token_ids))[: len(ids)],
            text=self.tokens.text(ids),
            finish=more.finish,
            score=None,
            advantages=None,
        )

    def _rollout(self, task: Task, prompt: tuple[int, ...], completion: Completion) -> Rollout:
        return Rollout(
            task=task,
            prompt_ids=prompt,
            token_ids=completion.token_ids,
            logps=completion.logps,
            authors=(Author.POLICY,) * len(completion.token_ids),
            source="policy",
            text=self.tokens.text(completion.token_ids),
            finish=completion.finish,
        )
