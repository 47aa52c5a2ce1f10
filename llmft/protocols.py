"""The verbs: what each room does for the others. A room is handed these; it never imports another room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from llmft.seeds import Seeds
from llmft.types import Batch, Completion, Message, Program, Ran, Rollout, Sampling, Score, Step, Task

State = dict[str, Any]  # what a checkpoint keeps of a part: JSON values and tensors, nothing that needs pickle


class Tokens(Protocol):
    """Text to ids and back, made once. `llmft.chat.Chat` is the implementation."""

    eos_id: int
    pad_id: int

    def prompt(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> tuple[int, ...]:
        """The ids of a prompt, through the chat template, ready for the model's answer."""
        ...

    def response(self, text: str, *, end: bool = True) -> tuple[int, ...]:
        """The ids of a response that somebody else wrote; the end token is appended."""
        ...

    def text(self, token_ids: Sequence[int]) -> str:
        """The text of ids, without special tokens."""
        ...


Entropy = Literal["none", "value", "gradient"]  # not computed, for a metric, for a loss


class TokenScores(NamedTuple):
    logp: Tensor  # [B, T] of each token under the policy; 0 where no component of the loss has a weight
    entropy: Tensor | None  # [B, T] of the distribution that the token was drawn from, nats


class Policy(Protocol):
    """A causal language model that is trained: a torch Module."""

    @property
    def device(self) -> torch.device: ...

    def logp(self, batch: Batch, *, temperature: float) -> Tensor:
        """[B, T] log-probability of ``batch.tokens`` at ``temperature``, with gradient; 0 for tokens without a weight."""
        ...

    def scores(self, batch: Batch, *, temperature: float, entropy: Entropy) -> TokenScores:
        """The same, with the entropy of each prediction."""
        ...

    def keep_reference(self) -> None:
        """Remember the weights of now as the reference policy. Called once, before training, by who needs it."""
        ...

    def reference_logp(self, batch: Batch, *, temperature: float) -> Tensor:
        """[B, T] under the remembered weights, without gradient. Raises RuntimeError if none were kept."""
        ...


class Sampler(Protocol):
    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        n: int | Sequence[int],
        sampling: Sampling,
        streams: Sequence[int],
        limits: Sequence[int] | None = None,
    ) -> list[list[Completion]]:
        """``n`` completions (of each prompt, or one number per prompt) for each prompt of token ids.

        ``streams[i]`` names the randomness of prompt i: completion j of prompt i is a function of the weights, the
        prompt, ``sampling`` and ``(streams[i], j)`` alone, whatever else is in the call. With ``limits``, completions
        of prompt i have at most ``limits[i]`` tokens, and ``sampling.max_new_tokens`` still: a cut, no other draw.
        """
        ...

    def sync(self, policy: Policy, version: int) -> None:
        """Sample from these weights from now on; ``version`` counts the updates."""
        ...


class Drawn(NamedTuple):
    position: int  # how many tasks the stream had given before this one, over all ranks and epochs
    task: Task


class Tasks(Protocol):
    """An endless, shuffled, resumable stream of training tasks."""

    @property
    def tasks(self) -> Sequence[Task]:
        """Those that it gives, each once in an epoch."""
        ...

    def take(self, count: int) -> list[Drawn]:
        """The next ``count`` tasks of the run; this rank gets its share of them (position modulo world size)."""
        ...

    def state_dict(self) -> State:
        """What a checkpoint keeps. Nothing in it changes afterwards."""
        ...

    def load_state_dict(self, state: State) -> None: ...


class Rollouts(Protocol):
    sampling: Sampling

    def collect(self, tasks: Sequence[Drawn], n: Sequence[int], seeds: Seeds) -> list[list[Rollout]]:
        """``n[i]`` responses of the policy to task i, unscored."""
        ...

    def complete(self, tasks: Sequence[Drawn], begun: Sequence[Sequence[Rollout]], seeds: Seeds) -> list[list[Rollout]]:
        """The beginnings ``begun[i]`` of responses to task i, continued by the policy, unscored.

        The whole has at most ``sampling.max_new_tokens`` tokens; what was begun keeps its authors and log-probs.
        """
        ...


