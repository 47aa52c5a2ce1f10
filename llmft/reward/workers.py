"""Processes for what may hang, crash or kill its process: one item at a time, each within a time limit.

The processes are fresh interpreters, never forks (a trainer has threads), in a session of their own (Ctrl-C is for the
trainer: the step that is being finished may still ask). What dies on an item or hangs takes no other item with it. This
module is both of the ends: `Workers` asks and `serve` answers. It imports nothing heavy, and so starts in a moment.
"""

from __future__ import annotations

import json
import os
import pickle
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Literal, NamedTuple

from llmft.reward.failed import reason

STARTUP_S = 120.0  # to import what is needed on a busy machine
GRACE_S = 2.0  # after which a worker ends by itself on an item whose asker is gone
HEADER = 8  # bytes before a message that say how long it is

Work = Callable[[Any], Any]  # what a worker does with an item; what it returns is JSON's


class Reply(NamedTuple):
    state: Literal["done", "raised", "hung", "died"]
    value: Any  # what came of the item; of one that is not done, why in a few words
    code: int | None = None  # of one whose worker died: its exit code, negative for a signal


class Workers:
    """Up to ``processes`` workers, started when there is something to do.

    Usable from any thread, after a fork and after pickling: each process has workers of its own.

    Args:
        setup: called once in each worker; what it returns is called with each item. It can be pickled.
        processes: how many; None for as many as this process may use cores.
        quiet: drop what the work prints; otherwise it is printed to standard error.
    """

    def __init__(self, setup: Callable[[], Work], *, processes: int | None, quiet: bool) -> None:
        self.setup, self.processes, self.quiet = setup, processes, quiet
        self._forget()

    def map(self, items: Sequence[Any], timeout_s: float) -> list[Reply]:
        """What comes of each item, in order. ``timeout_s`` is for one item, from when a worker has it.

        An item whose worker dies is given to another one once more: perhaps the worker was killed from outside.
        """
        self._mind_a_fork()
        replies: list[Reply] = [Reply("died", "no worker")] * len(items)
        todo = deque(enumerate(items))
        broken: list[str] = []  # why no worker starts: then none will for the rest

        def work() -> None:
            while todo:
                with suppress(IndexError):  # another thread took the last one
                    place, item = todo.popleft()
                    replies[place] = Reply("died", broken[0]) if broken else self._ask(item, timeout_s, broken)

        hands = min(self.processes or cores(), len(items))
        if hands <= 1:
            work()
            return replies
        with ThreadPoolExecutor(hands, "workers") as threads:
            begun = [threads.submit(work) for _ in range(hands)]
            try:
                for one in begun:
                    one.result()
            finally:
                todo.clear()  # interrupted: leave the rest
        return replies

    def fault(self) -> str | None:
        """Why no worker can do this work, having started one."""
        self._mind_a_fork()
        slot = self._slots.get()
        try:
            slot.start()
        except _NotStarted as error:
            return str(error)
        finally:
            self._slots.put(slot)
        return None

    def pids(self) -> list[int]:
        """The processes that stand now."""
        return [slot.process.pid for slot in list(self._slots.queue) if slot.process is not None]

    def close(self) -> None:
        """End the workers; they start again when asked."""
        if self._owner == os.getpid():
            for slot in list(self._slots.queue):
                slot.end()

    def _ask(self, item: Any, timeout_s: float, broken: list[str]) -> Reply:
        slot = self._slots.get()
        try:
            message = pickle.dumps((timeout_s, item))
            reply = slot.ask(message, timeout_s)
            return slot.ask(message, timeout_s) if reply.state == "died" else reply
        except _NotStarted as error:
            broken.append(str(error))
            return Reply("died", str(error))
        except Exception as error:  # an item that cannot be sent
            return Reply("raised", reason(error))
        finally:
            self._slots.put(slot)

    def _mind_a_fork(self) -> None:
        if self._owner != os.getpid():  # the processes on the pipes are the parent's
            self._forget()

    def _forget(self) -> None:
        self._owner = os.getpid()
        self._slots: queue.LifoQueue[_Worker] = queue.LifoQueue()  # the one that was used last is warm
        for _ in range(self.processes or cores()):
            self._slots.put(_Worker(self.setup, self.quiet))

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Workers, processes=self.processes, quiet=self.quiet), (self.setup,)

    def __del__(self) -> None:
        try:  # noqa: SIM105  at the interpreter's end `suppress` is gone
            self.close()
        except Exception:  # of one whose construction failed, or at that end: the workers end with their asker
            pass


