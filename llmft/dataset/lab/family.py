"""What the families share: problems become tasks, and a problem's split is a function of the problem.

Splits made by cutting a shuffled list share no question only while nobody changes a seed or a size. Here the question
itself says where it belongs (a hash of it), so nothing that any tier, seed or size of a family trains on, a base's
training included, is ever held out in another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Annotated, Any, ClassVar, Literal, Protocol

from annotated_types import Ge, Interval

from llmft.dataset.traces import with_traces
from llmft.seeds import Seeds
from llmft.types import Splits, Task, Trace

Tier = Literal["easy", "hard", "mixed", "base"]
Traces = Literal["expert", "expert_hard", "sloppy", "none"]  # expert_hard: an expert is bought only where it is needed

SHARES = {"heldout": (0, 1), "test": (1, 2), "train": (2, 8)}  # of 8 parts of all questions, [from, to)
EASY_SHARE = {"easy": 1.0, "hard": 0.0, "mixed": 0.5, "base": 0.7}
PATIENCE = 5000  # draws for one new question before the family is called exhausted
WRITINGS = 100  # of one problem until it is taken for one that nobody gets wrong


class Problem(Protocol):
    """One question of a family."""

    @property
    def key(self) -> str:
        """The question, however it is put: two problems with one key are the same question."""
        ...

    @property
    def answer(self) -> str: ...

    def prompt(self, rng: Random) -> str:
        """The question as it is put."""
        ...

    def write(self, slip: float, rng: Random) -> tuple[str, str]:
        """The working of a writer who slips with this probability, and the answer that it comes to."""
        ...


class Draw(Protocol):
    def __call__(self, size: Any, rng: Random, /) -> Iterator[Problem]:
        """Problems of this size without end, any of which will do: the first that belongs to the split is taken."""
        ...


def answered(problem: Problem) -> Mapping[str, Any]:
    """The fields of a task whose answer is all that its reward needs."""
    return {"kind": "math", "answer": problem.answer}


@dataclass(frozen=True, slots=True)
class Family:
    """A rule, and the sizes of problem that it is asked for."""

    name: str
    draw: Draw
    easy: tuple[Any, ...]  # each as likely as the others
    hard: tuple[Any, ...]
    base: tuple[Any, ...]  # the easy side of what a base is trained on
    brings: Callable[[Any], Mapping[str, Any]] = answered  # a problem's fields of its task: what the reward needs

    def size(self, tier: Tier, rng: Random) -> tuple[Literal["easy", "hard"], Any]:
        if rng.random() >= EASY_SHARE[tier]:
            return "hard", rng.choice(self.hard)
        return "easy", rng.choice(self.base if tier == "base" else self.easy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is asked of a family: how many problems per split, of which tier, and who writes their traces."""

    tier: Tier
    heldout_tier: Tier  # of what is not trained on
    traces: Traces
    wrong: float  # share of the expert's traces that come to a wrong answer
    slips: Mapping[str, float]  # the sloppy writer's probability, by tier
    sizes: Mapping[str, int]  # by split
    seed: int
    answer_form: str
    limit: int | None  # caps each split


class Lab:
    """A family as a dataset. A subclass names its rule; what is asked of it is the same for all.

    Args:
        tier: ``easy``, ``hard``, ``mixed`` (half and half), or ``base``, what a base is trained on.
        heldout_tier: of the held-out and the test problems; None for the same.
        traces: who writes the tasks' traces; ``expert_hard`` writes for hard tasks only.
        wrong_traces: share of the expert's traces that are wrong, by the sloppy writer, where a problem gives occasion.
        slip_easy: probability that the sloppy writer slips, at each place where one can, in easy problems.
        slip_hard: and in hard ones.
        train: problems of the split; as ``heldout`` and ``test``.
        seed: of the data alone.
        answer_form: how a response ends, with ``{answer}`` in the answer's place.
        form_pattern: a whole response of the right form, whatever its answer.
        limit: caps the problems per split.
        trace_file: further traces, as ``python -m llmft.guidance.collect`` makes them; None for none.
        base: the base that the lab's model starts from.
        response_tokens: room for a response.
    """

    family: ClassVar[Family]

    def __init__(
        self,
        *,
        tier: Tier,
        heldout_tier: Tier | None,
        traces: Traces,
        wrong_traces: Annotated[float, Interval(ge=0, le=1)],
        slip_easy: Annotated[float, Interval(ge=0, le=1)],
        slip_hard: Annotated[float, Interval(ge=0, le=1)],
        train: Annotated[int, Ge(1)],
        heldout: Annotated[int, Ge(0)],
        test: Annotated[int, Ge(0)],
        seed: int,
        answer_form: str,
        form_pattern: str | None,  # for the reward; nothing here reads it
        limit: Annotated[int, Ge(1)] | None,
        trace_file: str | None,
        base: str,  # for the model; nothing here reads it
        response_tokens: Annotated[int, Ge(1)],  # for the rollout; nothing here reads it
    ) -> None:
        self.recipe = Recipe(
            tier=tier,
            heldout_tier=heldout_tier or tier,
            traces=traces,
            wrong=wrong_traces,
            slips={"easy": slip_easy, "hard": slip_hard},
            sizes={"train": train, "heldout": heldout, "test": test},
            seed=seed,
            answer_form=answer_form,
            limit=limit,
        )
        self.form_pattern = form_pattern
        self.trace_file = trace_file
        self.base = base
        self.response_tokens = response_tokens

    def load(self) -> Splits:
        """The tasks, made by rule. Raises ValueError where more are asked for than there are, or for a trace file."""
        return with_traces(make_splits(self.family, self.recipe), self.trace_file)


