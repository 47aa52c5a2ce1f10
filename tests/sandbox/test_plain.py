"""Plain data comes back as itself, nothing else passes, and nothing that the other side writes does harm."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmft.sandbox.plain import DEPTH, NotPlain, TooLarge, decode, encode

KEYS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | st.complex_numbers(allow_nan=False),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
ANYTHING = st.characters(categories=None)  # lone surrogates too
VALUES = st.recursive(
    KEYS | st.text(ANYTHING) | st.floats() | st.binary().map(bytearray) | st.builds(range, st.integers(-9, 9), st.integers(-9, 9)),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(KEYS, inner) | st.sets(KEYS),
    max_leaves=20,
)  # fmt: skip


def same(left: object, right: object) -> bool:
    """Equal, with the types of everything inside, the order of dictionaries, the sign of zero and nan."""
    return told(left) == told(right)


def told(value: object) -> tuple:
    if isinstance(value, set | frozenset):
        return type(value), sorted(map(told, value), key=repr)
    if isinstance(value, dict):
        return dict, [(told(key), told(one)) for key, one in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [told(one) for one in value]
    return type(value), repr(value)


@given(VALUES)
def test_a_value_comes_back_as_itself(value):
    assert same(decode(encode(value)), value)


@pytest.mark.parametrize(
    "value",
    [
        *(0, -1, 2**63, -(2**64), 10**5000, True, 1.0, -0.0, math.inf, -math.inf, math.nan, complex(math.nan, -0.0)),
        *(
            "\ud83d\ude00",
            "\ud83d" + "\ude00",
            "\x00é漢",
            b"\x00\xff",
            (),
            (1,),
            [(1, [2])],
            {(1, 2): {None}},
            {True: 1},
        ),
        *(range(2, 9, 3), frozenset({1, 2}), bytearray(b"x"), {1.5: [], "a": {}}),
    ],
    ids=lambda value: repr(value)[:30] if not isinstance(value, int) else f"int of {value.bit_length()} bits",
)
def test_what_json_would_alter(value):
    back = decode(encode(value))
    assert type(back) is type(value)
    assert back == value or repr(back) == repr(value)


def test_the_library_s_own_dictionaries_are_dictionaries():
    assert same(decode(encode(Counter("abca"))), {"a": 2, "b": 1, "c": 1})
    assert same(decode(encode(OrderedDict(b=1, a=2))), {"b": 1, "a": 2})
    assert same(decode(encode(defaultdict(list, {1: [2]}))), {1: [2]})


class Sly(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


class Text(str):
    def encode(self, *_):
        return b"{}"


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize("value", [Sly(3), Text("x"), Point(1, 2), deque(), object(), len, type, iter([]), Ellipsis])
def test_no_other_type_passes(value):
    for held in (value, [value], {"a": (value,)}):
        with pytest.raises(NotPlain):
            encode(held)


def test_depth_and_cycles_end():
    deep = []
    for _ in range(DEPTH - 1):
        deep = [deep]
    assert decode(encode(deep)) == deep
    cycle = []
    cycle.append(cycle)
    for value in ([[deep]], cycle):
        with pytest.raises(NotPlain, match="deeply"):
            encode(value)


def test_what_is_too_large_ends_soon():
    shared = []
    for _ in range(60):
        shared = [shared, shared]  # 2 ** 60 lists, if one followed it
    start = time.perf_counter()
    for value in (shared, "x" * 2_000_000, 1 << 20_000_000, b"x" * 2_000_000, [0] * 2_000_000):
        with pytest.raises(TooLarge):
            encode(value, limit=100_000)
    assert time.perf_counter() - start < 5
    assert len(encode("x" * 998, limit=1000)) == 1000
    with pytest.raises(TooLarge):
        encode("x" * 999, limit=1000)


class Thing:
    name = "thing"


def test_other_objects_go_through_the_hook_at_any_depth():
    thing = Thing()
    data = encode({"a": [thing]}, lambda one: {"name": one.name})
    assert decode(data, lambda told: (told["name"],)) == {"a": [("thing",)]}
    with pytest.raises(ValueError, match="plain"):
        decode(data)


@given(st.binary(max_size=60))
def test_nothing_but_value_errors(data):
    with contextlib.suppress(ValueError):
        decode(data)


TAGS = st.sampled_from(["l", "t", "S", "F", "d", "c", "r", "i", "f", "s", "b", "B", "?", ""])
NONSENSE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | TAGS,
    lambda inner: st.builds(lambda tag, rest: [tag, *rest], TAGS, st.lists(inner, max_size=4)) | st.dictionaries(TAGS, inner, max_size=2),
    max_leaves=12,
)  # fmt: skip


@given(NONSENSE)
def test_well_formed_nonsense_too(nonsense):
    try:
        value = decode(json.dumps(nonsense).encode())
    except ValueError:
        return
    encode(value)  # it is plain


@pytest.mark.parametrize(
    "text",
    [
        '["l",' * 250 + "1" + "]" * 250,
        "[" * 100_000,
        '["l",' * 1000 + "1" + "]" * 1000,
        "NaN",
        "Infinity",
        '["S",["l"]]',
        "[]",
        "[1]",
        '["i"]',
    ],
)
def test_these_in_particular(text):
    with pytest.raises(ValueError):  # noqa: PT011
        decode(text.encode())


def test_keys_that_collide_on_purpose_are_refused_at_once():
    modulus = 2**61 - 1  # every multiple of it has the hash 0
    text = json.dumps(["S", *(["i", hex(modulus * index)] for index in range(30_000))])
    start = time.perf_counter()
    with pytest.raises(ValueError, match="hash"):
        decode(text.encode())
    assert time.perf_counter() - start < 2
