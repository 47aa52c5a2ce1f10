"""Sums of parts; what failed is told from what is bad, and neither hides in the other."""

from __future__ import annotations

import math
import multiprocessing
import os
import pickle
import sys
import threading
import time

import pytest
from breaking import BROKEN, Bounded, Breaking, KilledOnce
from hypothesis import given
from hypothesis import strategies as st
from summed import summed

from llmft.distributed import gather, rank
from llmft.reward.failed import Failed
from llmft.reward.sound import require_sound
from llmft.trainer.ranks import on_ranks
from llmft.types import Rollout, Score, Task


def rollout(text: str, answer: str = "1") -> Rollout:
    return Rollout(Task(f"task-{text}", (), "math", answer=answer), (), (), (), (), "policy", text, "end")


ROLLOUTS = [rollout(text) for text in "abcd"]


class Table:
    """A part that looks its values up by text, and counts its calls."""

    minimum = 0.0
    bounded = True

    def __init__(self, values):
        self.values = values
        self.calls = 0

    def __call__(self, rollouts):
        self.calls += 1
        return [self.values[rollout.text] for rollout in rollouts]


class Breaks(Table):
    """Raises for the texts whose value is an exception."""

    def __call__(self, rollouts):
        for value in super().__call__(rollouts):
            if isinstance(value, Exception):
                raise value
        return [self.values[rollout.text] for rollout in rollouts]


class Forgets:
    """Gives no value for the last of a batch, and none at all for ``d``."""

    minimum, bounded = 0.0, True

    def __call__(self, rollouts):
        return [] if rollouts[0].text == "d" else [1.0] * max(1, len(rollouts) - 1)


def test_the_sum_and_each_part():
    parts = {"right": Table({"a": 1, "b": 0, "c": 1, "d": 0}), "short": Table({"a": 0.5, "b": 1, "c": 0, "d": 0})}
    scores = summed(parts, weights={"right": 2.0, "short": -1.0}).score(ROLLOUTS)
    assert [score.value for score in scores] == [1.5, -1.0, 2.0, 0.0]  # 2·1-0.5, 0-1, 2·1-0, 0
    assert [score.correct for score in scores] == [True, False, True, False]
    assert scores[0].parts == {"right": 1.0, "short": 0.5}
    assert list(scores[0].parts) == ["right", "short"]  # in the config's order, whoever was done first
    assert all(score.failure is None for score in scores)
    assert parts["right"].calls == parts["short"].calls == 1  # a part sees the batch, once


def test_a_sum_past_every_double_is_a_failure():
    parts = {"right": Table({"a": 1e308, "b": 1, "c": -1e308, "d": 0})}
    scores = summed(parts, weights={"right": 10.0}).score(ROLLOUTS)
    assert [score.value for score in scores] == [None, 10.0, None, 0.0]
    assert scores[0].failure == "the weighted sum: inf instead of a number"


