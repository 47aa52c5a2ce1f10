"""Tasks from rows: JSONL, Parquet or a hub's dataset, with the columns named in YAML.

The final answer is taken out of the answer column, and written at the end of each trace in the form that the reward
reads. No question stands in two splits: test wins over held-out, held-out over train.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from random import Random
from typing import Annotated, Any, Literal

from annotated_types import Ge

from llmft.dataset.files import Bad, Row, Source, read
from llmft.seeds import Seeds
from llmft.types import Kind, Message, Splits, Task, Trace

log = logging.getLogger(__name__)


class Rows:
    """One task per row. A column may be a path into nested columns: ``reward_model.ground_truth``.

    Args:
        path: a folder with train.jsonl and test.jsonl (or .parquet), one file, or a hub name.
        name: the hub dataset's configuration; null otherwise.
        prompt_column: the question; null where ``messages_column`` holds the chat.
        answer_column: what holds the final answer; null where there is none.
        trace_column: a whole response to imitate; null where there is none.
        messages_column: a chat as a list of role and content; a last turn by the assistant becomes the trace.
        id_column: the row's own id; null takes split and row number.
        answer_pattern: regular expression whose one group takes the final answer out of ``answer_column``; null takes
            all of it. What it matches is cut from a trace, and the answer written in ``answer_form`` instead.
        answer_form: how a final answer is written, with ``{answer}`` in its place.
        system: a system prompt; ``{form}`` in it becomes the answer's form. null for none.
        heldout: rows carved out of train by ``seed``, where the data has no held-out split of its own.
        on_bad_row: ``stop``, or ``skip`` to leave out and count rows that cannot be used.
        limit: caps the tasks per split.
    """

    def __init__(
        self,
        *,
        path: str,
        name: str | None,
        prompt_column: str | None,
        answer_column: str | None,
        trace_column: str | None,
        messages_column: str | None,
        id_column: str | None,
        kind: Kind,
        answer_pattern: str | None,
        answer_form: str,
        form_pattern: str | None,
        system: str | None,
        heldout: Annotated[int, Ge(0)],
        seed: int,
        on_bad_row: Literal["stop", "skip"],
        limit: Annotated[int, Ge(1)] | None,
        base: str,
        response_tokens: Annotated[int, Ge(1)],
    ) -> None:
        if (prompt_column is None) == (messages_column is None):
            raise ValueError("dataset: name the question's column as prompt_column or a chat's as messages_column")
        if "{answer}" not in answer_form:
            raise ValueError(f"dataset.answer_form={answer_form}: it lacks {{answer}}; write e.g. '#### {{answer}}'")
        self.path = path
        self.name = name
        self.prompt_column = prompt_column
        self.answer_column = answer_column
        self.trace_column = trace_column
        self.messages_column = messages_column
        self.id_column = id_column
        self.kind: Kind = kind
        self.answer_pattern = _compiled(answer_pattern)
        self.answer_form = answer_form
        self.form_pattern = form_pattern
        self.system = system and system.replace("{form}", answer_form.replace("{answer}", "answer"))
        self.heldout = heldout
        self.seed = seed
        self.on_bad_row = on_bad_row
        self.limit = limit
        self.base = base
        self.response_tokens = response_tokens

    def load(self) -> Splits:
        """Read everything. Raises ValueError for what cannot be read, with every fault and where it stands."""
        sources = read(self.path, self.name)
        if faults := [fault for source in sources for fault in self._column_faults(source)]:
            raise ValueError("\n".join(dict.fromkeys(faults)))
        splits: dict[str, list[Task]] = {"train": [], "heldout": [], "test": []}
        bad: list[Bad] = []
        for source in sources:
            made = [self._task(row, source.split) if isinstance(row, Row) else row for row in source.rows]
            bad += [one for one in made if isinstance(one, Bad)]
            splits[source.split] = [one for one in made if isinstance(one, Task)]
        self._report(bad)
        if not splits["heldout"]:
            splits["heldout"], splits["train"] = carve(splits["train"], self.heldout, self.seed)
        kept = apart(splits)
        if not kept["train"]:
            raise ValueError(
                f"dataset.path={self.path}: no training rows are left of {sum(len(s.rows) for s in sources)} rows; "
                "look at what was left out, or carve fewer with dataset.heldout"
            )
        if self.id_column:
            _require_distinct_ids([task for split in kept.values() for task in split], self.id_column)
        capped = {split: tuple(tasks[: self.limit]) for split, tasks in kept.items()}
        return Splits(**capped, hashes={source.name: source.sha256 for source in sources})

    def _column_faults(self, source: Source) -> list[str]:
        there = source.columns()
        named = ("prompt_column", "answer_column", "trace_column", "messages_column", "id_column")
        wanted = {key: value for key in named if (value := getattr(self, key))}
        return [
            f"dataset.{key}={column}: {source.name} has no such column, it has {', '.join(there)}"
            + _did_you_mean(column, there)
            for key, column in wanted.items()
            if there and column not in there and column.partition(".")[0] not in there
        ]

    def _report(self, bad: Sequence[Bad]) -> None:
        if not bad:
            return
        shown = "\n".join(f"  {one.where}: {one.why}" for one in bad[:5])
        more = f"\n  and {len(bad) - 5} more" if len(bad) > 5 else ""
        if self.on_bad_row == "stop":
            raise ValueError(
                f"dataset.on_bad_row=stop: {len(bad)} rows of {self.path} cannot be used; "
                f"mend them or leave them out with dataset.on_bad_row=skip\n{shown}{more}"
            )
        log.warning("dataset.on_bad_row=skip: left out %d rows of %s\n%s%s", len(bad), self.path, shown, more)

    def _task(self, row: Row, split: str) -> Task | Bad:
        try:
            messages, trace = self._dialogue(row)
            answer = self._answer(row)
            if self.trace_column:
                trace = self._trace(_text(row, self.trace_column), answer)
            own = _text(row, self.id_column) if self.id_column else f"{split}-{row.number}"
        except _Unusable as error:
            return Bad(row.where, str(error))
        traces = (Trace(trace),) if trace else ()
        return Task(own, messages, self.kind, answer=answer, traces=traces, meta={"row": row.where})

    def _dialogue(self, row: Row) -> tuple[tuple[Message, ...], str | None]:
        """The prompt, and the response where the row is a chat that ends in one."""
        if self.messages_column:
            turns, trace = _chat(row, self.messages_column)
        else:
            turns, trace = [{"role": "user", "content": _text(row, self.prompt_column or "")}], None
        if self.system and turns[0]["role"] != "system":
            turns.insert(0, {"role": "system", "content": self.system})
        return tuple(turns), trace

    def _answer(self, row: Row) -> str | None:
        if not self.answer_column:
            return None
        text = _text(row, self.answer_column)
        if self.answer_pattern is None:
            return text.strip()
        found = list(self.answer_pattern.finditer(text))
        if not found or not found[-1].group(1).strip():
            raise _Unusable(
                f"no answer in {self.answer_column!r}: answer_pattern={self.answer_pattern.pattern} not met"
            )
        return found[-1].group(1).strip()

    def _trace(self, text: str, answer: str | None) -> str:
        """The response with its final answer in ``answer_form``, on a line of its own at the end."""
        if answer is None:
            return text
        stated = self.answer_form.replace("{answer}", answer)
        if self.answer_pattern and (found := list(self.answer_pattern.finditer(text))):
            text = text[: found[-1].start()] + text[found[-1].end() :]
        elif stated in text:
            return text
        return f"{text.rstrip()}\n{stated}"


class _Unusable(Exception):
    """A row cannot become a task."""


def carve(tasks: Sequence[Task], count: int, seed: int) -> tuple[list[Task], list[Task]]:
    """``count`` of the tasks by a seed, and the others, both in their order."""
    chosen = set(Random(Seeds(seed).stream("heldout")).sample(range(len(tasks)), min(count, len(tasks))))
    held = [task for index, task in enumerate(tasks) if index in chosen]
    return held, [task for index, task in enumerate(tasks) if index not in chosen]


def apart(splits: dict[str, list[Task]]) -> dict[str, list[Task]]:
    """The splits without the questions that a split before them has: test first, then held-out, then train."""
    seen: set[str] = set()
    kept: dict[str, list[Task]] = {}
    for split in ("test", "heldout", "train"):
        kept[split] = [task for task in splits[split] if question(task) not in seen]
        seen.update(question(task) for task in splits[split])
        if dropped := len(splits[split]) - len(kept[split]):
            log.warning("dataset: left %d rows out of %s; their questions are held out elsewhere", dropped, split)
    return kept


def question(task: Task) -> str:
    """The question as it is compared: Unicode, case and spaces made equal."""
    said = "\n".join(f"{turn['role']}: {turn['content']}" for turn in task.messages if turn["role"] != "system")
    return " ".join(unicodedata.normalize("NFKC", said).casefold().split())


def _value(row: Row, column: str) -> Any:
    if column in row.values:
        return row.values[column]
    value: Any = row.values
    for key in column.split("."):
        if not isinstance(value, dict) or key not in value:
            raise _Unusable(f"it has no {column!r}")
        value = value[key]
    return value


def _text(row: Row, column: str) -> str:
    value = _value(row, column)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _Unusable(f"{column!r} is {'empty' if value is None else type(value).__name__ + ', not text'}")
    if not str(value).strip():
        raise _Unusable(f"{column!r} is empty")
    return str(value)


def _chat(row: Row, column: str) -> tuple[list[dict[str, Any]], str | None]:
    value = _value(row, column)
    if not isinstance(value, list) or not value:
        raise _Unusable(f"{column!r} is not a list of turns")
    for turn in value:
        if not isinstance(turn, dict) or not turn.get("role") or not isinstance(turn.get("content"), str):
            raise _Unusable(f"{column!r} has a turn without role and content")
    turns = [dict(turn) for turn in value]
    trace = str(turns.pop()["content"]) if turns[-1]["role"] == "assistant" else None
    if not turns or not str(turns[-1]["content"]).strip():
        raise _Unusable(f"{column!r} has no question before its response")
    return turns, trace


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"dataset.answer_pattern={pattern}: not a regular expression ({error})") from None
    if compiled.groups != 1:
        raise ValueError(f"dataset.answer_pattern={pattern}: it needs one group, which is the answer, e.g. '#### (.+)'")
    return compiled


def _did_you_mean(column: str, there: Iterable[str]) -> str:
    near = get_close_matches(column, there, n=1, cutoff=0.4)
    return f"; did you mean {near[0]!r}?" if near else "; name one of them"


def _require_distinct_ids(tasks: Sequence[Task], column: str) -> None:
    seen: set[str] = set()
    for task in tasks:
        if task.id in seen:
            raise ValueError(
                f"dataset.id_column={column}: two rows are {task.id!r}, second at {task.meta['row']}; "
                "ids must differ, null takes split and row number"
            )
        seen.add(task.id)
