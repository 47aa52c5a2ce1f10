"""transformers' own ``generate``: slower than `native`, the reference it is tested against, and for models it refuses.

The random numbers are the same, so sampled completions are the same too, up to ties within rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import Tensor

from llmft.protocols import Policy, Tokens
from llmft.sampler.draw import draw
from llmft.sampler.finish import completion
from llmft.sampler.mode import rooms, sampling_mode, spread
from llmft.sampler.stop import Watches
from llmft.sampler.streams import uniforms
from llmft.types import Completion, Sampling


class HFGenerate:
    """Completions by ``policy.model.generate``.

    Args:
        max_rows: completions written at once; the rest follow when all of them are done.
        policy: with ``.model``, a transformers model that can generate.
        tokens: for the end and padding tokens and, where stop strings are given, the text.
    """

    def __init__(self, *, max_rows: Annotated[int, Ge(1)], policy: Any, tokens: Tokens) -> None:
        self.max_rows, self.policy, self.tokens = max_rows, policy, tokens

    def sync(self, policy: Policy, version: int) -> None:
        """Nothing: it samples from the live weights."""

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        n: int | Sequence[int],
        sampling: Sampling,
        streams: Sequence[int],
        limits: Sequence[int] | None = None,
    ) -> list[list[Completion]]:
        """See `llmft.protocols.Sampler`. Raises ValueError if prompt and completion exceed the model's positions."""
        counts = spread(prompts, n, streams)
        jobs = [(prompt, j) for prompt, count in enumerate(counts) for j in range(count)]
        if not jobs:
            return [[] for _ in prompts]
        allowed = rooms(self.policy.model, prompts, sampling, limits)
        done: dict[tuple[int, int], Completion] = {}
        with sampling_mode(self.policy), pristine_generation_config(self.policy.model):
            for first in range(0, len(jobs), self.max_rows):
                batch = jobs[first : first + self.max_rows]
                mine = [allowed[prompt] for prompt, _ in batch]
                numbers = uniforms([streams[prompt] for prompt, _ in batch], [j for _, j in batch], max(mine))
                uniform = torch.from_numpy(numbers)
                completions = self._batch([prompts[prompt] for prompt, _ in batch], uniform, sampling, mine)
                done.update(zip(batch, completions, strict=True))
        return [[done[prompt, j] for j in range(count)] for prompt, count in enumerate(counts)]

    def _batch(
        self, prompts: Sequence[Sequence[int]], uniform: Tensor, sampling: Sampling, limits: Sequence[int]
    ) -> list[Completion]:
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        width, pad = max(len(prompt) for prompt in prompts), self.tokens.pad_id
        ids = torch.tensor([[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        picker = Picker(uniform.to(self.policy.device), sampling, width)
        stopper = Stopper(sampling, self.tokens, width)
        config = GenerationConfig(
            do_sample=False,  # the picker leaves one token to choose from
            max_new_tokens=max(limits),
            eos_token_id=self.tokens.eos_id,
            pad_token_id=pad,
            use_cache=True,
        )
        written = self.policy.model.generate(
            input_ids=ids.to(self.policy.device),
            attention_mask=mask.to(self.policy.device),
            generation_config=config,
            logits_processor=LogitsProcessorList([picker]),
            stopping_criteria=StoppingCriteriaList([stopper]),
        )
        logps = torch.stack(picker.logps, dim=1).tolist()
        rows = zip(written[:, width:].tolist(), logps, limits, strict=True)
        return [
            completion(
                row[: len(values)][:limit],
                values[:limit],
                self.tokens.eos_id,
                stopper.length.get(at),
                f"row {at} of this batch",
            )
            for at, (row, values, limit) in enumerate(rows)
        ]


class Picker:
    """A logits processor that draws the token itself, from the row's own numbers, and rules out every other one."""

    def __init__(self, uniform: Tensor, sampling: Sampling, width: int) -> None:
        self.uniform, self.sampling, self.width = uniform, sampling, width
        self.logps: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        position = input_ids.shape[1] - self.width
        tokens, logps = draw(scores, self.uniform[:, position], self.sampling)
        self.logps.append(logps)
        return torch.full_like(scores, float("-inf")).scatter_(1, tokens[:, None], 0.0)


class Stopper:
    """A stopping criterion: rows whose text holds a stop string are done. ``length`` has their number of tokens."""

    def __init__(self, sampling: Sampling, tokens: Tokens, width: int) -> None:
        self.watches = Watches(sampling.stop, tokens.text) if sampling.stop else None
        self.width, self.eos_id = width, tokens.eos_id
        self.length: dict[int, int] = {}

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        if self.watches is not None:
            for row, token in enumerate(input_ids[:, -1].tolist()):
                if row not in self.length and self.watches.write(row, token):
                    self.length[row] = input_ids.shape[1] - self.width
        return torch.tensor([row in self.length for row in range(len(input_ids))], device=input_ids.device)


@contextmanager
def pristine_generation_config(model: Any) -> Iterator[None]:
    """Keep what a model's folder says about generating (a repetition penalty, its own top_k) out of the experiment."""
    from transformers import GenerationConfig

    kept, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = kept
