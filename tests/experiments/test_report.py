"""The README of a table, from results made up so that its numbers can be worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from small_table import write_table

from experiments import table
from experiments.bars import told
from experiments.cells import Places
from experiments.report import write_report
from experiments.results import Readings, save
from experiments.spec import read

EASY, HARD = "heldout/accuracy/easy", "heldout/accuracy/hard"
T1 = 12.706204736174694  # the 97.5 % point of Student's t with 1 degree of freedom
FACTS = {"commits": ["abc"], "uncommitted": False, "code": "0", "identities": {}}
MACHINE = {"cpu": "a CPU", "cpus": 2, "torch": "2.0", "at_once": 2}


def result(easy, hard, *, seconds=10.0):
    curve = {"step": [0, 4], "seconds": [0, seconds], "tokens": [0, 3000], EASY: easy, HARD: hard}
    return {**FACTS, "machine": MACHINE, "curve": curve, "final": {EASY: easy[-1], HARD: hard[-1]}}


RESULTS = {
    "mixed-grpo-seed1": result([0.2, 0.4], [0.0, 0.0]),
    "mixed-grpo-seed2": result([0.4, 0.6], [0.0, 0.01]),
    "mixed-sft_then_grpo-seed1": result([0.2, 0.7], [0.0, 0.5], seconds=20.0),
    "mixed-sft_then_grpo-seed2": result([0.4, 1.0], [0.0, 0.52], seconds=20.0),
}


def readme(folder: Path, results) -> str:
    write_report(read(folder), Places(folder, Path("runs")), results)
    return (folder / "README.md").read_text()


def line(text: str, first: str, place: int = 0) -> list[str]:
    """The cells of a row of a table of the README."""
    return [row for row in text.splitlines() if row.startswith(f"| {first} |")][place].strip("| ").split(" | ")


def test_the_numbers_are_means_over_the_seeds_with_their_intervals(tmp_path):
    text = readme(write_table(tmp_path), RESULTS)
    half = T1 * 0.1  # deviation .1414 over the root of 2
    assert line(text, "GRPO") == ["GRPO", f"0.500 ± {half:.3f}", "0.005 ± 0.064", f"0.253 ± {T1 * 0.0525:.3f}"]
    assert line(text, "base")[1] == f"0.300 ± {half:.3f}"


def test_equal_wall_is_read_from_the_curves(tmp_path):
    text = readme(write_table(tmp_path), RESULTS)
    wall = line(text, "SFT, then GRPO", 1)  # at 10 s, half-way: .45 and .7
    assert wall[1] == f"0.575 ± {T1 * 0.125:.3f}"
    assert "▪" not in line(text, "GRPO", 1)[1]
    text = readme(write_table(tmp_path, equal_wall=["sft_then_grpo"]), RESULTS)
    assert line(text, "GRPO", 1)[1].endswith("▪")


def test_differences_are_tested_seed_by_seed(tmp_path):
    text = readme(write_table(tmp_path), RESULTS)
    found = line(text, "SFT, then GRPO − GRPO")[1]  # .3 and .4: mean .35, standard error .05, t = 7
    p = 1 - 2 / math.pi * math.atan(7)  # of Student's t with 1 degree, which is Cauchy's
    assert found == f"+0.350 ± {T1 * 0.05:.3f}, p {p:.3f} ({p:.3f})"  # the larger of the column's two
    assert line(text, "base − GRPO")[2] == f"-0.005 ± {T1 * 0.005:.3f}, p 0.500 (0.500)"  # t = 1; the other has .012


def test_costs_are_told(tmp_path):
    assert line(readme(write_table(tmp_path), RESULTS), "GRPO", 2) == ["GRPO", "10", "3"]


def test_what_was_not_run_is_left_open(tmp_path):
    folder = write_table(tmp_path)
    one = {name: RESULTS[name] for name in ("mixed-grpo-seed1", "mixed-sft_then_grpo-seed1")}
    text = readme(folder, one)
    assert "2 of 4 cells" in text
    assert line(text, "GRPO")[1] == "0.400 (1 of 2)"
    text = readme(
        folder, {"mixed-grpo-seed1": RESULTS["mixed-grpo-seed1"], "gone-grpo-seed1": RESULTS["mixed-grpo-seed1"]}
    )
    assert "1 of 4 cells" in text
    assert line(text, "SFT, then GRPO")[1:] == ["–", "–", "–"]
    assert "None of the 4 cells was run yet" in readme(folder, {})


def test_where_the_numbers_come_from_is_told(tmp_path):
    changed = {**RESULTS, "mixed-grpo-seed2": {**RESULTS["mixed-grpo-seed2"], "commits": ["def"], "code": "1"}}
    text = readme(write_table(tmp_path), changed)
    assert "* commit abc, def; the code of 2 versions made them" in text
    assert "* machine: a CPU, 2 CPUs, torch 2.0, 2 cells at a time" in text
    dirty = {**RESULTS, "mixed-grpo-seed2": {**RESULTS["mixed-grpo-seed2"], "uncommitted": True}}
    assert "* commit abc with uncommitted changes\n" in readme(tmp_path, dirty)


@pytest.mark.parametrize(
    ("bar", "expected"),
    [
        ({"kind": "below", "row": "grpo", "metric": "hard", "bound": 0.02},
         "stays under 0.02 at every evaluation: 2 of 2 seeds (largest 0.010): holds"),
        ({"kind": "below", "row": "grpo", "metric": "hard", "bound": 0.01},
         "1 of 2 seeds (largest 0.010): **does not hold**"),
        ({"kind": "below", "row": "base", "metric": "easy", "bound": 0.5}, "2 of 2 seeds (largest 0.400): holds"),
        ({"kind": "apart", "row": "sft_then_grpo", "metric": "hard", "against": "grpo"},
         f"0.510 ± {T1 * 0.01:.3f} against 0.005 ± {T1 * 0.005:.3f}, 2 seeds: holds"),
        ({"kind": "apart", "row": "sft_then_grpo", "metric": "easy", "against": "grpo"}, "**does not hold**"),
    ],
)  # fmt: skip
def test_bars(tmp_path, bar, expected):
    there = read(write_table(tmp_path, bars=[{**bar, "training": "mixed"}]))
    assert expected in told(Readings(there, RESULTS), there.bars[0])


@pytest.mark.parametrize("kind", ["below", "apart"])
def test_a_bar_holds_only_when_every_seed_was_run(tmp_path, kind):
    bar = {"kind": kind, "row": "grpo", "training": "mixed", "metric": "hard", "bound": 1.0, "against": "base"}
    there = read(write_table(tmp_path, bars=[bar]))
    found = told(Readings(there, {"mixed-grpo-seed1": RESULTS["mixed-grpo-seed1"]}), there.bars[0])
    assert "1" in found
    assert "hold" not in found


def test_a_block_over_a_share_has_a_picture_of_it(tmp_path):
    trainings = {
        name: {"label": name, "overrides": [], "share": share} for name, share in (("mixed", 0.0), ("wrong", 0.5))
    }
    folder = write_table(
        tmp_path, trainings=trainings, blocks__methods__trainings=["mixed", "wrong"], blocks__methods__axis="share"
    )
    readme(folder, {**RESULTS, **{name.replace("mixed", "wrong"): one for name, one in RESULTS.items()}})
    assert (folder / "methods.png").read_bytes().startswith(b"\x89PNG")


def test_the_report_alone_is_made_from_the_results_and_the_verdict_of_the_author(tmp_path, capsys):
    folder = write_table(tmp_path / "small")
    save(folder, RESULTS)
    (folder / "verdict.md").write_text("It does.\n")
    assert table.main([str(folder), "--report"]) == 0
    assert "## Verdict\n\nIt does.\n" in (folder / "README.md").read_text()
    assert not (folder / "snapshots").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--rows", "gpro"], "--rows=gpro: the table has none of this name; did you mean 'grpo'?"),
        (["--seeds", "3"], "--seeds=3: the table has none of this name; there are: 1, 2"),
        (["--blocks", "x"], "--blocks=x: the table has none of this name"),
        (["--at-once", "0"], "--at-once=0: at least one cell goes on at a time; use 1 or more"),
    ],
)
def test_what_the_command_line_may_not_say(tmp_path, capsys, arguments, expected):
    folder = write_table(tmp_path)
    assert table.main([str(folder), *arguments]) == 2
    assert expected in capsys.readouterr().err


def test_a_table_that_is_not_there(capsys):
    assert table.main(["lab_reasonign"]) == 2
    assert "table=lab_reasonign: there is no" in capsys.readouterr().err