def cores() -> int:
    """How many cores this process may use, beside the run's other processes on this machine."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(usable // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)


class _NotStarted(Exception):
    """No worker can be started, for a reason that the next one would have too."""


class _Late(Exception):
    pass


class _Worker:
    """One place for a process, in the hands of one thread at a time."""

    def __init__(self, setup: Callable[[], Work], quiet: bool) -> None:
        self.setup, self.quiet = setup, quiet
        self.process: subprocess.Popen[bytes] | None = None

    def ask(self, message: bytes, timeout_s: float) -> Reply:
        """What comes of the item in ``message``. Raises _NotStarted."""
        process = self.start()
        try:
            return Reply(*_exchange(process, message, timeout_s))
        except _Late:
            self.end()
            return Reply("hung", "hung")
        except EOFError:
            code = self.end(wait_s=1.0)
            return Reply("died", f"worker died ({_called(code)})", code)
        except BaseException:
            self.end()  # interrupted: what it would still say is nobody's reply
            raise

    def start(self) -> subprocess.Popen[bytes]:
        """The process, ready to be asked. Raises _NotStarted, where it dies while it starts when it did so twice."""
        if self.process is not None and self.process.poll() is None:
            return self.process
        died = ""
        for _ in range(2):
            self.end()
            self.process = _popen(self.quiet)
            try:
                state, why = _exchange(self.process, pickle.dumps(self.setup), STARTUP_S)
            except _Late:
                self.end()
                raise _NotStarted(f"worker was not ready after {STARTUP_S:.0f} s") from None
            except EOFError:
                died = _called(self.end(wait_s=1.0))
                continue
            if state == "raised":
                self.end()
                raise _NotStarted(why)
            return self.process
        raise _NotStarted(f"worker died while it started ({died})")

    def end(self, wait_s: float = 0.0) -> int | None:
        """Kill it and whatever it started, after it had ``wait_s`` to end by itself; its exit code."""
        process, self.process = self.process, None
        if process is None:
            return None
        with suppress(subprocess.TimeoutExpired):
            process.wait(wait_s)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with process:  # closes its pipes and waits
            return process.wait()


def _popen(quiet: bool) -> subprocess.Popen[bytes]:
    """A worker. It finds modules where this process does, and hashes as every other worker: no value hangs on which."""
    code = f"import sys; sys.path[:] = {sys.path!r}; from llmft.reward.workers import serve; serve()"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else None,
        bufsize=0,
        start_new_session=True,
        env={**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
    )
    os.set_blocking(process.stdin.fileno(), False)  # type: ignore[union-attr]
    return process


def _called(code: int | None) -> str:
    try:
        return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
    except ValueError:
        return f"signal {-(code or 0)}"


def _exchange(process: subprocess.Popen[bytes], message: bytes, timeout_s: float) -> Any:
    """The answer to a message. Raises _Late after ``timeout_s``, EOFError where the worker is gone."""
    assert process.stdin is not None
    assert process.stdout is not None
    deadline = time.monotonic() + timeout_s
    send, receive = process.stdin.fileno(), process.stdout.fileno()
    left = memoryview(len(message).to_bytes(HEADER, "big") + message)
    try:
        while left:
            _await(send, select.POLLOUT, deadline)
            left = left[os.write(send, left) :]
        length = int.from_bytes(_received(receive, HEADER, deadline), "big")
        return json.loads(_received(receive, length, deadline))
    except OSError:  # the pipe is broken
        raise EOFError from None


def _received(pipe: int, length: int, deadline: float) -> bytes:
    got = b""
    while len(got) < length:
        _await(pipe, select.POLLIN, deadline)
        more = os.read(pipe, length - len(got))
        if not more:
            raise EOFError
        got += more
    return got


def _await(pipe: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(pipe, event)
    if not poll.poll(max(deadline - time.monotonic(), 0.0) * 1000):
        raise _Late


def serve() -> None:
    """Do what is asked on standard input, until it closes."""
    asked, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # nothing that is printed may pass for an answer
    threading.Thread(target=_leave_with_the_asker, args=(asked.fileno(),), daemon=True).start()
    work: Work | None = None
    while header := asked.read(HEADER):
        message = asked.read(int.from_bytes(header, "big"))
        try:
            if work is None:
                work, answer = pickle.loads(message)(), ["done", None]
            else:
                limit_s, item = pickle.loads(message)
                signal.setitimer(signal.ITIMER_REAL, limit_s + GRACE_S)
                answer = ["done", work(item)]
            told = json.dumps(answer).encode()
        except BaseException as error:  # SystemExit too
            told = json.dumps(["raised", reason(error)]).encode()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        answers.write(len(told).to_bytes(HEADER, "big") + told)
        answers.flush()


def _leave_with_the_asker(pipe: int) -> None:
    """End when nobody can ask any more. Work that holds the interpreter's lock is ended by the timer instead."""
    poll = select.poll()
    poll.register(pipe, 0)  # only that it was closed
    poll.poll()
    os._exit(0)
