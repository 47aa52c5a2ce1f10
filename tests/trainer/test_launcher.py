"""A sweep of jobs that take no time: which are started, continued, left alone, and what is said of them."""

from __future__ import annotations

import fcntl
import json
import logging
import signal
import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from llmft.config import ROOT, Stop, compose, launch, snapshot
from llmft.trainer import provenance
from llmft.trainer.launcher import Sweep

FILES = {"data": {"easy": "1"}, "model": {}}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The options of a whole config in one file, which composes much faster than one of groups."""
    folder = tmp_path_factory.mktemp("saved")
    (folder / "config.yaml").write_text(snapshot(compose(["extras.print_config=false"])))
    return ["--config-dir", str(folder), "--config-name", "config"]


@pytest.fixture
def world(tmp_path, monkeypatch, saved):
    """What a job does, by seed, and what the jobs did."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("llmft.trainer.jobs.files_now", lambda: lambda cfg: FILES)
    code = provenance.code(ROOT)
    monkeypatch.setattr(provenance, "code", lambda root: code)  # that of a moment ago, whoever edits files now
    handlers = logging.getLogger().handlers[:]
    yield World(saved)
    logging.getLogger().handlers[:] = handlers
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None


class World:
    def __init__(self, saved: list[str]) -> None:
        self.saved = saved
        self.ends: dict[int, BaseException | str] = {}  # by seed; the others end well
        self.started: list[tuple[int, bool]] = []  # seed, and whether it was to go on

    def main(self, cfg) -> float:
        folder = Path(HydraConfig.get().runtime.output_dir)
        self.started.append((cfg.seed, cfg.ckpt_path == str(folder)))
        end = self.ends.get(cfg.seed)
        if end != "killed before it begins":
            manifest = {"overrides": list(HydraConfig.get().overrides.task), "seed": cfg.seed, "files": FILES}
            (folder / "config.yaml").write_text(snapshot(cfg))
            (folder / "manifest.json").write_text(json.dumps({**manifest, "code": provenance.code(ROOT)}))
        if isinstance(end, Stop | Exception):
            status = "interrupted" if isinstance(end, Stop) else "failed"
            self.summarize(folder, cfg, status, error=str(end))
            raise end
        self.summarize(folder, cfg, "completed")
        return cfg.seed / 10

    def summarize(self, folder, cfg, status, **facts):
        facts |= {"objective": {"name": cfg.objective, "value": cfg.seed / 10}, "before": {cfg.objective: 0.05}}
        (folder / "summary.json").write_text(json.dumps({"status": status, "seconds": {"time/step_s": 83.4}, **facts}))

    def sweep(self, *arguments: str) -> int:
        """The exit code of ``python train.py -m ...``; ``started`` is what this sweep started."""
        return self.composed(*self.saved, *arguments)

    def composed(self, *arguments: str) -> int:
        """The same for a config of groups."""
        self.started = []
        sys_argv, sys.argv = sys.argv, ["train.py", "-m", *arguments]
        try:
            launch(self.main, sweep=Sweep)
        except SystemExit as ended:
            return int(ended.code or 0)
        finally:
            sys.argv = sys_argv
        return 0


def runs() -> dict[str, Path]:
    """The runs' folders by seed."""
    return {path.name.split("-")[0].removeprefix("seed"): path for path in Path("logs/train/multiruns").glob("seed*")}


def test_what_is_done_is_left_alone_and_what_is_new_runs(world, capsys):
    assert world.sweep("seed=1,2") == 0
    assert world.started == [(1, False), (2, False)]
    first = capsys.readouterr().out
    assert "[1/2] seed=1: starts in logs/train/multiruns/seed1-" in first
    assert "[2/2] seed=2: completed, heldout/accuracy 0.2000" in first
    assert "2 of 2 jobs completed" in first
    assert "0.1500 ± 0.6353" in first  # t(0.975, 1) = 12.7062, deviation 0.0707, over sqrt(2)

    assert world.sweep("seed=3,2,1") == 0  # in another order, and one more
    assert world.started == [(3, False)]
    second = capsys.readouterr().out
    assert "[2/3] seed=2: completed before, in logs/train/multiruns/seed2-" in second
    assert "3 of 3 jobs completed" in second
    assert "0:01:23" in second

    assert world.composed("seed=1", "algorithm=grpo,dr_grpo") == 0
    assert world.started == [(1, False)]
    third = capsys.readouterr().out
    assert "[1/2] algorithm=grpo: completed before" in third  # it is the default: typed or not
    assert "2 of 2 jobs completed" in third


