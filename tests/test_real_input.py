"""GSM8K through the same door: imitation, then GRPO from where it ended, or beside others' solutions; on a small model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from make_model import make

from llmft.config import ROOT, build, compose
from llmft.dataset.stream import TaskStream
from llmft.seeds import Seeds
from llmft.trainer.metrics import read


def train(folder: Path, *overrides: str) -> dict:
    command = [sys.executable, "train.py", f"hydra.run.dir={folder}", "extras.print_config=false", *overrides]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=900)
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_gsm8k_by_imitation_and_then_by_grpo(shared, tmp_path):
    data = shared("data/gsm8k/train.jsonl")
    model = make(tmp_path / "model", data.read_text(encoding="utf-8").splitlines()[:1000])
    common = [
        "dataset=gsm8k",
        f"dataset.path={data.parent}",
        "model=hf",
        "evaluation.tasks=64",
        "rollout.max_new_tokens=48",
    ]
    sft = train(
        tmp_path / "sft", *common, f"model.path={model}", "algorithm=sft", "optimizer.lr=2e-3", "trainer.max_steps=40",
        "objective=heldout/perplexity",
    )  # fmt: skip
    assert sft["after"]["heldout/perplexity"] < 0.2 * sft["before"]["heldout/perplexity"]

    grpo = train(
        tmp_path / "grpo", *common, f"model.path={tmp_path / 'sft' / 'final'}", "reward=math", "algorithm=grpo",
        "algorithm.kl_coef=0.04", "algorithm.tasks_per_step=4", "trainer.max_steps=3",
    )  # fmt: skip
    assert grpo["status"] == "completed"
    assert grpo["step"] == 3
    assert grpo["before"]["heldout/perplexity"] == pytest.approx(sft["after"]["heldout/perplexity"], rel=1e-4)


@pytest.mark.slow
def test_gsm8k_beside_other_models_solutions(shared, tmp_path):
    """Right and wrong ones as traces: in each step, the share of them that scores is that of the labels."""
    path = shared("data/gsm8k/example_model_solutions.jsonl")
    data = [f"dataset.path={path}", "dataset=gsm8k_solutions", "reward=math"]
    model = make(tmp_path / "model", path.read_text(encoding="utf-8").splitlines())
    run = train(
        tmp_path / "run", *data, "model=hf", f"model.path={model}", "algorithm=luffy", "algorithm.tasks_per_step=4",
        "algorithm.group_size=5", "guidance.per_group=4", "guidance.on_long=cut", "rollout.max_new_tokens=400",
        "evaluation.sample=false", "evaluation.tasks=8", "objective=heldout/perplexity", "trainer.max_steps=2",
    )  # fmt: skip
    assert (run["status"], run["step"]) == ("completed", 2)

    stream = TaskStream(build(compose(data).dataset).load().train, Seeds(1).child("tasks"))
    for row in read(tmp_path / "run" / "metrics.csv")[1:]:
        labels = [label for drawn in stream.take(4) for name, label in drawn.task.meta.items() if "is_correct" in name]
        assert (len(labels), row["guidance/truncated"], row["guidance/guided"]) == (16, 0, 1)
        assert row["train/accuracy/trace"] == sum(labels) / 16
        assert 0 < row["train/off_policy_share"] < 1
        assert row["train/grad_norm"] > 0
