"""`train.py` as a user starts it: killed, interrupted, refused, on two processes; exit codes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from small_runs import KINDS, SMALL, summary, timeless, weights

from llmft.config import ROOT
from llmft.trainer import shelf
from llmft.trainer.metrics import read

pytestmark = pytest.mark.slow
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def command(folder, kind, model, *overrides):
    options = [*SMALL, f"model.path={model}", *KINDS[kind], f"hydra.run.dir={folder}", *overrides]
    return [sys.executable, str(ROOT / "train.py"), *options]


def finish(*arguments, **options):
    return subprocess.run(
        *arguments, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False, **options
    )


def started(arguments, log):
    return subprocess.Popen(arguments, env=ENVIRONMENT, stdout=log.open("w"), stderr=subprocess.STDOUT)


def resumptions(folder):
    return json.loads((folder / "manifest.json").read_text()).get("resumed", [])


def wait_for(process, condition):
    deadline = time.monotonic() + 200
    while not condition():
        assert process.poll() is None, "the run ended before it was to be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_killed_three_times_it_ends_in_the_same_bits(kind, tmp_path, tiny_folder, record_property):
    """SIGKILL at any moment: in a step, an evaluation or a save."""
    steps = ["trainer.max_steps=80", "evaluation.every=4", "trainer.checkpoint_every=2"]
    whole, folder, rng = tmp_path / "whole", tmp_path / "run", random.Random(kind)
    assert finish(command(whole, kind, tiny_folder, *steps)).returncode == 0
    resume: list[str] = []
    for number in (1, 2, 3):
        process = started(command(folder, kind, tiny_folder, *steps, *resume), tmp_path / "log")

        def far_enough(number=number):
            # The rows of the process before this one count for nothing: this one has yet to begin.
            begun = (folder / "manifest.json").exists() and len(resumptions(folder)) == number - 1
            rows = read(folder / "metrics.csv") if begun else []
            return bool(rows) and rows[-1]["step"] >= 8 * number

        wait_for(process, far_enough)
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert summary(folder)["status"] == "running"
        resume = [f"ckpt_path={folder}"]
    ended = finish(command(folder, kind, tiny_folder, *steps, *resume))
    assert ended.returncode == 0, ended.stderr
    assert weights(folder) == weights(whole)
    assert timeless(folder) == timeless(whole)
    assert (folder / "samples.jsonl").read_bytes() == (whole / "samples.jsonl").read_bytes()
    assert len(resumptions(folder)) == 3
    record_property("1", f"{kind}, 3 SIGKILLs of the command line: weights, metrics and samples equal to the bit")


def test_interrupted_it_says_so_and_goes_on(tmp_path, tiny_folder):
    folder, steps = tmp_path / "run", ["trainer.max_steps=200", "trainer.checkpoint_every=100"]
    process = started(command(folder, "sft", tiny_folder, *steps), tmp_path / "log")
    wait_for(process, lambda: len(read(folder / "metrics.csv")) > 3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    assert summary(folder)["status"] == "interrupted"
    assert "continue with ckpt_path=" in (tmp_path / "log").read_text()
    made = shelf.step_of(shelf.listed(folder / "checkpoints")[0])
    assert made == summary(folder)["step"] < 200

    # The long way; the short one is the next.
    arguments = ["--config-dir", str(folder), "--config-name", "config", f"ckpt_path={folder}"]
    longer = [sys.executable, str(ROOT / "train.py"), *arguments]
    process = started(longer, tmp_path / "log")
    wait_for(process, lambda: read(folder / "metrics.csv")[-1]["step"] > made)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    refused = finish([sys.executable, str(ROOT / "train.py"), f"ckpt_path={folder}", "optimizer.lr=1"])
    assert refused.returncode == 2
    assert "optimizer.lr was" in refused.stderr


@pytest.mark.parametrize(("number", "codes"), [(signal.SIGTERM, (143, -15)), (signal.SIGINT, (130, -2))])
def test_while_it_starts(number, codes, tmp_path, tiny_folder):
    """As soon as there is a folder, while the libraries are read: to a shell -15 is 143, and -2 is 130."""
    folder = tmp_path / "run"
    process = started(command(folder, "sft", tiny_folder, "trainer.max_steps=200"), tmp_path / "log")
    wait_for(process, folder.exists)
    process.send_signal(number)
    assert process.wait(timeout=60) in codes
    if not (folder / "manifest.json").exists():
        again = finish(command(folder, "sft", tiny_folder))
        assert again.returncode == 0, again.stderr


def test_two_processes_by_the_command_line(tmp_path, tiny_folder):
    """`trainer=ddp_sim` in float64 gives one process's held-out perplexity, writes one run, and repeats."""
    double = ["model.dtype=float64", "trainer.max_steps=2"]
    one, two = tmp_path / "one", tmp_path / "two"
    assert finish(command(one, "grpo", tiny_folder, *double)).returncode == 0
    ended = finish(command(two, "grpo", tiny_folder, "trainer=ddp_sim", *double))
    assert ended.returncode == 0, ended.stderr
    last = [timeless(folder)[-1] for folder in (one, two)]
    for name in ("train/loss", "train/kl", "train/grad_norm", "heldout/length_mean"):
        # Not closer: the norms of transformers compute in float32, and ranks share other beginnings than one process.
        assert last[0][name] == pytest.approx(last[1][name], rel=1e-6, abs=1e-9)
    assert summary(two)["status"] == "completed"


def test_the_command_line_repeats_and_knows_its_parent(tmp_path, tiny_folder):
    one, two = tmp_path / "one", tmp_path / "two"
    assert finish(command(one, "sft", tiny_folder)).returncode == 0
    again = [sys.executable, str(ROOT / "train.py"), "--config-dir", str(one), "--config-name", "config"]
    ended = finish([*again, f"hydra.run.dir={two}"])
    assert ended.returncode == 0, ended.stderr
    assert weights(one) == weights(two)
    assert json.loads((two / "manifest.json").read_text())["parent_run"] == str(one)
    assert finish(command(one, "sft", tiny_folder)).returncode == 2


def test_a_loss_that_is_not_finite_exits_with_3(tmp_path, tiny_folder):
    ended = finish(command(tmp_path / "run", "sft", tiny_folder, "optimizer.lr=1e30", "evaluation.every=null",
                           "objective=train/loss", "trainer.max_grad_norm=null"))  # fmt: skip
    assert ended.returncode == 3, ended.stderr
    assert "Tasks of the batch: addition-" in ended.stderr
    assert summary(tmp_path / "run")["status"] == "failed"
