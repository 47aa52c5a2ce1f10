"""How much likelier the policy has made what it wrote: the quantity that clipping bounds."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from llmft.loss.shapes import require_same_shape

Ratio = Literal["token", "sequence_mean", "sequence_product"]


def log_ratio(logp: Tensor, logp_old: Tensor, own: Tensor, *, ratio: Ratio) -> Tensor:
    """``log π/π_old``: each token's own, or one for the response, which is then the same for all tokens of a row.

    ``token`` is PPO's and GRPO's. ``sequence_mean`` is GSPO's, whose ratio is the geometric mean of its tokens' ratios
    (https://arxiv.org/abs/2507.18071, equation 7; TRL's ``importance_sampling_level="sequence"``).
    ``sequence_product`` is the ratio of the response's probabilities, as in RLOO, where the whole response is one
    action (https://arxiv.org/abs/2402.14740, and TRL's RLOO trainer).

    The derivative of a row's value by the log-probability of one of its ``n`` own tokens is ``1/n`` for the mean and
    1 for the product; by any other token's, 0. A row must hold a whole response, and no second one.

    Args:
        logp: [B, T] log-probability of each token under the policy being trained, nats.
        logp_old: [B, T] the same under the policy that wrote the token; no gradient.
        own: [B, T] bool, the trained tokens that the policy wrote: a response is what they are.
        ratio: of what.

    Returns:
        [B, T] nats.
    """
    require_same_shape(logp=logp, logp_old=logp_old, own=own)
    tokens = logp - logp_old.detach()
    if ratio == "token":
        return tokens
    rows = torch.where(own, tokens, 0.0).sum(1, keepdim=True)
    if ratio == "sequence_mean":
        rows = rows / own.sum(1, keepdim=True).clamp(min=1)
    return rows.expand_as(tokens)