@pytest.mark.parametrize("batches", [[], ["hydra.sweeper.max_batch_size=1"]])
def test_a_job_that_fails_stops_no_other(batches, world, capsys):
    world.ends = {1: RuntimeError("broken\nhere"), 2: Stop(3, "the loss is not finite")}
    assert world.sweep("seed=1,2,3", *batches) == 1
    assert [seed for seed, _ in world.started] == [1, 2, 3]
    told = capsys.readouterr()
    assert "RuntimeError: broken" in told.err
    assert "seed=1: failed: here" in told.out
    assert "1 of 3 jobs completed" in told.out

    (runs()["2"] / "summary.json").write_text('{"status": "failed", "error": "the loss is not finite"}')
    world.ends = {}
    assert world.sweep("seed=1,2,3", *batches) == 1
    assert world.started == []
    told = capsys.readouterr().out
    assert "seed=1: failed, in logs/train/multiruns/seed1-" in told
    assert ": the loss is not finite" in told
    assert "taken up again with sweep.retry_failed=true" in told

    assert world.sweep("seed=1,2,3", "sweep.retry_failed=true", *batches) == 0
    assert world.started == [(1, True), (2, True)]


def test_an_interruption_ends_the_sweep_and_what_it_cut_goes_on(world, capsys):
    world.ends = {2: Stop(143, "told to stop")}
    assert world.sweep("seed=1,2,3") == 143
    assert [seed for seed, _ in world.started] == [1, 2]
    told = capsys.readouterr().out
    assert "[2/3] seed=2: interrupted" in told
    assert "1 of 3 jobs completed" in told
    assert "not started" in told
    world.ends = {}
    assert world.sweep("seed=1,2,3") == 0
    assert world.started == [(2, True), (3, False)]


def test_a_signal_between_two_jobs(world, capsys):
    after = world.summarize

    def summarize(*arguments, **facts):
        after(*arguments, **facts)
        signal.raise_signal(signal.SIGTERM)

    world.summarize = summarize
    before = signal.getsignal(signal.SIGTERM)
    assert world.sweep("seed=1,2") == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert "not started" in capsys.readouterr().out


def test_what_was_killed_goes_on(world):
    world.ends = {1: "killed before it begins"}
    assert world.sweep("seed=1,2") == 0
    world.ends = {}
    status = json.loads((runs()["2"] / "summary.json").read_text())
    (runs()["2"] / "summary.json").write_text(json.dumps({**status, "status": "running"}))
    assert world.sweep("seed=1,2") == 0
    assert world.started == [(1, False), (2, True)]
    (runs()["2"] / "summary.json").unlink()  # before its first summary
    assert world.sweep("seed=1,2") == 0
    assert world.started == [(2, True)]


