"""Randomness without history: every random stream is named, and its state is a function of its name.

A step that draws only from ``Seeds(seed).child("step", 17)`` draws the same numbers whether the sixteen steps before
it were run, resumed, or interleaved with evaluations. That is the whole of what exact resume needs from randomness.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

Name = int | str


@dataclass(frozen=True, slots=True)
class Seeds:
    """A node in a tree of random streams.

    Example:
        >>> step = Seeds(42).child("step", 3)
        >>> step.stream("rollout", 0) == Seeds(42).child("step", 3).stream("rollout", 0)
        True
        >>> step.stream("rollout", 0) == step.stream("rollout", 1)
        False
    """

    root: int
    path: tuple[Name, ...] = ()

    def child(self, *names: Name) -> Seeds:
        """The subtree under ``names``."""
        return Seeds(self.root, (*self.path, *names))

    def stream(self, *names: Name) -> int:
        """An unsigned 64-bit key for the stream called ``names``; two names never share one but by hash collision."""
        label = repr((self.root, *self.path, *names)).encode()
        return int.from_bytes(hashlib.blake2b(label, digest_size=8).digest(), "little")

    def seed_everything(self) -> None:
        """Seed Python, NumPy and torch (all devices) for code that draws from their global generators, e.g. dropout."""
        import numpy as np
        import torch

        random.seed(self.stream("python"))
        np.random.seed(self.stream("numpy") % 2**32)
        torch.manual_seed(self.stream("torch") % 2**63)
