"""What is met again, what is collected and retired, and when it begins."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest
import torch

from llmft.config import build, check, compose
from llmft.config.checks import find_faults
from llmft.dataset.stream import TaskStream
from llmft.guidance.choice import original_masks, score_trajectories
from llmft.guidance.inherited import misfit
from llmft.guidance.replay import Replay
from llmft.seeds import Seeds
from llmft.types import Author

N, TASKS = 4, 12
SHAPE = {"model_type": "llama", "hidden_size": 32}
YAML = {
    "share": 0.5, "start_accuracy": None, "least_solved": 0, "most_solved": None, "buckets": "normal", "mean": 0.5,
    "deviation": 1.0, "part": "all", "choice": "random", "pick": "lowest", "rows": 8, "correction": "stored",
    "retire": True, "max_trajectories": None, "max_age": None, "pool": None,
}  # fmt: skip


@pytest.fixture
def replay(tokens, policy):
    """``replay(share=0.3)``: a guidance that has begun."""

    def make(folder=None, **changes):
        live = {"tokens": tokens, "longest": 8, "temperature": 1.0, "group_size": N, "architecture": SHAPE}
        made = Replay(**{**YAML, **live, **changes})
        made.begin(policy=policy, folder=folder)
        return made

    return make


@pytest.fixture
def stream(parts):
    return TaskStream([parts.task(f"t{number:02d}") for number in range(TASKS)], Seeds(3))


@pytest.fixture
def solve(parts, tokens):
    """``solve({"t01": 2}, salt=1)``: groups with so many right responses, of the prompts that the tasks have."""

    def make(solved, **also):
        prompts = {name: tokens.prompt(parts.task(name).messages) for name in solved}
        return [parts.group(name, right, N, prompt=prompts[name], **also) for name, right in solved.items()]

    return make


def ids(drawn):
    return [one.task.id for one in drawn]


@pytest.mark.parametrize("place", range(4))
def test_the_published_composition(place, shared, replay, solve, parts):
    case = json.loads(shared("vectors/vectors.json").read_text())["exgrpo"]["batch_composition"][place]
    tasks = TaskStream([parts.task(f"t{number:03d}") for number in range(700)], Seeds(0))
    made = replay(share=case["rho"])
    if case["pool"]:
        made.observe(solve({f"t{number:03d}": 2 for number in range(case["pool"])}))
    drawn = made.draw(tasks, case["batch"], Seeds(1))
    assert sum(one.position < 0 for one in drawn) == case["n_exp"]
    assert sum(one.position >= 0 for one in drawn) == case["n_raw"]


def test_no_fresh_question_is_dropped_unseen(replay, stream, solve):
    """What replay takes, the stream keeps for later."""
    made = replay()
    made.observe(solve({"t01": 2, "t02": 1, "t03": 3}))
    fresh = [one for _ in range(6) for one in made.draw(stream, 4, Seeds(1)) if one.position >= 0]
    assert [one.position for one in fresh] == list(range(TASKS))
    assert sorted(ids(fresh)) == [f"t{number:02d}" for number in range(TASKS)]


@pytest.mark.parametrize(("share", "count", "again"), [(0.29, 100, 29), (0.5, 3, 1), (0.0, 8, 0), (0.99, 1, 0)])
def test_the_share_is_rounded_down(share, count, again, replay, solve, parts):
    """0.29 * 100 is a little less than 29 in floating point."""
    tasks = TaskStream([parts.task(f"t{number:02d}") for number in range(60)], Seeds(0))
    made = replay(share=share)
    made.observe(solve({f"t{number:02d}": 2 for number in range(60)}))
    assert sum(one.position < 0 for one in made.draw(tasks, count, Seeds(1))) == again


def test_positions_are_negative_and_no_others_in_a_step(replay, stream, solve):
    made = replay()
    made.observe(solve({"t01": 2, "t02": 1, "t03": 3}))
    positions = [one.position for _ in range(3) for one in made.draw(stream, 6, Seeds(1)) if one.position < 0]
    assert sorted(positions) == [-9, -8, -7, -6, -5, -4, -3, -2, -1]
    made.observe(solve({"t01": 0}))
    assert [one.position for one in made.draw(stream, 2, Seeds(1)) if one.position < 0] == [-1]


def test_a_replayed_row_is_what_was_written(replay, stream, solve, tokens):
    made = replay(share=0.9)
    written = solve({"t01": 1}, logp=-0.1)
    made.observe(written)
    drawn = made.draw(stream, 2, Seeds(1))
    again, fresh = made.plan(drawn, N, Seeds(1))
    (row,) = again.given
    first = written[0][0]
    assert (again.own, fresh.own, fresh.given) == (N - 1, N, ())
    assert (row.token_ids, row.prompt_ids, row.task) == (first.token_ids, first.prompt_ids, first.task)
    assert row.logps == tuple(torch.tensor(first.logps).tolist()), "float32"
    assert (set(row.authors), row.source, row.finish, row.score) == ({Author.REPLAY}, "replay", "end", None)
    assert row.text == tokens.text(first.token_ids)


@pytest.mark.parametrize("choice", ["entropy", "perplexity", "entropy_original"])
@pytest.mark.parametrize("pick", ["lowest", "highest"])
def test_the_choice_is_by_the_policy_of_now(choice, pick, replay, stream, solve, policy):
    made = replay(share=0.9, choice=choice, pick=pick)
    written = solve({"t01": 3, "t02": 2})
    made.observe(written)
    drawn = made.draw(stream, 3, Seeds(1))
    assert ids(drawn)[:2] in (["t01", "t02"], ["t02", "t01"])
    of = {group[0].task.id: [one for one in group if one.score.correct] for group in written}
    masks = iter(original_masks([3] * 5))
    for task, plan in zip(ids(drawn)[:2], made.plan(drawn, N, Seeds(1)), strict=False):
        prompt, responses = of[task][0].prompt_ids, [one.token_ids for one in of[task]]
        scored = score_trajectories(policy, prompt, responses, temperature=1.0, rows=8)
        mask = [next(masks) for _ in responses]
        values = {
            "entropy": [float(one.response_entropies.mean()) for one in scored],
            "perplexity": [-float(one.response_logps.mean()) for one in scored],
            "entropy_original": [
                float(one.entropies[-8:][max(len(one.entropies[-8:]) - (8 - m), 0) :].sum()) / (8 - m)
                for one, m in zip(scored, mask, strict=True)
            ],
        }[choice]
        best = (min if pick == "lowest" else max)(range(len(values)), key=values.__getitem__)
        assert plan.given[0].token_ids == responses[best]


def test_a_random_choice_is_each_as_often(replay, stream, solve):
    made = replay(share=0.9)
    made.observe(solve({"t01": 3}))
    seen = Counter()
    for step in range(600):
        (drawn, *_) = made.draw(stream, 2, Seeds(step))
        seen[made.plan([drawn], N, Seeds(step))[0].given[0].token_ids] += 1
        made.observe([])
    assert sorted(seen.values())[0] > 150, "of 200 expected"
    assert len(seen) == 3


def test_without_correction_the_ratio_begins_at_one(replay, stream, solve, policy):
    made = replay(share=0.9, correction="current", temperature=0.7)
    written = solve({"t01": 1})
    made.observe(written)
    (row,) = made.plan(made.draw(stream, 2, Seeds(1)), N, Seeds(1))[0].given
    (now,) = score_trajectories(policy, row.prompt_ids, [row.token_ids], temperature=0.7, rows=1)
    assert row.logps == pytest.approx(now.response_logps.tolist(), abs=1e-9)
    assert row.logps != pytest.approx(list(written[0][0].logps))


# ---------------------------------------------------------------------- what is collected


@pytest.mark.parametrize(
    ("least", "most", "collected"), [(0, None, {1, 2, 3}), (1, None, {2, 3}), (0, 2, {1, 2}), (1, 2, {2})]
)
def test_what_is_collected(least, most, collected, replay, solve):
    made = replay(least_solved=least, most_solved=most)
    made.observe(solve({f"t{right:02d}": right for right in range(N + 1)}))
    assert {solved for solved, bucket in made.pool.buckets.items() if bucket} == collected
    assert made.pool.retired == {"t04"}
    assert made.pool.trajectories == sum(collected)


def test_without_retirement_what_is_mastered_changes_nothing(replay, solve):
    made = replay(retire=False)
    made.observe(solve({"t01": 2}))
    made.observe(solve({"t01": N}, salt=1))
    assert (made.pool.retired, made.pool.buckets[2], made.pool.trajectories) == (set(), ["t01"], 2)


def test_what_nobody_solved_changes_nothing(replay, solve):
    made = replay()
    made.observe(solve({"t01": 2}))
    made.observe(solve({"t01": 0}, salt=1))
    assert made.pool.buckets[2] == ["t01"]


def test_successes_count_the_replayed_row_which_is_not_stored_again(replay, solve, parts):
    made = replay()
    made.observe(solve({"t01": 1}))
    made.observe([parts.group("t01", 3, N, salt=1, replayed=(10, 20, 2))])
    assert made.pool.buckets[3] == ["t01"]
    assert made.pool.trajectories == 3
    made.observe([parts.group("t01", 1, N, salt=2, replayed=(10, 20, 2))])
    assert made.pool.buckets[1] == ["t01"], "only the replayed one was right"
    made.observe([parts.group("t01", N, N, salt=3, replayed=(10, 20, 2))])
    assert made.pool.retired == {"t01"}


def test_the_same_tokens_are_stored_once(replay, parts):
    made = replay()
    group = [
        parts.row("t01", (9, 2)),
        parts.row("t01", (9, 2)),
        parts.row("t01", (8, 2)),
        parts.row("t01", (7,), right=False),
    ]
    made.observe([group, list(group)])
    made.observe([group])
    assert made.pool.trajectories == 2


def test_a_failed_row_is_neither_right_nor_wrong(replay, parts):
    made = replay()
    rows = [
        parts.row("t01", (9, 2)),
        parts.row("t01", (8, 2)),
        parts.row("t01", (7, 2)),
        parts.row("t01", (6, 2), right=None),
    ]
    made.observe([rows])
    assert (made.pool.buckets[3], made.pool.retired) == (["t01"], set())


def test_what_others_wrote_is_not_stored(replay, parts):
    made = replay()
    made.observe([[parts.row("t01", (9, 2), source="trace"), *parts.group("t01", 0, 3)]])
    assert made.pool.questions == {}


def test_a_group_from_which_rows_were_taken_is_mastered_too(replay, parts):
    made = replay()
    made.observe([parts.group("t01", 3, 3), parts.group("t02", 2, 3)])
    assert (made.pool.retired, made.pool.buckets[2]) == ({"t01"}, ["t02"])


def test_of_two_groups_the_fresh_one_has_the_last_word(replay, solve, parts):
    made = replay()
    made.observe(solve({"t01": 1}))
    again, fresh = parts.group("t01", 3, N, salt=1, replayed=(10, 20, 2)), parts.group("t01", 2, N, salt=2)
    for groups in ([again, fresh], [fresh, again]):
        made.observe(groups)
        assert made.pool.buckets[2] == ["t01"]


def test_the_order_of_groups_is_no_part_of_the_pool(replay, solve, parts):
    groups = [
        *solve({f"t{number:02d}": number % 5 for number in range(10)}),
        parts.group("t03", 2, N, salt=1, replayed=(10, 20, 2)),
        parts.group("t03", 1, N, salt=2),
    ]
    states = []
    for seed in range(4):
        made = replay()
        random.Random(seed).shuffle(groups)
        made.observe(groups)
        states.append((made.pool.questions, made.pool.buckets, [made.shards.read(n) for n in range(made.pool.stored)]))
    assert all(state == states[0] for state in states)


def test_a_reward_that_does_not_say_what_is_right(replay, parts):
    from dataclasses import replace

    one = parts.row("t01", (9, 2))
    with pytest.raises(ValueError, match=r"guidance=replay: counts right responses.*; choose a reward"):
        replay().observe([[replace(one, score=replace(one.score, correct=None))]])


# ---------------------------------------------------------------------- when it begins, and what is passed over


def test_it_begins_after_the_step_with_enough_right_responses(replay, stream, solve):
    """Not with half of them: more than half. That step itself is not stored; mastered questions are noted before."""
    made = replay(start_accuracy=0.5)
    for solved, started in (({"t01": 2, "t02": 2}, False), ({"t03": N, "t04": 1}, True), ({"t05": 0}, True)):
        assert made.pool.questions == {}
        made.observe(solve(solved))
        assert made.guiding is started
    assert (made.pool.retired, made.pool.questions, made.pool.stored) == ({"t03"}, {}, 0)
    made.observe(solve({"t06": 1}))
    assert list(made.pool.questions) == ["t06"]
    assert [one.position < 0 for one in made.draw(stream, 2, Seeds(1))] == [True, False]


def test_it_begins_by_what_the_policy_wrote(replay, parts):
    """Neither by an expert's responses nor by those that nobody could score."""
    made = replay(start_accuracy=0.5)
    expert = [parts.row("t01", (9, number), source="trace") for number in (2, 3)]
    made.observe([[*expert, *parts.group("t01", 1, 2)]])
    assert not made.guiding
    made.observe([[parts.row("t01", (9, 2)), parts.row("t01", (8,), right=None), parts.row("t01", (7,), right=None)]])
    assert made.guiding


