"""A test text and a program in two processes: what the text names and does not define is the program's, by proxy.

Plain data crosses by value, in exact types. Any other object stays where it is, and the other side has a handle on it:
it can be called, indexed, iterated, measured, asked for an attribute or for its value as text or number, all of which
tell the program nothing of what is expected. What would tell it is refused or decided on the tests' side: a handle is
equal to itself alone, ``in`` looks through it item by item, and arithmetic and order with a handle raise TypeError.

Both ends run in locked-down processes and need nothing but the standard library.
"""

from __future__ import annotations

import builtins
import copy
import operator
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from llmft.sandbox.plain import NotPlain, decode, encode

FRAME_BYTES = 16 << 20  # of one message
HEADER_BYTES = 4  # big-endian length of the message that follows
MUTABLE = (list, dict, set, bytearray)  # arguments of these types are told of when a call changed them


class Channel(Protocol):
    """A connected stream socket, blocking."""

    def recv(self, size: int, /) -> bytes: ...
    def sendall(self, data: bytes, /) -> None: ...


class Gone(BaseException):
    """The other end has closed, or speaks nonsense. No `except Exception` of a test may swallow it."""


class Peer:
    """One end of the channel: it asks, and answers what it is asked meanwhile."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def ask(self, operation: str, *operands: Any) -> Any:
        """The other end's answer. Raises what the operation raised there, or Gone."""
        self._send(["ask", operation, *operands])
        while True:
            kind, *content = self._receive()
            if kind == "ask":
                self.answer(content)
            else:
                return self.accept(kind, content)

    def answer(self, request: list[Any]) -> None:
        """Do what the other end asks, and tell it what came of that."""
        try:
            self._send(["value", *self.perform(*request)])
        except MemoryError:  # how the run ends, and no answer
            raise
        except Exception as error:  # of the operation, or because its outcome cannot cross
            self._send(["raised", *self.describe(error)])

    def accept(self, kind: str, content: list[Any]) -> Any:
        """The value of an answer, or its exception raised."""
        raise NotImplementedError

    def perform(self, operation: str, *operands: Any) -> list[Any]:
        raise NotImplementedError

    def describe(self, error: Exception) -> list[Any]:
        """An exception as what the other end makes its own of: class, message, arguments, object."""
        return [builtin_base(type(error)), message_of(error), [], None]

    def stand_in(self, value: Any) -> Any:
        """What crosses for ``value``, which is not plain. Raises NotPlain where nothing may."""
        raise NotImplementedError

    def resolve(self, sign: Any) -> Any:
        """What a stand-in of the other end is here."""
        raise NotImplementedError

    def receive(self) -> list[Any] | None:
        """The next message, or None where the other end closed between two."""
        header = self._read(HEADER_BYTES)
        if not header:
            return None
        size = int.from_bytes(header, "big")
        if len(header) < HEADER_BYTES or size > FRAME_BYTES:
            raise Gone("half a message, or one too long")
        data = self._read(size)
        try:
            message = decode(data, self.resolve)
        except Exception as error:
            raise Gone(f"no message: {type(error).__name__}") from None
        if len(data) < size or type(message) is not list or not message:
            raise Gone("no message")
        return message

    def _receive(self) -> list[Any]:
        message = self.receive()
        if message is None:
            raise Gone("closed")
        return message

    def _send(self, message: list[Any]) -> None:
        data = encode(message, self.stand_in)
        if len(data) > FRAME_BYTES:
            raise NotPlain(f"{len(data)} bytes")
        try:
            self.channel.sendall(len(data).to_bytes(HEADER_BYTES, "big") + data)
        except OSError as error:
            raise Gone(f"closed: {error}") from None

    def _read(self, size: int) -> bytes:
        parts, missing = [], size
        while missing:
            try:
                part = self.channel.recv(min(missing, 1 << 20))
            except OSError:
                part = b""
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)


# ---- the program's side ----


def serve(namespace: Mapping[str, Any], channel: Channel) -> None:
    """Let the other end use what ``namespace`` holds, until it closes.

    What the program raises goes over, but a MemoryError, a SystemExit and their like end the serving.
    """
    program = Program(namespace, channel)
    while (message := program.receive()) is not None:
        program.answer(message[1:])


