"""A response in a conversation, for tests of what is made of one."""

from __future__ import annotations

from llmft.types import Finish, Rollout, Task


def said(answer: str, request: str = "Tell me about the sea.", *, finish: Finish = "end") -> Rollout:
    task = Task("t", ({"role": "user", "content": request},), "chat")
    return Rollout(task, (), (), (), (), "policy", answer, finish)