def test_mastered_questions_are_passed_over_while_others_are_left(replay, stream, solve):
    made = replay(start_accuracy=0.99)
    made.observe(solve({f"t{number:02d}": N for number in range(8)}))
    left = {"t08", "t09", "t10", "t11"}
    for _ in range(9):
        drawn = made.draw(stream, 3, Seeds(1))
        assert len(drawn) == 3
        assert set(ids(drawn)) <= left
    assert len({one.task.id for _ in range(5) for one in made.draw(stream, 4, Seeds(1))} - left) > 0, (
        "no more than a step's are left, so all are met again"
    )


def test_without_retirement_all_come_again(replay, stream, solve):
    made = replay(retire=False)
    made.observe(solve({f"t{number:02d}": N for number in range(8)}))
    assert len({name for _ in range(3) for name in ids(made.draw(stream, 4, Seeds(1)))}) == TASKS


def test_metrics_tell_of_the_step(replay, solve, parts):
    made = replay(start_accuracy=0.3)
    made.observe(solve({"t01": 2}))
    assert (made.metrics()["guidance/guiding"], made.metrics()["guidance/pool_questions"]) == (0.0, 0)
    made.observe([*solve({"t01": 2, "t02": 3, "t03": N}), parts.group("t04", 2, N, replayed=(9, 2))])
    assert made.metrics() == {
        "guidance/pool_questions": 3,
        "guidance/pool_trajectories": 6,
        "guidance/retired": 1,
        "guidance/bucket/1": 0,
        "guidance/bucket/2": 2,
        "guidance/bucket/3": 1,
        "guidance/replayed": 1,
        "guidance/guiding": 1.0,
    }


