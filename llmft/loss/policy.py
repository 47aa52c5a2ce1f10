"""Policy-gradient losses, one value per token."""

from __future__ import annotations

import torch
from torch import Tensor

from llmft.loss.shapes import require_same_shape


def clipped_surrogate(
    log_ratio: Tensor, advantage: Tensor, *, clip_low: float, clip_high: float, clip_dual: float | None
) -> Tensor:
    """The PPO and GRPO surrogate, ``-min(r·A, clip(r, 1-low, 1+high)·A)`` with ``r = π/π_old``.

    PPO: https://arxiv.org/abs/1707.06347. ``clip_high > clip_low`` is DAPO's clip-higher
    (https://arxiv.org/abs/2503.14476). With ``clip_dual = c`` a token of negative advantage costs at most ``c·|A|``
    (dual clip, https://arxiv.org/abs/1912.09729): beyond it the gradient is cut, however likely the token has become.

    Args:
        log_ratio: [B, T] ``log r`` of each token, or of the response that it belongs to (see `llmft.loss.ratio`).
        advantage: [B, T] credit per token; no gradient.
        clip_low: how far below 1 the ratio may fall before its gradient is cut.
        clip_high: how far above 1.
        clip_dual: largest ratio that counts where the advantage is negative, above 1; None for no such bound.

    Returns:
        [B, T] loss per token, unmasked and unreduced. Its derivative by ``log_ratio`` is ``-r·A``, or 0 where cut.
    """
    require_same_shape(log_ratio=log_ratio, advantage=advantage)
    advantage = advantage.detach()
    ratio = torch.exp(log_ratio)
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    loss = -torch.minimum(ratio * advantage, clipped * advantage)
    if clip_dual is None:
        return loss
    return torch.where(advantage < 0, torch.minimum(loss, -clip_dual * advantage), loss)


def clipped(log_ratio: Tensor, advantage: Tensor, *, clip_low: float, clip_high: float) -> Tensor:
    """[B, T] 1.0 where `clipped_surrogate` cuts the gradient by ``clip_low`` or ``clip_high``, else 0.0; no gradient.

    Arguments as there. Its mean is the clip fraction.
    """
    require_same_shape(log_ratio=log_ratio, advantage=advantage)
    ratio = torch.exp(log_ratio.detach())
    raised = (ratio > 1 + clip_high) & (advantage > 0)
    lowered = (ratio < 1 - clip_low) & (advantage < 0)
    return (raised | lowered).to(log_ratio.dtype)


def unclipped_ratio(logp: Tensor, logp_old: Tensor, advantage: Tensor) -> Tensor:
    """Importance-weighted policy gradient, ``-r·A`` with ``r = π/π_old`` of each token, [B, T] like all its arguments.

    A ``logp_old`` of 0 makes ``r`` the policy's own probability of the token, which is what to use for a token whose
    author's probability is unknown (LUFFY, https://arxiv.org/abs/2504.14945).
    """
    require_same_shape(logp=logp, logp_old=logp_old, advantage=advantage)
    return -torch.exp(logp - logp_old.detach()) * advantage.detach()
