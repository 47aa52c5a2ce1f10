"""An expert's responses beside the policy's own: LUFFY, https://arxiv.org/abs/2504.14945.

A trace is placed in its task's group as it is and scored like every other row; nothing is generated for it. With a
prefix strategy the policy goes on from a part of it instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Annotated, Literal

from annotated_types import Ge, Interval

from llmft.chat import as_response, response_text
from llmft.config import Why
from llmft.guidance.prefix import Prefix, Strategy
from llmft.protocols import Drawn, Plan, Policy, Reward, State, Tasks, Tokens
from llmft.seeds import Seeds
from llmft.types import Author, Rollout, Task, Trace

LONGEST = 64  # traces that are tokenised before a run, those with the most characters
TRIED = 512  # traces that are scored before a run, until one is good enough
TINY = 1e-6  # added to an author's probability, as in LUFFY's code, so that a ratio to 0 stays finite

SHARE = Why("it is a share of the tasks with a trace; use more than 0, up to 1, or guidance=none for no traces at all")
RATIO = Why("it is a share of a trace's tokens; use 0 to 1")


class Traces:
    """Places a task's traces in its group, whole or as beginnings that the policy goes on from.

    Args:
        per_group: places that traces take. Fewer are taken where a task has fewer traces; but beginnings of different
            length may be of the same trace, so with a prefix strategy all are.
        which: the first of a task's traces, or some by chance, anew in each step.
        share: of the tasks with a trace, those that are guided, by chance.
        min_reward: reward that a trace needs to be placed; the best-scoring ones are placed first. None places any.
        behaviour: what a trace's tokens are taken to have had as probability: ``one``, or ``given``, the trace's own.
        prefix: how much of a trace is given (see `llmft.guidance.prefix.Prefix`), and
        prefix_min: its smallest ratio,
        prefix_max: and its largest, of ``random`` and ``fixed``.
        prefix_steps: steps of the linear strategies, and
        prefix_peak: their largest ratio.
        prefix_shared: one ratio for all rows of a group.
        on_long: what is done about a trace that the model's context does not hold: ``stop`` before the run, or ``cut``
            it, as every trace is that is longer than a response.
        longest: tokens of a response; a longer trace is cut and loses its end token, which
            ``guidance/truncated`` counts.
        group_size: of the groups that are to be filled, where there are any.
    """

    guiding = True

    def __init__(
        self,
        *,
        per_group: Annotated[int, Ge(1)],
        which: Literal["first", "random"],
        share: Annotated[float, Interval(gt=0, le=1), SHARE],
        min_reward: float | None,
        behaviour: Literal["one", "given"],
        prefix: Strategy,
        prefix_min: Annotated[float, Interval(ge=0, le=1), RATIO],
        prefix_max: Annotated[float, Interval(ge=0, le=1), RATIO],
        prefix_steps: Annotated[int, Ge(1)],
        prefix_peak: Annotated[float, Interval(ge=0, le=1), RATIO],
        prefix_shared: bool,
        on_long: Literal["stop", "cut"],
        tokens: Tokens,
        reward: Reward,
        longest: int,
        group_size: int | None,
    ) -> None:
        if group_size is not None and per_group >= group_size:
            raise ValueError(
                f"guidance.per_group={per_group}: a group has algorithm.group_size={group_size} places, and one at "
                f"least is for a response of the policy's own; use at most {group_size - 1}"
            )
        self.per_group, self.which, self.share = per_group, which, share
        self.min_reward, self.behaviour = min_reward, behaviour
        self.prefix = Prefix(prefix, prefix_min, prefix_max, prefix_steps, prefix_peak, prefix_shared)
        self.on_long, self.tokens, self.reward, self.longest = on_long, tokens, reward, longest
        self.steps = 0  # that were observed
        self._seen: dict[str, float] = {}  # metrics of the newest of them

    def faults(self, tasks: Sequence[Task], *, context: int) -> list[str]:
        """No trace at all, or none that is good enough; empty ones; longer ones than fit; probabilities that miss."""
        traced = [(task, trace) for task in tasks for trace in task.traces]
        if not traced:
            return [
                f"guidance=traces: none of {len(tasks)} training tasks has a trace; name the data's column as "
                "dataset.trace_column, a file of traces as dataset.trace_file, or choose another guidance"
            ]
        if empty := [task.id for task, trace in traced if not trace.text or trace.text.isspace()]:
            return [
                f"guidance=traces: {len(empty)} of {len(traced)} traces are empty, first that of task {empty[0]!r}; "
                "leave them out of the data, a task without a trace is trained on its own responses"
            ]
        longest = sorted(traced, key=lambda one: -len(one[1].text))[:LONGEST]
        return [
            *self._length_faults(longest, context),
            *self._prob_faults(traced, longest),
            *self._reward_faults(traced),
        ]

    def begin(self, *, policy: Policy, folder: Path | None) -> None:
        """Neither is needed."""

    def draw(self, tasks: Tasks, count: int, seeds: Seeds) -> list[Drawn]:
        return tasks.take(count)

    def plan(self, tasks: Sequence[Drawn], group_size: int, seeds: Seeds) -> list[Plan]:
        """Each task's own rows and its traces: a function of the task, its position, the step and ``seeds``."""
        chances = [Random(seeds.stream("traces", one.position)) for one in tasks]
        rows = [self._candidates(one.task, chance) for one, chance in zip(tasks, chances, strict=True)]
        if self.min_reward is not None:
            rows = self._best(rows, self.min_reward)
        return [self._fill(some, group_size, chance) for some, chance in zip(rows, chances, strict=True)]

    def observe(self, groups: Sequence[Sequence[Rollout]]) -> None:
        """Count the step, on which the linear strategies go by, and what was placed in it."""
        self.steps += 1
        placed = [one for group in groups for one in group if one.source == "trace"]
        whole = [one for one in placed if Author.POLICY not in one.authors]
        guided = sum(any(one.source == "trace" for one in group) for group in groups)
        given = sum(one.authors.count(Author.TRACE) for one in placed)
        self._seen = {
            "guidance/guided": guided / max(len(groups), 1),
            "guidance/given_tokens": given / max(len(placed), 1),
            "guidance/truncated": sum(one.finish == "length" for one in whole) / max(len(placed), 1),
        }

    def metrics(self) -> Mapping[str, float]:
        """The share of groups with a trace in them, tokens that were given per trace, and the share of cut traces."""
        return self._seen

    def state_dict(self) -> State:
        return {"steps": self.steps}

    def load_state_dict(self, state: State) -> None:
        self.steps = int(state["steps"])

    def _candidates(self, task: Task, chance: Random) -> list[Rollout]:
        """The traces that may be placed beside a task's own rows, whole, the preferred ones first."""
        if not task.traces or chance.random() >= self.share:
            return []
        traces = list(task.traces)
        if self.which == "random":
            chance.shuffle(traces)
        if self.min_reward is None:  # only those that will be placed need to become tokens
            del traces[self.per_group :]
        prompt = self.tokens.prompt(task.messages, task.tools)
        return [self._row(task, prompt, trace) for trace in traces]

    def _row(self, task: Task, prompt: tuple[int, ...], trace: Trace) -> Rollout:
        """A trace as a response, with its author's log-probabilities.

        Raises:
            ValueError: if these are not one per token.
        """
        row = as_response(self.tokens, task, prompt, trace, limit=len(prompt) + self.longest)
        if self.behaviour == "given":
            if fault := self._prob_fault(task, prompt, trace):
                raise ValueError(fault)
            logps = tuple(math.log(prob + TINY) for prob in (trace.probs or ())[: len(row.token_ids)])
            row = replace(row, logps=logps)
        return replace(row, advantages=None)

    def _best(self, rows: Sequence[Sequence[Rollout]], least: float) -> list[list[Rollout]]:
        """Of each task's traces those that earn ``least``, best first, all scored in one call."""
        scores = iter(self.reward.score([one for some in rows for one in some]))
        scored = [[one.with_score(next(scores)) for one in some] for some in rows]
        self.reward.require_sound([one for some in scored for one in some])
        good = [[one for one in some if not one.failed and one.reward >= least] for some in scored]
        return [sorted(some, key=lambda one: -one.reward) for some in good]

    def _fill(self, rows: Sequence[Rollout], group_size: int, chance: Random) -> Plan:
        if not rows:
            return Plan(own=group_size)
        count = self.per_group if self.prefix.partial else min(self.per_group, len(rows))
        ratios = self.prefix.ratios(count, self.steps, chance)
        parts = [_beginning(rows[place % len(rows)], ratio, self.tokens) for place, ratio in enumerate(ratios)]
        given = tuple(row for row, whole in filter(None, parts) if whole)
        begun = tuple(row for row, whole in filter(None, parts) if not whole)
        return Plan(own=group_size - len(given) - len(begun), given=given, begun=begun)

    def _length_faults(self, longest: Sequence[tuple[Task, Trace]], context: int) -> list[str]:
        for task, trace in longest if self.on_long == "stop" else ():
            prompt = len(self.tokens.prompt(task.messages, task.tools))
            response = len(self.tokens.response(trace.text))
            if prompt + response > context:
                return [
                    f"guidance=traces: a trace of task {task.id!r} has {response} tokens and its prompt {prompt}, but "
                    f"the model attends to {context}; leave such traces out, cut them with guidance.on_long=cut, or "
                    "use a model with a longer context"
                ]
        return []

    def _prob_faults(self, traced: Sequence[tuple[Task, Trace]], some: Sequence[tuple[Task, Trace]]) -> list[str]:
        if self.behaviour == "one":
            return []
        if without := [task.id for task, trace in traced if trace.probs is None]:
            return [
                f"guidance.behaviour=given: {len(without)} of {len(traced)} traces come without probabilities, first "
                f"that of task {without[0]!r}; name their column as dataset.probs_column, or use behaviour=one"
            ]
        checked = (self._prob_fault(task, self.tokens.prompt(task.messages, task.tools), trace) for task, trace in some)
        return [fault for fault in checked if fault][:1]

    def _prob_fault(self, task: Task, prompt: tuple[int, ...], trace: Trace) -> str | None:
        tokens, probs = len(self.tokens.response(response_text(self.tokens, prompt, trace))), trace.probs or ()
        if len(probs) != tokens:
            return (
                f"guidance.behaviour=given: a trace of task {task.id!r} has {len(probs)} probabilities and, with the "
                f"end token, {tokens} tokens of this model's; take them with its tokenizer, or use behaviour=one"
            )
        if odd := [prob for prob in probs if not 0 <= prob <= 1]:
            return (
                f"guidance.behaviour=given: a trace of task {task.id!r} has a probability of {odd[0]}; "
                "give probabilities from 0 to 1, not their logarithms"
            )
        return None

    def _reward_faults(self, traced: Sequence[tuple[Task, Trace]]) -> list[str]:
        if self.min_reward is None or self.reward is None:
            return []
        for first in range(0, min(len(traced), TRIED), LONGEST):
            pairs = [
                (one, self.tokens.prompt(one.messages, one.tools), trace) for one, trace in traced[first:][:LONGEST]
            ]
            rows = [
                as_response(self.tokens, one, prompt, trace, limit=len(prompt) + self.longest)
                for one, prompt, trace in pairs
            ]
            if any(self._best([rows], self.min_reward)):
                return []
        return [
            f"guidance.min_reward={self.min_reward}: none of the first {min(len(traced), TRIED)} traces has that "
            "reward; lower it, or look at the traces and at how the reward reads them"
        ]


def _beginning(row: Rollout, ratio: float, tokens: Tokens) -> tuple[Rollout, bool] | None:
    """As much of a trace as ``ratio`` says, and whether that is all there is; None where it is no token.

    A trace that was cut counts with the end token that it lost.
    """
    count = int((len(row.token_ids) + (row.finish == "length")) * ratio)
    if count >= len(row.token_ids):
        return row, True
    if not count:
        return None
    ids = row.token_ids[:count]
    begun = replace(
        row, token_ids=ids, logps=row.logps[:count], authors=row.authors[:count], text=tokens.text(ids), score=None
    )
    return begun, False