# ---------------------------------------------------------------------- checkpoints, and the pool of another run


def simulated(made, stream, solve, begin, end):
    """Steps of a run: what is drawn and given in each."""
    told = []
    for step in range(begin, end):
        seeds = Seeds(5).child("step", step)
        drawn = made.draw(stream, 4, seeds)
        plans = made.plan(drawn, N, seeds)
        told.append(
            [
                (one.position, one.task.id, [row.token_ids for row in plan.given])
                for one, plan in zip(drawn, plans, strict=True)
            ]
        )
        right = {one.task.id: random.Random(f"{step} {one.task.id}").randrange(N + 1) for one in drawn}
        made.observe(solve(right, salt=step))
    return told


@pytest.mark.parametrize("limits", [{}, {"max_trajectories": 5}, {"max_age": 3}])
def test_a_run_goes_on_from_every_step(limits, replay, solve, parts, tmp_path):
    def fresh(folder):
        made = replay(folder, start_accuracy=0.2, **limits)
        made.shards.full = 20
        return made, TaskStream([parts.task(f"t{number:02d}") for number in range(TASKS)], Seeds(3))

    whole, tasks = fresh(tmp_path)
    told = simulated(whole, tasks, solve, 0, 14)
    assert len(whole.shards.names) > 2
    assert sum(position < 0 for step in told for position, _, _ in step) > 8
    made, tasks = fresh(tmp_path / "cut")
    for step in range(14):
        state = made.state_dict(), tasks.state_dict(), tuple(made.shards.names)
        simulated(made, tasks, solve, step, min(step + 2, 14))  # a step further than the checkpoint
        made, tasks = fresh(tmp_path / "cut")
        made.load_state_dict(state[0])
        tasks.load_state_dict(state[1])
        assert made.shards.names == state[2]
        assert simulated(made, tasks, solve, step, step + 1) == told[step : step + 1], step
    assert (made.pool.questions, made.pool.buckets, made.pool.retired, made.started, made.steps) == (
        whole.pool.questions, whole.pool.buckets, whole.pool.retired, whole.started, whole.steps
    )  # fmt: skip
    assert made.shards.names == whole.shards.names
    assert {path.name for path in (tmp_path / "cut").glob("0*")} == {path.name for path in tmp_path.glob("0*")}


