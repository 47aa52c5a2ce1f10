"""Many questions to one endpoint, several at a time, until all are answered or it makes no sense to go on."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

from llmft.config.faults import INTERRUPTED, TERMINATED
from llmft.endpoint.asker import Asker, GaveUp, Refused
from llmft.endpoint.reply import Reply
from llmft.types import Message, Task

PATIENCE = 5  # questions given up with no answer between them: the endpoint is not there, or not in its senses
CODES = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}


class Question(NamedTuple):
    task: Task
    sample: int
    messages: Sequence[Message]  # as the endpoint is to read it


class Ended(NamedTuple):
    """How the asking ended."""

    why: str  # it stopped before its time; empty where it did not
    code: int  # of a signal; 0 without
    unanswered: list[str]  # questions that were given up, each with why


class Stop(Exception):
    """Nothing more is asked, and why."""


def ask_all(
    asker: Asker, questions: Iterable[Question], take: Callable[[Question, Reply], bool], *, has_answered: bool
) -> Ended:
    """Ask all of ``questions``, and hand each answer to ``take`` as it comes.

    Args:
        asker: not yet connected.
        questions: taken one by one.
        take: says whether the answer was of use; it is called from one thread, not the caller's, and may raise Stop.
        has_answered: the endpoint is known to answer requests like these, so that a refusal is the question's doing.
    """
    return asyncio.run(_Asking(asker, iter(questions), take, has_answered).run())


class _Asking:
    def __init__(
        self, asker: Asker, questions: Iterator[Question], take: Callable[[Question, Reply], bool], has_answered: bool
    ) -> None:
        self.asker, self.questions, self.take, self.has_answered = asker, questions, take, has_answered
        self.unanswered: list[str] = []
        self.in_a_row = 0

    async def run(self) -> Ended:
        why = ""
        # A reward that thinks for a while must not make the other answers late; it has to end before this returns.
        with ThreadPoolExecutor(1) as self.judging, _signals() as came:
            try:
                async with self.asker, asyncio.TaskGroup() as workers:
                    for _ in range(self.asker.endpoint.connections):
                        workers.create_task(self._work())
            except* Stop as stops:
                why = str(stops.exceptions[0])
            except* asyncio.CancelledError:
                why = "interrupted"
        return Ended(why, came[0] if came else 0, self.unanswered)

    async def _work(self) -> None:
        for question in self.questions:
            try:
                reply = await self.asker.ask(question.messages)
            except Refused as refusal:
                if refusal.hopeless or not self.has_answered:
                    raise Stop(str(refusal)) from None
                self._give_up(question, str(refusal))
                continue
            except GaveUp as trouble:
                self._give_up(question, str(trouble))
                continue
            self.has_answered = True
            taken = asyncio.get_running_loop().run_in_executor(self.judging, self.take, question, reply)
            if await asyncio.shield(taken):  # what was paid for is written down, whatever ends the asking
                self.in_a_row = 0
            else:
                self._give_up(question, "the reward failed on its answer")

    def _give_up(self, question: Question, why: str) -> None:
        self.unanswered.append(f"task {question.task.id!r}: {why}")
        self.in_a_row += 1
        if self.in_a_row >= PATIENCE:
            raise Stop(f"{PATIENCE} questions in a row were not answered; the last: {why}")


@contextmanager
def _signals() -> Iterator[list[int]]:
    """While this holds, Ctrl-C and SIGTERM cancel the task that entered it; the exit codes that they ask for."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    came: list[int] = []

    def stop(code: int) -> None:
        assert task is not None
        came.append(code)
        task.cancel()

    for number, code in CODES.items():
        loop.add_signal_handler(number, stop, code)
    try:
        yield came
    finally:
        for number in CODES:
            loop.remove_signal_handler(number)
