"""Where a run comes from: the code, the files and the machine that made it."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from llmft.config import ROOT
from llmft.durable import sha256
from llmft.trainer.start import Start

PACKAGES = (
    "torch", "transformers", "lightning", "peft", "bitsandbytes", "trl", "datasets", "tokenizers", "safetensors",
    "numpy", "hydra-core", "omegaconf", "math-verify",
)  # fmt: skip
Files = Mapping[str, Mapping[str, str]]  # hashes by kind and name
DESCRIBES_A_MODEL = (".safetensors", ".json", ".jinja", ".model")


def code(root: Path) -> dict[str, Any]:
    """The git commit of ``root`` and, if there are any, a hash of the changes that it does not hold."""
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "uncommitted": None}
    changes = (_git(root, "diff", "HEAD", "--binary") or b"") + b"".join(
        name + b"\0" + _bytes(root / name.decode(errors="surrogateescape"))
        for name in sorted((_git(root, "ls-files", "--others", "--exclude-standard", "-z") or b"").split(b"\0"))
        if name
    )
    return {
        "commit": commit.decode().strip(),
        "uncommitted": hashlib.sha256(changes).hexdigest() if changes else None,
    }


def versions() -> dict[str, str]:
    """Of Python and of the packages that a result can depend on."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def model_files(folder: Path) -> dict[str, str]:
    """SHA-256 of each file that makes the initial policy; empty if ``folder`` is none."""
    if not folder.is_dir():
        return {}
    files = (path for path in sorted(folder.iterdir()) if path.suffix in DESCRIBES_A_MODEL)
    return {path.name: sha256(path) for path in files if path.name != "manifest.json"}  # which tells its story only


def differing_files(before: Files, now: Files) -> list[str]:
    """Data and model files whose hashes are not the same in two manifests, as ``data: NAME``."""
    return [
        f"{kind}: {name}"
        for kind in ("data", "model")
        for name in sorted({*before.get(kind, {}), *now.get(kind, {})})
        if before.get(kind, {}).get(name) != now.get(kind, {}).get(name)
    ]


def manifest(start: Start, data: Mapping[str, str], model: Path, reward: Mapping[str, Any]) -> dict[str, Any]:
    """What ``manifest.json`` says.

    Args:
        data: SHA-256 by name of what the dataset was read from.
        model: the folder of the initial weights; a hub's name, which is none, is in the config.
        reward: what it says of how it scores here, such as the level of its sandbox.
    """
    asked = start.settings
    return {
        "task_name": asked["task_name"],
        "tags": asked["tags"],
        "seed": asked["seed"],
        "overrides": list(start.overrides),
        "choices": dict(start.choices),
        "parent_run": str(start.parent) if start.parent else None,
        "code": code(ROOT),
        "files": {
            "config": {"config.yaml": hashlib.sha256(start.config.encode()).hexdigest()},
            "data": dict(data),
            "model": model_files(model),
        },
        "reward": dict(reward),
        "versions": versions(),
        "device": device(),
        "threads": asked["trainer"]["threads"],
    }


def device() -> dict[str, Any]:
    """What computes."""
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {"machine": platform.machine(), "cpus": os.cpu_count(), "gpus": gpus}


def _git(root: Path, *arguments: str) -> bytes | None:
    try:
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""