def test_a_step_that_was_dropped_before_it_was_observed_reads_nothing_again(replay, stream, solve, tmp_path):
    """A large pool would take seconds; a step that was observed has to be undone."""
    made = replay(tmp_path, max_age=1)
    made.shards.full = 4
    made.observe(solve({"t01": 2, "t02": 3}))
    state, bucket = made.state_dict(), list(made.pool.buckets[2])
    assert [one.position for one in made.draw(stream, 4, Seeds(1)) if one.position < 0] == [-1, -2]
    (shard,) = tmp_path.glob("0*")
    shard.rename(tmp_path / "aside")
    made.load_state_dict(state)
    assert [one.position for one in made.draw(stream, 4, Seeds(1)) if one.position < 0] == [-1, -2]
    (tmp_path / "aside").rename(shard)
    made.observe(solve({"t01": 0}))
    made.observe(solve({"t01": 0}))
    assert made.pool.buckets[2] == []
    made.load_state_dict(state)
    assert (made.pool.buckets[2], made.steps, made.pool.stored) == (bucket, 1, 5)


def test_what_was_forgotten_is_forgotten_after_a_checkpoint_too(replay, solve, tmp_path):
    """Also if nothing was collected in the step in which it grew too old."""
    made, again = replay(tmp_path, max_age=1), replay(tmp_path, max_age=1)
    for solved in ({"t01": 2}, {"t01": 0}, {"t01": 0}):
        made.observe(solve(solved))
    again.load_state_dict(made.state_dict())
    assert again.pool.questions == made.pool.questions == {}


