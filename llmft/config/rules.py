"""What must hold between groups: each rule is a function from the resolved config to faults.

A rule sees configs that are wrong in other ways too, so it looks before it reads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, get_args

from llmft.config.faults import ABSENT, Fault, nearest
from llmft.config.schema import HELDOUT, Room

Tree = Mapping[str, Any]


def quantized_weights_need_an_adapter(tree: Tree) -> list[Fault]:
    """Four- and eight-bit weights have no gradient."""
    quantization, adapter = tree.get("quantization"), tree.get("adapter")
    if not quantization or adapter:
        return []
    why = "quantized weights cannot be trained, and adapter=none"
    return [Fault("quantization", ABSENT, why, "add adapter=lora, or choose quantization=none")]


def objective_is_a_metric(tree: Tree) -> list[Fault]:
    """A sweep that reads a metric which no run logs would fail at its end."""
    objective = tree.get("objective")
    if not isinstance(objective, str):
        return []
    room, _, name = objective.partition("/")
    if room not in get_args(Room) or not name:
        return [Fault("objective", objective, "no metric has this name", "for example heldout/accuracy")]
    if room == "heldout" and not any(re.fullmatch(pattern, name) for pattern in HELDOUT):
        names = [
            f"heldout/{pattern}".replace(r"\d+", "4").replace(r"[\w/]+", "correct").replace(r"\w+", "correct")
            for pattern in HELDOUT
        ]
        return [Fault("objective", objective, "no metric has this name", nearest(objective, names))]
    return []


def mini_batches_share_the_tasks(tree: Tree) -> list[Fault]:
    """A mini-batch without a task would train nothing."""
    parts, tasks = _number(tree, "algorithm", "mini_batches"), _number(tree, "algorithm", "tasks_per_step")
    if parts is None or tasks is None or parts <= tasks:
        return []
    why = f"a step has algorithm.tasks_per_step={tasks} tasks to share out"
    return [Fault("algorithm.mini_batches", parts, why, "use at most that")]


def a_constant_average_has_its_constant(tree: Tree) -> list[Fault]:
    """What the losses are divided by."""
    average = _value(tree, "algorithm", "average")
    if not str(average).endswith("constant") or _value(tree, "algorithm", "length") is not None:
        return []
    advice = "give a number of tokens, for instance the longest response allowed"
    return [Fault("algorithm.length", None, f"algorithm.average={average} divides by it", advice)]


def clip_bounds_do_not_cross(tree: Tree) -> list[Fault]:
    """What a bad token costs at most lies beyond the ratio that is free to move."""
    high, dual = _number(tree, "algorithm", "clip_high"), _number(tree, "algorithm", "clip_dual")
    if high is None or dual is None or not 1 < dual <= 1 + high:
        return []
    why = f"it would cut gradients of ratios that algorithm.clip_high={high} leaves free, those up to {1 + high}"
    return [Fault("algorithm.clip_dual", dual, why, "use more than that (3.0 is usual), or null for no such bound")]


def entropy_has_what_it_adapts_with(tree: Tree) -> list[Fault]:
    """A coefficient of 0 stays 0, and a learning rate without a target learns nothing."""
    coef, target, rate = (_number(tree, "algorithm", f"entropy_{key}") for key in ("coef", "target", "lr"))
    if target is not None and coef is not None and coef <= 0:
        why = f"algorithm.entropy_target={target} adapts it by factors, which leave 0 as it is"
        return [Fault("algorithm.entropy_coef", coef, why, "begin with a small one, for instance 0.001")]
    if rate is not None and target is None:
        why = "nothing is learned without algorithm.entropy_target"
        return [Fault("algorithm.entropy_lr", rate, why, "give a target, in nats per token, or leave it null")]
    return []


def reshaped_ratios_are_of_tokens(tree: Tree) -> list[Fault]:
    """The saturated shape is a quotient of a token's two probabilities."""
    shape, ratio = _value(tree, "loss", "on_reshape"), _value(tree, "algorithm", "ratio")
    if shape != "gamma" or ratio not in ("sequence_mean", "sequence_product"):
        return []
    why = f"it is made of a token's probabilities, and algorithm.ratio={ratio} has one ratio for a response"
    return [Fault("loss.on_reshape", shape, why, "use algorithm.ratio=token, or another shape")]


def bounds_of_others_ratios_do_not_cross(tree: Tree) -> list[Fault]:
    """Every token would have the upper one."""
    low, high = _number(tree, "loss", "off_min"), _number(tree, "loss", "off_max")
    if low is None or high is None or low < high:
        return []
    why = f"nothing lies between it and loss.off_max={high}, so that no such token would have a gradient"
    return [Fault("loss.off_min", low, why, "use less than that, or null for no bound")]


def what_is_imitated_is_there(tree: Tree) -> list[Fault]:
    """A weight of nothing is a mistake somewhere else."""
    coef, guidance = _number(tree, "loss", "sft_coef"), _value(tree, "guidance", "_target_")
    if not coef or not str(guidance).endswith(".Unguided"):
        return []
    why = "it weighs responses that somebody else wrote, and guidance=none adds none"
    return [Fault("loss.sft_coef", coef, why, "choose guidance=traces, or use 0")]


def an_own_baseline_has_two_own_responses(tree: Tree) -> list[Fault]:
    """A lone one has nothing to be compared with, and every advantage would be 0."""
    size, given = _number(tree, "algorithm", "group_size"), _number(tree, "guidance", "per_group") or 0
    if _value(tree, "algorithm", "baseline") != "own" or size is None or size - given >= 2:
        return []
    why = f"with guidance.per_group={given} of algorithm.group_size={size} responses there are no two to compare"
    return [Fault("algorithm.baseline", "own", why, "use larger groups, or union")]


def pass_at_k_has_its_samples(tree: Tree) -> list[Fault]:
    """pass@k is estimated from at least k responses, https://arxiv.org/abs/2107.03374."""
    ks, samples = _value(tree, "evaluation", "k"), _number(tree, "evaluation", "samples")
    if not isinstance(ks, list) or samples is None:
        return []
    wrong = [k for k in ks if isinstance(k, int) and not 1 <= k <= samples]
    why = f"pass@{wrong[0]} cannot be estimated from evaluation.samples={samples}" if wrong else ""
    return [Fault("evaluation.k", ks, why, "use 1 or more, and at most as many as there are samples")] if wrong else []


def tags_are_given(tree: Tree) -> list[Fault]:
    """A run without tags is not found again; `extras.enforce_tags=false` lifts it."""
    extras = tree.get("extras")
    if not isinstance(extras, Mapping) or extras.get("enforce_tags") is not True or tree.get("tags") != []:
        return []
    return [Fault("tags", [], "extras.enforce_tags wants at least one", "give some: tags=[mine]")]


def _value(tree: Tree, group: str, key: str) -> Any:
    node = tree.get(group)
    return node.get(key) if isinstance(node, Mapping) else None


def _number(tree: Tree, group: str, key: str) -> int | float | None:
    value = _value(tree, group, key)
    return value if isinstance(value, int | float) else None


RULES: tuple[Callable[[Tree], list[Fault]], ...] = (
    quantized_weights_need_an_adapter,
    objective_is_a_metric,
    mini_batches_share_the_tasks,
    a_constant_average_has_its_constant,
    clip_bounds_do_not_cross,
    entropy_has_what_it_adapts_with,
    reshaped_ratios_are_of_tokens,
    bounds_of_others_ratios_do_not_cross,
    what_is_imitated_is_there,
    an_own_baseline_has_two_own_responses,
    pass_at_k_has_its_samples,
    tags_are_given,
)
