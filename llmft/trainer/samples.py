"""``samples.jsonl``: some rollouts of the run with their prompts, their scores by part, and who wrote which token."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from llmft import durable
from llmft.protocols import Tokens
from llmft.types import Author, Rollout


class SampleLog:
    """Appends rollouts to a file, one line each."""

    def __init__(self, path: Path, tokens: Tokens | None) -> None:
        self.path = path
        self.tokens = tokens

    def cut(self, step: int) -> None:
        """Forget what was written past ``step``, and what a killed writer left of a line."""
        if self.path.exists():
            whole = [
                line for line in self.path.read_text(encoding="utf-8").splitlines(keepends=True) if line[-1] == "\n"
            ]
            durable.write_text(self.path, "".join(line for line in whole if json.loads(line)["step"] <= step))

    def add(self, step: int, rollouts: Sequence[Rollout], count: int) -> None:
        """Append ``count`` of the rollouts, spread evenly over the step."""
        stride = max(1, len(rollouts) // count)
        lines = [json.dumps(self._line(step, one), ensure_ascii=False) for one in rollouts[::stride][:count]]
        durable.append_text(self.path, "".join(line + "\n" for line in lines))

    def flush(self) -> None:
        """Have the disk hold every line."""
        if self.path.exists():
            durable.flush(self.path)

    def _line(self, step: int, rollout: Rollout) -> dict[str, Any]:
        score = rollout.score
        return {
            "step": step,
            "task": rollout.task.id,
            "messages": [dict(message) for message in rollout.task.messages],
            "answer": rollout.task.answer,
            "response": rollout.text,
            "source": rollout.source,
            "finish": rollout.finish,
            "reward": None if score is None else score.value,
            "parts": {} if score is None else dict(score.parts),
            "correct": None if score is None else score.correct,
            "failure": None if score is None else score.failure,
            "advantages": _runs(rollout.advantages or ()),
            "tokens": self._tokens(rollout),
        }

    def _tokens(self, rollout: Rollout) -> list[dict[str, Any]]:
        """The response in stretches of one author each."""
        stretches = []
        for author, pairs in groupby(zip(rollout.authors, rollout.token_ids, strict=True), key=lambda pair: pair[0]):
            ids = [token for _, token in pairs]
            text = self.tokens.text(ids) if self.tokens is not None else ""
            stretches.append({"author": Author(author).name.lower(), "ids": ids, "text": text})
        return stretches


def _runs(values: Sequence[float]) -> list[list[float]]:
    """Equal neighbours as [value, how many]."""
    return [[value, len(list(equal))] for value, equal in groupby(values)]
