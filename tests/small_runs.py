"""Runs of a few steps on a model of 20 thousand parameters: how they are asked for, and what they leave."""

from __future__ import annotations

import json

from llmft.trainer.metrics import read

SMALL = [
    "model=hf", "model.dtype=float32", "extras.print_config=false",
    "dataset.train=64", "dataset.heldout=16", "dataset.test=16",
    "trainer.max_steps=3", "trainer.threads=1", "trainer.checkpoint_every=1", "trainer.samples_every=1",
    "evaluation.every=2", "evaluation.tasks=8", "rollout.max_new_tokens=24",
]  # fmt: skip
KINDS = {
    "sft": ["algorithm=sft", "algorithm.tasks_per_step=4", "objective=heldout/perplexity", "evaluation.perplexity=true"],
    # A random model earns no reward, so what is trained is the divergence from itself and the entropy.
    "grpo": ["algorithm.tasks_per_step=2", "algorithm.group_size=2", "algorithm.mini_batches=2",
             "algorithm.kl_coef=0.1", "algorithm.entropy_coef=0.01"],
}  # fmt: skip


def weights(folder):
    return (folder / "final" / "model.safetensors").read_bytes()


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def timeless(folder):
    return [
        {name: value for name, value in row.items() if not name.startswith(("time/", "speed/"))}
        for row in read(folder / "metrics.csv")
    ]
