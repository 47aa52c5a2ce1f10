"""Schulman's estimators of ``KL(π ‖ π_ref)`` from what ``π`` wrote, one value per token.

http://joschu.net/blog/kl-approx.html. With ``x = log π - log π_ref`` of a token and ``d = exp(-x) = π_ref/π``:

| estimator | value       | unbiased | never negative | gradient by ``log π`` |
|-----------|-------------|----------|----------------|-----------------------|
| `k1`      | ``x``       | yes      | no             | 1                     |
| `k2`      | ``x²/2``    | no       | yes            | ``x``                 |
| `k3`      | ``d-log d-1`` | yes    | yes            | ``1 - d``             |

A good estimate is not yet a good loss (https://arxiv.org/abs/2506.09477, https://arxiv.org/abs/2510.01555). The
divergence's own gradient is ``E[x·∇log π]``, over what the policy of now writes: that of `k2` in expectation. `k3`'s is
``E[(1 - d)·∇log π]``, the same to first order in ``x``, as are the two divergences' (it is the gradient of
``KL(π_ref ‖ π)``). `k1`'s is ``E[∇log π] = 0``: as a loss it restrains nothing and adds noise, and its place is in the
reward, where it is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from llmft.loss.shapes import require_same_shape

Estimator = Literal["k1", "k2", "k3"]


def k1(logp: Tensor, logp_reference: Tensor) -> Tensor:
    """[B, T] nats per token, ``log π/π_ref``. Arguments as `k3`."""
    require_same_shape(logp=logp, logp_reference=logp_reference)
    return logp - logp_reference.detach()


def k2(logp: Tensor, logp_reference: Tensor) -> Tensor:
    """[B, T] nats per token, ``(log π/π_ref)²/2``. Arguments as `k3`."""
    return k1(logp, logp_reference).square() / 2


def k3(logp: Tensor, logp_reference: Tensor) -> Tensor:
    """``d - log d - 1`` with ``d = π_ref/π``.

    The KL term of GRPO (https://arxiv.org/abs/2402.03300, equation 4), TRL's, and verl's ``low_var_kl``.

    Args:
        logp: [B, T] log-probability of each token under the policy being trained, nats.
        logp_reference: [B, T] the same under the reference; no gradient.

    Returns:
        [B, T] nats per token, unmasked and unreduced.
    """
    log_ratio = -k1(logp, logp_reference)
    return torch.exp(log_ratio) - log_ratio - 1


ESTIMATORS: dict[Estimator, Callable[[Tensor, Tensor], Tensor]] = {"k1": k1, "k2": k2, "k3": k3}
