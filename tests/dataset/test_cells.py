"""What a cell may hold, and what is said of one that holds something else."""

from __future__ import annotations

import pytest

from llmft.dataset import cells
from llmft.dataset.files import Row
from llmft.types import Trace

TARGET = [{"role": "assistant", "content": "So 4."}]


def row(**values) -> Row:
    return Row(1, "here:1", values)


@pytest.mark.parametrize(
    ("held", "texts"),
    [
        ("So 4.", ["So 4."]),
        (4, ["4"]),
        (None, []),
        (TARGET, ["So 4."]),
        ([{"role": "user", "content": "?"}, *TARGET, {"role": "assistant", "content": "And 5."}], ["So 4."]),
        (["So 4.", "So 5."], ["So 4.", "So 5."]),
        ([None, "So 4."], ["So 4."]),
        ([TARGET, TARGET], ["So 4.", "So 4."]),
    ],
)
def test_what_is_a_trace(held, texts):
    assert cells.traces(row(t=held), "t") == [Trace(text) for text in texts]


def test_a_row_without_the_column_has_no_trace():
    assert cells.traces(row(q="?"), "t") == []
    assert cells.traces(row(q="?", deep={}), "deep.t") == []


@pytest.mark.parametrize(
    ("held", "why"),
    [
        ("  ", "'t' is empty"),
        ([], "'t' is empty"),
        (True, "'t' is bool, not text"),
        ({"solution": "So 4."}, "'t' is dict, not text"),
        ([{"role": "assistant", "content": " "}], "'t' is empty"),
        ([{"role": "user", "content": "?"}], "'t' has no turn by the assistant"),
        ([{"role": "assistant"}], "'t' is dict, not text"),
        ([[{"role": "assistant"}]], "'t' has a turn without role and content"),
        (["So 4.", ""], "'t' is empty"),
    ],
)
def test_what_is_none(held, why):
    with pytest.raises(cells.Unusable, match=f"^{why}$"):
        cells.traces(row(t=held), "t")


def test_who_wrote_it_is_what_it_is_nested_in():
    nested = row(**{"big": {"solution": "So 4."}, "small.solution": "So 5."})
    assert cells.traces(nested, "big.solution") == [Trace("So 4.", "big")]
    assert cells.traces(nested, "small.solution") == [Trace("So 5.")]  # a column of that name


def test_probabilities():
    assert cells.traces(row(t="4", p=[0.5, 1]), "t", "p") == [Trace("4", "data", (0.5, 1.0))]
    assert cells.traces(row(t=TARGET, p=[0.5]), "t", "p") == [Trace("So 4.", "data", (0.5,))]
    assert cells.traces(row(t="4", p=None), "t", "p") == cells.traces(row(t="4"), "t", "p") == [Trace("4")]
    assert cells.traces(row(t=None, p=[0.5]), "t", "p") == []
    for held in (0.5, ["a"], [True]):
        with pytest.raises(cells.Unusable, match="'p' is not a list of numbers"):
            cells.traces(row(t="4", p=held), "t", "p")
    with pytest.raises(cells.Unusable, match="'p' is of one trace, and 't' has several"):
        cells.traces(row(t=["4", "5"], p=[0.5]), "t", "p")
