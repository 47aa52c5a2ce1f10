"""What of a response is the answer: all of it, or what follows the thinking."""

from __future__ import annotations

import re

from llmft.types import Message, Rollout

FENCED = re.compile(
    r"^[ \t]{0,3}(?P<fence>`{3,}|~{3,})[^\n]*\n.*?(?:^[ \t]{0,3}(?P=fence)[`~]*[ \t]*$|\Z)", re.M | re.S
)
INLINE = re.compile(r"`[^`\n]+`")
ASIDE = re.compile(r"(?<=\s)\([\w ,.'-]*\)")  # as prose has it
DENSE = 0.06  # symbols of programming by characters; prose with brackets and lists has half of it
CODE_LINE = re.compile(
    r"\s*(?:(?:async )?(?:def|class|fn|func|function) \w+.*[:{(].*|(?:from \S+ )?import [\w.*{][^.!?]*"
    r"|(?:for|while|if|elif|with|switch|catch|except|try|else|finally)\b.*[:{]\s*|[}\])]+[;,]?\s*|(?:let|const|var) .*"
    r"|(?:return|raise|throw|yield|assert|del|print|pass|break|continue)\b[^.!?]*|[\w.\[\]\"']+ [-+*/|&%]?= [^!?]*"
    r"|(?:select|insert|update|delete|create) .*\b(?:from|into|set|table)\b.*|.*;\s*)$",
    re.IGNORECASE,
)


def answer_of(rollout: Rollout) -> str:
    """What follows the last ``</think>``; nothing where thinking began and never ended."""
    thought, ended, rest = rollout.text.rpartition("</think>")
    if ended:
        return rest.strip()
    return "" if "<think>" in thought or "<think>" in rest else rest.strip()


def request_of(rollout: Rollout) -> str:
    """The last thing that the user said."""
    users = [message for message in rollout.task.messages if message.get("role") == "user"]
    return text_of(users[-1]) if users else ""


def text_of(message: Message) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return str(content or "")


def prose_of(text: str) -> str:
    """The text without code: blocks, names within a line, and lines that read like code though nothing marks them.

    Nothing where most lines are such: what is left of a program is no prose.
    """
    lines = [line for line in INLINE.sub(" ", FENCED.sub("\n", text)).splitlines() if line.strip()]
    prose = [line for line in lines if not _is_code(line)]
    return "\n".join(prose) if len(prose) * 2 > len(lines) else ""


def _is_code(line: str) -> bool:
    aside = ASIDE.sub("", line)
    symbols = sum(aside.count(symbol) for symbol in "(){}[]=<>_;+*/\\|&$#@")
    return symbols > DENSE * len(line.strip()) or CODE_LINE.match(line) is not None
