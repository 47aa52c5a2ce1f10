"""One uniform number per stream, completion and position: a function, not a state.

A completion that draws its token at position ``t`` with ``uniform(stream, completion, t)`` does not depend on which rows
happen to share its batch, on how many were drawn before it, or on the device. A torch generator per row would give the
same at seventy times the cost.

The function is SplitMix64 used as a counter-based generator, twice: ``splitmix(seed, k)``, the k-th output of the
generator seeded with ``seed``, is a bijection of ``seed + k * GOLDEN`` and needs no earlier output (Steele, Lea and
Flood 2014, "Fast splittable pseudorandom number generators", https://doi.org/10.1145/2660193.2660195; constants of
Stafford's variant 13 as in Vigna's https://prng.di.unimi.it/splitmix64.c).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio, made odd
MULTIPLY_1 = np.uint64(0xBF58476D1CE4E5B9)
MULTIPLY_2 = np.uint64(0x94D049BB133111EB)
Words = NDArray[np.uint64]


def splitmix(seed: Words, k: Words) -> Words:
    """The ``k``-th output (from 0) of SplitMix64 seeded with ``seed``; element-wise, broadcast, modulo 2^64."""
    z = seed + (k + np.uint64(1)) * GOLDEN
    z = (z ^ (z >> np.uint64(30))) * MULTIPLY_1
    z = (z ^ (z >> np.uint64(27))) * MULTIPLY_2
    return z ^ (z >> np.uint64(31))


def uniforms(streams: Sequence[int], completions: Sequence[int], positions: int) -> NDArray[np.float64]:
    """The first ``positions`` numbers of each row, the row being completion ``completions[i]`` of ``streams[i]``.

    Returns:
        [rows, positions] float64, multiples of 2^-53 in [0, 1).
    """
    stream = np.array([value & 0xFFFFFFFFFFFFFFFF for value in streams], dtype=np.uint64)
    key = splitmix(stream, np.array(completions, dtype=np.uint64))
    words = splitmix(key[:, None], np.arange(positions, dtype=np.uint64)[None, :])
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
