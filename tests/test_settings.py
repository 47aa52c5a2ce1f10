"""Every key and every option that `docs/settings.md` names is there, and the table leaves no option of the papers' out."""

from __future__ import annotations

import re
from functools import cache

import pytest
from omegaconf import OmegaConf
from test_conf import flat
from test_readme import overrides

from llmft.config import ROOT, compose
from llmft.config.checks import find_faults
from llmft.config.schema import Train

PAGE = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python train\.py.*$", PAGE, flags=re.MULTILINE)
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:4]] for line in re.findall(r"^\|.*\|$", PAGE, re.MULTILINE)
]
OURS = {code for row in ROWS for cell in row[1:] for code in re.findall(r"`([^`]+)`", cell)}
THEIRS = {name for row in ROWS for name in re.findall(r"\w+", row[0])}
ALGORITHMS = ("luffy", "exgrpo", "hybrid", "rl_sft_loss", "grpo")
NEEDS = {  # what is to be chosen for a key to be there
    "schedule.warmup_steps": "schedule=warmup_cosine",
    "logger.wandb.project": "logger=wandb",
    "model.path": "model=hf",
    "model.gradient_checkpointing": "model=hf",
    "dataset.path": "dataset=rows",
    "dataset.probs_column": "dataset=rows",
    "dataset.trace_column": "dataset=rows",
    "reward.parts.correct.after": "reward=math_think",
}
DOTTED = r"[a-z_]+(?:\.\w+)+"
GROUPS = {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()}


@cache
def composed(*chosen: str):
    return compose(list(chosen))


def home(key: str):
    """A config of the page's that has ``key``; None if none has."""
    needed = [NEEDS[key]] if key in NEEDS else []
    configs = (composed(f"algorithm={algorithm}", *needed) for algorithm in ALGORITHMS)
    return next((cfg for cfg in configs if key in flat(cfg)), None)


def test_the_page_is_read():
    assert len(ROWS) > 60
    assert len(COMMANDS) == 4
    assert {"guidance.share=0.3", "loss.off_reshape", "algorithm=luffy"} <= OURS
    assert {"off_policy_weight", "experience_buffer_size", "skip_grad_bound"} <= THEIRS


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_composes_without_a_fault(command):
    assert [str(fault) for fault in find_faults(compose(overrides(command)))] == []


def test_every_key_exists():
    keys = {re.match(DOTTED, code)[0] for code in OURS if re.fullmatch(rf"{DOTTED}(=\S+)?", code)}
    assert len(keys) > 50
    ours = {key for key in keys if key.split(".")[0] in Train.__dataclass_fields__}
    assert keys - ours <= {"hydra.run.dir"}
    assert {key for key in ours if home(key) is None} == set()


def test_every_choice_exists():
    chosen = [code.split("=") for code in OURS if re.fullmatch(r"[a-z_]+=[a-z_0-9]+", code)]
    groups = [(group, name) for group, name in chosen if group in GROUPS]
    assert len(groups) > 10
    assert {(group, name) for group, name in groups if not (ROOT / f"conf/{group}/{name}.yaml").is_file()} == set()
    assert not {group for group, _ in chosen} - GROUPS - {"experiment"}


def test_every_value_is_one_that_its_key_takes():
    settings = [code.split("=", 1) for code in OURS if re.fullmatch(rf"{DOTTED}=[\w.]+", code)]
    assert len(settings) > 8
    for key, value in settings:
        cfg = home(key).copy()
        OmegaConf.update(cfg, key, OmegaConf.create(f"v: {value}").v)
        faults = [str(fault) for fault in find_faults(cfg) if fault.path == key]
        assert not faults, faults


def options_of(text: str) -> set[str]:
    """The options that the facts about the papers' code list in code font, in tables' first columns and in passing."""
    losses = text[text.index("### 1.5") : text.index("### 1.6")]
    cells = [line.split("|")[1] for line in losses.splitlines() if line.startswith("| `")]
    config = re.search(r"^Config: (.*)$", text, re.MULTILINE)
    assert config is not None
    listed = [*re.findall(r"`([^`]+)`", " ".join(cells)), *re.findall(r"`([^`]+)`", config[1])[:1]]
    names = {re.sub(r"=.*", "", one.strip()).split(".")[-1].rstrip("*") for code in listed for one in code.split(",")}
    return {name for name in names if re.fullmatch(r"[a-z]\w+", name)}


def test_no_option_of_the_papers_is_left_out(shared):
    options = options_of(shared("algorithms.md").read_text(encoding="utf-8"))
    assert len(options) > 45
    assert options - THEIRS == set()
