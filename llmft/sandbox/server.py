"""A process that runs programs, one after the other, each in a child of its own; started as a file, without `site`.

It loads what programs use, once; a child is a fork of it that locks itself down. It has one thread, imports nothing but
the standard library, and ends when the socket to its client closes.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import resource
import socket
import sys

if __name__ == "__main__":  # as a file: the folder above the package is where it is found
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

import gc
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from llmft.sandbox import landlock, lockdown, namespaces, preload
from llmft.sandbox.forks import Runner
from llmft.sandbox.lockdown import Cell, Limits
from llmft.sandbox.seccomp import Filter
from llmft.sandbox.syscalls import this_machine
from llmft.sandbox.wire import frame

LOW = 16  # file descriptors below are left to the children
SINGLE, PAIR = b"1", b"2"  # a program; a program and its tests, each with a frame of its own


def main(handle: int, level: str, limits: Limits) -> None:
    connection = socket.socket(fileno=_above(handle))
    _occupy_low_handles()
    try:
        runner = _prepare(level, limits, connection)
    except Exception as error:
        return _send(connection, {"fault": f"{type(error).__name__}: {error}"})
    _send(connection, {"landlock": landlock.version(runner.cell.libc), "python": platform.python_version()})
    while kind := connection.recv(1):
        _send(connection, *runner.run(kind == PAIR))
        runner.wipe()


def _prepare(level: str, limits: Limits, connection: socket.socket) -> Runner:
    libc = lockdown.library()
    preload.load(everything=level == "L1")
    if sys.platform == "linux":
        lockdown.control(libc, lockdown.PR_SET_NO_NEW_PRIVS, 1)
        lockdown.control(libc, lockdown.PR_SET_CHILD_SUBREAPER, 1)
        with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")  # where memory runs out the kernel ends a program, no trainer
    os.chdir("/")
    os.umask(0o077)
    processes = os.open("/proc" if os.path.isdir("/proc") else "/", os.O_RDONLY)
    changing = [os.devnull]
    if level == "L2+":
        namespaces.enter(libc, [*readable(), os.devnull])
        tempfile.tempdir = namespaces.SCRATCH
        changing.append(namespaces.ABOVE_SCRATCH)
    rules = isolated = filter = None
    if level in ("L2", "L2+"):
        rules = landlock.Rules(libc, reading=readable(), changing=changing)
        isolated = landlock.Rules(libc, reading=readable(), changing=[os.devnull])
    if level != "none":
        filter = Filter(this_machine(), reading=level != "L1", writing=level == "L2+")
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.path[:] = [path for path in sys.path if path != root]
    sys.argv[:] = [""]
    os.environ.clear()
    gc.collect()
    gc.freeze()
    gc.disable()
    return Runner(Cell(libc, limits, os.getpid(), rules, isolated, filter, level == "L2+", processes), connection)


def readable() -> list[str]:
    """The standard library, the C libraries that it needs, time zones and randomness."""
    library = os.path.dirname(os.__file__)
    roots = [os.path.join(sys.base_prefix, name) for name in ("lib", "lib64")]
    system = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache"]
    return [library, *roots, *system, "/dev/urandom", "/dev/random", "/dev/zero"]


def _above(handle: int) -> int:
    """The same as ``handle``, with a number above those that a child's become."""
    moved = fcntl.fcntl(handle, fcntl.F_DUPFD_CLOEXEC, LOW)
    os.close(handle)
    return moved


def _occupy_low_handles() -> None:
    """So that whatever is opened later is above them too."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (lockdown.HIGHEST, hard))
    while (handle := os.open(os.devnull, os.O_RDWR)) < LOW:
        pass
    os.close(handle)


def _send(connection: socket.socket, header: dict[str, Any], blobs: Sequence[memoryview] = ()) -> None:
    connection.sendall(frame(json.dumps(header).encode()))
    for blob in blobs:
        connection.sendall(blob)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Limits(*json.loads(sys.argv[3])))
