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
    header: Mapping[str, Any]
    shards: Shards
    pool: Pool


def read(folder: Path, tokens: Tokens, group_size: int) -> Inherited:
    """The pool that a run left in ``folder``. Raises ValueError or RuntimeError if there is none that would serve."""
    header, state = Shards.newest_of(folder)
    if header["tokens"] != tokens_mark(tokens):
        raise ValueError(f"{folder}: written with another tokenizer, so its token ids say something else here")
    if header["group_size"] != group_size:
        theirs = header["group_size"]
        raise ValueError(f"{folder}: of groups of {theirs}, and algorithm.group_size={group_size}")
    shards, pool = Shards(), Pool(group_size, None, None)
    shards.folder = folder
    for step, outcomes in shards.load_state_dict(state):
        pool.fold(step, outcomes)
    return Inherited(header, shards, pool)


def records(inherited: Inherited) -> Iterator[Record]:
    """What the pool holds, as if it had been collected before the first step; what it has forgotten is left out."""
    _, shards, pool = inherited
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
