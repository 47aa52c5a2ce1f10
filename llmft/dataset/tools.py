"""The tools that a row offers, as chat templates render them: OpenAI's ``{"type": "function", "function": {...}}``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llmft.dataset import cells
from llmft.dataset.cells import Unusable
from llmft.dataset.files import Row

KEPT = ("default", "const", "enum", "examples")  # of a schema: where null is a value


def tools(row: Row, column: str) -> tuple[dict[str, Any], ...]:
    """The tools in a column: one or a list, as objects or as JSON text, wrapped or bare; null for none.

    Raises:
        Unusable: for anything else.
    """
    held = cells.optional(row, column)
    if isinstance(held, str):
        try:
            held = json.loads(held) if held.strip() else None
        except (ValueError, RecursionError) as error:
            raise Unusable(f"{column!r} is not JSON ({error})") from None
    listed = [held] if isinstance(held, Mapping) else held or []
    if not isinstance(listed, list) or not all(isinstance(one, Mapping) for one in listed):
        raise Unusable(f"{column!r} is not a list of tools, each with name, description and parameters")
    return tuple(offered(one) for one in listed)


def offered(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool in OpenAI's wrapping, without the nulls that a table puts where another row has something."""
    return _full(
        {"type": "function", **tool}
        if isinstance(tool.get("function"), Mapping)
        else {"type": "function", "function": tool}
    )


def as_text(tools: Sequence[Mapping[str, Any]]) -> str:
    """The tools for a system prompt, where the chat template does not render them: JSON, one to a line."""
    return "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)


def _full(held: Any) -> Any:
    if isinstance(held, Mapping):
        return {key: one if key in KEPT else _full(one) for key, one in held.items() if one is not None or key in KEPT}
    return [_full(one) for one in held] if isinstance(held, list) else held
