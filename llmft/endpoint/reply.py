"""What an OpenAI-compatible endpoint answered, as one text: thinking in ``<think>`` and then the answer.

Endpoints tell thinking in a field of its own (``reasoning_content`` by DeepSeek, vLLM and SGLang, ``reasoning`` by
OpenRouter and newer vLLM), or leave it in the text, with or without its opening, which R1's template puts into the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

REASONING = ("reasoning_content", "reasoning")
CUT = {"length", "max_tokens", "content_filter"}  # the answer has no end
BROKEN = {"insufficient_system_resource", "error", "abort", "cancelled"}  # nor has it here, and another may have
THOUGHT = re.compile(r"\s*(?:<think>)?(?P<thought>.*?)</think>(?P<rest>.*)", re.DOTALL)


class NoReply(ValueError):
    """The endpoint said 200 and gave no answer."""


class Usage(NamedTuple):
    """Tokens that an endpoint charges for; None where it did not say."""

    prompt_tokens: int | None
    answer_tokens: int | None


class Reply(NamedTuple):
    text: str
    cut: bool  # it ended before its end
    usage: Usage


def read_reply(body: Any) -> Reply:
    """The first choice of a chat completion. Raises NoReply, with what is there instead."""
    choices = body.get("choices") if isinstance(body, Mapping) else None
    if not isinstance(choices, list) or not choices:
        raise NoReply(f"no choices in {excerpt(str(body))}")
    choice = choices[0]
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(message, Mapping):
        raise NoReply(f"no message in {excerpt(str(choice))}")
    finish = str(choice.get("finish_reason") or "stop")
    if finish in BROKEN:
        raise NoReply(f"an answer that stopped half-way, finish_reason={finish}")
    reasoning = next((text for name in REASONING if (text := _said(message.get(name)))), "")
    text = as_text(reasoning, _said(message.get("content")))
    if not text and finish not in CUT:
        raise NoReply(f"an empty answer, finish_reason={finish}")
    return Reply(text, finish in CUT, read_usage(body))


def read_usage(body: Any) -> Usage:
    """What a body says it cost."""
    told = body.get("usage") if isinstance(body, Mapping) else None
    counts = [told.get(name) if isinstance(told, Mapping) else None for name in ("prompt_tokens", "completion_tokens")]
    return Usage(*(count if isinstance(count, int) and count >= 0 else None for count in counts))


def as_text(reasoning: str, content: str) -> str:
    """``<think>\\n...\\n</think>\\n...`` where there was thinking, however it was told; else the content alone.

    Example:
        >>> as_text("1+1 is 2", "#2") == as_text("", "1+1 is 2</think>#2") == "<think>\\n1+1 is 2\\n</think>\\n#2"
        True
    """
    told = THOUGHT.fullmatch(content)
    if told:
        reasoning, content = reasoning or told["thought"], told["rest"]
    if not reasoning.strip() and not told:
        return content.strip()
    return f"<think>\n{reasoning.strip()}\n</think>\n{content.strip()}"


def excerpt(text: str, length: int = 160) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 3]}..."


def _said(value: Any) -> str:
    """A field's text; of a list of parts, that of its text parts."""
    if isinstance(value, list):
        return "".join(str(part.get("text") or "") for part in value if isinstance(part, Mapping))
    return value if isinstance(value, str) else ""
