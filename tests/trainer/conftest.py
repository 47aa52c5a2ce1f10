"""The miniature run of `miniature.py`, as fixtures."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # also for the processes that a test spawns


@pytest.fixture
def session(tmp_path, tiny_source, tokens, monkeypatch):
    """``session("grpo", folder, resume=True, callbacks={...}, max_steps=4)``: a run that is ready to `fit`.

    Without a picture, which would take most of its time.
    """
    import miniature

    from llmft.trainer import curves

    def make(kind="line", path=tmp_path / "run", *, picture=False, **options):
        if not picture:
            monkeypatch.setattr(curves, "draw", lambda *_: None)
        return miniature.make_session(kind, path, tiny_source, tokens, **options)

    return make


@pytest.fixture
def outcome():
    """``outcome(folder)``: everything that two runs must agree on to the bit."""
    import miniature

    return miniature.outcome
