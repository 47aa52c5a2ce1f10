"""Rollouts in one go: a prompt, a response, no turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge, Interval

from llmft.protocols import Drawn, Sampler, Tokens
from llmft.seeds import Seeds
from llmft.types import Author, Completion, Rollout, Sampling, Task


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
