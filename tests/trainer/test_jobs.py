"""How a job stands in its folder, what it is compared by, and how many run side by side."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from llmft.config import compose
from llmft.trainer.jobs import FREE, Job, files_now, plan, read, written
from llmft.trainer.launcher import brief
from llmft.trainer.processes import NO_LIMIT, minutes, room_for
from llmft.trainer.provenance import differing_files


def test_a_folder_is_written_as_long_as_its_lock_is_held(tmp_path):
    assert not written(tmp_path / "nowhere")
    assert not written(tmp_path)
    with (tmp_path / ".lock").open("w") as lock:
        assert not written(tmp_path)
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert written(tmp_path)
    assert not written(tmp_path)
    assert read(tmp_path / "summary.json") == {}


def test_files_are_hashed_once_and_compared_by_kind(tiny_folder):
    find = files_now()
    cfg = compose(["model=hf", f"model.path={tiny_folder}", "dataset.train=8", "dataset.heldout=4", "dataset.test=4"])
    files = find(cfg)
    assert files["data"].keys() == {"addition/train", "addition/heldout", "addition/test"}
    assert "model.safetensors" in files["model"]
    assert find(cfg) is files
    assert find(compose(["model=scratch", "dataset.train=9"])) is not files
    assert differing_files(files, files) == []
    now = {"data": {**files["data"], "addition/train": "1", "more": "2"}, "model": {}, "config": {"x": "3"}}
    gone = [f"model: {name}" for name in sorted(files["model"])]
    assert differing_files(files, now) == ["data: addition/train", "data: more", *gone]


@given(st.text(alphabet="a'\"{}=, ", min_size=1))
def test_a_folder_survives_as_an_override(name):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    folder = Path("/runs") / name / "seed1-0123456789"
    lines = Job(0, (), compose_once(), folder, "").continued().lines
    parsed = [OverridesParser.create().parse_override(line) for line in lines]
    assert [one.key_or_group for one in parsed] == ["hydra.sweep.subdir", "ckpt_path", "resume.allow"]
    assert [one.value() for one in parsed] == [folder.name, str(folder), FREE]


def compose_once():
    return OmegaConf.create({"ckpt_path": None, "resume": {"allow": []}})


def test_the_order_of_overrides_does_not_name_a_job():
    def composed(overrides):
        return compose(overrides, with_hydra=True)

    lines = ["algorithm=dr_grpo", "optimizer.lr=0.01", "seed=3"]
    one, twin = plan(composed, [lines], 0)[0], plan(composed, [lines[::-1]], 5)[0]
    assert one.folder == twin.folder
    assert one.folder.name.startswith("seed3-")
    assert (twin.number, twin.cfg.hydra.job.num) == (5, 5)
    jobs = plan(composed, [[*lines, f"trainer.max_steps={steps}"] for steps in (7, 8)], 0)
    assert len({one.folder, *(job.folder for job in jobs)}) == 3
    assert [job.name for job in jobs] == ["trainer.max_steps=7", "trainer.max_steps=8"]


@pytest.mark.parametrize(
    ("trainer", "cpus", "jobs"),
    [
        ({"accelerator": "cpu", "threads": 1, "devices": 1}, 8, 8),
        ({"accelerator": "cpu", "threads": 3, "devices": 1}, 8, 2),
        ({"accelerator": "cpu", "threads": 2, "devices": 2}, 8, 2),
        ({"accelerator": "cpu", "threads": 4, "devices": 4}, 8, 1),
        ({"accelerator": "cpu", "threads": None, "devices": 1}, 8, 1),
        ({"accelerator": "gpu", "threads": 1, "devices": 1}, 8, 1),
        ({"accelerator": "auto", "threads": 1, "devices": 1}, 8, 1),
    ],
)
def test_how_many_jobs_run_side_by_side(trainer, cpus, jobs, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cpus)), raising=False)
    assert room_for(OmegaConf.create({"trainer": trainer})) == jobs


def test_a_job_has_no_limit_unless_one_is_typed():
    local = ["hydra/launcher=submitit_local"]
    assert minutes(compose(local, with_hydra=True)) == NO_LIMIT
    assert minutes(compose([*local, "hydra.launcher.timeout_min=60"], with_hydra=True)) == 60


@pytest.mark.parametrize(
    ("error", "told"),
    [("", ""), ("one line", "one line"), ("Traceback:\n  File x\nValueError: no\n\n", "ValueError: no")],
)
def test_the_last_line_says_most(error, told):
    assert brief(error) == told
    assert len(brief("word " * 100)) <= 200
