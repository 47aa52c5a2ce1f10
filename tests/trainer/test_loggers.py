"""Loggers write into the run's folder, and nowhere else."""

from __future__ import annotations

import pytest

from llmft.config import build, compose


@pytest.fixture(autouse=True)
def _at_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_MODE", "WANDB_DIR", "WANDB_ERROR_REPORTING"):
        monkeypatch.delenv(name, raising=False)


def test_csv_is_nothing_besides():
    assert build(compose(["logger=csv"]).logger) is None


def test_tensorboard(tmp_path):
    (named,) = build(compose(["logger=tensorboard"]).logger).values()
    logger = named.open(tmp_path / "run")
    logger.log_metrics({"train/loss": 1.0}, step=0)
    logger.finalize("success")
    assert list((tmp_path / "run" / "tensorboard").glob("events.out.tfevents.*"))


def test_wandb_is_offline_and_a_folder_is_one_run(tmp_path):
    named = build(compose(["logger=wandb", "tags=[a]"]).logger)["wandb"]
    assert (named.project, named.group, named.tags, named.offline) == ("llmft", "train", ["a"], True)
    first, again, other = (named.open(tmp_path / folder) for folder in ("run", "run", "elsewhere"))
    assert first.version == again.version != other.version


@pytest.mark.slow
def test_wandb_writes_into_the_run(tmp_path):
    (tmp_path / "run").mkdir()
    logger = build(compose(["logger=wandb"]).logger)["wandb"].open(tmp_path / "run")
    logger.log_metrics({"train/loss": 1.0}, step=0)
    logger.experiment.finish()
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*"))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_many_is_all_of_them():
    assert set(build(compose(["logger=many"]).logger)) == {"tensorboard", "wandb"}
