"""The run folder: one writer, one run, and what it says about how it ended."""

from __future__ import annotations

import json

import pytest

from llmft import durable
from llmft.config import Stop
from llmft.trainer.run import RunFolder

MANIFEST = {"files": {"data": {}, "model": {}}, "versions": {"torch": "2"}}


def opened(path):
    return RunFolder(path, objective="heldout/accuracy", tokens=None)


def summary(path):
    return json.loads((path / "summary.json").read_text())


def test_two_processes_cannot_write_one_run(tmp_path, record_property):
    with opened(tmp_path) as first:
        first.begin("seed: 1\n", MANIFEST)
        with pytest.raises(Stop, match="another process is writing this run") as stop:
            opened(tmp_path)
        assert stop.value.code == 2
    opened(tmp_path).close()  # the lock went with the first
    record_property("10", "the second: refused with exit 2")


def test_a_folder_holds_one_run(tmp_path):
    with opened(tmp_path) as run:
        run.begin("seed: 1\n", MANIFEST)
    with opened(tmp_path) as again, pytest.raises(Stop, match="a run is there already; continue it with ckpt_path="):
        again.begin("seed: 2\n", MANIFEST)
    assert (tmp_path / "config.yaml").read_text() == "seed: 1\n"


def test_the_summary_says_where_it_stands(tmp_path):
    with opened(tmp_path) as run:
        run.begin("seed: 1\n", MANIFEST)
        assert summary(tmp_path)["status"] == "running"
        run.log(0, {"heldout/accuracy": 0.25})
        run.log(3, {"train/loss": 1.0})
        run.log(4, {"train/loss": 0.5, "heldout/accuracy": 0.5})
        run.summarize("completed", seconds={"time/update_s": 1.5})
        assert run.value() == 0.5
    got = summary(tmp_path)
    assert got["objective"] == {"name": "heldout/accuracy", "value": 0.5}
    assert (got["before"], got["after"]) == ({"heldout/accuracy": 0.25}, {"heldout/accuracy": 0.5})
    assert got["metrics"] == {"heldout/accuracy": 0.5, "train/loss": 0.5}
    assert (got["step"], got["seconds"]) == (4, {"time/update_s": 1.5})


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RuntimeError("the reward broke"), "failed", 1),
        (Stop(3, "not finite"), "failed", 3),
        (Stop(143, "asked to stop"), "interrupted", 143),
        (KeyboardInterrupt(), "interrupted", 130),
    ],
)
def test_the_summary_says_how_it_ended(error, status, code, tmp_path):
    run = opened(tmp_path)
    run.begin("seed: 1\n", MANIFEST)
    with pytest.raises(type(error)), run:
        raise error
    got = summary(tmp_path)
    assert (got["status"], got["exit_code"]) == (status, code)
    assert str(error) in got["error"]


def test_an_objective_that_no_row_has_is_named(tmp_path):
    with opened(tmp_path) as run:
        run.begin("seed: 1\n", MANIFEST)
        run.log(1, {"train/loss": 1.0, "train/kl": 0.0})
        with pytest.raises(ValueError, match=r"objective=heldout/accuracy: .*choose one of train/loss, train/kl"):
            run.value()


def test_the_manifest_tells_of_every_continuation(tmp_path):
    with opened(tmp_path) as run:
        run.begin("seed: 1\n", MANIFEST)
    with opened(tmp_path) as run:
        run.resume("seed: 1\n", MANIFEST | {"versions": {"torch": "3"}}, ["trainer.max_steps"], max_steps=9)
    told = json.loads((tmp_path / "manifest.json").read_text())
    assert told["versions"] == {"torch": "2"}
    assert told["resumed"] == [{"from_step": 0, "changed": ["trainer.max_steps"], "versions": {"torch": "3"}}]


def test_a_file_is_there_whole_or_as_it_was(tmp_path, monkeypatch):
    durable.write_text(tmp_path / "summary.json", "old")

    def fail(*_):
        raise OSError("the power fails")

    monkeypatch.setattr(durable.os, "replace", fail)
    with pytest.raises(RuntimeError, match=r"summary\.json: cannot be written \(the power fails\)"):
        durable.write_text(tmp_path / "summary.json", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]
    assert (tmp_path / "summary.json").read_text() == "old"


def test_a_folder_that_cannot_be_written_fails_at_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Stop, match=r"hydra\.run\.dir=.*/file/run: choose a folder that can be written") as stop:
        opened(tmp_path / "file" / "run")
    assert stop.value.code == 2
