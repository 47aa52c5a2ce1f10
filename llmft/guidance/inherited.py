"""The pool of another run, for this one to begin with: read and judged before any weight is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from llmft.guidance.identity import digest, tokens_mark
from llmft.guidance.pool import Pool, Record
from llmft.guidance.shards import Shards
from llmft.protocols import Tokens
from llmft.types import Task

PROMPTS = 256  # of the pool's questions whose prompts are laid out and compared
QUESTIONS = 256  # of one record


class Inherited(NamedTuple):
    shards: Shards
    pool: Pool


def header_of(tokens: Tokens, architecture: Mapping[str, str | int], group_size: int) -> dict[str, Any]:
    """What a pool is only of use with."""
    return {"tokens": tokens_mark(tokens), "model": dict(architecture), "group_size": group_size}


def read(folder: Path, expected: Mapping[str, Any]) -> Inherited:
    """The pool that a run left in ``folder``. Raises ValueError or RuntimeError if there is none that would serve."""
    header, state = Shards.newest_of(folder)
    if header["tokens"] != expected["tokens"]:
        raise ValueError(f"{folder}: written with another tokenizer, so its token ids say something else here")
    if header["model"] != expected["model"]:
        differing = [name for name, value in header["model"].items() if expected["model"].get(name) != value]
        told = ", ".join(f"{name} {header['model'][name]} and not {expected['model'].get(name)}" for name in differing)
        raise ValueError(f"{folder}: written by another model ({told or 'one that says more of its shape'})")
    group_size = expected["group_size"]
    if header["group_size"] != group_size:
        theirs = header["group_size"]
        raise ValueError(f"{folder}: of groups of {theirs}, and algorithm.group_size={group_size}")
    shards, pool = Shards(), Pool(group_size, None, None)
    shards.folder = folder
    for step, outcomes in shards.load_state_dict(state):
        pool.fold(step, outcomes)
    return Inherited(shards, pool)


def records(inherited: Inherited) -> Iterator[Record]:
    """What the pool holds, as if it had been collected before the first step; what it has forgotten is left out."""
    shards, pool = inherited
    nothing = {"tokens": torch.empty(0, dtype=torch.int32), "logps": torch.empty(0, dtype=torch.float32)}
    yield Record(step=0, outcomes=[[task, pool.group_size, 0, []] for task in sorted(pool.retired)], **nothing)
    by_age = sorted(pool.questions, key=lambda task: pool.questions[task].entered)
    for start in range(0, len(by_age), QUESTIONS):
        outcomes, found = [], []
        for task in by_age[start : start + QUESTIONS]:
            question = pool.questions[task]
            stored = {mark: shards.read(number) for mark, number in question.numbers.items()}
            rows = [[mark, len(one.token_ids), one.finish] for mark, one in stored.items()]
            outcomes.append([task, question.solved, question.prompt, rows])
            found += stored.values()
        tokens = torch.tensor([token for one in found for token in one.token_ids], dtype=torch.int32)
        logps = torch.tensor([logp for one in found for logp in one.logps], dtype=torch.float32)
        yield Record(step=0, outcomes=outcomes, tokens=tokens, logps=logps)


def misfit(pool: Pool, tasks: Sequence[Task], tokens: Tokens) -> str | None:
    """Why a pool is not of these training tasks."""
    known = {task.id: task for task in tasks}
    if strangers := [task for task in (*pool.questions, *sorted(pool.retired)) if task not in known]:
        return (
            f"the pool has {len(strangers)} tasks that are not among the {len(tasks)} training tasks, "
            f"first {strangers[0]!r}; name the data that it was made with"
        )
    for name in list(pool.questions)[:PROMPTS]:
        task = known[name]
        if digest(tokens.prompt(task.messages, task.tools)) != pool.questions[name].prompt:
            return f"the pool has another prompt for task {name!r}; name the data and chat template it was made with"
    return None
