"""How a child gives up what it could do harm with, before it runs anything of a model's."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys
from typing import NamedTuple

from llmft.sandbox.landlock import Rules
from llmft.sandbox.seccomp import Filter

Level = str  # "L2+", "L2", "L1", or "none" where programs run without isolation
HIGHEST = 256  # no file descriptor of a server is above
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_CHILD_SUBREAPER = 1, 4, 38, 36
CAPABILITIES_VERSION = 0x20080522
FILE_BYTES = 8 << 20


class Limits(NamedTuple):
    wall_s: float  # of the clock on the wall; the server holds a program to it
    cpu_s: int  # of computing, of all threads together
    memory_mb: int  # of addresses
    output_kb: int  # written to standard output and error together, and as much to the channel of results; the server


class Cell(NamedTuple):
    """What holds every child of a server, made once."""

    libc: ctypes.CDLL
    limits: Limits
    server: int  # its process id
    rules: Rules | None
    isolated: Rules | None  # without the scratch folder, through which a program could speak to its tests
    filter: Filter | None
    scratch: bool  # is there one?
    processes: int  # a file descriptor of the machine's /proc, for the server to look at its children

    def close(self, handles: tuple[int, ...], *, isolated: bool) -> None:
        """Hold this process for ever; ``handles`` become 0, 1, 2 ... and all others are closed. Raises OSError.

        Whatever follows can only be done to this process itself.
        """
        rules = self.isolated if isolated else self.rules
        os.setsid()
        for target, handle in enumerate(handles):
            os.dup2(handle, target)
        limit(self.limits)
        if sys.platform == "linux":
            control(self.libc, PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != self.server:
                raise OSError("the server is gone")
            control(self.libc, PR_SET_DUMPABLE, 0)
        if rules is not None:
            rules.bind(self.libc)
        os.closerange(len(handles), HIGHEST)
        if self.filter is not None:
            drop_capabilities(self.libc)
            self.filter.install(self.libc)


def limit(limits: Limits) -> None:
    for kind, value in (
        (resource.RLIMIT_CPU, limits.cpu_s),
        (resource.RLIMIT_AS, limits.memory_mb << 20),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
    ):
        try:
            resource.setrlimit(kind, (value, value))
        except (OSError, ValueError):  # above what this process was left with, or unknown to macOS
            _lower(kind, value)


def _lower(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY and hard < value:
        resource.setrlimit(kind, (hard, hard))
    elif sys.platform == "linux":
        raise OSError(f"limit {kind} cannot be set")


def library() -> ctypes.CDLL:
    """The C library, with what is called in every child declared, which makes it quick."""
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "linux":
        libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
        libc.capset.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    return libc


def control(libc: ctypes.CDLL, option: int, value: int) -> None:
    """``prctl``. Raises OSError."""
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


NO_CAPABILITIES = (
    ctypes.create_string_buffer(struct.pack("=Ii", CAPABILITIES_VERSION, 0)),
    ctypes.create_string_buffer(24),
)


def drop_capabilities(libc: ctypes.CDLL) -> None:
    """What root may do beyond others; what it owns stays its own. Raises OSError."""
    if libc.capset(*NO_CAPABILITIES) != 0:
        raise OSError(ctypes.get_errno(), "capset")
