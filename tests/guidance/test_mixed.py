"""Traces and replay side by side and one after the other, made of the real two as a config composes them."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from summed import summed

from llmft.config import build, compose
from llmft.config.checks import find_faults
from llmft.dataset.stream import TaskStream
from llmft.guidance.mixed import Mixed
from llmft.guidance.replay import Replay
from llmft.guidance.traces import Traces
from llmft.reward.exact import Exact
from llmft.seeds import Seeds
from llmft.types import Author, Rollout, Task, Trace

N = 4  # responses of a group
COUNT = 6  # tasks of a step
REWARD = summed({"correct": Exact(form="#{answer}")})
TASKS = tuple(
    Task(f"t{n}", ({"role": "user", "content": f"{n}+1="},), "math", str(n + 1), (Trace(f"trace#{n + 1}"),))
    for n in range(12)
)


@pytest.fixture(scope="module")
def composed():
    return compose(["algorithm=hybrid", "guidance.replay.start_accuracy=null"])


@pytest.fixture
def mixed(composed, tokens, policy):
    """``mixed("guidance.replay_from=2")``: as YAML has it, begun."""

    def make(*overrides: str, folder: Path | None = None) -> Mixed:
        cfg = OmegaConf.merge(composed, OmegaConf.from_dotlist(list(overrides)))
        made = build(
            cfg.guidance, tokens=tokens, reward=REWARD, longest=16, group_size=N, temperature=1.0, architecture={}
        )
        assert made.faults(TASKS, context=512) == []
        made.begin(policy=policy, folder=folder)
        return made

    return make


class Run:
    """Steps of a policy that solves ``solved[id]`` of its responses to a task, and ``otherwise`` of the others."""

    def __init__(self, guidance, tokens, solved=None, otherwise=2):
        self.guidance, self.tokens, self.solved, self.otherwise = guidance, tokens, solved or {}, otherwise
        self.tasks, self.steps = TaskStream(TASKS, Seeds(3).child("tasks")), 0

    def step(self):
        """The groups of one step, scored, after the guidance saw them."""
        seeds = Seeds(3).child("step", self.steps)
        drawn = self.guidance.draw(self.tasks, COUNT, seeds)
        plans = self.guidance.plan(drawn, N, seeds)
        groups = []
        for one, plan in zip(drawn, plans, strict=True):
            assert plan.own + len(plan.given) + len(plan.begun) == N
            rows = [*(self.own(one.task, row) for row in range(plan.own)), *plan.given]
            scores = iter(REWARD.score(rows))
            groups.append([row.with_score(next(scores)) for row in rows])
        self.guidance.observe(groups)
        self.steps += 1
        return drawn, groups

    def own(self, task, row):
        right = row < self.solved.get(task.id, self.otherwise)
        text = f"step {self.steps}.{row}#{task.answer if right else 'no'}"
        ids = self.tokens.response(text)
        size = len(ids)
        return Rollout(task, self.tokens.prompt(task.messages), ids, (-0.5,) * size, (Author.POLICY,) * size, "policy",
                       text, "end")  # fmt: skip


def sources(groups):
    return [{row.source for row in group} for group in groups]


def test_the_parts_are_those_of_the_config_with_what_is_live(mixed, tokens):
    made = mixed("guidance.traces.per_group=2", "guidance.replay.share=0.25")
    assert isinstance(made.traces, Traces)
    assert isinstance(made.replay, Replay)
    assert (made.traces.per_group, made.replay.share) == (2, 0.25)
    assert made.traces.tokens is tokens
    assert made.replay.group_size == N


def test_a_task_is_guided_by_one_of_the_two(mixed, tokens):
    run = Run(mixed(), tokens)
    _, first = run.step()
    assert sources(first) == [{"policy", "trace"}] * COUNT  # nothing is in the pool yet
    drawn, groups = run.step()
    again = [one.position < 0 for one in drawn]
    assert sum(again) == COUNT // 2
    assert sources(groups) == [{"policy", "replay" if one else "trace"} for one in again]
    for one, group in zip(drawn, groups, strict=True):
        (guide,) = [row for row in group if row.source != "policy"]
        assert guide.task == one.task
        assert guide.logps[0] == (-0.5 if one.position < 0 else 0.0)  # its own of then; a trace's probability is one
    metrics = run.guidance.metrics()
    assert metrics["guidance/replayed"] == COUNT // 2
    assert metrics["guidance/guided"] == 0.5


def test_what_a_trace_brought_is_no_success_of_the_policys(mixed, tokens):
    """Neither stored nor counted: not when the trace alone is right, and not beside the policy's own."""
    run = Run(mixed("guidance.replay.share=0"), tokens, otherwise=0)
    for _ in range(2):
        run.step()
    assert run.guidance.metrics()["guidance/pool_questions"] == 0

    run = Run(mixed("guidance.replay.share=0"), tokens, otherwise=2)
    for _ in range(2):
        run.step()
    metrics = run.guidance.metrics()
    assert metrics["guidance/pool_questions"] == len(TASKS)
    assert metrics["guidance/pool_trajectories"] == 2 * len(TASKS)
    assert metrics["guidance/bucket/2"] == len(TASKS)


