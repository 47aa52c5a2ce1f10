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


def check_room(model, longest_prompt: int, sampling: Sampling) -> None:
    """Raises ValueError if prompt and completion exceed the positions that the model was made for."""
    positions = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    needed = longest_prompt + sampling.max_new_tokens
    if positions is not None and needed > positions:
        raise ValueError(
            f"max_new_tokens={sampling.max_new_tokens}: with a prompt of {longest_prompt} tokens it needs {needed} "
            f"positions and the model has {positions}; lower it or leave longer prompts out"
        )
