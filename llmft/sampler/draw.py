"""From logits and one uniform number per row to a token and its log-probability."""

from __future__ import annotations

import torch
from torch import Tensor

from llmft.types import Sampling


def draw(logits: Tensor, uniform: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """One token per row by inverse transform: the first token whose cumulative probability exceeds the uniform number.

    The log-probability is that of the whole distribution at the temperature (at 1 when greedy), before ``top_k`` and
    ``top_p`` cut it: it is what a trainer recomputes from the same logits.

    Args:
        logits: [B, V] of any float type; computed in float32, or in float64 if they are float64.
        uniform: [B] float64 in [0, 1); not read when the temperature is 0.
        sampling: ``temperature``, ``top_k`` and ``top_p`` are read.

    Returns:
        tokens [B] int64, of non-zero probability after the cuts; log-probabilities [B], nats.
    """
    scores = logits if logits.dtype == torch.float64 else logits.float()
    if sampling.temperature == 0:
        logp = torch.log_softmax(scores, dim=-1)
        tokens = scores.argmax(dim=-1, keepdim=True)
    else:
        logp = torch.log_softmax(scores if sampling.temperature == 1 else scores / sampling.temperature, dim=-1)
        tokens = invert(cut(logp, sampling).exp(), uniform)
    return tokens.squeeze(-1), logp.gather(-1, tokens).squeeze(-1)


def cut(logp: Tensor, sampling: Sampling) -> Tensor:
    """[B, V] with -inf outside the ``top_k`` likeliest and then outside the nucleus of mass ``top_p``.

    Ties with the k-th token stay. The nucleus is the smallest set of likeliest tokens that holds ``top_p`` of what
    ``top_k`` left (Holtzman et al. 2020, https://arxiv.org/abs/1904.09751); it always holds the likeliest.
    """
    if 0 < sampling.top_k < logp.shape[-1]:
        kth = logp.topk(sampling.top_k, dim=-1).values[:, -1:]
        logp = logp.masked_fill(logp < kth, float("-inf"))
    if sampling.top_p < 1:
        ordered, order = logp.sort(dim=-1, descending=True)
        mass = ordered.softmax(dim=-1)
        outside = mass.cumsum(dim=-1) - mass >= sampling.top_p
        outside[:, 0] = False
        logp = logp.masked_fill(outside.scatter(-1, order, outside), float("-inf"))
    return logp


def invert(weights: Tensor, uniform: Tensor) -> Tensor:
    """[B, 1] index drawn in proportion to ``weights`` [B, V], never one of weight 0.

    The cumulative sums are taken in float64, and ``uniform`` is scaled by their last one instead of dividing them all.
    A uniform number is at most 1 - 2^-53, so the product stays below the total and an index exists. Sums of a parallel
    scan (CUDA) may fall by a rounding error where a weight is 0; such a draw falls back on the likeliest token.
    """
    cumulative = weights.cumsum(dim=-1, dtype=torch.float64)
    target = uniform.unsqueeze(-1) * cumulative[:, -1:]
    index = torch.searchsorted(cumulative, target, right=True).clamp_(max=weights.shape[-1] - 1)
    if weights.is_cuda:
        index = torch.where(weights.gather(-1, index) > 0, index, weights.argmax(dim=-1, keepdim=True))
    return index