@pytest.fixture
def left(tmp_path, replay, solve, parts):
    """The folder of a run's pool, and what was in it."""
    made = replay(tmp_path / "left")
    made.shards.full = 20
    simulated(made, TaskStream([parts.task(f"t{number:02d}") for number in range(TASKS)], Seeds(3)), solve, 0, 12)
    return tmp_path / "left", made


def test_a_run_begins_with_the_pool_of_another(left, replay, stream, parts, tmp_path):
    folder, theirs = left
    made = replay(tmp_path / "mine", pool=str(folder))
    assert made.faults(stream.tasks, context=99) == []
    made.begin(policy=made.policy, folder=tmp_path / "mine")
    made.draw(stream, 4, Seeds(1))
    assert (set(made.pool.questions), made.pool.retired) == (set(theirs.pool.questions), theirs.pool.retired)
    for task, question in theirs.pool.questions.items():
        mine = made.pool.questions[task]
        assert mine.solved == question.solved
        assert [made.shards.read(n) for n in mine.numbers.values()] == [
            theirs.shards.read(n) for n in question.numbers.values()
        ]
    assert all(path.parent != folder for path in (tmp_path / "mine").iterdir())
    stored = made.pool.stored
    made.draw(stream, 4, Seeds(1))
    assert made.pool.stored == stored, "taken in once"
    late = replay(pool=str(folder), start_accuracy=0.9)
    assert late.faults(stream.tasks, context=99) == []
    assert all(one.position >= 0 for one in late.draw(stream, 4, Seeds(1))), "its warm-up is its own"


