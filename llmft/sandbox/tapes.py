"""Memory for what children write, wiped after each, so that the next, a fork of the server, cannot find it there."""

from __future__ import annotations

import os

PIECE = 1 << 16  # bytes


class Tape:
    """Memory for what a child writes, used again for the next."""

    def __init__(self, size: int) -> None:
        self._memory = memoryview(bytearray(size))
        self.size = 0

    def take(self, handle: int) -> int:
        """Bytes that were read; 0 where the other end is closed."""
        count = os.readv(handle, [self._memory[self.size : self.size + PIECE]])
        self.size += count
        return count

    @property
    def data(self) -> memoryview:
        return self._memory[: self.size]

    def wipe(self) -> None:
        self._memory[: self.size] = bytes(self.size)
        self.size = 0


class Tapes:
    """Of one child. Output is what it writes to standard output and error."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        # A frame has a header and there may be many of them: the child holds each value to the limit.
        self.result, self.stdout, self.stderr = Tape(2 * limit + PIECE), Tape(limit + PIECE), Tape(limit + PIECE)

    @property
    def full(self) -> bool:
        return self.stdout.size + self.stderr.size > self.limit or self.result.size > 2 * self.limit

    def wipe(self) -> None:
        for tape in (self.result, self.stdout, self.stderr):
            tape.wipe()
