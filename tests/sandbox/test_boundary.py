"""Test texts on one side, a program on the other: what crosses, what does not, and who decides."""

from __future__ import annotations

import socket
import threading
from contextlib import nullcontext, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmft.sandbox.boundary import FRAME_BYTES, Gone, serve
from llmft.sandbox.plain import encode
from llmft.sandbox.proxies import free_names, module_names, run_tests, uncalled_tests


def outcomes(source: str, *tests: str) -> list[str | None]:
    """What each text raised (None: it passed), the program being served by another thread over a socket pair."""
    ours, theirs = socket.socketpair()
    namespace: dict = {"__name__": "program"}
    exec(source, namespace)

    def program() -> None:
        with theirs, suppress(BaseException):
            serve(namespace, theirs)

    thread = threading.Thread(target=program)
    thread.start()
    told: list[str | None] = []
    try:
        run_tests(tests, ours, lambda passed, error: told.append(None if passed else error))
    finally:
        ours.close()
        thread.join(10)
    return told


def outcome(source: str, test: str) -> str | None:
    (one,) = outcomes(source, test)
    return one


def passes(source: str, test: str) -> bool:
    return outcome(source, test) is None


SORT = "def f(x): return sorted(x)"


def test_each_text_is_told_of_in_order():
    tests = ["assert f([2, 1]) == [1, 2]", "assert f([2, 1]) == [2, 1], 'not sorted'", "f(3)", "assert f([]) == []"]
    assert outcomes(SORT, *tests) == [
        None,
        "AssertionError: not sorted",
        "TypeError: 'int' object is not iterable",
        None,
    ]


def test_texts_have_namespaces_of_their_own_and_the_program_stays():
    program = "n = 0\ndef count():\n    global n\n    n += 1\n    return n"
    assert outcomes(program, "x = 1\nassert count() == 1", "assert count() == 2\nx") == [
        None,
        "NameError: name 'x' is not defined",
    ]


@pytest.mark.parametrize(
    "value",
    ["1", "True", "None", "1.5", "'a\\ud800'", "b'x'", "(1, [2])", "{1: {2}}", "frozenset({1})", "1 << 99", "2j"],
)
def test_plain_data_crosses_as_itself(value):
    assert passes(f"def f(): return {value}", f"v = f(); assert (v, type(v)) == ({value}, type({value}))")
    assert passes("def f(x): return type(x).__name__", f"assert f({value}) == type({value}).__name__")


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=10,
)


@given(plain)
def test_plain_data_comes_back_equal_and_of_the_same_types(value):
    # the values' own repr is Python: what comes back is compared in it, types and all
    assert passes("def f(x): return x", f"assert repr(f({value!r})) == repr({value!r})")


EVIL = """
class Evil:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    def __sub__(self, other): return self
    def __rsub__(self, other): return self
    def __contains__(self, other): return True
    def __hash__(self): return 0
    def __exit__(self, *raised): return True
    def __enter__(self): return self
    def __abs__(self): return self
class Number(int):
    def __eq__(self, other): return True
    __hash__ = int.__hash__
class Class(type):
    def __eq__(self, other): return True
    __hash__ = type.__hash__
class Made(metaclass=Class): pass
class Error(Exception):
    def __eq__(self, other): return True
    __hash__ = Exception.__hash__
def f(x): return x
"""


@pytest.mark.parametrize(
    "test",
    [
        "assert f(Evil()) == 1",
        "assert 1 == f(Evil())",
        "assert [f(Evil())] == [1]",
        "assert not f(Evil()) != 1",
        "assert f(Evil()) in [1]",
        "assert 1 in f(Evil())",
        "assert {f(Evil()): 1} == {1: 1}",
        "assert f(Number(3)) == 4",
        "assert f(Evil()) < 1",
        "assert abs(f(Evil()) - 1.5) < 1e-6",
        "assert abs(1.5 - f(Evil())) < 1e-6",
        "assert f(Evil()) == Evil()",
        "assert f(Made) == 1",
        "assert f(Error()) == 1",
        "assert f(Error) == 1",
        "with f(Evil()):\n    assert False",
        "import math\nassert math.isclose(f(Evil()), 1.5)",
        "import unittest\nunittest.TestCase().assertEqual(f(Evil()), 1)",
    ],
)
def test_the_program_s_objects_never_decide_what_is_equal(test):
    assert not passes(EVIL, test)


