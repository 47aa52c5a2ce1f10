"""What a handful of samples says of how often a problem is solved."""

from __future__ import annotations

import math


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Unbiased estimate of the chance that one of ``k`` samples is right, ``1 - C(n-c, k) / C(n, k)``.

    Chen et al. 2021, https://arxiv.org/abs/2107.03374, as a product that does not overflow.

    Raises:
        ValueError: for ``k`` above ``samples``: there is no unbiased estimate.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} cannot be estimated from {samples} samples; take at least {k}")
    if samples - correct < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(samples - correct + 1, samples + 1))
