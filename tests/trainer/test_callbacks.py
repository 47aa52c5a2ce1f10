"""What happens after a step: the sampler hears of new weights, the best checkpoint stays."""

from __future__ import annotations

import json

import pytest

from llmft.trainer import shelf
from llmft.trainer.metrics import read


def told(name, values):
    """In place of an evaluation: these values, one after another."""
    values = iter(values)
    return lambda policy, rollouts, seeds: {name: next(values)}


@pytest.mark.parametrize(
    ("objective", "values", "best"),
    [
        ("heldout/accuracy", [0.9, 0.1, 0.8, 0.2, 0.3, 0.4], 2),  # what was before the first step has no checkpoint
        ("heldout/perplexity", [9.0, 8.0, 7.0, 3.0, 6.0, 5.0], 3),
        ("heldout/accuracy", [0.5, 0.5, 0.5, 0.5, 0.5, 0.5], 1),  # the first of equals
        ("heldout/accuracy", [0.0, float("nan"), 0.1, float("nan"), 0.0, 0.0], 2),
    ],
)
def test_the_best_by_the_objective_stays(objective, values, best, session, tmp_path):
    one = session("sft", evaluate=1, max_steps=5, checkpoint_every=9, keep_checkpoints=1)
    one.run.objective = objective
    one.trainer.evaluation.run = told(objective, values)
    one.fit()
    kept = [shelf.step_of(path) for path in shelf.listed(tmp_path / "run" / "checkpoints")]
    assert kept == [5, best]
    newest = tmp_path / "run" / "checkpoints" / "step_000005" / "state.json"
    assert json.loads(newest.read_text())["callbacks"]["Save"] == {"step": best, "value": values[best]}


def test_the_sampler_hears_of_every_step_that_changed_the_weights(session):
    one, heard = session("grpo", max_steps=3), []
    one.trainer.sampler.sync = lambda policy, version: heard.append(version)
    one.fit()
    assert heard == [0, 2, 4, 6]  # two updates per step


def test_what_is_logged_and_sampled_and_how_often(session, tmp_path):
    session("sft", evaluate=None, max_steps=7, log_every=3, samples_every=4, checkpoint_every=5).fit()
    assert [row["step"] for row in read(tmp_path / "run" / "metrics.csv")] == [3, 6, 7]
    lines = (tmp_path / "run" / "samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [4, 4, 7, 7]
    kept = [shelf.step_of(path) for path in shelf.listed(tmp_path / "run" / "checkpoints")]
    assert kept == [7, 5]


def test_a_logger_gets_the_rows_and_the_config(session, tmp_path):
    from lightning.pytorch.loggers import CSVLogger

    class Opener:
        def open(self, run):
            return CSVLogger(run.path, name="csv", version="")

    one = session("sft", max_steps=2)
    one.trainer.loggers = {"csv": Opener()}
    (tmp_path / "run" / "config.yaml").write_text("seed: 3\n")
    one.fit()
    rows = read(tmp_path / "run" / "metrics.csv")
    theirs = read(tmp_path / "run" / "csv" / "metrics.csv")
    assert [row["train/loss"] for row in theirs if "train/loss" in row] == [row["train/loss"] for row in rows[1:]]
    assert "seed: 3" in (tmp_path / "run" / "csv" / "hparams.yaml").read_text()
