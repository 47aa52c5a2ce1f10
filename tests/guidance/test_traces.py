"""Where traces stand in a group, what they bring along, and which cannot be used."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from summed import summed

from llmft.guidance.traces import Traces
from llmft.protocols import Drawn, Plan
from llmft.reward.exact import Exact
from llmft.reward.weighted import Weighted
from llmft.seeds import Seeds
from llmft.types import Author, Task, Trace

PLAIN = {
    "per_group": 1,
    "which": "first",
    "share": 1.0,
    "min_reward": None,
    "behaviour": "one",
    "prefix": "full",
    "prefix_min": 0.0,
    "prefix_max": 1.0,
    "prefix_steps": 1000,
    "prefix_peak": 0.8,
    "prefix_shared": False,
    "on_long": "stop",
    "longest": 16,
    "group_size": 4,
}
SEEDS = Seeds(5).child("step", 2)


def exact() -> Weighted:
    return summed({"correct": Exact(form="#{answer}")})


@pytest.fixture
def make(tokens):
    def made(**changes) -> Traces:
        return Traces(**{**PLAIN, "tokens": tokens, "reward": exact(), **changes})

    return made


def task(*traces: str | Trace, name: str = "t", answer: str = "5") -> Task:
    given = tuple(Trace(one) if isinstance(one, str) else one for one in traces)
    return Task(name, ({"role": "user", "content": "2+3="},), "math", answer=answer, traces=given)


def plan(guidance: Traces, *tasks: Task, group_size: int = 4, seeds: Seeds = SEEDS) -> list[Plan]:
    return guidance.plan([Drawn(10 + place, one) for place, one in enumerate(tasks)], group_size, seeds)


def test_a_trace_takes_one_place_and_is_given_whole(make, tokens):
    (only,) = plan(make(), task("2,3#5", "other#5"))
    (row,) = only.given
    assert (only.own, only.begun) == (3, ())
    assert row.prompt_ids == tokens.prompt(row.task.messages)
    assert row.token_ids == (*tokens.response("2,3#5", end=False), tokens.eos_id)
    assert row.authors == (Author.TRACE,) * 6
    assert row.logps == (0.0,) * 6  # a probability of one
    assert (row.source, row.text, row.finish) == ("trace", "2,3#5", "end")
    assert (row.score, row.advantages) == (None, None)


def test_a_task_without_a_trace_is_an_ordinary_one(make):
    without, with_one = plan(make(), task(), task("#5"))
    assert without == Plan(own=4)
    assert (with_one.own, len(with_one.given)) == (3, 1)


def test_places_are_for_different_traces(make):
    three = make(per_group=3)
    assert [row.text for row in plan(three, task("a#5", "b#5", "c#5", "d#5"))[0].given] == ["a#5", "b#5", "c#5"]
    (short,) = plan(three, task("a#5", "b#5"))
    assert (short.own, [row.text for row in short.given]) == (2, ["a#5", "b#5"])


def test_a_trace_longer_than_a_response_is_cut_and_loses_its_end(make, tokens):
    guidance = make(longest=4)
    fits, cut = (one.given[0] for one in plan(guidance, task("123"), task("12#5")))
    assert (fits.text, fits.finish, fits.token_ids[-1]) == ("123", "end", tokens.eos_id)
    assert (cut.text, cut.finish, tokens.text(cut.token_ids), len(cut.token_ids)) == ("12#5", "length", "12#5", 4)
    (cut,) = plan(guidance, task("1234#5"))[0].given
    assert cut.text == "1234"  # what a reward sees has no answer any more
    assert exact().score([cut])[0].correct is False


def test_some_by_chance_anew_in_each_step(make):
    guidance, one = make(which="random"), task("a#5", "b#5", "c#5")
    texts = [plan(guidance, one, seeds=Seeds(0).child("step", step))[0].given[0].text for step in range(60)]
    assert {texts.count(text) > 8 for text in ("a#5", "b#5", "c#5")} == {True}
    again = [plan(guidance, one, seeds=Seeds(0).child("step", step))[0].given[0].text for step in range(60)]
    assert texts == again


def test_a_share_of_the_tasks_is_guided(make):
    tasks = [task("a#5", name=str(place)) for place in range(400)]
    guided = [bool(one.given) for one in plan(make(share=0.3), *tasks)]
    assert 90 < sum(guided) < 150  # 120 expected, deviation 9
    assert guided == [bool(one.given) for one in plan(make(share=0.3), *tasks)]


def test_what_a_task_gets_is_no_matter_of_its_company(make):
    tasks = [Drawn(place, task("a#5", "b#5", "c#5", name=str(place))) for place in range(12)]
    guidance = make(which="random", share=0.5, prefix="random")
    together = guidance.plan(tasks, 4, SEEDS)
    assert together == [guidance.plan([one], 4, SEEDS)[0] for one in tasks]
    assert together != guidance.plan(tasks, 4, Seeds(6))


def test_a_reward_that_fails_on_traces_stops(make):
    class Fails:
        minimum, bounded = 0.0, True

        def __call__(self, rollouts):
            return [float("nan") if one.text == "12" else 1.0 for one in rollouts]

    guidance = make(min_reward=1.0, reward=summed({"p": Fails()}, max_failure_rate=0.5))
    assert [len(one.given) for one in plan(guidance, task("12"), task("3"))] == [0, 1]
    with pytest.raises(RuntimeError, match="failed on 1 of 1 rollouts"):
        plan(guidance, task("12"))


def test_the_best_traces_that_are_good_enough(make):
    calls = []

    class Lengths:
        """A reward that likes long responses."""

        minimum, bounded = 0.0, True

        def __call__(self, rollouts):
            calls.append(len(rollouts))
            return [float(len(one.text)) for one in rollouts]

    reward = summed({"long": Lengths()}, max_failure_rate=0)
    guidance = make(per_group=2, min_reward=3.0, reward=reward)
    first, second, third = plan(guidance, task("12", "12345", "123", "1234"), task("1"), task("123"))
    assert [(row.text, row.reward) for row in first.given] == [("12345", 5.0), ("1234", 4.0)]
    assert second == Plan(own=4)
    assert [row.text for row in third.given] == ["123"]
    assert calls == [6]  # one call for all of them


def test_the_author_s_probabilities(make, tokens):
    probs = (0.5, 0.0, 1.0, 0.25)
    (row,) = plan(make(behaviour="given"), task(Trace("1#5", probs=probs)))[0].given
    assert row.logps == pytest.approx([math.log(prob + 1e-6) for prob in probs], abs=1e-12)
    (cut,) = plan(make(behaviour="given", longest=2), task(Trace("1#5", probs=probs)))[0].given
    assert cut.logps == pytest.approx([math.log(0.5 + 1e-6), math.log(1e-6)], abs=1e-12)
    with pytest.raises(ValueError, match="has 3 probabilities and, with the end token, 4 tokens"):
        plan(make(behaviour="given"), task(Trace("1#5", probs=probs[:3])))
    (ignored,) = plan(make(), task(Trace("1#5", probs=probs[:3])))[0].given
    assert ignored.logps == (0.0,) * 4


# The trace 1234567#5 has ten tokens, the end among them.
@pytest.mark.parametrize(
    ("ratio", "text", "whole"),
    [(1.0, "1234567#5", True), (0.99, "1234567#5", False), (0.5, "12345", False), (0.19, "1", False)],
)
def test_a_share_of_a_trace_is_begun_with(ratio, text, whole, make, tokens):
    guidance = make(prefix="fixed", prefix_max=ratio, behaviour="given")
    probs = tuple(0.1 * place for place in range(10))
    (only,) = plan(guidance, task(Trace("1234567#5", probs=probs)))
    (row,), (nothing) = (only.given, only.begun) if whole else (only.begun, only.given)
    assert nothing == ()
    assert only.own == 3
    assert row.text == text
    assert row.token_ids == tokens.response(text, end=whole)
    assert row.logps == pytest.approx([math.log(prob + 1e-6) for prob in probs[: len(row.token_ids)]], abs=1e-12)
    assert row.authors == (Author.TRACE,) * len(row.token_ids)
    assert row.score is None


def test_a_share_that_is_no_token_is_an_ordinary_row(make):
    assert plan(make(prefix="fixed", prefix_max=0.09), task("1234567#5")) == [Plan(own=4)]
    assert plan(make(prefix="fixed", prefix_max=0.0), task("1234567#5")) == [Plan(own=4)]


def test_beginnings_of_different_length_may_be_of_one_trace(make):
    guidance = make(per_group=3, prefix="fixed", prefix_min=0.2)
    (only,) = plan(guidance, task("1234567#5"))
    assert [row.text for row in only.begun] == ["12", "123456"]
    assert [row.text for row in only.given] == ["1234567#5"]
    assert only.own == 1
    (two,) = plan(guidance, task("1234567#5", "abcdefg#5"))
    assert [row.text for row in (*two.begun, *two.given)] == ["12", "abcdef", "1234567#5"]


def test_a_trace_that_fills_a_response_leaves_nothing_to_go_on_with(make):
    """Cut to 4 of its 7 tokens it counts as 5, the end token with it, as in the published code."""
    texts = {}
    for ratio in (0.5, 0.79, 0.8, 1.0):
        (only,) = plan(make(prefix="fixed", prefix_max=ratio, longest=4), task("1234#5"))
        texts[ratio] = [(row.text, row.finish) for row in only.given], [row.text for row in only.begun]
    assert texts == {
        0.5: ([], ["12"]),
        0.79: ([], ["123"]),
        0.8: ([("1234", "length")], []),
        1.0: ([("1234", "length")], []),
    }


def test_a_beginning_is_judged_when_it_is_whole(make):
    (only,) = plan(make(min_reward=1.0, prefix="fixed", prefix_max=0.5), task("bad#4", "1234567#5"))
    assert [(row.text, row.score) for row in only.begun] == [("12345", None)]


@given(
    count=st.integers(0, 4),
    per_group=st.integers(1, 3),
    prefix=st.sampled_from(["full", "random", "linear", "linear_max", "reverse_linear", "fixed"]),
    steps=st.integers(0, 30),
    seed=st.integers(0, 2**32),
)
def test_a_group_is_filled_to_its_size_with_at_least_one_own_row(count, per_group, prefix, steps, seed, tokens):
    guidance = Traces(
        **{**PLAIN, "per_group": per_group, "prefix": prefix, "prefix_steps": 20}, tokens=tokens, reward=exact()
    )
    for _ in range(steps):
        guidance.observe([])
    one = task(*(f"{place}234#5" for place in range(count)))
    (only,) = plan(guidance, one, seeds=Seeds(seed))
    assert only.own + len(only.given) + len(only.begun) == 4
    assert only.own >= 1
    for row in (*only.given, *only.begun):
        assert len(row.token_ids) == len(row.logps) == len(row.authors) > 0
    assert plan(guidance, one, seeds=Seeds(seed)) == [only]


def test_the_schedule_goes_by_steps_that_were_observed(make):
    guidance, one = make(prefix="linear", prefix_steps=4, prefix_peak=1.0), task("123#5")  # six tokens
    lengths = []
    for _ in range(6):
        (only,) = plan(guidance, one)
        lengths.append(sum(len(row.token_ids) for row in (*only.given, *only.begun)))
        guidance.observe([])
    assert lengths == [6, 4, 3, 1, 0, 0]
    again = make(prefix="linear", prefix_steps=4, prefix_peak=1.0)
    kept = guidance.state_dict()
    guidance.observe([])
    assert kept == {"steps": 6}
    again.load_state_dict(kept)
    assert again.state_dict() == {"steps": 6}


def test_metrics_of_what_was_placed(make):
    guidance = make(longest=4)
    assert guidance.metrics() == {}
    plans = plan(guidance, task("123"), task("12#5"), task())
    own = replace(plans[0].given[0], source="policy", authors=(Author.POLICY,) * 4)
    begun = replace(plans[0].given[0], authors=(Author.TRACE, *(Author.POLICY,) * 3), finish="length")
    guidance.observe([[own, plans[0].given[0]], [own, plans[1].given[0], begun], [own, own]])
    assert guidance.metrics() == pytest.approx(
        {"guidance/guided": 2 / 3, "guidance/given_tokens": 3.0, "guidance/truncated": 1 / 3}
    )
    guidance.observe([])
    assert set(guidance.metrics().values()) == {0.0}


def faults(guidance: Traces, *tasks: Task, context: int = 64) -> list[str]:
    return guidance.faults(tasks, context=context)


def test_good_traces_have_no_faults(make):
    probs = (0.5,) * 4
    assert faults(make(), task(), task("2,3#5")) == []
    assert faults(make(min_reward=1.0, behaviour="given"), task(Trace("1#5", probs=probs))) == []


@pytest.mark.parametrize(
    ("changes", "traces", "why"),
    [
        ({}, [], "none of 2 training tasks has a trace; name the data's column as dataset.trace_column"),
        ({}, [" \n"], "1 of 2 traces are empty, first that of task 'bad'"),
        ({}, ["1" * 60], "a trace of task 'bad' has 61 tokens and its prompt 5, but the model attends to 64"),
        ({"behaviour": "given"}, ["1#5"], "1 of 2 traces come without probabilities, first that of task 'bad'"),
        (
            {"behaviour": "given"},
            [Trace("1#5", probs=(0.5,) * 3)],
            "a trace of task 'bad' has 3 probabilities and, with the end token, 4 tokens",
        ),
        ({"behaviour": "given"}, [Trace("1#5", probs=(-0.5,) * 4)], "has a probability of -0.5"),
        ({"min_reward": 1.5}, ["1#5"], "guidance.min_reward=1.5: none of the first 2 traces has that reward"),
    ],
)
def test_traces_that_cannot_be_used(changes, traces, why, make):
    fine = [task(Trace("1#5", probs=(0.5,) * 4), name="fine")] if traces else [task(name="fine")]
    (fault,) = faults(make(**changes), *fine, task(*traces, name="bad"))
    assert why in fault
    assert fault.startswith("guidance")


def test_a_trace_that_the_context_does_not_hold_may_be_cut(make):
    guidance = make(on_long="cut")
    assert faults(guidance, task("1" * 60)) == []
    assert plan(guidance, task("1" * 60))[0].given[0].text == "1" * 16


def test_some_traces_may_be_wrong_before_one_is_good_enough(make):
    wrong = [task("1#4", name=str(place)) for place in range(200)]
    assert faults(make(min_reward=1.0), *wrong, task("1#5")) == []
    assert len(faults(make(min_reward=1.0), *wrong)) == 1


def test_a_place_is_left_for_the_policy(make):
    with pytest.raises(ValueError, match=r"guidance\.per_group=4: a group has algorithm\.group_size=4 .* at most 3"):
        make(per_group=4)
    assert make(per_group=4, group_size=None).per_group == 4
