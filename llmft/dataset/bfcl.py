"""The Berkeley function-calling leaderboard's requests, https://gorilla.cs.berkeley.edu/leaderboard.html.

Its files say ``dict``, ``float`` and ``tuple`` where JSON Schema says ``object``, ``number`` and ``array``; names of
functions and values stay as they are. An answer becomes ``[{"name": ..., "arguments": {argument: [accepted, ...]}}]``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge

from llmft.config import find
from llmft.dataset import cells
from llmft.dataset.cells import Unusable
from llmft.dataset.files import Bad, Row, Source, read
from llmft.dataset.splits import apart, carve
from llmft.dataset.tools import as_text, offered
from llmft.dataset.traces import with_traces
from llmft.types import Message, Splits, Task

TYPES = {"dict": "object", "float": "number", "tuple": "array"}
ANY = "any"  # has no name in JSON Schema: a schema without a type


class BFCL:
    """Requests of one category, of a single turn each.

    Args:
        path: a folder with ``BFCL_v4_CATEGORY.json`` (of any version), or such a file.
        category: which file of a folder: ``simple_python``, ``multiple``, ``parallel``, ``irrelevance``.
        answers: ``beside``: in ``NAME.answers.json`` or ``possible_answer/NAME.json`` beside the file; ``no_call``: to
            call nothing is right.
        system: a system prompt; ``{tools}`` in it becomes the functions, for chat templates that do not render tools.
        heldout: requests carved out by ``seed``; the others are the training tasks.
        limit: caps the tasks per split.
        trace_file: traces, as ``python -m llmft.guidance.collect`` makes them; null for none.
        answer_form: how a response is written, which rewards of other kinds ask; ``form_pattern`` likewise.
    """

    def __init__(
        self,
        *,
        path: str,
        category: str,
        answers: Literal["beside", "no_call"],
        system: str | None,
        heldout: Annotated[int, Ge(0)],
        seed: int,
        limit: Annotated[int, Ge(1)] | None,
        trace_file: str | None,
        answer_form: str,
        form_pattern: str | None,
        base: str,
        response_tokens: Annotated[int, Ge(1)],
    ) -> None:
        self.path = path
        self.category = category
        self.answers = answers
        self.system = system
        self.heldout = heldout
        self.seed = seed
        self.limit = limit
        self.trace_file = trace_file
        self.answer_form = answer_form
        self.form_pattern = form_pattern
        self.base = base
        self.response_tokens = response_tokens

    def load(self) -> Splits:
        """Read everything. Raises ValueError for what cannot be read, with where it stands."""
        file = self._file()
        sources = _read(file), *([_read(_answers_of(file))] if self.answers == "beside" else [])
        right = _by_id(sources[1]) if self.answers == "beside" else None
        tasks = [self._task(row, right) if isinstance(row, Row) else row for row in sources[0].rows]
        if bad := [one for one in tasks if isinstance(one, Bad)]:
            shown = "".join(f"\n  {one.where}: {one.why}" for one in bad[:5])
            raise ValueError(f"dataset.path={self.path}: {len(bad)} requests cannot be used{shown}")
        held, others = carve([one for one in tasks if isinstance(one, Task)], self.heldout, self.seed)
        kept = apart({"train": others, "heldout": held, "test": []})
        if not kept["train"]:
            raise ValueError(f"dataset.heldout={self.heldout}: none of {len(tasks)} requests is left; carve fewer")
        splits = {name: tuple(some[: self.limit]) for name, some in kept.items()}
        return with_traces(Splits(**splits, hashes={one.name: one.sha256 for one in sources}), self.trace_file)

    def _file(self) -> Path:
        place = find(self.path)
        if place.is_file():
            return place
        versions = sorted(place.glob(f"BFCL_v*_{self.category}.json"))
        if not versions:
            there = ", ".join(file.name for file in sorted(place.glob("BFCL_v*.json"))[:10]) or "no file of BFCL"
            raise ValueError(
                f"dataset.path={self.path}: there is no BFCL_v4_{self.category}.json, but {there}; "
                "give the leaderboard's folder of data, or one of its files, and dataset.category"
            )
        return versions[-1]

    def _task(self, row: Row, right: Mapping[str, Any] | None) -> Task | Bad:
        try:
            own = cells.text(row, "id")
            tools = tuple(offered(in_json_schema(one)) for one in _listed(row, "function"))
            answer = _answer(own, right)
            messages = self._messages(row, tools)
        except Unusable as error:
            return Bad(row.where, str(error))
        meta = {"row": row.where, "category": self.category}
        return Task(own, messages, "function_calling", answer=answer, tools=tools, meta=meta)

    def _messages(self, row: Row, tools: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
        turns = _listed(row, "question")
        if len(turns) != 1:
            raise Unusable(f"'question' has {len(turns)} turns; only requests of one turn are read")
        said, _ = cells.chat(Row(row.number, row.where, {"question": turns[0]}), "question")
        if self.system and said[0]["role"] != "system":
            said.insert(0, {"role": "system", "content": self.system.replace("{tools}", as_text(tools))})
        return tuple(said)


def in_json_schema(function: Any) -> dict[str, Any]:
    """A function as BFCL describes it, its parameters as JSON Schema. Raises Unusable."""
    if not isinstance(function, Mapping) or not isinstance(function.get("parameters"), Mapping):
        raise Unusable("'function' has no parameters")
    return {**function, "parameters": _translated(function["parameters"])}


def _translated(schema: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(schema)
    if made.get("type") == ANY:
        del made["type"]
    elif made.get("type") in TYPES:
        made["type"] = TYPES[made["type"]]
    if isinstance(made.get("properties"), Mapping):
        made["properties"] = {name: _translated(inside) for name, inside in made["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(made.get(key), Mapping):
            made[key] = _translated(made[key])
    return made


def _read(file: Path) -> Source:
    (source,) = read(str(file), None)
    return source


def _answers_of(file: Path) -> Path:
    beside = file.with_suffix(".answers.json"), file.parent / "possible_answer" / file.name
    for place in beside:
        if place.is_file():
            return place
    raise ValueError(
        f"dataset.answers=beside: neither {beside[0]} nor {beside[1]} is there; put one there, "
        "or use answers=no_call where to call nothing is right"
    )


def _by_id(source: Source) -> dict[str, Any]:
    rows = [row.values for row in source.rows if isinstance(row, Row)]
    return {str(values.get("id")): values.get("ground_truth") for values in rows}


def _answer(own: str, right: Mapping[str, Any] | None) -> str:
    """The accepted calls as JSON. Raises Unusable where there is no answer of this id."""
    if right is None:
        return "[]"
    calls = right.get(own)
    if not isinstance(calls, list) or not all(isinstance(one, Mapping) and len(one) == 1 for one in calls):
        raise Unusable(f"there is no answer of id {own!r}, a list of one function each")
    named = [{"name": name, "arguments": accepted} for one in calls for name, accepted in one.items()]
    return json.dumps(named, ensure_ascii=False)


def _listed(row: Row, column: str) -> list[Any]:
    held = cells.value(row, column)
    if not isinstance(held, list) or not held:
        raise Unusable(f"{column!r} is not a list")
    return held
