"""Tasks from rows: JSONL, Parquet or a hub's dataset, with the columns named in YAML.

The final answer is taken out of the answer column. A trace that is the answer's own column has it written at its end in
the form that the reward reads; what others wrote stays as it is, right or wrong. No question stands in two splits: test
wins over held-out, held-out over train.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from annotated_types import Ge

from llmft.dataset import cells, tests, tools
from llmft.dataset.cells import Unusable
from llmft.dataset.files import Bad, Row, Source, read
from llmft.dataset.splits import apart, carve, require_distinct_ids
from llmft.dataset.traces import with_traces
from llmft.types import Kind, Message, Splits, Task, Trace

log = logging.getLogger(__name__)

NEEDED = (
    "prompt_column",
    "answer_column",
    "messages_column",
    "tools_column",
    "tests_column",
    "id_column",
)  # everywhere
OPTIONAL = ("trace_column", "probs_column", "more_traces", "meta_columns")  # in the training file, not in every row


class Rows:
    """One task per row. A column may be a path into nested columns: ``reward_model.ground_truth``.

    Args:
        path: a folder with train.jsonl and test.jsonl (or .parquet), one file, or a hub name.
        name: the hub dataset's configuration; null otherwise.
        prompt_column: the question; null where ``messages_column`` holds the chat.
        answer_column: what holds the final answer; null where there is none.
        trace_column: a whole response by somebody else: a text, a chat with one turn by the assistant, or null in a row
            that has none; null where there is no such column.
        probs_column: its author's probability of each token, the end token's last; null where that is unknown.
        more_traces: columns of further responses, each as ``trace_column`` or a list of such.
        messages_column: a chat as a list of role and content; a last turn by the assistant becomes the trace.
        tools_column: the tools that may be called: a list of name, description and JSON schema of the parameters, or
            that as JSON text; null where there is no such column.
        tests_column: the tests of a program: assertions, ``{call, expected}`` or ``{stdin, stdout}``, one or a list, or
            that as JSON text; null where there is no such column.
        meta_columns: what is kept in the tasks' ``meta``, by the column's name.
        id_column: the row's own id; null takes split and row number.
        kind: of every task; null where the data has several, which reward=combined then tells from the prompts.
        answer_pattern: regular expression whose one group takes the final answer out of ``answer_column``; null takes
            all of it. What it matches is cut from a trace that is that column, and the answer written in ``answer_form``
            instead.
        answer_form: how a final answer is written, with ``{answer}`` in its place.
        system: a system prompt; ``{form}`` in it becomes the answer's form, ``{tools}`` the row's tools, for chat
            templates that do not render tools. null for none.
        heldout: rows carved out of train by ``seed``, where the data has no held-out split of its own.
        on_bad_row: ``stop``, or ``skip`` to leave out and count rows that cannot be used.
        limit: caps the tasks per split.
        stand_in: a path with a few rows of the same kind, which ``debug=limit`` reads in place of ``path``.
        trace_file: further traces, as ``python -m llmft.guidance.collect`` makes them; null for none.
    """

    def __init__(
        self,
        *,
        path: str,
        name: str | None,
        prompt_column: str | None,
        answer_column: str | None,
        trace_column: str | None,
        probs_column: str | None,
        more_traces: list[str],
        messages_column: str | None,
        tools_column: str | None,
        tests_column: str | None,
        meta_columns: list[str],
        id_column: str | None,
        kind: Kind | None,
        answer_pattern: str | None,
        answer_form: str,
        form_pattern: str | None,
        system: str | None,
        heldout: Annotated[int, Ge(0)],
        seed: int,
        on_bad_row: Literal["stop", "skip"],
        limit: Annotated[int, Ge(1)] | None,
        trace_file: str | None,
        stand_in: str | None,  # for debug=limit; nothing here reads it
        base: str,
        response_tokens: Annotated[int, Ge(1)],
    ) -> None:
        if (prompt_column is None) == (messages_column is None):
            raise ValueError("dataset: name the question's column as prompt_column or a chat's as messages_column")
        if "{answer}" not in answer_form:
            raise ValueError(f"dataset.answer_form={answer_form}: it lacks {{answer}}; write e.g. '#### {{answer}}'")
        if probs_column and not trace_column:
            raise ValueError(
                f"dataset.probs_column={probs_column}: they are of the trace in dataset.trace_column; name it"
            )
        if "{tools}" in (system or "") and tools_column is None:
            raise ValueError("dataset.system: there are no {tools} to put in; name their column as tools_column")
        self.path = path
        self.name = name
        self.prompt_column = prompt_column
        self.answer_column = answer_column
        self.trace_column = trace_column
        self.probs_column = probs_column
        self.more_traces = more_traces
        self.messages_column = messages_column
        self.tools_column = tools_column
        self.tests_column = tests_column
        self.meta_columns = meta_columns
        self.id_column = id_column
        self.kind: Kind | None = kind
        self.answer_pattern = _compiled(answer_pattern)
        self.answer_form = answer_form
        self.form_pattern = form_pattern
        self.system = system and system.replace("{form}", answer_form.replace("{answer}", "answer"))
        self.heldout = heldout
        self.seed = seed
        self.on_bad_row = on_bad_row
        self.limit = limit
        self.trace_file = trace_file
        self.stand_in = stand_in
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
            require_distinct_ids([task for split in kept.values() for task in split], self.id_column)
        whole = Splits(
            **{split: tuple(tasks) for split, tasks in kept.items()},
            hashes={source.name: source.sha256 for source in sources},
        )
        return _capped(with_traces(whole, self.trace_file), self.limit)

    def _column_faults(self, source: Source) -> list[str]:
        there = source.columns()
        named = (*NEEDED, *OPTIONAL) if source.split == "train" else NEEDED
        given = {key: getattr(self, key) or [] for key in named}
        wanted = [(key, one) for key, value in given.items() for one in ([value] if isinstance(value, str) else value)]
        return [
            f"dataset.{key}={column}: {source.name} has no such column, it has {', '.join(there)}"
            + _did_you_mean(column, there)
            for key, column in wanted
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
            offered = tools.tools(row, self.tools_column) if self.tools_column else ()
            asked = tests.tests(row, self.tests_column) if self.tests_column else ()
            messages, ending = self._dialogue(row, offered)
            answer = self._answer(row)
            traces = self._traces(row, answer) if self.trace_column or not ending else [Trace(ending)]
            for column in self.more_traces:
                traces += cells.traces(row, column)
            own = cells.text(row, self.id_column) if self.id_column else f"{split}-{row.number}"
        except Unusable as error:
            return Bad(row.where, str(error))
        meta = {"row": row.where} | {column: cells.optional(row, column) for column in self.meta_columns}
        brings = {"answer": answer, "traces": tuple(traces), "tests": asked, "tools": offered}
        return Task(own, messages, self.kind, **brings, meta=meta)

    def _dialogue(self, row: Row, offered: Sequence[Mapping[str, Any]]) -> tuple[tuple[Message, ...], str | None]:
        """The prompt, and the response where the row is a chat that ends in one."""
        if self.messages_column:
            turns, ending = cells.chat(row, self.messages_column)
        else:
            turns, ending = [{"role": "user", "content": cells.text(row, self.prompt_column or "")}], None
        if self.system and turns[0]["role"] != "system":
            turns.insert(0, {"role": "system", "content": self.system.replace("{tools}", tools.as_text(offered))})
        return tuple(turns), ending

    def _traces(self, row: Row, answer: str | None) -> list[Trace]:
        if not self.trace_column:
            return []
        traces = cells.traces(row, self.trace_column, self.probs_column)
        if self.trace_column != self.answer_column:
            return traces
        return [replace(trace, text=self._ended(trace.text, answer)) for trace in traces]

    def _answer(self, row: Row) -> str | None:
        if not self.answer_column:
            return None
        text = cells.text(row, self.answer_column)
        if self.answer_pattern is None:
            return text.strip()
        found = list(self.answer_pattern.finditer(text))
        if not found or not found[-1].group(1).strip():
            raise Unusable(f"no answer in {self.answer_column!r}: answer_pattern={self.answer_pattern.pattern} not met")
        return found[-1].group(1).strip()

    def _ended(self, text: str, answer: str | None) -> str:
        """The response with its final answer in ``answer_form``, on a line of its own at the end."""
        if answer is None or self.answer_pattern is None:
            return text
        last = list(self.answer_pattern.finditer(text))[-1]
        text = text[: last.start()] + text[last.end() :]
        return f"{text.rstrip()}\n{self.answer_form.replace('{answer}', answer)}"


def _capped(splits: Splits, limit: int | None) -> Splits:
    return replace(splits, train=splits.train[:limit], heldout=splits.heldout[:limit], test=splits.test[:limit])


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
