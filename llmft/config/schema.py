"""The top level of a config. What stands below it is declared by the constructors that its `_target_`s name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, NewType

from annotated_types import Ge

from llmft.config.faults import Why

Part = NewType("Part", dict)  # one part, named by its `_target_`
MaybePart = NewType("MaybePart", dict)  # the same, or empty: the option `none`
Parts = NewType("Parts", dict)  # any number of parts, by name; a list could not be overridden in part


@dataclass(frozen=True, slots=True)
class Paths:
    log_dir: str
    data_dir: str


@dataclass(frozen=True, slots=True)
class Extras:
    print_config: bool
    enforce_tags: bool
    ignore_warnings: bool


@dataclass(frozen=True, slots=True)
class Resume:
    allow: list[str]


@dataclass(frozen=True, slots=True)
class Sweep:
    retry_failed: bool
    at_once: Annotated[int, Ge(1), Why("at least one job runs at a time; use 1 or more, or null")] | None


@dataclass(frozen=True, slots=True)
class Train:
    """Every key that a config has at its top."""

    task_name: str
    tags: list[str]
    seed: Annotated[int, Ge(0), Why("a seed is a natural number; use 0 or more")]
    objective: str
    ckpt_path: str | None
    resume: Resume
    sweep: Sweep
    limits: dict[str, float]
    stand_ins: dict[str, str]
    model: Part
    quantization: MaybePart
    adapter: MaybePart
    dataset: Part
    sampler: Part
    rollout: Part
    guidance: Part
    reward: Part
    memory: MaybePart
    algorithm: Part
    loss: Part
    optimizer: Part
    schedule: Part
    trainer: Part
    evaluation: Part
    callbacks: Parts
    logger: Parts
    paths: Paths
    extras: Extras


# Groups that have no place of their own in a config: their files say `# @package _global_`.
GLOBAL = ("experiment", "debug", "hparams_search", "local")

# Groups whose option stands inside of another group's part, which chooses it in its defaults list, and where.
INNER = {"sandbox": "reward.sandbox", "judge": "reward.judge"}

# What train.py hands to the constructors of each group, which YAML therefore does not name. One that is called as a
# group that may be empty is made from it.
LIVE: dict[str, frozenset[str]] = {
    "sampler": frozenset({"policy", "tokens"}),
    "rollout": frozenset({"sampler", "tokens", "memory"}),
    "guidance": frozenset({"tokens", "reward", "longest", "group_size", "temperature", "architecture"}),
    "algorithm": frozenset({"policy", "tokens", "rollouts", "reward", "guidance", "loss", "memory"}),
    "optimizer": frozenset({"params"}),
    "evaluation": frozenset({"splits", "tokens", "reward", "context"}),
    "trainer": frozenset(
        {"policy", "tokens", "tasks", "algorithm", "rollouts", "evaluation", "sampler", "optimizer", "schedule"}
        | {"seeds", "run", "callbacks", "loggers"}
    ),
}

# Names that `objective` may have, as patterns; the log's other columns start with one of these rooms.
Room = Literal["train", "heldout", "reward", "time", "speed"]
HELDOUT = (
    *("accuracy", r"accuracy/\w+", "reward_mean", r"reward/[\w/]+", r"pass@\d+", r"avg@\d+"),
    *("length_mean", "truncated", "perplexity"),
)
