"""What a response pays for its length."""

from __future__ import annotations

import pytest

from llmft.reward.length import SoftOverlong
from llmft.types import Rollout, Task


def rollout(tokens: int, source="policy") -> Rollout:
    ids = (1,) * tokens
    return Rollout(Task("t", (), "math"), (), ids, (0.0,) * tokens, (), source, "", "end")


def test_dapos_numbers():
    """20480 tokens, the last 4096 of them growing dearer."""
    part = SoftOverlong(longest=20480, buffer=0.2)
    lengths = [1, 16384, 16385, 18432, 20480]
    assert part([rollout(n) for n in lengths]) == [0, 0, pytest.approx(-1 / 4096, abs=1e-12), -0.5, -1]
    assert part.minimum == -1


def test_what_somebody_else_wrote_pays_nothing():
    part = SoftOverlong(longest=10, buffer=0.5)
    assert part([rollout(10, source) for source in ("policy", "trace", "replay")]) == [-1, 0, 0]


def test_no_buffer_is_no_penalty():
    assert SoftOverlong(longest=10, buffer=0.0)([rollout(10)]) == [0]