def test_weight_zero_logs_only():
    parts = {"right": Table(dict.fromkeys("abcd", 1)), "form": Table({"a": 1, "b": 0, "c": 1, "d": 0})}
    scores = summed(parts, weights={"right": 1.0, "form": 0.0}).score(ROLLOUTS)
    assert [score.value for score in scores] == [1.0] * 4
    assert [score.parts["form"] for score in scores] == [1.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize(("at", "correct"), [(0.5, [False, True, True, True]), (1.0, [False, False, False, True])])
def test_correct_is_reaching_success_at(at, correct):
    scores = summed({"p": Table({"a": 0.4, "b": 0.5, "c": 0.9, "d": 1.0})}, success_at=at).score(ROLLOUTS)
    assert [score.correct for score in scores] == correct


@pytest.mark.parametrize(
    ("broken", "failure", "reason"),
    [
        (float("nan"), "odd: nan instead of a number", "odd: nan instead of a number"),
        (math.inf, "odd: inf instead of a number", "odd: inf instead of a number"),
        (None, "odd: NoneType instead of a number", "odd: NoneType instead of a number"),
        ("high", "odd: str instead of a number", "odd: str instead of a number"),
        (OSError("disk 7"), "odd: OSError: disk 7", "odd: OSError"),
        (OSError(), "odd: OSError", "odd: OSError"),
        (Failed("no server: at 10.0.0.7"), "odd: no server: at 10.0.0.7", "odd: no server"),
    ],
)
@pytest.mark.parametrize("part", [Table, Breaks])  # has the exception in the value's place, or raises it
def test_only_the_culprit_fails_and_says_why(part, broken, failure, reason):
    parts = {"fine": Table(dict.fromkeys("abcd", 1)), "odd": part({"a": 1, "b": broken, "c": 0, "d": 1})}
    scores = summed(parts).score(ROLLOUTS)
    assert [score.value for score in scores] == [2.0, None, 1.0, 2.0]
    assert scores[1].failure == failure
    assert scores[1].reason == reason  # without what differs from case to case: it names a metric
    assert scores[1].correct is None
    assert scores[1].parts == {"fine": 1.0}
    assert ROLLOUTS[1].with_score(scores[1]).failed


def test_a_bad_rollout_is_not_a_failed_one():
    (score,) = summed({"right": Table({"a": 0.0})}).score(ROLLOUTS[:1])
    assert (score.value, score.correct, score.failure) == (0.0, False, None)


def test_the_wrong_number_of_values_is_asked_again_one_by_one():
    scores = summed({"p": Forgets()}).score(ROLLOUTS)
    assert [score.value for score in scores] == [1.0, 1.0, 1.0, None]
    assert scores[3].failure == "p: 0 values for 1 rollouts"


@pytest.fixture(scope="module")
def apart():
    """A reward one of whose parts works in processes of its own."""
    reward = summed({"p": Breaking(), "fine": Table({})}, timeout_s=2.0)
    reward.parts["fine"].values = {**dict.fromkeys((*BROKEN, "short"), 1.0), "a": 1.0, "b": 1.0}
    yield reward
    reward.close()


def test_what_is_not_bounded_breaks_alone_in_every_way(apart):
    texts = ["a", *BROKEN, "b", "short", "a"]
    scores = apart.score([rollout(text) for text in texts])
    assert [score.value for score in scores] == [2.0, *[None] * len(BROKEN), 1.0, None, 2.0]
    assert [score.failure for score in scores[1:-3]] == [f"p: {why}" for why in BROKEN.values()]
    assert scores[-2].failure == "p: 0 values for 1 rollouts"
    assert scores[1].parts == {"fine": 1.0}
    assert apart.score([rollout("a"), rollout("b")])[0].value == 2.0  # and the next batch finds new workers


def test_bounded_parts_stay_in_this_process(apart):
    here, there = summed({"p": Bounded()}), apart
    assert here.score([rollout("pid")])[0].value == os.getpid()
    assert not here.workers.pids()
    there.parts["fine"].values["pid"] = 0.0
    assert there.score([rollout("pid")])[0].value != os.getpid()


def test_whom_somebody_killed_is_asked_again(tmp_path):
    reward = summed({"p": KilledOnce(tmp_path / "killed")})
    assert [score.value for score in reward.score([rollout("a"), rollout("b")])] == [1.0, 0.0]
    assert (tmp_path / "killed").exists()
    reward.close()


def test_parts_are_asked_at_the_same_time():
    class Meets:
        minimum, bounded = 0.0, True

        def __init__(self, barrier):
            self.barrier = barrier

        def __call__(self, rollouts):
            self.barrier.wait(10)
            return [1.0] * len(rollouts)

    barrier = threading.Barrier(2)
    assert summed({"one": Meets(barrier), "two": Meets(barrier)}).score(ROLLOUTS)[0].value == 2.0


def test_what_cannot_be_sent_to_a_process_is_refused():
    class Local(Breaking):
        pass

    with pytest.raises(ValueError, match=r"reward.parts.p: .* cannot be sent to one .*write bounded = True"):
        summed({"p": Local()})


def test_what_cannot_be_opened_in_a_process_is_a_fault(monkeypatch):
    reward = summed({"p": Breaking()})
    monkeypatch.setattr(sys, "path", [one for one in sys.path if not one.endswith("tests")])
    (fault,) = reward.faults([])
    assert fault == "reward.parts: in a process of its own, ModuleNotFoundError: No module named 'breaking'"


def _score_in_child(reward, pipe):
    pipe.send([score.value for score in reward.score([rollout("a"), rollout("b")])])


def test_it_travels_by_fork_and_by_pickle(apart):
    texts = [rollout("a"), rollout("b")]
    assert [score.value for score in apart.score(texts)] == [2.0, 1.0]
    mine, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=_score_in_child, args=(apart, theirs))
    child.start()
    assert mine.poll(60)
    assert mine.recv() == [2.0, 1.0]
    child.join()
    reward = pickle.loads(pickle.dumps(summed({"p": Breaking()})))
    assert [score.value for score in reward.score(texts)] == [1.0, 0.0]
    reward.close()
    assert [score.value for score in apart.score(texts)] == [2.0, 1.0]


def test_nothing_to_score():
    assert summed({"p": Table({}), "q": Breaking()}).score([]) == []


