"""A table of two methods, two seeds and a few steps on a model of 20 thousand parameters."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

TABLE: dict[str, Any] = {
    "title": "A miniature",
    "question": "Does it run?",
    "metrics": {
        "easy": ["heldout/accuracy/easy"],
        "hard": ["heldout/accuracy/hard"],
        "both": ["heldout/accuracy/easy", "heldout/accuracy/hard"],
    },
    "every_run": [
        "model=hf", "model.dtype=float32", "dataset.train=64", "dataset.heldout=16", "dataset.test=16",
        "dataset.heldout_tier=mixed", "evaluation.split=test", "evaluation.by=tier", "evaluation.every=1",
        "evaluation.tasks=8", "evaluation.perplexity=false", "rollout.max_new_tokens=24",
        "trainer.max_steps=4", "trainer.checkpoint_every=1", "algorithm.tasks_per_step=2", "extras.print_config=false",
    ],
    "trainings": {"mixed": {"label": "mixed", "overrides": ["dataset.tier=mixed", "dataset.traces=expert_hard"]}},
    "rows": {
        "base": {"label": "base", "step_0_of": "grpo"},
        # A random model earns no reward, so what is trained is its entropy.
        "grpo": {"label": "GRPO", "stages": {"grpo": ["algorithm.group_size=2", "algorithm.entropy_coef=0.01"]}},
        "sft_then_grpo": {
            "label": "SFT, then GRPO",
            "stages": {
                "sft": ["algorithm=sft", "algorithm.without_trace=skip", "trainer.max_steps=2"],
                "grpo": ["algorithm.group_size=2", "algorithm.entropy_coef=0.01", "model.path='{sft}/final'",
                         "trainer.max_steps=2"],
            },
        },
    },
    "blocks": {
        "methods": {"title": "All", "rows": ["base", "grpo", "sft_then_grpo"], "trainings": ["mixed"], "seeds": [1, 2],
                    "against": "grpo"},
    },
    "equal_wall": ["grpo", "sft_then_grpo"],
    "bars": [
        {"kind": "below", "row": "grpo", "training": "mixed", "metric": "hard", "bound": 0.02},
        {"kind": "apart", "row": "sft_then_grpo", "training": "mixed", "metric": "hard", "against": "grpo"},
    ],
}  # fmt: skip


def table_values(model: Path | str = "bases/lab_addition_seed1", **changes: Any) -> dict[str, Any]:
    """What ``table.yaml`` says; a change is ``section__key=value``, and a value of None takes the key away."""
    values = copy.deepcopy(TABLE)
    values["every_run"].append(f"model.path='{model}'")
    for path, value in changes.items():
        *homes, name = path.split("__")
        node = values
        for home in homes:
            node = node[home]
        if value is None:
            del node[name]
        else:
            node[name] = value
    return values


def write_table(folder: Path, model: Path | str = "bases/lab_addition_seed1", **changes: Any) -> Path:
    """The same as a table's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.yaml").write_text(yaml.safe_dump(table_values(model, **changes), sort_keys=False))
    return folder