THINGS = """
class Stack:
    def __init__(self, *items): self.items = list(items)
    def push(self, item): self.items.append(item); return self
    def pop(self): return self.items.pop()
    def __len__(self): return len(self.items)
    def __getitem__(self, i): return self.items[i]
    def __setitem__(self, i, item): self.items[i] = item
    def __delitem__(self, i): del self.items[i]
    def __repr__(self): return f"Stack{tuple(self.items)}"
    def __float__(self): return 2.5
    def __enter__(self): return self.items[0]
    def __exit__(self, *raised): self.items.clear()
    class Empty(LookupError):
        def __init__(self, why, code): super().__init__(why, code); self.code = code
    def empty(self): raise self.Empty("nothing", 7)
class Small(Stack): "A small one."
def same(x): return x
def count(n):
    yield from range(n)
def both(): return [Stack(1), {"a": Stack(2)}]
"""


@pytest.mark.parametrize(
    "test",
    [
        "s = Stack(1).push(2); assert s.items == [1, 2] and len(s) == 2 and s.pop() == 2 and s.items == [1]",
        "s = Stack(1, 2); s[0] = 5; del s[1]; assert list(s) == [5] and s[0] == 5 and 5 in s and 6 not in s",
        "s = Stack(); assert not s and bool(s.push(0)) and str(s) == 'Stack(0,)' == repr(s) and float(s) == 2.5",
        "s = Stack(); s.name = 'x'; assert s.name == 'x' and s.items == [] and not hasattr(s, 'other')",
        "s = Stack(); assert same(s) is s and same(s) == s and s != Stack() and {s: 1}[same(s)] == 1",
        "assert list(count(3)) == [0, 1, 2] and sum(count(4)) == 6 and next(count(1)) == 0 and 2 in count(3)",
        "c = count(1)\nassert next(c) == 0 and next(c, None) is None",
        "assert isinstance(Small(), Stack) and not isinstance(Stack(), Small) and not isinstance(3, Stack)",
        "assert Small.__doc__ == 'A small one.' and Small.__name__ == 'Small'",
        "a, b = both(); assert a.items == [1] and b['a'].items == [2]",
        "with Stack(4) as first:\n    assert first == 4",
        "s = Stack(1)\nimport copy\nc = copy.deepcopy(s).push(2)\nassert (c.items, s.items) == ([1, 2], [1])",
        "try:\n    Stack().empty()\nexcept Stack.Empty as e:\n    assert e.args == ('nothing', 7) and e.code == 7\nelse:\n    assert 0",
        "try:\n    Stack().pop()\nexcept IndexError as e:\n    assert str(e) == 'pop from empty list'\nelse:\n    assert 0",
        "try:\n    Stack().empty()\nexcept LookupError:\n    pass",
        "E = Stack.Empty\nassert issubclass(E, LookupError) and E.__name__ == 'Empty' and same(E) is E",
    ],
)
def test_objects_stay_where_they_are_and_work_by_handle(test):
    assert outcome(THINGS, test) is None


@pytest.mark.parametrize(
    "test",
    [
        "assert apply(lambda x: x + 1, 2) == 3",
        "assert apply(len, 'abc') == 3 and apply(int, '7') == 7",
        "seen = []\nassert apply(seen.append, 4) is None and seen == [4]",
        "assert apply(lambda x: apply(lambda y: y * 2, x) + 1, 5) == 11",
        "def bad(x): raise KeyError(x)\ntry:\n    apply(bad, 3)\nexcept KeyError:\n    pass\nelse:\n    assert False",
    ],
)
def test_functions_of_a_test_are_called_back(test):
    assert outcome("def apply(g, x): return g(x)", test) is None