def test_a_pool_that_is_not_for_this_run(left, replay, stream, parts, tokens, tmp_path):
    folder, _ = left
    begins = {"pool": str(folder)}

    def told(tasks=stream.tasks, **changes):
        (fault,) = replay(**{**begins, **changes}).faults(tasks, context=99)
        return fault

    assert "no such" in told(pool=str(tmp_path / "none")).lower()
    assert "of groups of 4, and algorithm.group_size=8" in told(group_size=8)
    assert "tasks that are not among the 3 training tasks" in told(tasks=stream.tasks[:3])

    class Other:
        """A tokenizer with two ids exchanged."""

        eos_id, pad_id = tokens.eos_id, tokens.pad_id

        def prompt(self, messages, tools=()):
            return tokens.prompt(messages, tools)

        def response(self, text, *, end=True):
            return tuple({40: 41, 41: 40}.get(one, one) for one in tokens.response(text, end=end))

    assert "another tokenizer" in told(tokens=Other())
    assert all(fault.startswith("guidance.pool=") for fault in (told(group_size=8), told(tokens=Other())))
    next(folder.glob("000000-*")).unlink()
    assert "not there" in told()


def test_another_question_under_the_same_name(replay, stream, parts, solve):
    made = replay()
    made.observe([parts.group("t01", 1, N, prompt=(1, 9, 9))])
    assert "another prompt for task 't01'" in misfit(made.pool, stream.tasks, made.tokens)
    with pytest.raises(ValueError, match="guidance=replay: the pool has another prompt"):
        made.draw(stream, 2, Seeds(1))


def test_the_pool_of_another_model(left, replay, stream):
    folder, _ = left
    (fault,) = replay(pool=str(folder), architecture={**SHAPE, "hidden_size": 64}).faults(stream.tasks, context=99)
    assert fault.startswith(f"guidance.pool={folder}: ")
    assert "written by another model (hidden_size 32 and not 64); name the folder in which a run" in fault
    assert replay(pool=str(folder)).faults(stream.tasks, context=99) == []


# ---------------------------------------------------------------------- what a config says


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("share=1", r"guidance.share=1(.0)?: it is the share .* new ones must come in"),
        ("share=-0.1", "guidance.share=-0.1: it is the share"),
        ("start_accuracy=1", "guidance.start_accuracy=1(.0)?: it is a share of right responses"),
        ("deviation=0", "guidance.deviation=0(.0)?: it is a standard deviation"),
        ("buckets=norml", "guidance.buckets=norml"),
        ("max_age=0", "guidance.max_age=0"),
    ],
)
def test_what_is_refused_before_anything_is_built(override, told):
    from llmft.config import ConfigError

    with pytest.raises(ConfigError, match=told):
        check(compose(["guidance=replay", f"guidance.{override}"]))


def test_bounds_that_leave_nothing_to_collect(replay):
    for changes in ({"least_solved": 3}, {"most_solved": 4}, {"least_solved": 2, "most_solved": 2}):
        with pytest.raises(ValueError, match=r"guidance.most_solved=\d: collects questions with more than"):
            replay(**changes)
    with pytest.raises(ValueError, match="guidance=replay: fills places of a group"):
        replay(group_size=None)


def test_the_option_is_complete(tokens):
    cfg = compose(["guidance=replay"])
    assert find_faults(cfg) == []
    assert set(cfg.guidance) - {"_target_"} == set(YAML)
    made = build(cfg.guidance, tokens=tokens, longest=9, temperature=1.0, group_size=8, architecture={})
    assert (made.guiding, made.chooser.longest) == (False, 9)