class Program(Peer):
    """The end in the program's process. Nothing that it says is believed to be more than the program's word."""

    def __init__(self, namespace: Mapping[str, Any], channel: Channel) -> None:
        super().__init__(channel)
        self.namespace = namespace
        self.objects: list[Any] = []  # by number; kept for as long as the tests run
        self.numbers: dict[int, int] = {}  # of the objects, by id

    def perform(self, operation: str, *operands: Any) -> list[Any]:
        if operation == "names":
            there = [name for name in operands[0] if name in self.namespace]
            return [{name: self.namespace[name] for name in there}, {}]
        if operation == "call":
            return self._call(*operands)
        return [OPERATIONS[operation](*operands), {}]

    def accept(self, kind: str, content: list[Any]) -> Any:
        if kind == "value":
            return content[0]
        name, message, *_ = content
        raise getattr(builtins, name)(message)

    def describe(self, error: Exception) -> list[Any]:
        try:
            arguments = decode(encode(list(error.args), self.stand_in), self.resolve)
        except Exception:
            arguments = [message_of(error)]
        return [self._class(type(error)), message_of(error), arguments, error]

    def stand_in(self, value: Any) -> Any:
        if isinstance(value, type) and issubclass(value, Exception):
            return {"exception": self._class(value)}
        return {"object": self._number(value)}

    def resolve(self, sign: Any) -> Any:
        if "builtin" in sign:
            return getattr(builtins, sign["builtin"])
        if "callback" in sign:
            number = sign["callback"]
            return lambda *args, **kwargs: self.ask("call", number, list(args), kwargs)
        return self.objects[sign["object"]]

    def _call(self, function: Any, args: list[Any], kwargs: dict[str, Any]) -> list[Any]:
        """What it returns, and the arguments that it changed in place, by position or name."""
        given = {str(index): value for index, value in enumerate(args)} | {f"={name}": v for name, v in kwargs.items()}
        before = {key: self._snapshot(value) for key, value in given.items() if type(value) in MUTABLE}
        value = function(*args, **kwargs)
        return [value, {key: given[key] for key, was in before.items() if self._snapshot(given[key]) != was}]

    def _snapshot(self, value: Any) -> bytes:
        return encode(value, self.stand_in)

    def _number(self, value: Any) -> int:
        if id(value) not in self.numbers:
            self.numbers[id(value)] = len(self.objects)
            self.objects.append(value)
        return self.numbers[id(value)]

    def _class(self, cls: type) -> Any:
        """A class of exceptions: the name of a builtin one, or number, name and base of the program's own."""
        if getattr(builtins, cls.__name__, None) is cls:
            return cls.__name__
        return [self._number(cls), cls.__name__, self._class(cls.__base__ or Exception)]


def _entered(manager: Any) -> Any:
    return manager.__enter__()


def _left(manager: Any) -> None:
    manager.__exit__(None, None, None)


def _next(iterator: Any) -> list[Any]:
    """The next item alone in a list, which is empty at the end."""
    for item in iterator:
        return [item]
    return []


OPERATIONS: dict[str, Callable[..., Any]] = {
    "attribute": getattr,
    "set_attribute": setattr,
    "item": operator.getitem,
    "set_item": operator.setitem,
    "delete_item": operator.delitem,
    "has_instance": lambda cls, value: isinstance(value, cls),
    "length": len,
    "truth": bool,
    "iterator": iter,
    "next": _next,
    "text": str,
    "representation": repr,
    "integer": int,
    "index": operator.index,
    "real": float,
    "complex": complex,
    "absolute": abs,
    "negative": operator.neg,
    "rounded": round,
    "copy": copy.copy,
    "deep_copy": copy.deepcopy,
    "enter": _entered,
    "exit": _left,
}


def builtin_base(cls: type) -> str:
    """The name of the nearest builtin exception."""
    return next((one.__name__ for one in cls.__mro__ if getattr(builtins, one.__name__, None) is one), "Exception")


def message_of(error: BaseException) -> str:
    try:
        return str(error)[:2000]
    except Exception:
        return ""
