"""A table in miniature, made by its command: whole, cut off and taken up, and made again from its snapshots."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_table import write_table

from experiments import table
from experiments.results import load
from llmft.config import ROOT
from llmft.config.faults import REFUSED

pytestmark = pytest.mark.slow


def command(folder: Path, *arguments: str) -> list[str]:
    runs = folder.parent / "runs"
    return [sys.executable, "-m", "experiments.table", str(folder), "--runs", str(runs), "--at-once", "2", *arguments]


def made(folder: Path, *arguments: str, code: int = 0) -> str:
    """What the command prints, its errors after the rest."""
    done = subprocess.run(command(folder, *arguments), cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def numbers(folder: Path) -> dict[str, dict]:
    """The results without what the clock says."""
    return {
        name: {key: values for key, values in one["curve"].items() if key != "seconds"}
        for name, one in load(folder).items()
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_folder):
    """A miniature that was made at one go: its folder, and what the command printed."""
    folder = write_table(tmp_path_factory.mktemp("whole") / "small", tiny_folder)
    return folder, made(folder)


def test_one_command_makes_a_table(whole):
    folder, told = whole
    assert "0 of 4 cells are finished, 4 are to be run" in told
    assert "[4/4]" in told
    found = load(folder)
    assert sorted(found) == [f"mixed-{row}-seed{seed}" for row in ("grpo", "sft_then_grpo") for seed in (1, 2)]
    assert found["mixed-grpo-seed1"]["curve"]["step"] == [0, 1, 2, 3, 4]
    staged = found["mixed-sft_then_grpo-seed1"]["curve"]
    assert staged["step"] == [0, 1, 2, 3, 4]
    assert staged["tokens"][:3] == [0, 0, 0]  # imitation generates none
    assert staged["tokens"][3] > 0
    assert staged["seconds"] == sorted(staged["seconds"])
    readme = (folder / "README.md").read_text()
    for part in (
        "4 of 4 cells",
        "### Equal steps",
        "### Equal wall",
        "![All](methods.png)",
        "does not hold",
        "p 1.000",
    ):
        assert part in readme
    assert (folder / "methods.png").read_bytes().startswith(b"\x89PNG")


def test_a_stage_begins_with_the_weights_of_the_stage_before(whole):
    """What it finds before its first step is, to the bit, what the other found after its last."""
    folder, _ = whole
    runs = folder.parent / "runs" / "small" / "mixed-sft_then_grpo-seed1"
    before, after = (json.loads((runs / stage / "summary.json").read_text()) for stage in ("sft", "grpo"))
    assert after["before"] == before["after"]
    manifest = json.loads((runs / "grpo" / "manifest.json").read_text())
    trained = json.loads((runs / "sft" / "manifest.json").read_text())
    assert manifest["files"]["model"] != trained["files"]["model"]


def test_what_is_finished_is_not_run_again(whole):
    folder, _ = whole
    before = (folder / "results.json").read_bytes()
    assert "4 of 4 cells are finished, 0 are to be run" in made(folder)
    assert (folder / "results.json").read_bytes() == before


def test_a_table_is_made_again_from_its_snapshots_to_the_same_numbers(whole, tmp_path, tiny_folder):
    """Also where its table.yaml has changed since: the snapshots decide, and the check tells."""
    folder, _ = whole
    other = tmp_path / "small"
    # Runs of the same names: a stage's snapshot names the folder of the stage before it.
    shutil.copytree(folder, other)
    (other / "results.json").unlink()
    write_table(other, tiny_folder, rows__grpo__stages={"grpo": ["algorithm.group_size=4"]})
    again = made(other, "--again", "--runs", str(folder.parent / "runs"), "--rows", "grpo")
    assert "2 are to be run" in again
    assert numbers(other)["mixed-grpo-seed1"] == numbers(folder)["mixed-grpo-seed1"]
    told = made(other, "--check", "--runs", str(folder.parent / "runs"), code=1)
    assert "mixed-grpo-seed1/grpo: algorithm.entropy_coef, algorithm.group_size" in told


def test_a_killed_table_goes_on_to_the_same_numbers(whole, tmp_path, tiny_folder):
    folder = write_table(tmp_path / "small", tiny_folder)
    for number in (signal.SIGKILL, signal.SIGTERM):
        before = progress(folder)
        with subprocess.Popen(command(folder), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as one:
            limit = time.monotonic() + 120
            while progress(folder) <= before and time.monotonic() < limit and one.poll() is None:
                time.sleep(0.02)
            os.kill(one.pid, number)
            one.wait(60)
    assert len(load(folder)) < 4, "it was over before it was killed"
    made(folder)
    assert numbers(folder) == numbers(whole[0])


def progress(folder: Path) -> int:
    """Steps that the runs of a table have logged."""
    return sum(len(file.read_text().splitlines()) for file in folder.parent.glob("runs/small/*/*/metrics.csv"))


def test_what_other_code_has_made_is_not_mixed_in_without_a_word(whole, monkeypatch, capsys):
    folder, _ = whole
    monkeypatch.setattr(table.cells, "code", lambda: "other")
    given = [str(folder), "--runs", str(folder.parent / "runs")]
    assert table.main(given) == REFUSED
    told = capsys.readouterr().err
    assert "made with other code than what is here; take them as they are with --keep, or run them with --again" in told
    assert table.main([*given, "--keep"]) == 0


def test_a_cell_that_fails_is_told_and_the_others_run_on(tmp_path, tiny_folder):
    rows = {"stages": {"grpo": ["model.path='{sft}/final'"], "sft": ["algorithm=sft"]}, "label": "no such weights yet"}
    folder = write_table(tmp_path / "small", tiny_folder, rows__sft_then_grpo=rows, blocks__methods__seeds=[1])
    told = made(folder, code=1)
    assert "mixed-sft_then_grpo-seed1 failed: grpo ended with code 2; its last words" in told
    assert sorted(load(folder)) == ["mixed-grpo-seed1"]
    assert "1 of 2 cells" in (folder / "README.md").read_text()