def test_a_test_s_objects_are_not_handed_over():
    said = outcome("def f(x): return x", "class Mine: pass\nf(Mine())")
    assert said is not None
    assert "a test passes plain data and functions" in said


def test_the_program_may_only_call_what_it_was_given():
    program = "def f(g): return [g.__closure__ is None, hasattr(g, 'secret')]"
    assert not passes(program, "def g(): pass\ng.secret = 1\nassert f(g)[1]")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("x.sort()", "[1, 2, 3]"),
        ("x.clear()", "[]"),
        ("x[0] = [4]", "[[4], 1, 2]"),
        ("x = []", "[3, 1, 2]"),
    ],
)
def test_a_list_that_is_changed_in_place(change, expected):
    program = f"def f(x):\n    {change}"
    assert passes(program, f"x = [3, 1, 2]; y = x; f(x); assert x == {expected} and y is x")
    assert passes(program, f"x = [3, 1, 2]; f(x=x); assert x == {expected}")


def test_other_containers_that_are_changed_in_place():
    program = "def f(d, s, b): d['a'] = 1; s.add(2); b.append(3)"
    test = "d, s, b = {}, {1}, bytearray(b'x'); f(d, s, b); assert (d, s, b) == ({'a': 1}, {1, 2}, b'x\\3')"
    assert outcome(program, test) is None


def test_an_exception_never_passes_for_an_end():
    """StopIteration out of a call would end the test's own loop as if every case had held."""
    program = "def f(x): raise StopIteration"
    assert not passes(program, "assert all(map(lambda x: f(x) == x, [1, 2]))")
    assert outcome(program, "f(1)") == "RuntimeError: the program raised StopIteration"
    assert not passes("class Stop(StopIteration): pass\ndef f(x): raise Stop", "assert list(map(f, [1])) == []")


@pytest.mark.parametrize(
    "error", ["AssertionError('x')", "UnicodeDecodeError('utf-8', b'x', 0, 1, 'why')", "OSError(2)"]
)
def test_exceptions_cross_by_class_and_arguments(error):
    cls = error.partition("(")[0]
    test = f"try:\n    f()\nexcept {cls} as e:\n    assert type(e) is {cls} and str(e) == str({error})\nelse:\n    assert 0"
    assert outcome(f"def f(): raise {error}", test) is None


def test_what_cannot_cross_is_an_exception_and_not_the_end():
    program = "def f():\n    x = []\n    x.append(x)\n    return x\ndef g(): return 1"
    assert outcomes(program, "f()", "assert g() == 1") == ["NotPlain: nested too deeply", None]


@pytest.mark.parametrize("error", ["SystemExit", "KeyboardInterrupt", "MemoryError", "GeneratorExit"])
def test_a_program_that_leaves_is_gone_and_no_test_can_catch_that(error):
    with pytest.raises(Gone):
        outcomes(f"def f(): raise {error}", "try:\n    f()\nexcept Exception:\n    pass")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\0\0",
        b"\0\0\0\5[",
        b"\0\0\0\2{}",
        b"\xff\xff\xff\xff",
        (FRAME_BYTES + 1).to_bytes(4, "big"),
        *(
            len(data).to_bytes(4, "big") + data
            for data in (
                b"[",
                b"1",
                b"nonsense",
                encode([]),
                encode(["value"]),
                encode(["value", {}]),
                encode(["value", {"f": 1}, {}, 1]),
                encode(["raised", "ValueError"]),
                encode(["raised", "eval", "x", [], None]),
                encode(["raised", "SystemExit", "x", [], None]),
                encode(["raised", "KeyboardInterrupt", "x", [], None]),
                encode(["ask", "call", 0, [], {}]),
                encode(["ask", "names", []]),
                encode(["other"]),
            )
        ),
    ],
)
def test_nonsense_from_the_program_s_side_is_the_end(said):
    ours, theirs = socket.socketpair()
    theirs.sendall(said)
    theirs.shutdown(socket.SHUT_WR)
    told = []
    with ours, theirs, pytest.raises(Gone):
        run_tests(["assert f()"], ours, lambda passed, error: told.append((passed, error)))
    assert told == []


