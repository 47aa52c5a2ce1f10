"""The supervised loss, one value per token."""

from __future__ import annotations

from torch import Tensor

from llmft.loss.shapes import require_same_shape


def negative_log_likelihood(logp: Tensor) -> Tensor:
    """[B, T] ``-log π`` of each token, nats, unmasked and unreduced, from its [B, T] log-probability ``logp``."""
    require_same_shape(logp=logp)
    return -logp
