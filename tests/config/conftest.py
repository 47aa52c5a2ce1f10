from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

MANY = {"size": 2, "rate": 0.1, "mode": "all", "limit": None, "names": ["a"], "file": "x", "both": 1}
PLAIN = ("model", "dataset", "sampler", "rollout", "guidance", "loss", "optimizer", "schedule", "trainer", "evaluation")
SOUND: dict[str, Any] = {
    **{group: {"_target_": "toys.Plain"} for group in PLAIN},
    **{group: {} for group in ("quantization", "adapter", "memory", "callbacks", "logger")},
    "algorithm": {"_target_": "toys.Many", **MANY},
    "reward": {
        "_target_": "toys.Sum",
        "parts": {"one": {"_target_": "toys.Term", "scale": 1.0}},
        "weights": {"one": 1.0},
    },
    "paths": {"log_dir": "logs", "data_dir": "data"},
    "extras": {"print_config": True, "enforce_tags": True, "ignore_warnings": True},
    "task_name": "train",
    "tags": ["dev"],
    "seed": 1,
    "objective": "heldout/accuracy",
    "ckpt_path": None,
    "resume": {"allow": []},
    "sweep": {"retry_failed": False, "at_once": None},
    "limits": {},
    "stand_ins": {},
}


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    """The module ``toys``, allowed in a config."""
    monkeypatch.syspath_prepend(Path(__file__).parent / "package")
    monkeypatch.setenv("LLMFT_TARGETS", "toys.")
    import toys

    return toys


@pytest.fixture
def config():
    """``config({"a.b": 1})``: a config without a fault, but for what is changed; REMOVE takes a key away."""

    def make(changes: dict[str, Any] | None = None) -> DictConfig:
        cfg = OmegaConf.create(copy.deepcopy(SOUND))
        for path, value in (changes or {}).items():
            if value is REMOVE:
                home, _, name = path.rpartition(".")
                del (OmegaConf.select(cfg, home) if home else cfg)[name]
            else:
                OmegaConf.update(cfg, path, value, merge=False, force_add=True)
        return cfg

    make.remove = REMOVE
    return make


REMOVE = object()
