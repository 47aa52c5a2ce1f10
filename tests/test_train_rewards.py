"""Runs whose reward breaks: a few failures are counted by reason and train nothing, many stop the run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from breaking import BROKEN
from lives import train_module
from small_runs import SMALL, summary

from llmft.config import ROOT, ConfigError, check, compose, settings, snapshot
from llmft.trainer.metrics import read
from llmft.trainer.start import Start

STEPS = [
    "algorithm.tasks_per_step=16", "algorithm.group_size=8", "trainer.max_steps=3", "rollout.max_new_tokens=12",
    "evaluation.every=null", "objective=train/reward_mean", "trainer.checkpoint_every=3",
]  # fmt: skip
PER_STEP = 16 * 8
REASONS = {how: BROKEN.get(how, "0 values for 1 rollouts").split(": ")[0] for how in (*BROKEN, "short")}


def overrides(how: str, share: float, target: str = "Sometimes") -> list[str]:
    part = "+reward.parts.odd"
    return [
        f"{part}._target_=breaking.{target}", f"{part}.how='{how}'", f"{part}.share={share}", "+reward.weights.odd=1",
        f"reward.timeout_s={1 if how == 'hang' else 20}",
    ]  # fmt: skip


@pytest.fixture
def run(tiny_folder, monkeypatch, tmp_path):
    """``run("algorithm.group_size=4")``: the rows of a run's metrics."""
    from llmft.trainer import curves

    monkeypatch.setenv("LLMFT_TARGETS", "breaking.")
    monkeypatch.setattr(curves, "draw", lambda *_: None)

    def job(*asked: str) -> list[dict]:
        cfg = compose([*SMALL, f"model.path={tiny_folder}", *STEPS, *asked])
        check(cfg)
        folder = tmp_path / "run"
        folder.mkdir()
        train_module().fit(cfg, Start(folder, snapshot(cfg), settings(cfg), asked, {"model": "hf"}, None))
        return read(folder / "metrics.csv")

    return job


@pytest.mark.parametrize("how", ["hang", "raise", "nan", "none", "short", "exit"])
def test_one_in_a_hundred_goes_on_and_is_counted(how, run):
    rows = run(*overrides(how, 0.01), "reward.max_failure_rate=0.06")
    named = f"train/failed/odd: {REASONS[how]}"
    assert len(rows) == 3
    assert sum(row["train/failed"] for row in rows) >= 1
    assert [row.get(named, 0) for row in rows] == [row["train/failed"] for row in rows]
    assert all(row["train/reward_mean"] >= row["reward/odd"] > 1 for row in rows)  # no 0 has come among the lengths


@pytest.mark.parametrize("how", ["hang", "raise", "nan", "none", "short", "kill"])
def test_too_many_stop_the_run_which_says_which_and_why(how, run):
    with pytest.raises(RuntimeError) as error:
        run(*overrides(how, 0.1), "reward.max_failure_rate=0.02")
    said, *listed = str(error.value).splitlines()
    assert said.startswith("reward.max_failure_rate=0.02: the reward itself failed on ")
    assert f"of {PER_STEP} rollouts" in said
    assert f" x odd: {REASONS[how]})" in said
    assert listed[0].startswith("  task 'addition-")
    assert f": odd: {REASONS[how]}" in listed[0]


def test_the_same_in_the_trainers_own_process(run):
    rows = run(*overrides("raise", 0.01, "SometimesHere"), "reward.max_failure_rate=0.06")
    assert sum(row["train/failed/odd: ValueError"] for row in rows) == sum(row["train/failed"] for row in rows) >= 1


def test_a_class_that_a_config_may_not_name_is_not_imported(run, monkeypatch):
    monkeypatch.delenv("LLMFT_TARGETS")
    with pytest.raises(ConfigError, match="may not name this, so it was not imported"):
        run(*overrides("raise", 0.01))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["hang", "segfault"])
def test_from_the_command_line(how, tmp_path, tiny_folder):
    asked = [*SMALL, f"model.path={tiny_folder}", *STEPS, *overrides(how, 0.5), f"hydra.run.dir={tmp_path / 'run'}"]
    ended = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *asked],
        env={**os.environ, "LLMFT_TARGETS": "breaking.", "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert f"odd: {REASONS[how]}" in ended.stderr
    assert summary(tmp_path / "run")["status"] == "failed"
    assert "reward.max_failure_rate=0.02: the reward itself failed on" in summary(tmp_path / "run")["error"]
