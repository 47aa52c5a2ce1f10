"""A sweep as a user starts it, killed and started again: every job ends, once, in the bits of one that ran in peace."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_runs import KINDS, SMALL, summary, weights

from llmft.config import ROOT
from llmft.trainer.metrics import read

pytestmark = pytest.mark.slow
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
PROCESSES = "hydra/launcher=submitit_local"
STEPS = ["trainer.max_steps=40", "evaluation.every=20", "trainer.checkpoint_every=5", "trainer.samples_every=20"]


class Swept:
    """A sweep in a folder, and how to start and end it."""

    def __init__(self, folder: Path, model: Path, *overrides: str) -> None:
        self.folder, self.log = folder, folder / "log"
        self.options = [*SMALL, f"model.path={model}", *KINDS["sft"], *STEPS]
        self.command = [sys.executable, str(ROOT / "train.py"), "-m", *self.options, *overrides]
        folder.mkdir(exist_ok=True)

    def start(self, *overrides: str) -> subprocess.Popen:
        with self.log.open("w") as log:
            return subprocess.Popen([*self.command, *overrides], cwd=self.folder, env=ENVIRONMENT, stdout=log,
                                    stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip

    def finish(self, *overrides: str) -> int:
        return self.start(*overrides).wait(timeout=300)

    def alone(self, run: Path) -> Path:
        """The job of ``run`` by itself, in another folder."""
        folder = self.folder / f"alone-{run.name}"
        again = ["--config-dir", str(run), "--config-name", "config", f"hydra.run.dir={folder}"]
        done = subprocess.run(
            [sys.executable, str(ROOT / "train.py"), *again], env=ENVIRONMENT, timeout=300, check=False
        )
        assert done.returncode == 0
        return folder

    def runs(self) -> list[Path]:
        return sorted((self.folder / "logs" / "train" / "multiruns").glob("seed*"))

    def steps(self) -> int:
        """That all runs have made together."""
        found = [read(run / "metrics.csv") for run in self.runs() if (run / "metrics.csv").exists()]
        return sum(int(rows[-1]["step"]) for rows in found if rows)

    def completed(self) -> dict[str, bytes]:
        found = {run: run / "summary.json" for run in self.runs() if (run / "summary.json").exists()}
        return {run.name: file.read_bytes() for run, file in found.items() if summary(run)["status"] == "completed"}

    def wait_for(self, process: subprocess.Popen, steps: int) -> None:
        deadline = time.monotonic() + 200
        while self.steps() < steps:
            assert process.poll() is None, (
                f"the sweep ended before it was to be killed:\n{self.log.read_text()[-3000:]}"
            )
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def began(self) -> list[str]:
        """What the newest process said of each job when it took it up."""
        return re.findall(
            r"^\[\d/\d\] .*?: (starts|goes on|completed before)", self.log.read_text(), flags=re.MULTILINE
        )

    def resumed(self, run: Path) -> int:
        return len(json.loads((run / "manifest.json").read_text()).get("resumed", []))

    def children(self) -> list[int]:
        """The processes of jobs that are alive."""
        pids = [int(file.read_text()) for file in self.folder.glob("logs/train/multiruns/.submitit/*/pid")]
        return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_eight_jobs_killed_three_times(tmp_path, tiny_folder):
    """SIGKILL of the whole process group, at random moments: in a step, an evaluation, a save, between two jobs."""
    swept, rng = Swept(tmp_path, tiny_folder, "seed=1,2,3,4", "optimizer.lr=1e-3,1e-2"), random.Random(8)
    done: dict[str, bytes] = {}
    for steps in (50, 150, 250):
        process = swept.start()
        swept.wait_for(process, steps + rng.randrange(30))
        time.sleep(rng.uniform(0, 0.3))
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert done.items() <= swept.completed().items(), "a job that was completed ran again"
        done = swept.completed()
    assert swept.finish() == 0
    assert "8 of 8 jobs completed" in swept.log.read_text()
    assert len(swept.began()) == len(swept.completed()) == 8
    assert swept.began().count("completed before") == len(done) >= 5
    assert done.items() <= swept.completed().items()
    cut = [run for run in swept.runs() if swept.resumed(run)]
    assert 1 <= len(cut) <= 3
    for run in cut[:2]:
        assert weights(run) == weights(swept.alone(run))

    assert swept.finish() == 0
    assert swept.began() == ["completed before"] * 8


def test_in_processes_of_their_own(tmp_path, tiny_folder):
    """SIGKILL of the sweep, a restart at once, Ctrl-C, a further seed: nobody is left behind, nothing runs twice."""
    swept = Swept(tmp_path, tiny_folder, PROCESSES, "sweep.at_once=2")
    process = swept.start("seed=1,2,3")
    swept.wait_for(process, 20)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process = swept.start("seed=1,2,3")  # the jobs of the first may still be saving
    swept.wait_for(process, 55)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait(timeout=60) == 130
    assert swept.children() == []
    told = swept.log.read_text()
    assert "of 3 jobs completed" in told
    assert "interrupted" in told
    for run in swept.runs():
        assert summary(run)["status"] in ("interrupted", "completed")
    assert swept.finish("seed=1,2,3,4") == 0
    assert "4 of 4 jobs completed" in swept.log.read_text()
    cut = [run for run in swept.runs() if swept.resumed(run)]
    assert cut
    assert weights(cut[0]) == weights(swept.alone(cut[0]))


def test_a_job_that_fails_in_its_process(tmp_path, tiny_folder):
    swept = Swept(tmp_path, tiny_folder, PROCESSES, "seed=1", "optimizer.lr=1e-3,1e30", "trainer.max_grad_norm=null")
    assert swept.finish() == 1
    told = swept.log.read_text()
    assert "optimizer.lr=1e+30: failed:" in told
    assert "1 of 2 jobs completed" in told
    failed = next(run for run in swept.runs() if summary(run)["status"] == "failed")
    log = next((swept.runs()[0].parent / ".submitit" / failed.name).glob("*.out")).read_text()
    assert "Tasks of the batch: addition-" in log


def test_a_job_on_two_processes_in_its_process(tmp_path, tiny_folder):
    swept = Swept(tmp_path, tiny_folder, PROCESSES, "trainer=ddp_sim", "trainer.max_steps=2", "seed=1")
    assert swept.finish() == 0, swept.log.read_text()
    assert summary(swept.runs()[0])["status"] == "completed"
