"""Layers go down, and siblings meet only in train.py: read from the imports, wherever in a file they stand."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from llmft.config import ROOT

LAYERS = (
    {"types", "protocols", "seeds", "distributed", "durable", "config"},
    {"batch", "chat", "endpoint", "loss", "advantage"},
    {"model", "quantization", "adapter", "dataset", "optimizer", "schedule", "sampler", "rollout", "guidance", "reward"}
    | {"memory", "feedback", "trace", "prompt", "sandbox"},
    {"algorithm"},
    {"trainer"},
)
SIBLINGS_MEET = (0, 1)  # nouns, verbs and pure functions; parts never import another part
FILES = sorted((ROOT / "llmft").rglob("*.py"))


def imported(file: Path) -> set[str]:
    """The modules of llmft that ``file`` imports, as dotted names below llmft."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            # `from llmft import seeds` names a module too
            found |= {node.module or ""} | (
                {f"llmft.{a.name}" for a in node.names} if node.module == "llmft" else set()
            )
    return {name.removeprefix("llmft.") for name in found if name.startswith("llmft.")}


def layer(room: str) -> int:
    return next(index for index, rooms in enumerate(LAYERS) if room in rooms)


def room_of(file: Path) -> str:
    return file.relative_to(ROOT / "llmft").parts[0].removesuffix(".py")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_go_down(file):
    room = room_of(file)
    if room == "__init__":
        assert not imported(file)
        return
    for name in imported(file):
        other = name.split(".")[0]
        lower = layer(other) < layer(room) or (layer(other) == layer(room) and layer(room) in SIBLINGS_MEET)
        assert other == room or lower, f"{room} may not import {name}"


def test_configuration_stands_by_itself():
    for file in (ROOT / "llmft" / "config").rglob("*.py"):
        assert {name.split(".")[0] for name in imported(file)} <= {"config"}, file


def test_nobody_imports_the_composition_root():
    for file in FILES:
        names = {alias.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Import)
                 for alias in node.names}  # fmt: skip
        assert "train" not in names, file


def test_nobody_imports_the_experiments():
    for file in [*FILES, ROOT / "train.py"]:
        tree = ast.walk(ast.parse(file.read_text()))
        assert not any(
            isinstance(node, ast.ImportFrom) and (node.module or "").startswith("experiments") for node in tree
        )
