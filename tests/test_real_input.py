"""GSM8K through the same door: imitation, then GRPO from where it ended, on a small model folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from make_model import make

from llmft.config import ROOT


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
