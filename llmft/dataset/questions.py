"""When two tasks ask the same thing."""

from __future__ import annotations

import unicodedata

from llmft.types import Task


def question(task: Task) -> str:
    """The question as it is compared: without system prompt, and with Unicode, case and spaces made equal."""
    said = "\n".join(f"{turn['role']}: {turn['content']}" for turn in task.messages if turn["role"] != "system")
    return " ".join(unicodedata.normalize("NFKC", said).casefold().split())
