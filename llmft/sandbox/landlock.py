"""Landlock: which files a process may open, and that it may connect nowhere and signal nobody; from Linux 5.13 on.

Everything is refused but what a rule allows, beneath a folder or for one file. It does not cover what looks at files
without opening them or changes their modes and times: `seccomp` does.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Sequence

CREATE, ADD, RESTRICT = 444, 445, 446  # the same numbers on every machine
PATH_BENEATH = 1
READ_FILE, READ_DIR, EXECUTE, WRITE_FILE, TRUNCATE = 1 << 2, 1 << 3, 1 << 0, 1 << 1, 1 << 14
REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
CHANGE = READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG
FILES = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # how many rights on files each version knows, from bit 0 on
NETWORK, SCOPES = 0b11, 0b11  # bind and connect, from version 4; abstract sockets and signals, from version 6
OF_FILES = READ_FILE | EXECUTE | WRITE_FILE | TRUNCATE  # those that a rule for a file, no folder, may have


def version(libc: ctypes.CDLL) -> int:
    """Of Landlock in this kernel; 0 where there is none."""
    return max(0, libc.syscall(CREATE, None, ctypes.c_size_t(0), 1))


class Rules:
    """Made once, and bound to each child. Raises OSError where the kernel has no Landlock.

    Args:
        reading: files, and folders with all beneath them, that may be read.
        changing: files that may be written to, and folders beneath which everything may be done.
    """

    def __init__(self, libc: ctypes.CDLL, *, reading: Sequence[str], changing: Sequence[str]) -> None:
        known = version(libc)
        if not known:
            raise OSError(ctypes.get_errno(), "this kernel has no Landlock")
        self._handled = (1 << FILES.get(known, 16)) - 1
        network, scopes = NETWORK * (known >= 4), SCOPES * (known >= 6)
        attributes = struct.pack("=QQQ", self._handled, network, scopes)[: 8 if known < 4 else 16 if known < 6 else 24]
        self.handle = libc.syscall(CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
        if self.handle < 0:
            raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
        for path in reading:
            self._add(libc, path, READ_FILE | READ_DIR | EXECUTE)
        for path in changing:
            self._add(libc, path, CHANGE)

    def _add(self, libc: ctypes.CDLL, path: str, rights: int) -> None:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            return  # nothing there to be read
        try:
            if not stat.S_ISDIR(os.fstat(place).st_mode):
                rights &= OF_FILES
            rule = struct.pack("=Qi", rights & self._handled, place)
            if libc.syscall(ADD, self.handle, PATH_BENEATH, rule, 0) != 0:
                raise OSError(ctypes.get_errno(), f"landlock_add_rule for {path}")
        finally:
            os.close(place)

    def bind(self, libc: ctypes.CDLL) -> None:
        """Hold this process to them, for ever. Raises OSError."""
        if libc.syscall(RESTRICT, self.handle, 0) != 0:
            raise OSError(ctypes.get_errno(), "landlock_restrict_self")
