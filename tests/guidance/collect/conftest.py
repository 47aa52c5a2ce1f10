"""Running the command in this process."""

from __future__ import annotations

import sys
from copy import deepcopy
from functools import cache

import pytest
from collecting import LAB, rows

from llmft.config import compose
from llmft.guidance.collect import command as command_module


@cache
def composed(*overrides: str):
    return compose(overrides)


@pytest.fixture
def collect(monkeypatch, capsys, tmp_path):
    """``collect(*arguments)``: the exit code and what was said, of one run of the command."""
    monkeypatch.setattr(command_module, "compose", lambda overrides: deepcopy(composed(*overrides)))  # 0.3 s each
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str, lab=LAB) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["collect", "--out", str(tmp_path / "traces.jsonl"), *arguments, *lab])
        try:
            code = command_module.main()
        except SystemExit as left:
            code = left.code
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


@pytest.fixture
def accepted(tmp_path):
    return lambda: rows(tmp_path / "traces.jsonl")


@pytest.fixture
def rejected(tmp_path):
    return lambda: rows(tmp_path / "traces.rejected.jsonl")
