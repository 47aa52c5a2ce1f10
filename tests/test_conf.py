"""Every option of every group composes into a config without a fault, and every file reads as the others do."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from llmft.config import ROOT, compose
from llmft.config.allow import load
from llmft.config.checks import find_faults
from llmft.config.faults import ABSENT
from llmft.config.schema import GLOBAL, INNER, LIVE, Train
from llmft.config.signature import signature

CONF = ROOT / "conf"
FILES = sorted(path.relative_to(CONF) for path in CONF.rglob("*.yaml") if path.parts[len(CONF.parts)] != "local")
OPTIONS = [path for path in FILES if len(path.parts) == 2 and path.parts[0] not in ("hydra",)]
# What an option cannot do without: the first is chosen along with it.
CHAINED = "rollout.max_new_tokens"  # the data's fact unless somebody sets it, and what others divide by either way
TOGETHER = {"quantization": ["adapter"], "loss": ["guidance"]}
INSIDE = {"sandbox": "reward=coding", "judge": "reward=chat"}  # which part an inner group's option stands in


def chosen(option: Path) -> list[str]:
    """The overrides that choose ``option``, with stand-ins for what has no default."""
    group, name = option.parts[0], option.stem
    overrides = [INSIDE[group], f"{group}@{INNER[group]}={name}"] if group in INNER else [f"{group}={name}"]
    for other in TOGETHER.get(group, []) if name != "none" else []:
        overrides.append(f"{other}={first_of(other)}")
    missing = [key for key, value in flat(compose(overrides)).items() if value == "???"]
    return [*overrides, *(f"{key}=stand-in" for key in missing)]


def first_of(group: str) -> str:
    names = sorted(path.stem for path in (CONF / group).glob("*.yaml") if path.stem != "none")
    return names[0] if names else "none"


def flat(cfg) -> dict[str, object]:
    """Dotted keys to values, as they are written."""
    found: dict[str, object] = {}

    def walk(value, path: str) -> None:
        if isinstance(value, dict) and value:
            for key, one in value.items():
                walk(one, f"{path}.{key}" if path else str(key))
        else:
            found[path] = value

    walk(OmegaConf.to_container(cfg, resolve=False), "")
    return found


def nodes(value) -> list[dict]:
    """Every node with a `_target_`."""
    if isinstance(value, dict):
        below = [node for one in value.values() for node in nodes(one)]
        return [value, *below] if "_target_" in value else below
    return [node for one in value for node in nodes(one)] if isinstance(value, list) else []


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_an_option_composes_and_has_no_fault(option):
    assert [str(fault) for fault in find_faults(compose(chosen(option)))] == []


@pytest.mark.parametrize("algorithm", [path.stem for path in OPTIONS if path.parts[0] == "algorithm"])
@pytest.mark.parametrize("debug", [path.stem for path in OPTIONS if path.parts[0] == "debug"])
def test_debugging_works_with_every_algorithm(algorithm, debug):
    assert [str(fault) for fault in find_faults(compose([f"algorithm={algorithm}", f"debug={debug}"]))] == []


def test_limit_makes_any_config_small(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "paper.yaml").write_text(
        "# @package _global_\nalgorithm: {tasks_per_step: 128, mini_batches: 8}\nrollout: {max_new_tokens: 8192}\n"
        "trainer: {max_steps: 500}\n"
    )
    chosen = ["debug=limit", "experiment=paper", f"hydra.searchpath=[file://{tmp_path}]"]
    cfg = compose(chosen)
    assert find_faults(cfg) == []
    assert cfg.algorithm.tasks_per_step * cfg.algorithm.group_size <= 8
    assert (cfg.rollout.max_new_tokens, cfg.dataset.limit, cfg.trainer.max_steps) == (16, 64, 2)
    assert compose([*chosen, "trainer.max_steps=3"]).trainer.max_steps == 3


@pytest.mark.parametrize("debug", [path.stem for path in OPTIONS if path.parts[0] == "debug"])
def test_a_limit_is_on_a_key_that_some_option_has(debug):
    limits = yaml.safe_load((CONF / "debug" / f"{debug}.yaml").read_text()).get("limits", {})
    known = {key for algorithm in ("grpo", "sft") for key in flat(compose([f"algorithm={algorithm}"]))}
    assert set(limits) <= known


def test_the_defaults():
    cfg = compose()
    assert list(cfg) != []
    assert set(cfg) == set(inspect.signature(Train).parameters)
    assert (cfg.objective, cfg.seed, cfg.ckpt_path) == ("heldout/accuracy", 1, None)
    hydra = compose(with_hydra=True).hydra
    choices = {
        key: hydra.runtime.choices[key] for key in ("algorithm", "reward", "dataset", "model", "trainer", "debug")
    }
    assert choices == {
        "algorithm": "grpo",
        "reward": "exact",
        "dataset": "for_exact",
        "model": "tiny",
        "trainer": "cpu",
        "debug": None,
    }


def test_a_reward_brings_its_data_unless_data_is_named():
    exact, math = compose(), compose(["reward=math"])
    assert exact.dataset != math.dataset
    assert compose(["reward=math", "dataset=lab_addition"]).dataset == exact.dataset


def test_hydras_section():
    section = OmegaConf.to_container(compose(with_hydra=True).hydra, resolve=False)
    assert section["job"]["name"] == "train"
    assert section["job"]["chdir"] is None
    assert section["run"] == {"dir": "${paths.log_dir}/${task_name}/runs/${now:%Y-%m-%d_%H-%M-%S-%f}"}
    assert section["sweep"] == {"dir": "${paths.log_dir}/${task_name}/multiruns", "subdir": "${hydra.job.num}"}
    assert section["callbacks"] == {}
    assert section["searchpath"] == []


def test_every_group_has_a_place():
    groups = {path.name for path in CONF.iterdir() if path.is_dir()}
    assert groups - set(inspect.signature(Train).parameters) <= {*GLOBAL, *INNER, "hydra"}


@pytest.mark.parametrize("file", FILES, ids=str)
def test_how_a_file_reads(file):
    lines = (CONF / file).read_text().splitlines()
    comment = lines[1] if lines[0].startswith("# @package") else lines[0]
    assert re.match(r"# \S", comment), "a file begins with what it is"
    assert max(map(len, lines)) <= 120
    if file.name != "train.yaml":
        assert len(lines) <= 27, "an option has at most 25 arguments, and its first line and its target"
    assert (lines[0] == "# @package _global_") == (file.parts[0] in GLOBAL)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_no_interpolation_points_at_an_interpolation_or_at_a_node(file):
    if len(file.parts) != 2 or file.parts[0] == "hydra":
        return
    values = flat(compose(chosen(file)))
    for key, value in values.items():
        for target in re.findall(r"\$\{([\w.]+)\}", str(value)):
            assert target in values, f"{key} points at {target}, which is no single value"
            if target != CHAINED:
                assert "${" not in str(values[target]), f"{key} points at {target}, which points elsewhere"


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_configured_class_declares_everything(file):
    for node in nodes(yaml.safe_load((CONF / file).read_text())):
        cls = load(node["_target_"])
        if not cls.__module__.startswith("llmft."):
            continue
        for parameter in inspect.signature(cls).parameters.values():
            where = f"{cls.__qualname__}({parameter.name})"
            assert parameter.kind is parameter.KEYWORD_ONLY, f"{where} is not keyword-only"
            assert parameter.default is parameter.empty, f"{where} has a default beside its YAML"
        arguments = signature(cls).arguments
        assert all(one.hint is not ABSENT for one in arguments.values()), f"{cls.__qualname__}: hints do not resolve"


def test_live_names_are_taken_by_somebody():
    """A name that no constructor takes any more would hide a missing value."""
    taken: dict[str, set[str]] = {group: set() for group in LIVE}
    for option in OPTIONS:
        node = yaml.safe_load((CONF / option).read_text())
        if option.parts[0] in LIVE and "_target_" in node:
            taken[option.parts[0]] |= set(signature(load(node["_target_"])).arguments) - set(node)
    reserved = {"rollout": {"memory"}, "guidance": {"tokens", "policy"}, "algorithm": {"memory"}}
    for group, names in LIVE.items():
        assert names <= taken[group] | reserved.get(group, set()), group
