"""The policy's own past successes beside its new responses: ExGRPO, https://arxiv.org/abs/2510.02245.

until one batch has enough right responses: plain groups; mastered questions are noted and passed over
from then on, in each step
    a share of the questions comes from the pool of those that were solved but are not mastered:
        a bucket by how often the question was solved last, a question in it, one of its trajectories
        that trajectory takes one place of the group, with the log-probs that it was sampled with
    what was solved, but not always, is collected: its right responses, and how many they were

Trajectories keep their exact token ids; nothing is tokenised again. The original drops as many fresh questions as it
replays, unseen; here the stream only goes on more slowly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval

from llmft import durable
from llmft.config import Why, find
from llmft.distributed import gather, rank, world_size
from llmft.guidance import inherited
from llmft.guidance.buckets import Weighting, bucket_weights, draw_questions
from llmft.guidance.choice import Choice, Chooser, original_masks, score_trajectories
from llmft.guidance.collecting import Group, record_of, share_right
from llmft.guidance.pool import Pool, Record, outcomes_of
from llmft.guidance.shards import Shards
from llmft.protocols import Drawn, Plan, Policy, State, Tasks, Tokens
from llmft.seeds import Seeds
from llmft.types import Author, Rollout, Task

SHARE = Why(
    "it is the share of a step's questions that are met again: from 0 to less than 1, for new ones must come in; use 0.5"
)
ACCURACY = Why("it is a share of right responses; use 0 to less than 1, or null to begin with the first step")
DEVIATION = Why("it is a standard deviation; use more than 0, for instance 1")
MEAN = Why("it is an accuracy; use 0 to 1")
PARTS = {"all": lambda n: slice(None), "first_half": lambda n: slice(n // 2), "last_half": lambda n: slice(n // 2, n)}


class Replay:
    """Keeps a pool of the policy's right responses, and has questions met again with one of them in their group.

    Args:
        share: of a step's questions that come from the pool, at most.
        start_accuracy: share of right responses that one step must exceed; until then no question is met again, nothing
            is stored, and `guiding` is False. None begins at once.
        least_solved: a question is collected if more of its group's responses are right, and
        most_solved: if at most so many are; None is all but one. The responses that are met again count.
        buckets: how likely a question is by its successes (see `bucket_weights`); ``uniform`` is over questions.
        mean: of ``normal`` and ``normal_accuracy``, as an accuracy, and
        deviation: theirs, in successes and in accuracy.
        part: of the pool's questions, by when they entered, from which is drawn.
        choice: what a question's trajectories are compared by, under the weights of now and at temperature 1.
            ``entropy_original`` is what the published code computes (see `original_entropy`).
        pick: the lowest or the highest; the oldest of equal ones.
        rows: trajectories of one forward pass.
        correction: what a replayed token's ratio begins from: ``stored``, the probability that it was sampled with, or
            ``current``, that under the weights of now, without correction for what has changed since.
        retire: whether a question of which all responses were right is never met again, neither from the pool nor from
            the stream, as long as the stream has others for a step.
        max_trajectories: the oldest beyond it are forgotten, and
        max_age: those that were stored more steps ago; None keeps them.
        pool: folder of another run's pool to begin with.
        tokens: of the policy, with
        architecture: its model's shape,
        longest: tokens of a response,
        temperature: of sampling, and
        group_size: responses to a question.
    """

    def __init__(
        self,
        *,
        share: Annotated[float, Interval(ge=0, lt=1), SHARE],
        start_accuracy: Annotated[float, Interval(ge=0, lt=1), ACCURACY] | None,
        least_solved: Annotated[int, Ge(0)],
        most_solved: Annotated[int, Ge(1)] | None,
        buckets: Weighting,
        mean: Annotated[float, Interval(ge=0, le=1), MEAN],
        deviation: Annotated[float, Gt(0), DEVIATION],
        part: Literal["all", "first_half", "last_half"],
        choice: Choice,
        pick: Literal["lowest", "highest"],
        rows: Annotated[int, Ge(1)],
        correction: Literal["stored", "current"],
        retire: bool,
        max_trajectories: Annotated[int, Ge(1)] | None,
        max_age: Annotated[int, Ge(1)] | None,
        pool: str | None,
        tokens: Tokens,
        architecture: Mapping[str, str | int],
        longest: int,
        temperature: float,
        group_size: int | None,
    ) -> None:
        if group_size is None:
            raise ValueError("guidance=replay: fills places of a group, and this algorithm has none; use guidance=none")
        most = group_size - 1 if most_solved is None else most_solved
        if not least_solved < most < group_size:
            raise ValueError(
                f"guidance.most_solved={most}: collects questions with more than guidance.least_solved={least_solved} "
                f"and less than algorithm.group_size={group_size} right responses; use null for all but one"
            )
        self.share, self.start_accuracy, self.part = share, start_accuracy, part
        self.collecting: dict[str, Any] = {"solved": range(least_solved + 1, most + 1), "retires": retire}
        weighed = {"group_size": group_size, "mean": mean, "deviation": deviation}
        self.weigh = None if buckets == "uniform" else partial(bucket_weights, weighting=buckets, **weighed)
        self.chooser = None if choice == "random" else Chooser(choice, pick, longest, rows)
        self.correction, self.temperature = correction, temperature or 1.0  # greedy ones report log-probs at 1
        self.begins_with = None if pool is None else find(pool)
        self.tokens, self.limits, self.group_size = tokens, (max_trajectories, max_age), group_size
        self.policy: Policy | None = None
        self.header = inherited.header_of(tokens, architecture, group_size)
        self.steps, self.started = 0, start_accuracy is None
        self.shards, self.pool = Shards(), Pool(group_size, *self.limits)
        self._inherited: inherited.Inherited | None = None  # until it is taken in
        self._known: Mapping[str, Task] = {}  # the training tasks, once they were seen
        self._again: dict[int, str] = {}  # the questions of the newest draw that are met again, of all ranks
        self._met = 0  # that were, in this step
        self._seen: dict[str, float] = {}  # metrics of the newest step
        self._settled = True  # nothing was broken off while it changed the pool

    @property
    def guiding(self) -> bool:
        return self.started

    def faults(self, tasks: Sequence[Task], *, context: int) -> list[str]:
        """What keeps the pool of another run from being this one's."""
        if self.begins_with is None:
            return []
        try:
            self._inherited = inherited.read(self.begins_with, self.header)
            why = inherited.misfit(self._inherited.pool, tasks, self.tokens)
        except (ValueError, RuntimeError) as error:
            why = f"{error}; name the folder in which a run with replay keeps its pool (RUN/guidance), or null"
        return [f"guidance.pool={self.begins_with}: {why}"] if why else []

    def begin(self, *, policy: Policy, folder: Path | None) -> None:
        """Of the policy that scores trajectories, and the folder for their shards."""
        self.policy, self.shards.folder = policy, folder
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            if rank() == 0:
                durable.clean(folder)

    def draw(self, tasks: Tasks, count: int, seeds: Seeds) -> list[Drawn]:
        """Questions of the pool, at most the share of ``count``, and the stream's next ones without mastered ones."""
        if self._inherited and not self.steps and self.shards.is_empty:
            self._settled = False
            for record in inherited.records(self._inherited):
                self._take(record)
            self._settled = True
        if not self._known:
            self._know(tasks.tasks)
        again = self._draw_again(int(count * self.share + 1e-9), seeds) if self.started else []
        self._again = {-self._met - place: task for place, task in enumerate(again, 1)}
        self._met += len(again)
        mine = [Drawn(at, self._known[task]) for at, task in self._again.items() if at % world_size() == rank()]
        return [*mine, *self._draw_fresh(tasks, count - len(again))]

    def plan(self, tasks: Sequence[Drawn], group_size: int, seeds: Seeds) -> list[Plan]:
        """A trajectory for each question that is met again, chosen by the weights of now."""
        masks = self._original_masks() if self.chooser and self.chooser.what == "entropy_original" else {}
        plans = []
        for one in tasks:
            again = one.position in self._again
            given = (self._replayed(one, seeds, masks.get(one.position, ())),) if again else ()
            plans.append(Plan(own=group_size - len(given), given=given))
        return plans

    def observe(self, groups: Sequence[Group]) -> None:
        """Retire what is mastered, collect what was solved, and see whether the start is reached.

        Of two groups of one question, the one without a replayed row says how often it is solved.
        """
        self._settled = False
        self.steps += 1
        self.pool.expire(self.steps)
        record = record_of(groups, self.pool, self.steps, collects=self.started, **self.collecting)
        if record["outcomes"]:
            self._take(record)
            self.shards.keep_newest(self.header)
        replayed = sum(one.source == "replay" for group in groups for one in group)
        self._seen = {**self._sizes(), "guidance/replayed": replayed, "guidance/guiding": float(self.started)}
        if self.start_accuracy is not None and share_right(groups) > self.start_accuracy:
            self.started = True
        self._again, self._met = {}, 0
        self._settled = True

    def metrics(self) -> Mapping[str, float]:
        """Sizes of the pool and of each bucket, retired questions, replayed rows, and whether any could be."""
        return self._seen

    def state_dict(self) -> State:
        return {"steps": self.steps, "started": self.started, "shards": self.shards.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """Come to the pool of then. Raises RuntimeError, naming the file, if a shard is not as it was written."""
        self._again, self._met = {}, 0
        if self._settled and state["steps"] == self.steps and self.shards.are(state["shards"]):
            return  # a step was dropped before the pool saw it
        self.steps, self.started = state["steps"], state["started"]
        self.pool, self._known = Pool(self.group_size, *self.limits), {}
        for step, outcomes in self.shards.load_state_dict(state["shards"]):
            self.pool.fold(step, outcomes)
        self.pool.expire(self.steps)
        self._settled = True

    # ------------------------------------------------------------------ drawing

    def _draw_again(self, most: int, seeds: Seeds) -> list[str]:
        buckets: Mapping[int, Sequence[str]] = self.pool.buckets
        if self.part != "all":
            buckets = self.pool.in_order(PARTS[self.part](len(self.pool.questions)))
        return draw_questions(buckets, most, self.weigh, Random(seeds.stream("replay")))

    def _draw_fresh(self, tasks: Tasks, count: int) -> list[Drawn]:
        """The stream's next tasks. Mastered ones are passed over while more than ``count`` others are left."""
        passes = len(tasks.tasks) - len(self.pool.retired) > count
        drawn: list[Drawn] = []
        while count:
            taken = tasks.take(count)
            fresh = [one for one in taken if not (passes and one.task.id in self.pool.retired)]
            drawn += fresh
            count = sum(gather([len(taken) - len(fresh)]))
        return drawn

    def _know(self, tasks: Sequence[Task]) -> None:
        if why := inherited.misfit(self.pool, tasks, self.tokens):
            raise ValueError(f"guidance=replay: {why}")
        self._known = {task.id: task for task in tasks}

    # ------------------------------------------------------------------ choosing

    def _replayed(self, drawn: Drawn, seeds: Seeds, masks: Sequence[int]) -> Rollout:
        assert self.policy is not None, "begin() comes before a plan"
        prompt = self.tokens.prompt(drawn.task.messages, drawn.task.tools)
        numbers = list(self.pool.questions[drawn.task.id].numbers.values())
        if self.chooser is None:
            stored = self.shards.read(Random(seeds.stream("choice", drawn.position)).choice(numbers))
        else:
            found = [self.shards.read(number) for number in numbers]
            stored = found[self.chooser.choose(self.policy, prompt, [one.token_ids for one in found], masks)]
        logps = stored.logps
        if self.correction == "current":
            asked = {"temperature": self.temperature, "rows": 1}
            logps = tuple(
                score_trajectories(self.policy, prompt, [stored.token_ids], **asked)[0].response_logps.tolist()
            )
        return Rollout(
            task=drawn.task,
            prompt_ids=prompt,
            token_ids=stored.token_ids,
            logps=logps,
            authors=(Author.REPLAY,) * len(stored.token_ids),
            source="replay",
            text=self.tokens.text(stored.token_ids),
            finish=stored.finish,
        )

    def _original_masks(self) -> dict[int, list[int]]:
        """For each question that is met again, on whatever rank, the masks of its trajectories."""
        lengths = {
            at: [self.shards.length(number) for number in self.pool.questions[task].numbers.values()]
            for at, task in self._again.items()
        }
        masks = iter(original_masks([length for some in lengths.values() for length in some]))
        return {at: [next(masks) for _ in some] for at, some in lengths.items()}

    def _take(self, record: Record) -> None:
        self.shards.append(record)
        self.pool.fold(record["step"], list(outcomes_of(record["outcomes"])))

    def _sizes(self) -> dict[str, float]:
        buckets = {f"guidance/bucket/{solved}": len(some) for solved, some in self.pool.buckets.items()}
        return {
            "guidance/pool_questions": len(self.pool.questions),
            "guidance/pool_trajectories": self.pool.trajectories,
            "guidance/retired": len(self.pool.retired),
            **buckets,
        }
