"""Which assertions are taken apart, and into what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmft.reward.coding.lifting import Lifted, lift


def same(call: str, value) -> Lifted:
    return Lifted(call, value, exact=True)


@pytest.mark.parametrize(
    ("text", "lifted"),
    [
        ("assert f(1, x='a') == [2, (3,)]", [Lifted("f(1, x='a')", [2, (3,)])]),
        ("assert -1.5 == f()", [Lifted("f()", -1.5)]),
        ("assert (f(1) == {'a': {1}}), 'why'", [Lifted("f(1)", {"a": {1}})]),
        ("assert f(1) == None", [Lifted("f(1)", None)]),
        ("assert f(1) is None", [same("f(1)", None)]),
        ("assert f(1) is True", [same("f(1)", True)]),
        ("assert f(1) is False", [same("f(1)", False)]),
        ("assert f(1)", [same("not f(1)", False)]),  # both ask the same of the program
        ("assert not f(1)", [same("not f(1)", True)]),
        ("assert f(g(1), *[2], **{'x': 3}) == 4", [Lifted("f(g(1), *[2], **{'x': 3})", 4)]),
        ("assert Solver([1]).f(2) == 3", [Lifted("Solver([1]).f(2)", 3)]),
        ("assert solver.f(2) == 3", [Lifted("solver.f(2)", 3)]),
        ("assert sum(10, 15) == 6", [Lifted("sum(10, 15)", 6)]),  # a name that the task itself gave the program's
        ("assert f(1) == 2\nassert f(2) == 3", [Lifted("f(1)", 2), Lifted("f(2)", 3)]),
        ("'doc'\nimport math\nX = {'a': 1}\npass\nassert True, 'x'\nassert f(1) == 2", [Lifted("f(1)", 2)]),
    ],
)
def test_what_is_lifted(text, lifted):
    assert lift(text) == tuple(lifted)


CHECK = "\n\nMETADATA = {'author': 'x'}\n\ndef check(candidate):\n    # simple\n    assert candidate(1) == 2, 'one'\n"


def test_a_check_of_a_candidate():
    assert lift(CHECK + "    assert not candidate(2)\n\ncheck(add_one)\n") == (
        Lifted("add_one(1)", 2),
        same("not add_one(2)", True),
    )


@pytest.mark.parametrize(
    "text",
    [
        CHECK,  # never called: it tests nothing
        "assert sorted(f(1)) == [1]",  # the program could have a sorted of its own
        "assert len(set(f(1))) == 1",
        CHECK + "\ncheck(f)\ncheck(g)",
        CHECK + "\ncheck(METADATA)",
        CHECK + "\ncheck(lambda x: x + 1)",
        CHECK + "    for i in range(3):\n        assert candidate(i) == i\ncheck(f)",
        CHECK + "    x = 1\ncheck(f)",
        CHECK + "    assert candidate(2) == f(3)\ncheck(f)",
        CHECK + "    assert f(2) == 3\ncheck(f)",
        CHECK + "    assert METADATA(2) == 3\ncheck(f)",
        "@cached\n" + CHECK.strip().partition("\n\n")[2] + "\ncheck(f)",
        "def check(candidate, n=1):\n    assert candidate(n) == 1\ncheck(f)",
        "assert True",
        "x = f(1)\nassert x == 2",
        "assert f(x) == 1\nx = 2",
        "x = 2\nassert f(x) == 1",
        "import helper\nassert helper(1) == 1",
        "from m import f\nassert f(1) == 1",
        "assert abs(f(1.33) - 0.33) < 1e-6",
        "assert abs(f(1.33) - 0.33) == 0",  # the expected value would be told
        "assert max(f(1), 7) == 7",
        "assert len(set(f(5))) == 5",
        "assert g(len(f(5))) == 5",
        "assert isinstance(f(1), int) == True",
        "assert math.isclose(f(1), 7) == True",
        "assert ','.join(f(1)) == 'a'",
        "assert f(1) == f(2)",
        "assert f(1) == x",
        "assert f(1) != 2",
        "assert f(1) is 1",
        "assert f(1) is not None",
        "assert f(1) in [1, 2]",
        "assert f(1) == 2 and f(2) == 3",
        "assert 1 < f(1) == 2",
        "assert f(lambda x: x) == 1",
        "assert [f(1)] == [1]",
        "assert f(1)[0] == 1",
        "assert f(y := 1) == 1",
        "assert x",
        "f(1)",
        "print('x')\nassert f(1) == 2",
        "try:\n    f(1)\nexcept ValueError:\n    pass",
        "assert f(1",
        "assert f('\0') == 1",
        "assert " + "-" * 100_000 + "f(1) == 1",
        "",
    ],
)
def test_what_stays_whole(text):
    assert lift(text) is None


literal = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(literal, literal, st.booleans())
def test_a_lifted_assertion_holds_where_the_assertion_does(given_value, expected, turned):
    sides = (f"f({given_value!r})", repr(expected))
    text = "assert {} == {}".format(*(reversed(sides) if turned else sides))
    (one,) = lift(text) or ()
    assert eval(one.call, {"f": lambda x: x}) == given_value
    assert one.expected == expected