def test_what_another_process_runs_is_left_to_it(world, capsys):
    world.sweep("seed=1,2")
    with (runs()["1"] / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert world.sweep("seed=1,2,3") == 1
        told = capsys.readouterr().out
        assert world.started == [(3, False)]
        assert "[1/3] seed=1: running elsewhere, in" in told
        assert "2 of 3 jobs completed" in told
    assert world.sweep("seed=1,2,3") == 0
    assert world.started == []


def test_what_another_process_finishes_meanwhile_is_done(world):
    world.sweep("seed=1")
    lock = (runs()["1"] / ".lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    plain = world.main
    world.main = lambda cfg: (lock.close(), plain(cfg))[1]
    assert world.sweep("seed=1,2") == 0
    assert world.started == [(2, False)]


def test_two_jobs_that_would_compute_the_same_run_once(world, capsys):
    assert world.sweep("seed=1,1", "trainer.max_steps=3,3") == 0
    assert world.started == [(1, False)]
    assert "the same job as" in capsys.readouterr().out


def test_faults_are_told_of_all_jobs_before_one_starts(world, capsys):
    assert world.composed("algorithm=sft,grpo", "algorithm.group_size=1,4", "trainer.max_steps=0") == 2
    assert world.started == []
    assert [line.split("; there are")[0] for line in capsys.readouterr().err.splitlines()] == [
        "No job was started: 4 faults in the config:",
        "  algorithm.group_size=1: algorithm=sft has no such key",
        "    in the job algorithm=sft algorithm.group_size=1",
        "  trainer.max_steps=0: expected greater than or equal to 1; change it",
        "    in every job",
        "  algorithm.group_size=4: algorithm=sft has no such key",
        "    in the job algorithm=sft algorithm.group_size=4",
        "  algorithm.group_size=1: a group of one has no advantage; use 2 or more",
        "    in the job algorithm=grpo algorithm.group_size=1",
    ]


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("hydra/launcher=joblib", "hydra/launcher=joblib: it runs job after job in the same processes"),
        ("hydra/launcher=ray", "hydra/launcher=ray: it is not installed; pip install hydra-ray-launcher"),
        ("hydra/launcher=submitit", "hydra/launcher=submitit: there is no such option; did you mean 'submitit_"),
        ("hydra.sweep.subdir=x", "hydra.sweep.subdir=x: a sweep's runs are named by their configs"),
        ("sweep.at_once=0", "sweep.at_once=0: at least one job runs at a time; use 1 or more, or null"),
        ("sweep.retry=true", "sweep.retry=true: there is no such key; there are: at_once, retry_failed"),
    ],
)
def test_what_a_sweep_does_not_offer(typed, told, world, capsys):
    assert world.sweep("seed=1,2", typed) == 2
    assert world.started == []
    assert told in capsys.readouterr().err


def test_a_run_of_other_files_or_another_config_is_not_taken_for_the_job(world, capsys):
    world.sweep("seed=1,2,3")
    manifest = json.loads((runs()["1"] / "manifest.json").read_text())
    manifest["files"] = {"data": {"easy": "2"}, "model": {"config.json": "3"}}
    (runs()["1"] / "manifest.json").write_text(json.dumps(manifest))
    config = (runs()["2"] / "config.yaml").read_text()
    (runs()["2"] / "config.yaml").write_text(config.replace("max_steps: 150", "max_steps: 160"))
    capsys.readouterr()
    assert world.sweep("seed=1,2,3") == 1
    assert world.started == []
    told = capsys.readouterr().out
    assert "not the files that the run was made from: data: easy; model: config.json; bring them back, or move" in told
    assert "the run was continued with another config; move its folder away" in told
    assert "1 of 3 jobs completed" in told
    assert told.count("refused") == 2


def test_a_run_of_other_code_is_marked(world, capsys, monkeypatch):
    world.sweep("seed=1")
    monkeypatch.setattr(provenance, "code", lambda root: {"commit": "abc", "uncommitted": None})
    capsys.readouterr()
    assert world.sweep("seed=1,2") == 0
    told = capsys.readouterr().out
    assert told.count("completed *") == 1
    assert "* begun with other code than what is here now" in told


def test_a_clusters_launcher_is_given_what_is_left_to_do(world, monkeypatch):
    """Hydra's own stands in for one: it is handed overrides, and knows nothing of runs."""
    monkeypatch.setattr("llmft.trainer.launcher.BASIC", "another")
    world.ends = {2: RuntimeError("broken")}
    assert world.sweep("seed=1,2") == 1
    assert world.started == [(1, False), (2, False)]
    world.ends = {}
    assert world.sweep("seed=1,2,3", "sweep.retry_failed=true") == 0
    assert world.started == [(2, True), (3, False)]