def scored(*failures: str | None) -> list[Rollout]:
    return [
        rollout(f"text {place}").with_score(Score(None, failure=why) if why else Score(0.0))
        for place, why in enumerate(failures)
    ]


def test_too_many_failures_stop_with_the_reasons_counted():
    rollouts = scored("p: OSError: disk 1", None, "p: OSError: disk 2", "q: hung")
    require_sound(rollouts, 0.75)  # at the rate is not above it
    with pytest.raises(RuntimeError) as error:
        require_sound(rollouts, 0.5)
    assert str(error.value) == (
        "reward.max_failure_rate=0.5: the reward itself failed on 3 of 4 rollouts, 75.0% (2 x p: OSError, 1 x q: hung)"
        "; mend it, or raise the rate to leave such rollouts out:\n"
        "  task 'task-text 0': p: OSError: disk 1: 'text 0'\n"
        "  task 'task-text 2': p: OSError: disk 2: 'text 2'\n"
        "  task 'task-text 3': q: hung: 'text 3'"
    )


def test_a_long_text_is_shown_from_both_ends():
    (long,) = scored("p: hung")
    with pytest.raises(RuntimeError, match=f"'{'x' * 40} ... {'x' * 14}y'"):
        require_sound([Rollout(long.task, (), (), (), (), "policy", "x" * 900 + "y", "end", long.score)], 0.0)


def test_few_failures_go_on_and_none_are_fine_at_zero():
    require_sound(scored("p: hung", *[None] * 99), 0.02)
    require_sound(scored(None), 0.0)
    require_sound([], 0.0)


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, None, float("nan")]), max_size=12), st.floats(0, 1))
def test_failed_exactly_where_there_is_no_number(values, rate):
    texts = [str(index) for index in range(len(values))]
    reward = summed({"p": Table(dict(zip(texts, values, strict=True)))}, max_failure_rate=rate)
    numbers = [value is not None and not math.isnan(value) for value in values]
    rollouts = [rollout(text) for text in texts]
    graded = [one.with_score(score) for one, score in zip(rollouts, reward.score(rollouts), strict=True)]
    assert [not one.failed for one in graded] == numbers
    if values and numbers.count(False) > rate * len(values):
        with pytest.raises(RuntimeError):
            reward.require_sound(graded)
    else:
        reward.require_sound(graded)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"weights": {"right": 1, "from": 1}}, r"weights.from=1: no such part; did you mean 'form'"),
        ({"weights": {"right": 1}}, r"parts.form: it has no weight"),
        ({"success_part": "wrong"}, r"success_part=wrong: no such part"),
    ],
)
def test_names_that_do_not_fit(changes, why):
    part = Table({})
    with pytest.raises(ValueError, match=why):
        summed({"right": part, "form": part}, **changes)


def test_faults_of_all_parts_are_collected():
    class Picky(Table):
        def faults(self, tasks):
            return [f"{len(tasks)} tasks are odd"]

    reward = summed({"plain": Table({}), "picky": Picky({})})
    assert reward.faults([rollout("a").task]) == ["reward.parts.picky: 1 tasks are odd"]


def test_facts_and_the_end_reach_the_parts_and_what_they_use():
    ended = []

    class Known(Table):
        def facts(self):
            return {"version": 2}

        def close(self):
            ended.append(self)

    part, sandbox = Known({}), Known({})
    reward = summed({"plain": Table({}), "known": part}, sandbox=sandbox)
    assert reward.facts() == {"known": {"version": 2}, "sandbox": {"version": 2}}
    reward.close()
    assert ended == [part, sandbox]


def test_a_reward_that_works_here_alone_starts_nothing():
    began = time.monotonic()
    reward = summed({"p": Table(dict.fromkeys("abcd", 1))})
    assert reward.faults([]) == []
    reward.score(ROLLOUTS)
    reward.close()
    assert reward.workers.pids() == []
    assert time.monotonic() - began < 1


def _of_a_rank() -> list[str]:
    """What each rank is told of failures that stand on the second one alone: 3 of 4, and none of 96."""
    broken = rank() == 1
    mine = scored(*(["p: hung"] * 3 if broken else [None] * 95), None)
    told = []
    for rate in (0.03, 0.029):
        try:
            require_sound(mine, rate)
            told.append("sound")
        except RuntimeError as error:
            told.append(str(error).split(";")[0])
    return gather(told)


@pytest.mark.slow
def test_all_ranks_stop_or_none():
    said = "reward.max_failure_rate=0.029: the reward itself failed on 3 of 100 rollouts, 3.0% (3 x p: hung)"
    assert on_ranks(2, "gloo", _of_a_rank) == ["sound", said] * 2
