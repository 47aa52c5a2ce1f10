"""Frames on the socket between a client and its server: four bytes of length, then as many bytes."""

from __future__ import annotations

import socket
import struct

HEADER = struct.Struct(">I")


def frame(data: bytes) -> bytes:
    return HEADER.pack(len(data)) + data


def receive(connection: socket.socket) -> bytes | None:
    """The next frame, and not a byte more; None where the other end has closed."""
    header = exactly(connection, HEADER.size)
    return None if header is None else exactly(connection, HEADER.unpack(header)[0])


def exactly(connection: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        piece = connection.recv(min(size - len(data), 1 << 20))
        if not piece:
            return None
        data += piece
    return bytes(data)