def test_a_task_is_mastered_by_the_responses_of_its_own(mixed, tokens):
    run = Run(mixed("guidance.replay.share=0"), tokens, solved={"t3": 3}, otherwise=1)
    for _ in range(2):
        run.step()
    assert run.guidance.metrics()["guidance/retired"] == 1
    assert run.guidance.replay.pool.retired == {"t3"}


def test_first_traces_and_then_replay(mixed, tokens):
    """Replay sees nothing of the first steps, and its own delayed start comes after them."""
    run = Run(mixed("guidance.traces_until=2", "guidance.replay_from=2", "guidance.replay.start_accuracy=0.35"), tokens)
    guiding = []
    for expected in ({"policy", "trace"}, {"policy", "trace"}, {"policy"}, {"policy"}):
        guiding.append(run.guidance.guiding)
        _, groups = run.step()
        assert sources(groups) == [expected] * COUNT
    # The third step is the replay's first, whose responses were right often enough; the pool begins with the fourth.
    assert [*guiding, run.guidance.guiding] == [True, True, False, True, True]
    _, groups = run.step()
    assert sources(groups).count({"policy", "replay"}) == COUNT // 2
    assert sources(groups).count({"policy"}) == COUNT // 2


def test_a_pool_to_begin_with_waits_for_the_replay(mixed, tokens, tmp_path):
    Run(mixed(folder=tmp_path / "pool"), tokens).step()
    run = Run(mixed("guidance.replay_from=2", f"guidance.replay.pool={tmp_path / 'pool'}"), tokens)
    replayed = [sources(run.step()[1]).count({"policy", "replay"}) for _ in range(3)]
    assert replayed == [0, 0, COUNT // 2]


def test_a_gap_between_them_has_neither(mixed, tokens):
    run = Run(mixed("guidance.traces_until=1", "guidance.replay_from=2"), tokens)
    seen = [(run.guidance.guiding, sources(run.step()[1])) for _ in range(3)]
    assert [guiding for guiding, _ in seen] == [True, False, True]
    assert seen[1][1] == [{"policy"}] * COUNT
    assert dict(run.guidance.metrics()).keys() >= {"guidance/replayed"}


def test_metrics_are_of_those_at_work(mixed, tokens):
    run = Run(mixed("guidance.traces_until=1", "guidance.replay_from=1"), tokens)
    assert dict(run.guidance.metrics()) == {}
    told = []
    for _ in range(2):
        run.step()
        told.append({name.split("/")[1] for name in run.guidance.metrics()})
    assert {"guided", "replayed"} & told[0] == {"guided"}
    assert {"guided", "replayed"} & told[1] == {"replayed"}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    until=st.one_of(st.none(), st.integers(1, 4)), start=st.one_of(st.none(), st.integers(1, 4)), cut=st.integers(0, 5)
)
def test_a_run_that_was_cut_goes_on_as_it_would_have(until, start, cut, mixed, tokens):
    chosen = [f"guidance.traces_until={until or 'null'}", f"guidance.replay_from={start or 'null'}"]
    solved = {f"t{n}": n % 4 for n in range(12)}
    whole, split = Run(mixed(*chosen), tokens, solved), Run(mixed(*chosen), tokens, solved)
    for _ in range(cut):
        whole.step()
        split.step()
    kept = split.guidance.state_dict()
    before = copy.deepcopy(kept)
    rest = [split.step() for _ in range(2)]
    assert str(kept) == str(before), "what a checkpoint was given has changed"

    again = Run(mixed(*chosen), tokens, solved)
    again.guidance.load_state_dict(kept)
    again.tasks.load_state_dict(whole.tasks.state_dict())
    again.steps = cut
    assert [again.step() for _ in range(2)] == rest
    assert json.dumps(str(again.guidance.state_dict())) == json.dumps(str(split.guidance.state_dict()))


def test_faults_of_both_name_their_keys(composed, mixed, tokens):
    changed = OmegaConf.from_dotlist(["guidance.traces.behaviour=given", "guidance.replay.pool=nowhere"])
    node = OmegaConf.merge(composed, changed).guidance
    made = build(node, tokens=tokens, reward=REWARD, longest=16, group_size=N, temperature=1.0, architecture={})
    faults = made.faults(TASKS, context=512)
    assert [text.split("=")[0] for text in faults] == ["guidance.traces.behaviour", "guidance.replay.pool"]
    (fault,) = mixed().faults([Task("bare", TASKS[0].messages, "math", "1")], context=512)
    assert "none of 1 training tasks has a trace" in fault


@pytest.mark.parametrize("key", ["traces_until", "replay_from"])
def test_a_schedule_is_of_whole_steps(key):
    for value in ("0", "-1", "0.5"):
        (fault,) = find_faults(compose(["algorithm=hybrid", f"guidance.{key}={value}"]))
        assert fault.path == f"guidance.{key}"
    assert find_faults(compose(["algorithm=hybrid", f"guidance.{key}=3"])) == []


def test_a_key_of_a_part_is_found_where_it_stands():
    (fault,) = find_faults(compose(["algorithm=hybrid", "guidance.replay.share=1"]))
    assert str(fault).startswith("guidance.replay.share=1: it is the share of a step's questions")
    (fault,) = find_faults(compose(["algorithm=hybrid", "+guidance.traces.sahre=1"]))
    assert str(fault).startswith("guidance.traces.sahre=1: ")
