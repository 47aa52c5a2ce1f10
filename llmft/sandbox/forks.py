"""The children of a server: each has a program, a clock, and pipes that are read up to a limit.

Nothing of a program stays in the server, where the next one, a fork of it, could find what another answered: a child
takes its program from the client's socket itself, and what it writes goes through memory that is wiped.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import Any, NoReturn

from llmft.sandbox import child, namespaces
from llmft.sandbox.lockdown import Cell
from llmft.sandbox.tapes import Tapes
from llmft.sandbox.wire import receive

LEAVE_S = 0.25  # for a program to notice that its tests have ended
LOOK_S = 0.02  # how often a child that goes on is looked at
CROWD = 256  # threads of one child: they take their numbers from all processes of the machine
LOCKING_S = 20.0  # for a child to take its program and lock itself down


class Child:
    """A process that runs one program, from its fork to its end."""

    def __init__(self, cell: Cell, tapes: Tapes, connection: socket.socket, channel: tuple[int, ...] = ()) -> None:
        self.tapes = tapes
        self.cut: str | None = None  # why the server ended it: timeout, output, threads; done, no longer needed
        self.ended: tuple[int, float, int] | None = None  # the kernel's status, seconds of computing, peak memory in kB
        pipes = [os.pipe() for _ in range(3)]
        self.pid = os.fork()
        if self.pid == 0:
            _be_child(cell, connection, tuple(write for _, write in pipes), channel)
        for _, write in pipes:
            os.close(write)
        ends = (read for read, _ in pipes)
        self.pipes = dict(zip(ends, (tapes.stdout, tapes.stderr, tapes.result), strict=True))
        self.watch = _watch(self.pid)
        self.process: int | None = None  # its id as the whole machine has it, where it was asked for

    @property
    def locked(self) -> bool:
        """Did it take its program and lock itself down?"""
        return self.tapes.result.size > 0 and self.tapes.result.data[:1] == child.READY

    @property
    def handles(self) -> list[int]:
        """What it may be heard on."""
        return [*self.pipes, *([] if self.watch is None else [self.watch])]

    def hear(self, handle: int) -> bool:
        """Take what stands there, and end it where that is too much; False where nothing more will come."""
        if handle == self.watch:
            return not self.reap()
        if not self.pipes[handle].take(handle):
            del self.pipes[handle]
            os.close(handle)
        elif self.tapes.full:
            self.end("output")
        return handle in self.pipes

    def look(self, processes: int) -> None:
        """End it where it has too many threads. ``processes`` is the machine's /proc."""
        with suppress(OSError, ValueError):
            if self.process is None:
                about = os.open(f"self/fdinfo/{self.watch}", os.O_RDONLY, dir_fd=processes)
                with open(about) as file:
                    self.process = next(int(line.split()[1]) for line in file if line.startswith("Pid:"))
            if os.stat(f"{self.process}/task", dir_fd=processes).st_nlink - 2 > CROWD:
                self.end("threads")

    def end(self, why: str) -> None:
        """Kill it, and all of its session."""
        if not self.reap():
            self.cut = why
            for kill in (os.kill, os.killpg):
                with suppress(ProcessLookupError, PermissionError):
                    kill(self.pid, signal.SIGKILL)
            self.reap(block=True)

    def reap(self, *, block: bool = False) -> bool:
        """Has it ended?"""
        if self.ended is None:
            pid, status, usage = os.wait4(self.pid, 0 if block else os.WNOHANG)
            if pid:
                self.ended = (status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
        return self.ended is not None

    def close(self) -> None:
        """Read what it left behind."""
        poll = select.poll()
        for handle in self.pipes:
            poll.register(handle, select.POLLIN)
        while not self.tapes.full and self.pipes and (ready := poll.poll(0)):
            for handle, _ in ready:
                if not self.hear(handle):
                    poll.unregister(handle)
        for handle in self.handles:
            os.close(handle)

    @property
    def told(self) -> list[Any]:
        assert self.ended is not None
        status, cpu, memory = self.ended
        code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        cut = "output" if self.tapes.full else self.cut
        return [cut, code, cpu, memory, self.tapes.result.size, self.tapes.stdout.size]


def _be_child(cell: Cell, connection: socket.socket, outputs: tuple[int, ...], channel: tuple[int, ...]) -> NoReturn:
    result = outputs[-1]
    try:
        kind, source, texts, stdin = json.loads(receive(connection) or b"")
        given = os.open(os.devnull, os.O_RDONLY) if stdin is None else _file(stdin.encode("utf-8", "surrogatepass"))
        del stdin
        cell.close((given, *outputs, *channel), isolated=kind == "tests")
    except BaseException as error:
        with suppress(BaseException):
            os.write(result, child.BROKEN + child.told(error))
        os._exit(1)
    leave, own = os._exit, os.getpid()
    try:
        child.perform(kind, source, texts, cell.limits.output_kb << 10)
    finally:  # a program may have replaced what should have ended it
        os.kill(own, signal.SIGKILL)
        leave(0)


def _watch(pid: int) -> int | None:
    """A file descriptor that can be read when the process has ended, where the kernel has such."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _file(data: bytes) -> int:
    """A file descriptor to read ``data`` from, of a file that has no name."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("input")
    else:
        import tempfile

        with tempfile.TemporaryFile() as file:
            handle = os.dup(file.fileno())
    with open(handle, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(handle, 0, os.SEEK_SET)
    return handle


class Runner:
    """Runs one program at a time."""

    def __init__(self, cell: Cell, connection: socket.socket) -> None:
        self.cell = cell
        self.connection = connection
        self._tapes = [Tapes(cell.limits.output_kb << 10) for _ in range(2)]

    def run(self, pair: bool) -> tuple[dict[str, Any], list[memoryview]]:
        """What became of the processes that ran the next program, and what they wrote, until `wipe`."""
        start = time.monotonic()
        children: list[Child] = []
        try:
            self._start(pair, children)
            self._wait(children, time.monotonic() + self.cell.limits.wall_s)
        finally:
            for one in children:
                one.end("done")
                one.close()
            self._sweep(children)
        told = {"children": [one.told for one in children], "seconds": time.monotonic() - start}
        return told, [tape.data for one in children for tape in (one.tapes.result, one.tapes.stdout)]

    def wipe(self) -> None:
        """Leave nothing of this program to the next."""
        for tapes in self._tapes:
            tapes.wipe()
        if self.cell.scratch:
            namespaces.clean_scratch(self.cell.libc)

    def _start(self, pair: bool, children: list[Child]) -> None:
        if not pair:
            return self._fork(children)
        ours, theirs = socket.socketpair()  # between the program and its tests alone
        with ours, theirs:
            self._fork(children, ours.fileno())  # the tests, which wait
            if children[0].locked:
                self._fork(children, theirs.fileno())

    def _fork(self, children: list[Child], *channel: int) -> None:
        """One child more, which has taken its program when this returns."""
        one = Child(self.cell, self._tapes[len(children)], self.connection, channel)
        children.append(one)
        poll = select.poll()
        result = next(handle for handle, tape in one.pipes.items() if tape is one.tapes.result)
        poll.register(result, select.POLLIN)
        if poll.poll(1000 * LOCKING_S):
            one.hear(result)

    def _wait(self, children: list[Child], deadline: float) -> None:
        """Until the first has ended: where there are two it is the tests, and the program is no longer needed."""
        if not all(one.locked for one in children):
            return
        poll, owners = select.poll(), {handle: one for one in children for handle in one.handles}
        for handle in owners:
            poll.register(handle, select.POLLIN)
        look = time.monotonic() + LOOK_S
        while not children[0].reap() and all(one.cut is None for one in children):
            now = time.monotonic()
            for one in children if now >= min(look, deadline) else ():
                one.end("timeout") if now >= deadline else one.look(self.cell.processes)
                look = now + LOOK_S
            for handle, _ in poll.poll(1000 * max(0.0, min(look, deadline) - now)):
                if not owners[handle].hear(handle):
                    poll.unregister(handle)
        end = time.monotonic() + LEAVE_S
        while not all(one.reap() or one.cut for one in children) and time.monotonic() < end:
            time.sleep(0.0005)

    def _sweep(self, children: list[Child]) -> None:
        """End processes that a program left behind, which only one without isolation can."""
        if sys.platform != "linux":
            for one in children:
                with suppress(OSError):
                    os.killpg(one.pid, signal.SIGKILL)
            return
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) == (0, 0):  # there are some, and they run
                for pid in _descendants():
                    os.kill(pid, signal.SIGKILL)


def _descendants() -> list[int]:
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return [int(pid) for pid in file.read().split()]