@pytest.mark.parametrize(
    ("said", "passes"),
    [
        ([], True),
        ([["ask", "attribute", 0, "__globals__"]], False),
        ([["ask", "names", [["f"]], {}]], False),
        ([["ask", "call", -1, [], {}]], False),
        ([["ask", "call", 1, [], {}]], False),
        ([["ask", "call", True, [], {}]], False),
        ([["ask", "call", 0, [], {}]], True),  # what it was given it may call, as often as it likes
    ],
)
def test_what_the_program_may_not_ask_for_is_the_end(said, passes):
    """Everything that a test needs is answered rightly; meanwhile the other end asks."""
    frames = [["value", {"f": object()}, {}], *said, ["value", 2, {}], ["value", {}, {}]]
    ours, theirs = socket.socketpair()
    for message in frames:
        data = encode(message, lambda value: {"object": 0})
        theirs.sendall(len(data).to_bytes(4, "big") + data)
    theirs.shutdown(socket.SHUT_WR)
    told = []
    with ours, theirs, nullcontext() if passes else pytest.raises(Gone):
        run_tests(["def g(): pass\nassert f(g) == 2"], ours, lambda passed, error: told.append(passed))
    assert told == [True] * passes


@given(st.binary(max_size=60))
def test_no_bytes_of_the_program_s_side_pass_a_test(said):
    ours, theirs = socket.socketpair()
    theirs.sendall(len(said).to_bytes(4, "big") + said)
    theirs.shutdown(socket.SHUT_WR)
    told = []
    with ours, theirs, pytest.raises(Gone):
        run_tests(["assert f(1) == 2"], ours, lambda passed, error: told.append(passed))
    assert True not in told


def test_the_name_that_is_missing():
    assert outcome("x = 1", "assert f(1)") == "NameError: name 'f' is not defined"


def test_constants_of_the_program_are_seen_by_value():
    assert passes("LIMIT = {'a': [1]}", "assert LIMIT == {'a': [1]} and type(LIMIT) is dict")


def test_a_text_that_does_not_compile():
    assert (outcome(SORT, "assert f(") or "").startswith("SyntaxError: ")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("assert f(x) == [1]", {"f", "x"}),
        ("def check(candidate):\n    assert candidate(helper(1))\ncheck(f)", {"f", "helper"}),
        ("import math\nfor i in range(3):\n    assert math.floor(f(i)) == i", {"f"}),
        ("from x import y as z\nclass C:\n    a = z\n    def m(self): return g(self.a)\nC().m()", {"g"}),
        ("assert [h(y) for y in (lambda q: q)(1)]", {"h"}),
        ("def t():\n    global n\n    n = f()\nt(); assert n", {"f"}),
        ("x = 1\ndel x\nwith open('y') as y: print(y, __name__)", set()),
        ("assert sum(1, 2) == 3", set()),  # a builtin name is Python's: the program's own could make anything true
    ],
)
def test_which_names_are_the_program_s(text, names):
    assert free_names(text) == names


def test_a_standard_module_that_is_only_looked_into_is_not_the_program_s():
    program = "class math:\n    isclose = lambda *a: True\ndef f(): return 1.0"
    assert not passes(program, "assert math.isclose(f(), 2.0)")
    assert passes(program, "assert math.isclose(f(), 1.0)")
    assert module_names("math.floor(1); select(2); string.x; string(3)") == {"math"}


def test_functions_that_are_named_test_are_called():
    text = "def test_a():\n    assert f() == 1\ndef test_b(): pass\ntest_b()\ndef test_c(x): pass\ndef other(): pass"
    assert uncalled_tests(text) == ["test_a"]
    assert passes("def f(): return 1", text)
    assert not passes("def f(): return 2", text)