class Reward(Protocol):
    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """One score for each rollout, in order. Never raises for what a text says; see `Score.failure`."""
        ...

    def require_sound(self, rollouts: Sequence[Rollout]) -> None:
        """Raise RuntimeError where the machinery failed on too many of these scored rollouts, naming them and why.

        Asked once for everything that belongs together: a step of all ranks, an evaluation.
        """
        ...

    def faults(self, tasks: Sequence[Task]) -> list[str]:
        """Why these tasks cannot be scored (an answer that cannot be parsed, a missing test), before anything runs."""
        ...

    def gold_faults(self, tasks: Sequence[Task], tokens: Tokens) -> list[str]:
        """Which tasks' own answers do not score full marks; none where the config does not ask."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """What a run's manifest keeps of how it is scored (the level of a sandbox), in JSON's types."""
        ...

    def close(self) -> None:
        """End the processes that it started; they start again when needed."""
        ...


class Sandbox(Protocol):
    """Runs code that a model wrote, where it can do no harm and see no answer."""

    def run(self, programs: Sequence[Program]) -> list[Ran]:
        """What came of each, in order. Never raises for what a program does.

        A status of ``sandbox_error`` is the machinery's, after it was tried again: such a run has no reward.
        """
        ...

    def faults(self) -> list[str]:
        """Why this machine cannot isolate programs as the config wants it."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """How programs are isolated here, in JSON's types."""
        ...

    def close(self) -> None:
        """End the processes that it started; they start again when needed."""
        ...


class Plan(NamedTuple):
    """How one task's group is filled."""

    own: int  # responses to sample from the policy
    given: tuple[Rollout, ...] = ()  # responses that are already written: a trace, a replayed success
    begun: tuple[Rollout, ...] = ()  # beginnings that somebody else wrote, for the policy to continue


class Guidance(Protocol):
    """Off-policy rows beside the policy's own."""

    def faults(self, tasks: Sequence[Task], *, context: int) -> list[str]:
        """Why these training tasks, or files of its own, cannot be used; asked before any weight is read.

        ``context`` is how many tokens the model attends to.
        """
        ...

    def begin(self, *, policy: Policy, folder: Path | None) -> None:
        """Told once, before training, of the policy, and of a folder of the run where it may keep files."""
        ...

    @property
    def guiding(self) -> bool:
        """May rows that others wrote stand in the groups of the coming step? In ExGRPO's warm-up they may not."""
        ...

    def draw(self, tasks: Tasks, count: int, seeds: Seeds) -> list[Drawn]:
        """This rank's share of the next ``count`` tasks, or of as many for groups that are refilled.

        They are the stream's, or are met again; the position of such a one is negative and no other's in the step.
        """
        ...

    def plan(self, tasks: Sequence[Drawn], group_size: int, seeds: Seeds) -> list[Plan]:
        """How the groups of these tasks are filled; asked again in a step whose groups without signal are refilled."""
        ...

    def observe(self, groups: Sequence[Sequence[Rollout]]) -> None:
        """See the scored groups of a step, of all ranks, once, before they are trained on."""
        ...

    def metrics(self) -> Mapping[str, float]:
        """What is to be told of the step that was observed, the same on every rank."""
        ...

    def state_dict(self) -> State:
        """What a checkpoint keeps. Nothing in it changes afterwards."""
        ...

    def load_state_dict(self, state: State) -> None: ...


class Passage(NamedTuple):
    id: str
    text: str
    score: float


class Search(Protocol):
    """A memory that can be asked."""

    def search(self, queries: Sequence[str], top_k: int) -> list[list[Passage]]: ...


class Algorithm(Protocol):
    """What the learner drives. It knows no optimizer, no device and no trainer."""

    @staticmethod
    def faults(tasks: Sequence[Task], settings: Mapping[str, Any]) -> list[str]:
        """Why these tasks cannot be trained on; asked of the class, with its config, before anything is built."""
        ...

    def collect(self, tasks: Tasks, seeds: Seeds) -> Step:
        """Take tasks, make the data of one step. ``seeds`` is the step's own."""
        ...

    def loss(self, policy: Policy, part: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of one micro-batch, to be summed with the others', and metrics that are to be summed likewise."""
        ...

    def report(self, sums: Mapping[str, float]) -> dict[str, float]:
        """The metrics of one update, of what `loss` gave, summed over its parts and ranks."""
        ...

    def extra_modules(self) -> Mapping[str, torch.nn.Module]:
        """Modules trained beside the policy, by name (a value head); usually none."""
        ...

    def state_dict(self) -> State:
        """What a checkpoint keeps. Nothing in it changes afterwards."""
        ...

    def load_state_dict(self, state: State) -> None: ...
