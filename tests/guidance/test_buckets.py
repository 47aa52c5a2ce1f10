"""Bucket weights are those of the published code and of the paper; counts add up, and nobody is drawn twice."""

from __future__ import annotations

import json
from functools import partial
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmft.guidance.buckets import bucket_counts, bucket_weights, draw_questions

OF_EIGHT = {"group_size": 8, "mean": 0.5, "deviation": 1.0}
SIZES = st.dictionaries(st.integers(1, 7), st.integers(1, 9), min_size=1)
WEIGHTINGS = st.sampled_from(["normal", "normal_accuracy", "linear", "sqrt", "linear_clip"])
DEVIATIONS = st.sampled_from([0.001, 0.5, 1.0, 30.0])


@pytest.mark.parametrize(
    ("case", "weighting", "solved"),
    [
        ("normal_all_1_7", "normal", range(1, 8)),
        ("normal_only_1_4_7", "normal", (1, 4, 7)),
        ("linear_1_7", "linear", range(1, 8)),
        ("sqrt_1_7", "sqrt", range(1, 8)),
        ("linear_clip_1_7", "linear_clip", range(1, 8)),
        ("paper_text_sigma1_in_accuracy_units_1_7", "normal_accuracy", range(1, 8)),
    ],
)
def test_the_published_weights(case, weighting, solved, shared):
    expected = json.loads(shared("vectors/vectors.json").read_text())["exgrpo"]["bucket_probs"][case]
    weights = bucket_weights(solved, weighting, **OF_EIGHT)
    assert {str(k): weight for k, weight in weights.items()} == pytest.approx(expected, abs=1e-9)


def test_mean_and_deviation():
    """A quarter of 8 is 2; with a deviation of 2, one bucket away is exp(-1/8) of it."""
    weights = bucket_weights([2, 3], "normal", group_size=8, mean=0.25, deviation=2.0)
    assert weights[3] / weights[2] == pytest.approx(0.8824969025845955, abs=1e-12)
    weights = bucket_weights([2, 3], "normal_accuracy", group_size=8, mean=0.25, deviation=0.25)
    assert weights[3] / weights[2] == pytest.approx(0.8824969025845955, abs=1e-12)


def test_a_narrow_normal_still_has_a_likeliest_bucket():
    """exp(-(2/0.001)²/2) is no double."""
    assert bucket_weights([2, 7], "normal", group_size=8, mean=0.5, deviation=0.001) == {2: 1.0, 7: 0.0}


@given(SIZES, WEIGHTINGS, DEVIATIONS, st.integers(0, 70), st.integers())
def test_counts_add_up_and_fit(sizes, weighting, deviation, count, seed):
    weigh = partial(bucket_weights, weighting=weighting, group_size=8, mean=0.5, deviation=deviation)
    assert sum(weigh(sizes).values()) == pytest.approx(1)
    count = min(count, sum(sizes.values()))
    taken = bucket_counts(sizes, count, weigh, Random(seed))
    assert sum(taken.values()) == count
    assert all(0 <= taken[k] <= size for k, size in sizes.items())


@given(SIZES, st.booleans(), st.integers(0, 70), st.integers())
def test_nobody_is_drawn_twice(sizes, weighed, count, seed):
    buckets = {k: [(k, place) for place in range(size)] for k, size in sizes.items()} | {9: []}
    weigh = partial(bucket_weights, weighting="normal", **OF_EIGHT) if weighed else None
    drawn = draw_questions(buckets, count, weigh, Random(seed))
    assert len(set(drawn)) == len(drawn) == min(count, sum(sizes.values()))
    assert set(drawn) <= {one for bucket in buckets.values() for one in bucket}
    assert drawn == draw_questions(dict(reversed(buckets.items())), count, weigh, Random(seed)), "order of a dict"


def shares(buckets, weigh, count=1, times=4000):
    """How often each question was among those drawn."""
    rng, seen = Random(0), {}
    for _ in range(times):
        for one in draw_questions(buckets, count, weigh, rng):
            seen[one] = seen.get(one, 0) + 1
    return {one: number / times for one, number in seen.items()}


def test_a_bucket_is_as_likely_as_its_weight_however_large():
    """Three deviations of a share of one half in 4000 draws are 0.024."""
    weigh = partial(bucket_weights, weighting="linear", group_size=4, mean=0.5, deviation=1.0)
    seen = shares({1: ["a", "b", "c", "d", "e"], 3: ["f"]}, weigh)
    assert seen["f"] == pytest.approx(0.75, abs=0.024)
    assert all(seen[one] == pytest.approx(0.05, abs=0.012) for one in "abcde")


def test_without_weights_each_question_is_as_likely():
    seen = shares({1: ["a", "b", "c", "d", "e"], 3: ["f"]}, None)
    assert all(seen[one] == pytest.approx(1 / 6, abs=0.02) for one in "abcdef")


def test_what_a_bucket_has_not_goes_to_those_with_room():
    """Two of three draws meant for the likelier bucket of one; buckets 1 and 2 get them by their own weights, 1 : 2."""
    weigh = partial(bucket_weights, weighting="linear", group_size=100, mean=0.5, deviation=1.0)
    rng, seen = Random(0), {1: 0, 2: 0, 97: 0}
    for _ in range(3000):
        for k, n in bucket_counts({1: 9, 2: 9, 97: 1}, 2, weigh, rng).items():
            seen[k] += n
    assert seen[97] >= 2990
    assert seen[2] / (seen[1] + seen[2]) == pytest.approx(2 / 3, abs=0.03)
