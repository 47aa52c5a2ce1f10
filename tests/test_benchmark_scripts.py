"""The benchmarks that nothing else runs still run, cut down to what shows it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from llmft.config import ROOT


def printed(script: str, *arguments: object) -> str:
    command = [sys.executable, str(ROOT / "benchmarks" / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_a_pool_that_grows(tmp_path):
    table = printed("replay_pool.py", tmp_path / "pool", "--most", 1000, "--tokens", 5)
    size, *_ = table.splitlines()[1].split()
    assert int(size.replace(",", "")) >= 1000
    assert "going back to the last checkpoint" in table


@pytest.mark.slow
def test_sft_beside_trl():
    table = printed("sft.py", "--repeats", 1, "--steps", 4, "--cases", "lab")
    assert [line.split(" | ")[1] for line in table.splitlines() if line.startswith("| lab |")] == ["padded", "packed"]


@pytest.mark.slow
def test_rewards_beside_a_fresh_interpreter_and_a_process_each():
    said = printed("reward.py", "--programs", 6, "--repeats", 1)
    sides = [line.split(" | ")[0].removeprefix("| ") for line in said.splitlines() if line.startswith("| ")]
    assert {"ours, all of reward=coding", "python -c", "python -I -S -c", "a process each, as for HumanEval"} <= {
        *sides
    }
    assert {"math, plain numbers", "math, formulas by math-verify", "function_calling, schema and values"} <= {*sides}
    assert "times a fresh interpreter (bar: 7)" in said
