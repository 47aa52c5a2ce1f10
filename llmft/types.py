"""The nouns: what flows from the dataset to the update, each frozen, each in one direction.

Shapes, here and in every docstring: ``B`` rows of a batch, ``T`` tokens of a row (prompt and response), ``V`` words
of the vocabulary, ``n`` completions of one prompt. Log-probabilities are natural logarithms, in nats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:  # the processes that only score rollouts start without it
    import torch
    from torch import Tensor

Message = Mapping[str, Any]  # one chat turn: {"role": ..., "content": ...}, with tool calls where there are any
Kind = Literal["math", "coding", "function_calling", "search", "chat"]
Finish = Literal["end", "length", "stop"]  # wrote the end token; ran out of tokens; wrote a stop string
Source = Literal["policy", "trace", "replay"]


class Author(IntEnum):
    """Who wrote a token of a response."""

    POLICY = 0  # the policy that is being trained, in this step
    TRACE = 1  # an expert: a person, another model, a rule
    REPLAY = 2  # the policy that is being trained, in an earlier step
    TOOL = 3  # the environment: retrieved text, a tool's result; never trained


@dataclass(frozen=True, slots=True)
class Trace:
    """A response that somebody else wrote to a task."""

    text: str
    source: str = "data"  # who: a model's name, "data", "expert"
    probs: tuple[float, ...] | None = None  # its author's probability of each token, the end token's last


@dataclass(frozen=True, slots=True)
class Check:
    """One test of a program."""

    kind: Literal["asserts", "call", "stdio"]
    source: str  # Python with assertions; a call, f(1, 2); standard input
    expected: Any = None  # of a call its value, a literal; of standard input the whole output


@dataclass(frozen=True, slots=True)
class Task:
    """One problem."""

    id: str  # unique in its dataset and the same in every run
    messages: tuple[Message, ...]  # the prompt, ending with the user's turn
    kind: Kind | None  # None where nobody said
    answer: str | None = None  # what the reward compares with
    traces: tuple[Trace, ...] = ()  # whole responses: what SFT imitates, what guidance places in a group
    tests: tuple[Check, ...] = ()  # of the program that is asked for
    tools: tuple[Mapping[str, Any], ...] = ()  # that may be called: name, description, JSON schema of the parameters
    meta: Mapping[str, Any] = field(default_factory=dict)  # e.g. the tier, the file and line it came from


@dataclass(frozen=True, slots=True)
class Splits:
    """A dataset, loaded. No question stands in two splits."""

    train: tuple[Task, ...]
    heldout: tuple[Task, ...]  # looked at while a run is tuned
    test: tuple[Task, ...]  # looked at once
    hashes: Mapping[str, str] = field(
        default_factory=dict
    )  # SHA-256 of each file that was read, or of the rule's constants


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a completion is drawn."""

    temperature: float  # 0 is greedy
    max_new_tokens: int
    top_p: float = 1.0
    top_k: int = 0  # 0 keeps the whole vocabulary
    stop: tuple[str, ...] = ()  # the completion ends with the first of these strings that it writes


@dataclass(frozen=True, slots=True)
class Completion:
    """What a sampler returned for one prompt."""

    token_ids: tuple[int, ...]  # with the end token, where it was written
    logps: tuple[float, ...]  # of each token at the sampling temperature (at 1 when greedy), before top_p and top_k
    finish: Finish


@dataclass(frozen=True, slots=True)
class Score:
    """A reward's verdict on one rollout."""

    value: float | None  # None: the machinery failed, see failure
    parts: Mapping[str, float] = field(default_factory=dict)  # each part's raw value, unweighted
    correct: bool | None = None  # is the task solved; None where the reward cannot say
    failure: str | None = None  # why the machinery failed: ``part: kind: particulars``

    @property
    def reason(self) -> str:
        """The failure without its particulars, which is what is counted."""
        return ": ".join((self.failure or "unknown").split(": ")[:2])


# How a program ended: it ran; it raised or does not compile; by a limit; by a signal; at a forbidden call; without an
# answer; never, because the sandbox broke.
Status = Literal["ok", "error", "timeout", "memory", "output_limit", "crash", "violation", "no_result", "sandbox_error"]


@dataclass(frozen=True, slots=True)
class Program:
    """What a sandbox is to run, in one of three ways.

    ``calls``: the source as a module, then each of these expressions in its namespace, in order, in the same process.
    ``stdin``: the source as a script that reads this. ``tests``: the source as a module, then each of these texts with
    assertions in a fresh namespace of a second process, where a name that the text does not define is the program's,
    behind a call boundary.
    """

    source: str
    calls: tuple[str, ...] = ()
    stdin: str | None = None
    tests: tuple[str, ...] = ()


