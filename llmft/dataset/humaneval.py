"""HumanEval, https://github.com/openai/human-eval: Python functions to complete, with the official tests."""

from __future__ import annotations

import ast
import re
from typing import Annotated

from annotated_types import Ge

from llmft.dataset import cells
from llmft.dataset.cells import Unusable
from llmft.dataset.files import Bad, Row, read
from llmft.dataset.splits import apart, carve
from llmft.dataset.traces import with_traces
from llmft.types import Check, Splits, Task, Trace


class HumanEval:
    """One task per row, with the official test. Three of them (32, 38, 50) use a function that the prompt gives and the
    program repeats: they have it from the program, as officially.

    Args:
        path: ``HumanEval.jsonl`` or ``HumanEval.jsonl.gz`` of the project, or a hub name.
        instruction: what is asked; the beginning of the function follows it in a fenced block.
        heldout: tasks carved out by ``seed``; the others are the training tasks.
        limit: caps the tasks per split.
        trace_file: further traces, as ``python -m llmft.guidance.collect`` makes them; null for none.
    """

    def __init__(
        self,
        *,
        path: str,
        instruction: str,
        heldout: Annotated[int, Ge(0)],
        seed: int,
        answer_form: str,  # what rewards of other kinds of data ask for; nothing here reads them
        form_pattern: str | None,
        limit: Annotated[int, Ge(1)] | None,
        trace_file: str | None,
        base: str,
        response_tokens: Annotated[int, Ge(1)],
    ) -> None:
        self.path = path
        self.instruction = instruction
        self.heldout = heldout
        self.seed = seed
        self.answer_form = answer_form
        self.form_pattern = form_pattern
        self.limit = limit
        self.trace_file = trace_file
        self.base = base
        self.response_tokens = response_tokens

    def load(self) -> Splits:
        """Read everything. Raises ValueError for what cannot be read, with where it stands."""
        sources = read(self.path, None)
        made = [self._task(row) if isinstance(row, Row) else row for source in sources for row in source.rows]
        if bad := [one for one in made if isinstance(one, Bad)]:
            shown = "".join(f"\n  {one.where}: {one.why}" for one in bad[:5])
            raise ValueError(
                f"dataset.path={self.path}: {len(bad)} of {len(made)} rows cannot be used; "
                f"a row has task_id, prompt, canonical_solution, test and entry_point{shown}"
            )
        held, others = carve([one for one in made if isinstance(one, Task)], self.heldout, self.seed)
        kept = apart({"train": others, "heldout": held, "test": []})
        if not kept["train"]:
            raise ValueError(f"dataset.heldout={self.heldout}: none of {len(made)} tasks is left; carve fewer")
        splits = {name: tuple(some[: self.limit]) for name, some in kept.items()}
        return with_traces(Splits(**splits, hashes={one.name: one.sha256 for one in sources}), self.trace_file)

    def _task(self, row: Row) -> Task | Bad:
        try:
            own, prompt, entry = (cells.text(row, name) for name in ("task_id", "prompt", "entry_point"))
            test = f"{cells.text(row, 'test').rstrip()}\n\ncheck({entry})\n"
            _require_function(prompt, entry)
            solution = prompt + cells.text(row, "canonical_solution")
        except Unusable as error:
            return Bad(row.where, str(error))
        return Task(
            own,
            ({"role": "user", "content": f"{self.instruction}\n\n{fenced(prompt)}"},),
            "coding",
            traces=(Trace(fenced(solution)),),
            tests=(Check("asserts", test),),
            meta={"row": row.where, "entry_point": entry},
        )


def fenced(code: str) -> str:
    """Python in a fenced block, whose fence is longer than any in the code."""
    longest = max((len(run) for run in re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}python\n{code.strip(chr(10))}\n{fence}"


def _require_function(prompt: str, entry: str) -> None:
    """Raises Unusable where the prompt does not begin the function that the test calls."""
    try:
        body = ast.parse(prompt).body
    except (SyntaxError, ValueError) as error:
        raise Unusable(f"'prompt' is no Python ({error})") from None
    if entry not in [node.name for node in body if isinstance(node, ast.FunctionDef)]:
        raise Unusable(f"'prompt' does not define {entry!r}, its 'entry_point'")
