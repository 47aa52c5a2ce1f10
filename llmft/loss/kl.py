"""Estimators of the divergence between the policy and its reference, one value per token."""

from __future__ import annotations

import torch
from torch import Tensor

from llmft.loss.shapes import require_same_shape


def k3(logp: Tensor, logp_reference: Tensor) -> Tensor:
    """Schulman's k3 estimate of ``KL(π ‖ π_ref)``, ``d - log d - 1`` with ``d = π_ref/π``: unbiased, never negative.

    http://joschu.net/blog/kl-approx.html; the KL term of GRPO (https://arxiv.org/abs/2402.03300, equation 4) and
    verl's ``low_var_kl``. Its gradient with respect to ``logp`` is ``1 - d``.

    Args:
        logp: [B, T] log-probability of each token under the policy being trained, nats.
        logp_reference: [B, T] the same under the reference; no gradient.

    Returns:
        [B, T] nats per token, unmasked and unreduced.
    """
    require_same_shape(logp=logp, logp_reference=logp_reference)
    log_ratio = logp_reference.detach() - logp
    return torch.exp(log_ratio) - log_ratio - 1
