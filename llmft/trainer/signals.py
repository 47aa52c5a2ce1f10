"""SIGTERM, SIGUSR1 and Ctrl-C end a run with a checkpoint, a summary and an exit code that says so.

What changes no weights (collecting a step, an evaluation) is dropped at once, on one process: it is done again when the
run is continued. What does (updates, a save) is finished, which takes seconds. Several processes leave together, where
one phase gives way to the next. The second signal waits for nothing.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from llmft.config import Stop
from llmft.config.faults import INTERRUPTED, NON_FINITE, TERMINATED

CODES = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED, signal.SIGUSR1: TERMINATED}


class Interrupted(BaseException):
    """A signal, raised where the program stands. No `Exception`: what a reward may catch must not swallow it."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(code)


class Dropped(Interrupted):
    """It ended a phase that changes no weights: what the run is now can be saved."""


class Signals:
    """Whether a signal came, and whether what runs now may be dropped for it."""

    def __init__(self) -> None:
        self.code = 0  # the exit code that the signal asked for
        self._may_drop = False

    def listen(self) -> None:
        """From now on the first signal is noted, or drops what runs, and the second raises `Interrupted`."""

        def note(number: int, frame: FrameType | None) -> None:
            first, self.code = not self.code, CODES[signal.Signals(number)]
            if not first:
                raise Interrupted(self.code)
            if self._may_drop:
                raise Dropped(self.code)

        _handle_by(dict.fromkeys(CODES, note))

    @contextmanager
    def droppable(self) -> Iterator[None]:
        """Around what changes no weights. Raises `Dropped` if a signal came before, or, on one process, comes now."""
        from llmft.distributed import all_max, world_size

        self._may_drop = world_size() == 1  # raising on one of several would leave the others waiting for it
        try:
            if code := all_max(self.code):
                raise Dropped(code)
            yield
        finally:
            self._may_drop = False


@contextmanager
def at_once(run: Path | None) -> Iterator[None]:
    """Where nothing needs finishing, a signal stops the program where it stands.

    Args:
        run: the folder to continue; None where no run has begun.

    Raises:
        Stop: when a signal comes.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(CODES[signal.Signals(number)])

    before = _handle_by(dict.fromkeys(CODES, stop))
    try:
        yield
    except Interrupted as interrupted:
        how = f"continue with ckpt_path={run}" if run else "no run had begun"
        raise Stop(interrupted.code, f"interrupted; {how}") from None
    finally:
        _handle_by(before)


@contextmanager
def endings(run: Path, learner: Any) -> Iterator[None]:
    """What ends a training before its time, other than a failure, as a `Stop`."""
    from llmft.distributed import all_max

    how = f"continue with ckpt_path={run}"
    try:
        yield
        if code := all_max(learner.signals.code):  # in the last step: the model is yet to be written
            raise Dropped(code)
    except Dropped as dropped:
        done = f"interrupted after step {learner.steps_done} of {learner.max_steps}"
        raise Stop(dropped.code, f"{done}; {how}") from None
    except Interrupted as interrupted:
        raise Stop(interrupted.code, f"interrupted at once; {how}") from None
    except FloatingPointError as error:  # what was sampled from is broken: there is nothing to skip
        raise Stop(NON_FINITE, f"step {learner.steps_done + 1}: {error}") from error


def _handle_by(handlers: Mapping[signal.Signals, Any]) -> dict[signal.Signals, Any]:
    """Set handlers; those of before. In a thread other than the main one, which may set none, nothing."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, handler) for number, handler in handlers.items()}
