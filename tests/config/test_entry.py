"""How a process starts and ends: in a process of its own, with a job that is not ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmft.config import ROOT, ConfigError
from llmft.config.entry import continued, options_first

JOB = """
import sys
from pathlib import Path
from hydra.core.hydra_config import HydraConfig
from llmft.config import ConfigError, Stop, launch, snapshot
from llmft.trainer.launcher import Sweep

def main(cfg):
    folder = Path(HydraConfig.get().runtime.output_dir)
    (folder / "config.yaml").write_text(snapshot(cfg))
    print("JOB", cfg.seed, cfg.trainer.max_steps, folder, flush=True)
    ends = {
        2: ConfigError(["data.file: empty; give another"]), 3: Stop(3, "not finite"), 4: RuntimeError("broken"),
        5: KeyboardInterrupt(), 6: Stop(143, "told to stop"),
    }
    if cfg.seed in ends:
        raise ends[cfg.seed]
    return 0.5

if __name__ == "__main__":
    launch(main, sweep=Sweep)
"""


@pytest.fixture
def run(tmp_path):
    """``run("seed=2")``: the finished process of a job, started in a folder of its own."""
    (tmp_path / "job.py").write_text(JOB)

    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "job.py", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, env={**os.environ})

    return start


@pytest.mark.parametrize(
    ("seed", "code", "message"),
    [
        (1, 0, ""),
        (2, 2, "1 fault in the config:\n  data.file: empty; give another\n"),
        (3, 3, "not finite\n"),
        (5, 130, "interrupted\n"),
        (6, 143, "told to stop\n"),
    ],
)
def test_exit_codes(run, seed, code, message):
    done = run(f"seed={seed}")
    assert (done.returncode, done.stderr) == (code, message)
    assert done.stdout.startswith(f"JOB {seed} ")


def test_a_refused_config_leaves_no_folder_but_what_was_there_stays(run, tmp_path):
    writes = '(folder / "config.yaml").write_text(snapshot(cfg))'
    (tmp_path / "job.py").write_text(JOB.replace(writes, "pass"))
    run("seed=2")
    assert list((tmp_path / "logs" / "train" / "runs").iterdir()) == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    run("seed=2", "hydra.run.dir=mine")
    assert (tmp_path / "mine" / "notes.txt").exists()


def test_an_error_keeps_its_traceback(run):
    done = run("seed=4")
    assert done.returncode == 1
    assert "RuntimeError: broken" in done.stderr
    assert "in main" in done.stderr


def test_a_config_that_cannot_be_composed(run, tmp_path):
    done = run("algorithm=grop", "sede=1")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "2 faults in the config:",
        "  algorithm=grop: there is no such option; did you mean 'grpo'?",
        "  sede=1: there is no such key; did you mean 'seed'?",
    ]
    assert run("--config-dir", "nowhere").returncode == 2
    assert run("--experimental-rerun", "config.pickle").returncode == 2
    assert not (tmp_path / "logs").exists()


def test_what_may_not_be_asked_of_hydra_is_refused_before_hydra_does_it(run, tmp_path):
    (tmp_path / "evil.py").write_text("open('ran', 'w')\nclass Callback: pass\n")
    (tmp_path / "config.yaml").write_text("hydra: {callbacks: {one: {_target_: evil.Callback}}}\n")
    done = run("--config-dir", str(tmp_path), "--config-name", "config")
    assert done.returncode == 2
    assert "hydra.callbacks" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_in_a_sweep_the_other_jobs_run_on(run):
    done = run("-m", "seed=2,3,1")
    assert done.returncode == 1
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("JOB")] == ["2", "3", "1"]
    assert "data.file: empty" in done.stderr


def test_an_interruption_ends_a_sweep(run):
    done = run("-m", "seed=6,1")
    assert done.returncode == 143
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("JOB")] == ["6"]


def test_a_sweep_is_composed_before_its_first_job(run):
    done = run("-m", "seed=1", "algorithm=grpo,grop")
    assert done.returncode == 2
    assert "JOB" not in done.stdout
    assert "did you mean 'grpo'?" in done.stderr


def test_a_run_is_repeated_elsewhere_and_continued_in_place(run, tmp_path):
    first = Path(run("trainer.max_steps=7").stdout.split()[-1])
    repeated = run("--config-dir", str(first), "--config-name", "config").stdout.split()
    assert repeated[2] == "7"
    assert Path(repeated[-1]) != first
    assert Path(repeated[-1]).parent == first.parent
    elsewhere = run("--config-dir", str(first), "--config-name", "config", f"hydra.run.dir={tmp_path}/x").stdout.split()
    assert elsewhere[-1] == f"{tmp_path}/x"
    assert run(f"ckpt_path={first}").stdout.split()[1:] == ["1", "7", str(first)]
    assert run(f"ckpt_path={first}", "trainer.max_steps=9").stdout.split()[1:] == ["1", "9", str(first)]
    composed = run(f"ckpt_path={first}", "algorithm=sft").stdout.split()
    assert composed[-1] == str(first)
    assert composed[2] != "7"
    assert run(f"ckpt_path={tmp_path}/nowhere").returncode == 2
    assert "a sweep finds its runs by itself" in run("-m", f"ckpt_path={first}", "seed=1,2").stderr


def test_a_path_with_a_quote_and_a_comma(run, tmp_path):
    (tmp_path / "it's, here").mkdir()
    source = Path(run().stdout.split()[-1])
    (tmp_path / "it's, here" / "config.yaml").write_text((source / "config.yaml").read_text())
    done = run("ckpt_path='it\\'s, here'")
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("it's, here")


def test_arguments_without_a_checkpoint_are_left_alone():
    for arguments in ([], ["seed=1"], ["ckpt_path=null"], ["-m", "seed=1,2"]):
        assert continued(arguments) == arguments
    with pytest.raises(ConfigError, match="not the folder of a run"):
        continued([f"ckpt_path={ROOT}/conf"])


@pytest.mark.parametrize(
    ("typed", "passed"),
    [
        (["experiment=x", "-m", "seed=1,2"], ["-m", "experiment=x", "seed=1,2"]),
        (["seed=1", "--cfg", "job", "algorithm=sft"], ["--cfg", "job", "seed=1", "algorithm=sft"]),
        (["seed=1", "-cd", "F", "-cn", "config", "a=-1"], ["-cd", "F", "-cn", "config", "seed=1", "a=-1"]),
        (["seed=1", "--cfg=job", "a.b=2"], ["--cfg=job", "seed=1", "a.b=2"]),
        (["seed=1", "--cfg"], ["--cfg", "seed=1"]),
        ([], []),
    ],
)
def test_options_may_stand_among_overrides(typed, passed):
    assert options_first(typed) == passed
