"""The clipped policy-gradient loss, one value per token."""

from __future__ import annotations

import torch
from torch import Tensor

from llmft.loss.shapes import require_same_shape


def clipped_surrogate(
    ratio: Tensor, advantage: Tensor, *, clip_low: float, clip_high: float, clip_dual: float | None
) -> Tensor:
    """The PPO and GRPO surrogate, ``-min(r·A, clip(r, 1-low, 1+high)·A)`` with ``r = π/π_old``.

    PPO: https://arxiv.org/abs/1707.06347. ``clip_high > clip_low`` is DAPO's clip-higher
    (https://arxiv.org/abs/2503.14476). With ``clip_dual = c`` a token of negative advantage costs at most ``c·|A|``
    (dual clip, https://arxiv.org/abs/1912.09729): beyond it the gradient is cut, however likely the token has become.

    Args:
        ratio: [B, T] ``r`` of each token, or of the response that it belongs to (see `llmft.loss.ratio`), or what it
            was reshaped to (see `llmft.loss.shaping`).
        advantage: [B, T] credit per token; no gradient.
        clip_low: how far below 1 the ratio may fall before its gradient is cut.
        clip_high: how far above 1.
        clip_dual: largest ratio that counts where the advantage is negative, above 1; None for no such bound.

    Returns:
        [B, T] loss per token, unmasked and unreduced. Its derivative by ``ratio`` is ``-A``, or 0 where cut.
    """
    require_same_shape(ratio=ratio, advantage=advantage)
    advantage = advantage.detach()
    within = ratio.clamp(1 - clip_low, 1 + clip_high)
    loss = -torch.minimum(ratio * advantage, within * advantage)
    if clip_dual is None:
        return loss
    return torch.where(advantage < 0, torch.minimum(loss, -clip_dual * advantage), loss)


def clipped(ratio: Tensor, advantage: Tensor, *, clip_low: float, clip_high: float) -> Tensor:
    """[B, T] 1.0 where `clipped_surrogate` cuts the gradient by ``clip_low`` or ``clip_high``, else 0.0; no gradient.

    Arguments as there. Its mean is the clip fraction.
    """
    require_same_shape(ratio=ratio, advantage=advantage)
    raised = (ratio > 1 + clip_high) & (advantage > 0)
    lowered = (ratio < 1 - clip_low) & (advantage < 0)
    return (raised | lowered).to(ratio.dtype)
