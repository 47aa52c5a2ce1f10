"""What can be found wrong with data, tokenizer, reward and algorithm before a weight is read; all of it at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from llmft.config import ConfigError, Fault
from llmft.config.faults import ABSENT
from llmft.protocols import Guidance, Reward, Tokens
from llmft.trainer.evaluation import Evaluation
from llmft.types import Splits, Task

LONGEST = 64  # prompts that are tokenised, those with the most characters: a token is rarely longer elsewhere


class Checked(NamedTuple):
    """The parts that cost no weights, made and found to fit."""

    splits: Splits
    source: Any  # of the policy
    tokens: Tokens
    reward: Reward
    guidance: Guidance
    evaluation: Evaluation


def preflight(
    *,
    dataset: Callable[[], Any],
    source: Callable[[], Any],
    reward: Callable[[], Any],
    guidance: Callable[..., Any],
    evaluation: Callable[..., Any],
    algorithm: Callable[[Sequence[Task]], list[str]],
    group_size: int | None,
    new_tokens: int,
) -> Checked:
    """Make the cheap parts and ask each what it has against the others.

    Args:
        dataset: makes the dataset; likewise ``source`` the model's source, ``reward``, and ``guidance`` and
            ``evaluation``, which are called with what they need besides.
        algorithm: what the algorithm has against training tasks.
        group_size: responses to a task; None where there are no groups.
        new_tokens: longest response that will be sampled.

    Raises:
        ConfigError: with every fault.
    """
    faults: list[Fault | str] = []
    made: dict[str, Any] = {
        "splits": _tried(faults, lambda: dataset().load()),
        "source": _tried(faults, source),
        "reward": _tried(faults, reward),
    }
    splits, model = made["splits"], made["source"]
    tokens = None
    if model is not None:
        found = model.faults()
        faults += found
        made["tokens"] = tokens = None if found else _tried(faults, model.tokens)
    if splits is not None:
        if made["reward"] is not None:
            faults += made["reward"].faults([*splits.train, *splits.heldout, *splits.test])
        faults += algorithm(splits.train)
        if model is not None and tokens is not None:
            context = model.context()
            faults += room_faults([*splits.train, *splits.heldout, *splits.test], tokens, context, new_tokens)
            live = {"tokens": tokens, "reward": made["reward"]}
            groups = {"longest": new_tokens, "group_size": group_size, "architecture": model.architecture()}
            made["guidance"] = _tried(faults, lambda: guidance(**live, **groups))
            if made["guidance"] is not None:
                faults += made["guidance"].faults(splits.train, context=context)
            made["evaluation"] = _tried(faults, lambda: evaluation(**live, splits=splits, context=context))
            if made["reward"] is not None and not faults:  # all of the data may be scored for it
                faults += made["reward"].gold_faults([*splits.train, *splits.heldout, *splits.test], tokens)
    if faults:
        raise ConfigError(list(dict.fromkeys(faults)))
    return Checked(**made)


def room_faults(tasks: Sequence[Task], tokens: Tokens, context: int, new_tokens: int) -> list[Fault]:
    """A context that does not hold the longest prompt and a response to it."""
    by_size = sorted(tasks, key=lambda task: -sum(len(str(message.get("content"))) for message in task.messages))
    lengths = {task.id: len(tokens.prompt(task.messages, task.tools)) for task in by_size[:LONGEST]}
    if not lengths:
        return []
    longest = max(lengths, key=lambda task: lengths[task])
    if lengths[longest] + new_tokens <= context:
        return []
    room = max(context - lengths[longest], 0)
    return [
        Fault(
            "rollout.max_new_tokens",
            new_tokens,
            f"the model attends to {context} tokens, and the prompt of task {longest!r} has {lengths[longest]}",
            f"use at most {room}, shorter prompts, or a model with a longer context"
            if room
            else "use shorter prompts, or a model with a longer context",
        )
    ]


def _tried(faults: list[Fault | str], make: Callable[[], Any]) -> Any:
    """What ``make`` returns; where it refuses, None, and the reasons are added to the faults."""
    try:
        return make()
    except ConfigError as error:
        faults += error.faults
    except ValueError as error:
        faults.append(str(error))
    except OSError as error:
        faults.append(str(Fault(str(error.filename or "a file"), ABSENT, str(error.strerror or error))))
    return None
