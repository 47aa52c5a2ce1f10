"""Dynamic sampling: groups without signal are replaced by those of further tasks, up to a cap, and none too many."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmft.algorithm.groups import has_signal
from llmft.dataset.stream import TaskStream
from llmft.reward.sound import require_sound
from llmft.seeds import Seeds

SILENT, DECIDED = [1, 1], [1, 0]


def tasks_of(parts, *rewards):
    return [parts.task(number, pair, [2, 3]) for number, pair in enumerate(rewards)]


def collect(parts, policy, *rewards, refills, wanted=3, guidance=None, **changes):
    stream = parts.Stream(tasks_of(parts, *rewards))
    options = {"tasks_per_step": wanted, "average": "sequence", **changes}
    algorithm = parts.policy_optimization(policy, guidance, refills=refills, **options)
    return algorithm.collect(stream, Seeds(0)), stream


def ids(step):
    return list(dict.fromkeys(one.task.id for one in step.rollouts))


def test_silent_groups_are_replaced(parts, policy):
    step, stream = collect(parts, policy, SILENT, DECIDED, SILENT, DECIDED, SILENT, DECIDED, refills=5)
    assert ids(step) == ["t1", "t3", "t5"]
    assert stream.position == 6  # three, then the two that lacked, then the one that still did
    assert step.metrics["train/refills"] == 2
    assert step.metrics["train/refill_missing"] == 0
    assert step.metrics["train/no_signal"] == 3 / 6  # of all that were sampled
    assert step.metrics["train/reward_mean"] == (3 * 2 + 3 * 1) / 12
    # What was replaced is in no denominator: six rows, each a sixth.
    assert step.updates[0].weight.sum().item() == pytest.approx(1)


@pytest.mark.parametrize(("rate", "sound"), [(0.25, True), (0.24, False)])
def test_failures_are_weighed_over_the_whole_step(parts, policy, rate, sound):
    """Three of the four responses that were sampled first failed; of all twelve it is a quarter."""

    class Strict(parts.Known):
        def require_sound(self, rollouts):
            require_sound(rollouts, rate)

    algorithm = parts.policy_optimization(policy, tasks_per_step=2, refills=5)
    algorithm.reward = Strict()
    broken = [[None, None], [None, 1]]
    stream = parts.Stream(tasks_of(parts, *broken, SILENT, SILENT, DECIDED, DECIDED))
    if sound:
        assert algorithm.collect(stream, Seeds(0)).metrics["train/failed"] == 3
    else:
        with pytest.raises(RuntimeError, match=r"failed on 3 of 12 rollouts, 25.0% \(3 x sandbox\)"):
            algorithm.collect(stream, Seeds(0))


def test_enough_signal_draws_nothing_more(parts, policy):
    step, stream = collect(parts, policy, DECIDED, DECIDED, DECIDED, DECIDED, refills=5)
    assert (ids(step), stream.position) == (["t0", "t1", "t2"], 3)
    assert step.metrics["train/refills"] == 0


def test_it_is_off_with_no_refills(parts, policy):
    step, stream = collect(parts, policy, SILENT, DECIDED, SILENT, DECIDED, refills=0)
    assert (ids(step), stream.position) == (["t0", "t1", "t2"], 3)
    assert not any(name.startswith("train/refill") for name in step.metrics)
    assert step.updates[0].weight.sum().item() == pytest.approx(1 / 3)  # the silent are in the denominator


def test_at_the_cap_the_first_of_the_silent_stay(parts, policy):
    step, stream = collect(parts, policy, SILENT, SILENT, SILENT, SILENT, DECIDED, SILENT, SILENT, refills=1)
    assert (ids(step), stream.position) == (["t0", "t1", "t4"], 6)
    assert step.metrics["train/refills"] == 1
    assert step.metrics["train/refill_missing"] == 2
    assert step.updates[0].weight.sum().item() == pytest.approx(1 / 3)


@pytest.mark.parametrize("rewards", [[1, 1], [None, None], [1, None]])
def test_unending_silence_ends_at_the_cap(parts, policy, rewards):
    step, stream = collect(parts, policy, rewards, refills=4)
    assert [len(update) for update in step.updates] == [0]
    assert stream.position == 5 * 3
    assert (step.metrics["train/refills"], step.metrics["train/refill_missing"]) == (4, 3)
    assert step.metrics["train/no_signal"] == 1


def test_a_difference_that_is_only_length_is_no_signal(parts, policy):
    """As in the paper, where a group is sampled again unless some of its answers are right and some wrong."""
    stream = parts.Stream([parts.task(0, [1, 1], [2, 8]), parts.task(1, [1, 0], [2, 8])])
    algorithm = parts.policy_optimization(policy, tasks_per_step=1, refills=1, overlong_buffer=0.5)
    step = algorithm.collect(stream, Seeds(0))
    assert ids(step) == ["t1"]
    assert step.metrics["reward/overlong"] == -0.5  # of all that were sampled: 0 and -1, twice


def test_guidance_sees_every_group_once(parts, policy):
    guidance = parts.Watching()
    collect(parts, policy, SILENT, DECIDED, SILENT, DECIDED, SILENT, DECIDED, refills=5, guidance=guidance)
    assert guidance.seen == [(f"t{number}", 2) for number in range(6)]


def test_a_refill_draws_its_own_randomness(parts, policy):
    """Whatever a guidance draws for a step, it does not draw again for the tasks of a refill."""
    seen = []

    class Drawing(parts.Watching):
        def plan(self, tasks, group_size, seeds):
            seen.append(seeds.stream("guidance"))
            return super().plan(tasks, group_size, seeds)

    collect(parts, policy, SILENT, refills=2, guidance=Drawing())
    assert len(set(seen)) == 3


def test_a_step_after_resuming_is_the_same(parts, policy):
    """The stream's position is all there is to know."""
    tasks = tasks_of(parts, SILENT, DECIDED, SILENT, DECIDED, DECIDED, SILENT, SILENT)
    algorithm = parts.policy_optimization(policy, tasks_per_step=2, refills=3)
    stream = TaskStream(tasks, Seeds(5))
    algorithm.collect(stream, Seeds(0).child("step", 0))
    kept = stream.state_dict()
    expected = algorithm.collect(stream, Seeds(0).child("step", 1))
    again = TaskStream(tasks, Seeds(5))
    again.load_state_dict(kept)
    got = algorithm.collect(again, Seeds(0).child("step", 1))
    assert got.rollouts == expected.rollouts
    assert [one.tokens.tolist() for one in got.updates] == [one.tokens.tolist() for one in expected.updates]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([SILENT, DECIDED]), min_size=1, max_size=8), st.integers(1, 5), st.integers(0, 4))
def test_a_step_has_its_tasks_and_as_much_signal_as_was_found(parts, policy, rewards, wanted, refills):
    step, stream = collect(parts, policy, *rewards, refills=refills, wanted=wanted)
    kept = [step.rollouts[start : start + 2] for start in range(0, len(step.rollouts), 2)]
    assert len(kept) == wanted
    found = sum(rewards[position % len(rewards)] is DECIDED for position in range(stream.position))
    assert sum(map(has_signal, kept)) == min(found, wanted)
    assert found <= wanted  # no more was drawn than was missing
    assert stream.position <= wanted * (1 + refills)
    missing = step.metrics.get("train/refill_missing", wanted - found)
    assert missing == wanted - found
    assert missing == 0 or step.metrics.get("train/refills", 0) == refills