class Returned(NamedTuple):
    """What came of one call or one test."""

    value: Any  # of a call, plain data of exact types; of a test that passed, True
    error: str | None  # the exception that it raised: ``ValueError: ...``


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a program. The verdict on it is not the sandbox's: it never sees an expected value."""

    status: Status
    returned: tuple[Returned, ...] = ()  # of each call or test; where the run was cut short, of those before
    stdout: str = ""
    error: str = ""  # what was raised, or why it ended so, in a line
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Rollout:
    """One response to a task, with everything that is known of it.

    ``token_ids``, ``logps``, ``authors`` and ``advantages`` have one entry per token of the response.
    """

    task: Task
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    logps: tuple[float, ...]  # under the policy that wrote the token; 0.0 where that is unknown
    authors: tuple[Author, ...]
    source: Source
    text: str  # the response, decoded without special tokens
    finish: Finish
    score: Score | None = None  # None until a reward saw it
    advantages: tuple[float, ...] | None = None  # None until a group was compared

    @property
    def failed(self) -> bool:
        """The machinery failed on this rollout: it is left out of its group and trains nothing."""
        return self.score is not None and self.score.value is None

    @property
    def reward(self) -> float:
        """The score's value. Raises ValueError on a rollout that was not scored or failed."""
        if self.score is None or self.score.value is None:
            raise ValueError(
                f"rollout of task {self.task.id!r} has no reward; score it first and leave failed ones out"
            )
        return self.score.value

    def with_score(self, score: Score) -> Rollout:
        return replace(self, score=score)

    def with_advantage(self, advantage: float) -> Rollout:
        """The same rollout with one advantage for all its tokens."""
        return replace(self, advantages=(advantage,) * len(self.token_ids))


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded rollouts. ``tokens[:, t]`` is scored by ``logp[:, t]``; column 0 has no prediction and weight 0.

    The denominator is data: the loss of a component is ``(per_token * weight).sum()`` and nothing else.
    """

    tokens: Tensor  # [B, T] int64, prompt and response, right-padded
    length: Tensor  # [B] int64, tokens of each row that are not padding
    logp: Tensor  # [B, T] float32, under the policy that wrote the token
    advantage: Tensor  # [B, T] float32
    off_policy: Tensor  # [B, T] bool, tokens by a trace or a replay
    weight: Tensor  # [B, T] float32; 0 where nothing is trained; its sum over one update is what `average` says
    also: Mapping[str, Tensor] = field(
        default_factory=dict
    )  # [B, T] each: reference log-probs, another component's weight
    packing: int | None = None  # tokens of one pass, in place of a number of rows

    def __len__(self) -> int:
        return self.tokens.shape[0]

    def rows(self, index: Tensor) -> Batch:
        """The rows of ``index`` [b] int64, cut to the longest of them."""
        width = int(self.length[index].max()) if len(index) else 1
        cut = {
            name: getattr(self, name)[index, :width] for name in ("tokens", "logp", "advantage", "off_policy", "weight")
        }
        also = {name: tensor[index, :width] for name, tensor in self.also.items()}
        return Batch(length=self.length[index], also=also, packing=self.packing, **cut)

    def split(self, micro_batch: int) -> Iterator[Batch]:
        """Parts of at most ``micro_batch`` rows, of similar length together so that little is padding.

        With ``packing``, of at most so many tokens, however many rows that are; a longer row is alone.
        """
        import torch

        order = torch.argsort(self.length, descending=True, stable=True)
        parts = order.split(micro_batch) if self.packing is None else order.split(self._packs(order))
        for part in parts if len(order) else ():
            yield self.rows(part)

    def _packs(self, order: Tensor) -> list[int]:
        """How many of the next rows of ``order`` go into each pass."""
        counts, room = [], 0
        for length in self.length[order].tolist():
            if not counts or length > room:
                counts.append(0)
                room = self.packing or 0
            counts[-1] += 1
            room -= length
        return counts

    def idle(self) -> Batch:
        """One row of this kind that trains nothing, for a rank that has run out of rows while others have not."""
        zero, width = self.logp.new_zeros, 2  # two tokens: one to read, one to predict
        return Batch(
            tokens=self.tokens.new_zeros(1, width),
            length=self.length.new_full((1,), width),
            logp=zero(1, width),
            advantage=zero(1, width),
            off_policy=self.off_policy.new_zeros(1, width),
            weight=zero(1, width),
            also={name: tensor.new_zeros(1, width) for name, tensor in self.also.items()},
            packing=self.packing,
        )

    def to(self, device: torch.device | str) -> Batch:
        moved = {
            name: getattr(self, name).to(device)
            for name in ("tokens", "length", "logp", "advantage", "off_policy", "weight")
        }
        also = {name: tensor.to(device) for name, tensor in self.also.items()}
        return Batch(also=also, packing=self.packing, **moved)


class Trainable(Protocol):
    """The data of one optimizer step. ``Batch`` is the one made of tokens; a small policy on features has its own."""

    def __len__(self) -> int: ...
    def split(self, micro_batch: int) -> Iterator[Any]: ...
    def idle(self) -> Any: ...
    def to(self, device: torch.device | str) -> Any: ...


@dataclass(frozen=True, slots=True)
class Step:
    """What one step trains on: its updates in order, the rollouts they came from, and the metrics of collecting them."""

    updates: Sequence[Trainable]  # one optimizer step each
    rollouts: Sequence[Rollout]
    metrics: Mapping[str, float]  # the same on every rank
