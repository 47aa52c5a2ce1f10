"""`benchmarks/luffy_step.py` runs from end to end."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from llmft.config import ROOT


@pytest.mark.slow
def test_both_sides_run(tmp_path):
    """On the base and the tasks of the real thing, a few steps."""
    command = [sys.executable, str(ROOT / "benchmarks" / "luffy_step.py"), "--quick", "--json", str(tmp_path / "json")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    signal, _ = json.loads((tmp_path / "json").read_text())["steps"]
    assert all(ratio > 0 for ratios in signal["ratios"].values() for ratio in ratios)
    means = {name: (float(luffy), float(grpo)) for name, luffy, grpo, _ in signal["rows"][-2:-1]}
    luffy, grpo = means["groups without signal"]
    assert max(luffy, grpo) < 0.15  # of such problems as it chose, next to none
    assert "bar 1.0" in done.stdout
