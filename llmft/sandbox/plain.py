"""Plain data over a wire between processes that do not trust each other.

JSON, in which an array begins with a tag, so that every value of an exact built-in type comes back as itself: big
integers, nan, lone surrogates, tuples, sets, keys that are no strings. No subclass passes: what such an object is could
be decided by its own methods. Reading runs nothing of the other side's.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any

LIMIT = 16 << 20  # bytes of one value
DEPTH = 200  # of nesting
SMALL = 1 << 63  # integers below are written as they are; decimal digits of a big one take quadratic time
COLLISIONS = 1000  # keys of one set or dictionary whose hash another has: only made by hand, to make reading slow

Other = Callable[[Any], Any] | None
_loads, _dumps = json.JSONDecoder().decode, json.JSONEncoder(check_circular=False, separators=(",", ":")).encode


class NotPlain(ValueError):
    """A value is of another type, or is nested too deeply, as one that holds itself is."""


class TooLarge(ValueError):
    """A value takes more than the limit."""


def encode(value: Any, other: Other = None, limit: int = LIMIT) -> bytes:
    """``value`` in at most ``limit`` bytes. Raises NotPlain or TooLarge.

    ``other``, where it is given, is called with each object that is not plain, and returns a dict of JSON's values that
    stands for it, which `decode` hands to its own ``other``. An exact Counter, OrderedDict or defaultdict is a dict.
    """
    data = _dumps(_Writer(other, limit).write(value, 0)).encode()
    if len(data) > limit:
        raise TooLarge(f"more than {limit} bytes")
    return data


def decode(data: bytes, other: Other = None) -> Any:
    """The value that `encode` wrote. Raises ValueError for anything else."""
    try:
        return _read(_loads(data.decode("ascii")), other, 0)
    except (TypeError, LookupError, OverflowError, RecursionError) as error:
        raise ValueError(f"not plain data: {type(error).__name__}") from None


class _Writer:
    def __init__(self, other: Other, limit: int) -> None:
        self.other = other
        self.limit = self.room = limit  # a lower bound of the bytes is taken from it, so that a huge value ends soon

    def write(self, value: Any, depth: int) -> Any:
        kind = type(value)
        self.room -= 2  # itself and a comma
        if depth > DEPTH:
            raise NotPlain("nested too deeply")
        if value is None or kind is bool:
            return value
        if kind in _SCALARS:
            self._check(_size(value, kind))
            return _SCALARS[kind](value)
        if (tag := _SEQUENCES.get(kind)) is not None:
            self._check(4)
            return [tag, *(self.write(item, depth + 1) for item in value)]
        if kind in _MAPPINGS:
            self._check(4)
            return ["d", *(self.write(half, depth + 1) for item in dict.items(value) for half in item)]
        if self.other is None:
            raise NotPlain(f"a value of type {_name(kind)} is no plain data")
        return self.other(value)

    def _check(self, size: int) -> None:
        self.room -= size
        if self.room < 0:
            raise TooLarge(f"more than {self.limit} bytes")


def _size(value: Any, kind: type) -> int:
    """At least how many bytes it will take, but few."""
    if kind is int:
        return value.bit_length() // 4
    return len(value) if kind in (str, bytes, bytearray) else 0


def _integer(value: int) -> Any:
    return value if -SMALL < value < SMALL else ["i", hex(value)]


def _float(value: float) -> Any:
    return value if value - value == 0 else ["f", repr(value)]  # JSON has no nan and no inf


def _string(value: str) -> Any:
    try:
        value.encode()
        return value
    except UnicodeEncodeError:  # two lone surrogates side by side would be read as one character
        return ["s", value.encode("utf-8", "surrogatepass").hex()]


_SCALARS: dict[type, Callable[[Any], Any]] = {
    int: _integer,
    float: _float,
    str: _string,
    complex: lambda value: ["c", _float(value.real), _float(value.imag)],
    bytes: lambda value: ["b", value.hex()],
    bytearray: lambda value: ["B", value.hex()],
    range: lambda value: ["r", _integer(value.start), _integer(value.stop), _integer(value.step)],
}
_SEQUENCES: dict[type, str] = {list: "l", tuple: "t", set: "S", frozenset: "F"}
_MAPPINGS = (dict, Counter, OrderedDict, defaultdict)


def _name(kind: type) -> str:
    name = type.__dict__["__name__"].__get__(kind)  # not what a metaclass says
    return name[:80]


def _read(data: Any, other: Other, depth: int) -> Any:
    if depth > DEPTH:
        raise NotPlain("nested too deeply")
    if type(data) is dict:
        if other is None:
            raise NotPlain("not plain data")
        return other(data)
    if type(data) is not list:
        if type(data) is float and data - data != 0:
            raise NotPlain("not JSON")  # NaN, Infinity, which Python's parser takes
        return data
    tag, *rest = data
    if tag in ("l", "t", "S", "F", "d"):
        return _container(tag, [_read(item, other, depth + 1) for item in rest])
    if tag in ("c", "r"):
        return (complex if tag == "c" else range)(*(_read(item, None, DEPTH) for item in rest))
    (text,) = rest
    if type(text) is not str:
        raise NotPlain("not plain data")
    return _TEXTS[tag](text)


_TEXTS: dict[str, Callable[[str], Any]] = {
    "i": lambda text: int(text, 16),
    "f": lambda text: {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}[text],
    "s": lambda text: bytes.fromhex(text).decode("utf-8", "surrogatepass"),
    "b": bytes.fromhex,
    "B": bytearray.fromhex,
}


def _container(tag: str, items: list[Any]) -> Any:
    if tag == "l":
        return items
    if tag == "t":
        return tuple(items)
    keys = items[::2] if tag == "d" else items
    if len(keys) - len({hash(key) for key in keys}) > COLLISIONS:
        raise NotPlain("too many keys with the same hash")
    if tag == "d":
        return dict(zip(keys, items[1::2], strict=True))
    return set(items) if tag == "S" else frozenset(items)
