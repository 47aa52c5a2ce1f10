"""SIGTERM, SIGUSR1 and Ctrl-C end a run with a checkpoint, a summary and an exit code that says so."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from llmft.config import Stop
from llmft.config.faults import INTERRUPTED, TERMINATED

CODES = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED, signal.SIGUSR1: TERMINATED}


class Heard:
    """The exit code that a signal asked for, 0 before one came."""

    def __init__(self) -> None:
        self.code = 0


@contextmanager
def at_once(run: Path) -> Iterator[None]:
    """Where nothing needs finishing, a signal raises `Stop` where the program stands."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stop(CODES[signal.Signals(number)], f"interrupted; continue with ckpt_path={run}")

    with _handled(stop):
        yield


@contextmanager
def after_the_step(run: Path) -> Iterator[Heard]:
    """The first signal is noted, for whoever finishes a step to look at; the second raises `Stop`."""
    heard = Heard()

    def note(number: int, frame: FrameType | None) -> None:
        code = CODES[signal.Signals(number)]
        if heard.code:
            raise Stop(code, f"interrupted at once; continue with ckpt_path={run}")
        heard.code = code

    with _handled(note):
        yield heard


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    before = {number: signal.signal(number, handler) for number in CODES}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
