"""Runs that are killed twenty times each, and runs that get a signal in the middle of each long phase."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmft.config import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
def lives(tmp_path, tiny_folder):
    """``lives("kills", "sft", 20)``: what `lives.py` says, run in a process of its own, with $TMPDIR on another disk."""

    def run(what, kind, *count):
        place = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path
        elsewhere = place / f"llmft-{os.getpid()}"
        elsewhere.mkdir()
        script = [
            sys.executable,
            str(ROOT / "tests" / "lives.py"),
            what,
            str(tmp_path / "lives"),
            str(tiny_folder),
            kind,
        ]
        offline = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TMPDIR": str(elsewhere)}
        try:
            ended = subprocess.run(
                [*script, *map(str, count)], env=os.environ | offline, capture_output=True, text=True, check=False
            )
            files = [path for path in elsewhere.rglob("*") if path.is_file()]
        finally:
            subprocess.run(["rm", "-r", str(elsewhere)], check=True)
        assert ended.returncode == 0, ended.stderr
        assert files == []
        return json.loads(ended.stdout.splitlines()[-1])

    return run


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_twenty_kills(kind, lives, record_property):
    """Weights, metrics and samples end as those of a run that nobody disturbed; every checkpoint that was ever there
    under its name is valid, and is what the next process goes on from, or a newer one."""
    told = lives("kills", kind, 20)
    assert told["kills"] == 20
    assert (told["lost"], told["unequal"]) == (0, 0)
    record_property(
        "1",
        f"{kind}, {told['kills']} SIGKILLs, {told['in_save']} of them in a save and {told['in_start']} in a start: "
        f"{told['lost']} acknowledged checkpoints lost, weights, metrics and samples equal to the bit",
    )
    record_property("6", f"{kind} with the same 20 kills: no file of ours is there, saves are whole or absent")


def test_a_signal_in_each_long_phase(lives, record_property):
    """A phase that would go on for a minute is dropped, or, where weights change, finished."""
    for phase, told in lives("signals", "grpo").items():
        assert told["code"] == 143, phase
        assert told["valid"], phase
        assert told["equal"], phase
        assert told["seconds"] < 10, phase
        number = "9" if phase.endswith("twice") else "8"
        record_property(number, f"{phase} {told['seconds']:.1f} s: from SIGTERM to exit 143, with a valid checkpoint")
