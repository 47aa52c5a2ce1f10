"""One sandbox for all tests of coding: it starts once."""

from __future__ import annotations

import pytest

from llmft.config import build, compose


@pytest.fixture(scope="session")
def sandbox():
    made = build(compose(["reward=coding"]).reward.sandbox)
    if faults := made.faults():
        pytest.skip(f"this machine cannot isolate programs: {faults[0]}")
    yield made
    made.close()
