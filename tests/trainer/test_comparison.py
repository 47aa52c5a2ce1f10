"""The picture of several runs."""

from __future__ import annotations

import json

import pytest

from llmft.trainer.comparison import Point, draw, gathered, points
from llmft.trainer.metrics import MetricsLog

METRIC = "heldout/accuracy"


def run(folder, overrides, values):
    """A run that generated 10 tokens in each of its steps and was evaluated before each second one."""
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"overrides": overrides}))
    log = MetricsLog(folder / "metrics.csv")
    for step in range(2 * len(values) - 1):
        row = {"speed/generated_tokens": 10.0} if step else {}
        log.add(step, row | ({METRIC: values[step // 2]} if step % 2 == 0 else {}))


def test_points_carry_the_tokens_generated_until_then():
    rows = [{"step": 0, METRIC: 0.5}, {"step": 1, "speed/generated_tokens": 7.0}]
    rows.append({"step": 2, "speed/generated_tokens": 4.0, METRIC: 0.75})
    assert points(rows, METRIC) == [Point(0, 0.0, 0.5), Point(2, 11.0, 0.75)]


def test_runs_are_gathered_by_what_differs_but_the_seed(tmp_path):
    for algorithm in ("grpo", "dapo"):
        for seed in (1, 2):
            overrides = ["experiment=lab_grpo", f"algorithm={algorithm}", f"seed={seed}"]
            overrides = [*overrides[::-1], "sweep.at_once=1"] if seed == 2 else overrides  # the same setting
            run(tmp_path / f"{algorithm}{seed}", overrides, [0.25, 0.5 + seed / 10])
    found = gathered(tmp_path, METRIC)
    assert set(found) == {"algorithm=grpo", "algorithm=dapo"}
    assert [one[-1].value for one in found["algorithm=dapo"]] == pytest.approx([0.6, 0.7])


def test_a_picture_with_one_run_and_with_runs_of_other_lengths(tmp_path):
    one = [Point(0, 0, 0.1), Point(2, 20, 0.2)]
    draw({"alone": [one]}, tmp_path / "alone.png", METRIC)
    draw({"a": [one, one[:1]], "b": [[*one, Point(4, 40, 0.9)], one]}, tmp_path / "two.png", METRIC)
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("alone.png", "two.png"))
    assert len(list(tmp_path.iterdir())) == 2
