import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmft.sampler.stop import Watches


def bytes_text(token_ids):
    """A byte-level tokenizer: characters may need several tokens."""
    return bytes(token_ids).decode("utf-8", errors="replace")


def words_text(token_ids):
    """A tokenizer that drops the space before the first word of whatever it is given, as many do."""
    return "".join(" " + "abc"[token] for token in token_ids).lstrip(" ")


@given(
    st.text(alphabet="abé€😀 ", max_size=30),
    st.lists(st.text(alphabet="abé€ ", min_size=1, max_size=3), min_size=1, max_size=3),
)
def test_bytes_the_stop_is_seen_at_the_token_that_completes_it(text, stops):
    data = text.encode()
    first = next((end for end in range(len(data) + 1) if any(stop.encode() in data[:end] for stop in stops)), None)
    watches, seen = Watches(stops, bytes_text), None
    for at, token in enumerate(data, start=1):
        if watches.write("row", token):
            seen = at
            break
    assert seen == first


@given(st.lists(st.integers(0, 2), max_size=20), st.sampled_from([["a b"], ["c"], ["b b", "a c a"], [" a"]]))
def test_words_keep_their_spaces(token_ids, stops):
    first = next(
        (end for end in range(len(token_ids) + 1) if any(stop in words_text(token_ids[:end]) for stop in stops)), None
    )
    watches, seen = Watches(stops, words_text), None
    for at, token in enumerate(token_ids, start=1):
        if watches.write(0, token):
            seen = at
            break
    assert seen == first


def test_rows_are_watched_apart():
    watches = Watches(["ab"], bytes_text)
    hits = [watches.write(row, token) for row, token in [(0, ord("a")), (1, ord("b")), (0, ord("b")), (1, ord("b"))]]
    assert hits == [False, False, True, False]


def test_decoding_stays_short():
    lengths = []

    def text(token_ids):
        lengths.append(len(token_ids))
        return bytes_text(token_ids)

    watches = Watches(["zzz"], text)
    for token in b"abcdefghij" * 100:
        watches.write(0, token)
    assert max(lengths) <= 2
    assert len(lengths) < 40  # texts that were seen are looked up


@pytest.mark.parametrize("stop", ["x", "xy"])
def test_a_stop_string_across_an_incomplete_character(stop):
    watches = Watches([stop], bytes_text)
    hits = [watches.write(0, token) for token in "€xy".encode()]
    assert hits == [False, False, False, stop == "x", True]
