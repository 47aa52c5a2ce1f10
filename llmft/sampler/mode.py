"""What holds while a policy is sampled from: no dropout, no autograd; and what a call must satisfy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from llmft.types import Sampling


@contextmanager
def sampling_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards each submodule is as it was, whichever mode that is."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for part in training:
            part.training = True


def spread(prompts: Sequence[Sequence[int]], n: int | Sequence[int], streams: Sequence[int]) -> list[int]:
    """How many completions each prompt gets. Raises ValueError for an empty prompt or arguments of unequal length."""
    counts = [n] * len(prompts) if isinstance(n, int) else list(n)
    if not len(prompts) == len(counts) == len(streams):
        raise ValueError(
            f"{len(prompts)} prompts, {len(counts)} numbers of completions and {len(streams)} streams; "
            "give one of each per prompt"
        )
    if empty := [index for index, prompt in enumerate(prompts) if not len(prompt)]:
        raise ValueError(f"prompts {empty[:5]} are empty; a model needs at least one token to continue from")
    return counts


def rooms(model, prompts: Sequence[Sequence[int]], sampling: Sampling, limits: Sequence[int] | None) -> list[int]:
    """How many tokens the completions of each prompt may have.

    Raises ValueError for a limit below 1, or if a prompt and a completion exceed the positions that the model was made for.
    """
    allowed = [min(limit, sampling.max_new_tokens) for limit in limits or [sampling.max_new_tokens] * len(prompts)]
    if len(allowed) != len(prompts) or min(allowed) < 1:
        raise ValueError(
            f"limits={limits}: give one number of tokens, of 1 or more, for each of {len(prompts)} prompts"
        )
    positions = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    needed, new, prompt = max(
        (len(prompt) + new, new, len(prompt)) for prompt, new in zip(prompts, allowed, strict=True)
    )
    if positions is not None and needed > positions:
        raise ValueError(
            f"max_new_tokens={new}: with a prompt of {prompt} tokens it needs {needed} "
            f"positions and the model has {positions}; lower it or leave longer prompts out"
        )
    return allowed
