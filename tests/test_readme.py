"""What the README tells a newcomer to type composes, and what it shows is there."""

from __future__ import annotations

import re
import shlex

import pytest

from llmft.config import ROOT, compose
from llmft.config.checks import find_faults

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted(
    {line.split("  #")[0].strip() for line in re.findall(r"^python train\.py.*$", README, flags=re.MULTILINE)}
)


def overrides(command: str) -> list[str]:
    """The overrides of a command, a sweep's first values, without Hydra's own flags."""
    words = [word for word in shlex.split(command)[2:] if not word.startswith("-") and "=" in word]
    return [re.sub(r"^((?:seed|algorithm)=[^,]+),.*", r"\1", word) for word in words]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_composes_without_a_fault(command):
    if "--config-dir" in command or "ckpt_path" in command:
        pytest.skip("needs a run; tests/trainer/test_resume.py and test_run.py do this")
    assert [str(fault) for fault in find_faults(compose(overrides(command)))] == []


def test_the_pictures_are_there():
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / picture).is_file(), picture


def test_every_option_of_the_table_exists_and_every_option_is_in_it():
    rows = dict(re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (.*) \|$", README, flags=re.MULTILINE))
    told = {name for row in rows.values() for name in re.findall(r"`([a-z0-9_]+)`", row)}
    for group in ("algorithm", "model", "reward", "sampler", "trainer", "logger", "optimizer", "schedule"):
        missing = {path.stem for path in (ROOT / "conf" / group).glob("*.yaml")} - told
        assert not missing, f"{group}: {missing}"


def test_no_placeholder_is_left():
    assert "<!--" not in README