def make_splits(family: Family, recipe: Recipe) -> Splits:
    """Draw the problems and write their traces. Raises ValueError where more are asked for than there are."""
    splits = {split: tuple(tasks(family, recipe, split)) for split in SHARES}
    return Splits(**splits, hashes={f"{family.name}/{split}": content_hash(made) for split, made in splits.items()})


def tasks(family: Family, recipe: Recipe, split: str) -> Iterator[Task]:
    asked = recipe.tier if split == "train" else recipe.heldout_tier
    seeds = Seeds(recipe.seed, (family.name, asked, split))
    layout, writer = Random(seeds.stream("layout")), Random(seeds.stream("traces"))
    wanted = min(recipe.sizes[split], recipe.limit or recipe.sizes[split])
    problems = questions(family, asked, split, Random(seeds.stream("questions")))
    erring = Random(seeds.stream("wrong"))
    for index, (tier, problem) in zip(range(wanted), problems, strict=False):
        yield Task(
            id=f"{family.name}-{asked}-{split}-{index}",
            messages=({"role": "user", "content": problem.prompt(layout)},),
            **family.brings(problem),
            traces=traces_of(problem, tier, recipe, writer, erring),
            meta={"tier": tier},
        )


def questions(family: Family, tier: Tier, split: str, rng: Random) -> Iterator[tuple[Literal["easy", "hard"], Problem]]:
    """Problems of a split, none twice; only a base is trained on repeated questions, each time written anew."""
    seen: set[str] = set()
    distinct = not (tier == "base" and split == "train")
    first, last = SHARES[split]
    while True:
        of_tier, size = family.size(tier, rng)
        for problem in islice(family.draw(size, rng), PATIENCE):
            if first <= share(key := problem.key) < last and key not in seen:
                break
        else:
            raise ValueError(f"dataset.{split}: tier={tier} has no more than {len(seen)} questions; ask for fewer")
        if distinct:
            seen.add(key)
        yield of_tier, problem


def share(key: str) -> int:
    """Which of the 8 parts of all questions a question belongs to: what stands before a ``|`` decides, or all of it."""
    return hashlib.blake2b(key.partition("|")[0].encode(), digest_size=1).digest()[0] % 8


def split_of(key: str) -> str:
    """The split that a question belongs to."""
    return next(split for split, (first, last) in SHARES.items() if first <= share(key) < last)


def traces_of(problem: Problem, tier: str, recipe: Recipe, rng: Random, erring: Random) -> tuple[Trace, ...]:
    if recipe.traces == "none" or (recipe.traces == "expert_hard" and tier == "easy"):
        return ()
    sloppy = recipe.traces == "sloppy"
    working, answer = problem.write(recipe.slips[tier] if sloppy else 0.0, rng)
    if not sloppy and erring.random() < recipe.wrong:  # a stream of its own: the other traces stay as they are
        working, answer = next(wrong(problem, recipe.slips[tier], erring), (working, answer))
    return (Trace(working + recipe.answer_form.replace("{answer}", answer), "sloppy" if sloppy else "expert"),)


def wrong(problem: Problem, slip: float, rng: Random) -> Iterator[tuple[str, str]]:
    """Workings that come to a wrong answer; none for a problem that gives no occasion to slip."""
    written = (problem.write(slip, rng) for _ in range(WRITINGS))
    return (one for one in written if one[1] != problem.answer)


def content_hash(made: tuple[Task, ...]) -> str:
    """SHA-256 of what the rule made, so that a changed rule is seen in a run's manifest."""
    content = hashlib.sha256()
    for task in made:
        content.update(repr((task.messages[0]["content"], task.answer, [trace.text for trace in task.traces])).encode())
        if task.tests or task.tools:
            content.update(repr((task.tests, task.tools)).encode())
    return content.hexdigest()
