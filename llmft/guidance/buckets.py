"""Which questions are met again: a bucket by how often each was solved last, then questions in it, ExGRPO section 4.1."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from random import Random
from typing import Literal, TypeVar

T = TypeVar("T")
Weighting = Literal["normal", "normal_accuracy", "linear", "sqrt", "linear_clip", "uniform"]


def bucket_weights(
    solved: Collection[int], weighting: Weighting, *, group_size: int, mean: float, deviation: float
) -> dict[int, float]:
    """How likely a question comes from each bucket, whatever its size; they add up to 1 over the given ones.

    ``normal`` is ``exp(-z²/2)`` with ``z = (k - mean·n)/deviation`` for ``k`` successes of ``n``: a deviation in
    successes, as in ExGRPO's code. ``normal_accuracy`` has ``z = (k/n - mean)/deviation``: a deviation in accuracy, as
    in its paper, with which the same 1 hardly prefers any bucket. ``linear`` is k/n, ``sqrt`` its root, and
    ``linear_clip`` at most a half of it.

    Args:
        solved: successes of the buckets that hold questions.
        weighting: one of these; ``uniform`` has no buckets and is not asked for its weights.
        group_size: responses to a question.
        mean: of both normal ones, as an accuracy, and
        deviation: theirs.
    """
    n, shares = group_size, {k: k / group_size for k in solved}
    match weighting:
        case "normal":
            logs = {k: -(((k - mean * n) / deviation) ** 2) / 2 for k in solved}
        case "normal_accuracy":
            logs = {k: -(((share - mean) / deviation) ** 2) / 2 for k, share in shares.items()}
        case "linear":
            logs = {k: math.log(share) for k, share in shares.items()}
        case "sqrt":
            logs = {k: math.log(share) / 2 for k, share in shares.items()}
        case "linear_clip":
            logs = {k: math.log(min(share, 0.5)) for k, share in shares.items()}
        case "uniform":
            raise ValueError("uniform is over questions and weighs no bucket")
    most = max(logs.values(), default=0.0)  # taken off, so that the likeliest is never rounded to nothing
    weights = {k: math.exp(log - most) for k, log in logs.items()}
    whole = sum(weights.values())
    return {k: weight / whole for k, weight in weights.items()}


def bucket_counts(
    sizes: Mapping[int, int], count: int, weigh: Callable[[Collection[int]], Mapping[int, float]], rng: Random
) -> dict[int, int]:
    """How many questions each bucket gives: multinomial; what a bucket has not goes one by one to those with room.

    Args:
        sizes: of each bucket, at least 1.
        count: of all, at most the sum of the sizes.
        weigh: the weights of some buckets.
    """
    if not count:
        return dict.fromkeys(sizes, 0)
    weights = weigh(sizes)
    drawn = Counter(rng.choices(list(weights), list(weights.values()), k=count))
    taken = {k: min(drawn[k], size) for k, size in sizes.items()}
    for _ in range(count - sum(taken.values())):
        room = weigh([k for k, size in sizes.items() if taken[k] < size])
        taken[rng.choices(list(room), list(room.values()))[0]] += 1
    return taken


def draw_questions(
    buckets: Mapping[int, Sequence[T]],
    count: int,
    weigh: Callable[[Collection[int]], Mapping[int, float]] | None,
    rng: Random,
) -> list[T]:
    """``count`` different questions, in random order; all of them where there are fewer.

    Each bucket gives as many as `bucket_counts` says, every question in it as likely as any other. Without ``weigh``
    every question of all buckets is.
    """
    filled = {k: buckets[k] for k in sorted(buckets) if buckets[k]}
    sizes = {k: len(questions) for k, questions in filled.items()}
    count = min(count, sum(sizes.values()))
    if weigh is None:
        drawn = [_at(filled, place) for place in rng.sample(range(sum(sizes.values())), count)]
    else:
        counts = bucket_counts(sizes, count, weigh, rng)
        drawn = [filled[k][place] for k, n in counts.items() for place in rng.sample(range(sizes[k]), n)]
    rng.shuffle(drawn)
    return drawn


def _at(buckets: Mapping[int, Sequence[T]], place: int) -> T:
    for questions in buckets.values():
        if place < len(questions):
            return questions[place]
        place -= len(questions)
    raise IndexError(place)
