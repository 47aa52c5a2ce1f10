"""The styles in which models write calls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Call = tuple[str, Mapping[str, Any]]


def inner(call: Call, key: str = "arguments") -> str:
    return json.dumps({"name": call[0], key: call[1]})


def python(call: Call) -> str:
    return f"{call[0]}({', '.join(f'{name}={value!r}' for name, value in call[1].items())})"


def openai(call: Call) -> str:
    return json.dumps({"type": "function", "function": {"name": call[0], "arguments": json.dumps(call[1])}})


def listed(calls: Sequence[Call]) -> str:
    return f"[{', '.join(map(inner, calls))}]"


STYLES = {
    "objects": lambda calls: "\n".join(map(inner, calls)),
    "list": listed,
    "indented": lambda calls: json.dumps([{"arguments": dict(a), "name": n, "id": "c1"} for n, a in calls], indent=2),
    "fenced": lambda calls: f"Here it is:\n```json\n{listed(calls)}\n```\nDone.",
    "tool_call": lambda calls: "".join(f"<tool_call>\n{inner(call)}\n</tool_call>\n" for call in calls),
    "tool_call in prose": lambda calls: (
        "I look {it} up. " + "".join(f"<tool_call>{inner(call)}</tool_call> " for call in calls) + "Wait."
    ),
    "llama": lambda calls: "<|python_tag|>" + "; ".join(inner(call, "parameters") for call in calls),
    "mistral": lambda calls: f"[TOOL_CALLS] {listed(calls)}",
    "openai": lambda calls: f"[{','.join(map(openai, calls))}]",
    "openai message": lambda calls: f'{{"content": null, "tool_calls": [{",".join(map(openai, calls))}]}}',
    "python": lambda calls: "\n".join(map(python, calls)),
    "python list": lambda calls: f"[{', '.join(map(python, calls))}]",
    "python fenced": lambda calls: "```python\n" + "; ".join(map(python, calls)) + "\n```",
    "thought": lambda calls: f"<think>{listed([('other', {})])}</think>\n{listed(calls)}",
}
