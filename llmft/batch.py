"""Where lists of tokens become tensors, and the one place where a loss gets its denominator.

Every average that an algorithm takes is written into the batch as a weight per token, counted over the whole update
and over all ranks. A loss is then ``(per_token * weight).sum()``, in as many parts as memory asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

import torch
from torch import Tensor

from llmft.distributed import all_sum
from llmft.types import Author, Batch, Rollout

Average = Literal["token", "sequence", "constant", "row_constant"]
TRAINED = frozenset({Author.POLICY, Author.TRACE, Author.REPLAY})
OFF_POLICY = frozenset({Author.TRACE, Author.REPLAY})
OUTSIDE = -1  # no author: the prompt, and padding


@dataclass(frozen=True, slots=True)
class Component:
    """One term of a loss: whose tokens it trains, and how they share its weight.

    Args:
        average: with ``N`` trained tokens and ``R`` rows that have any, in the update and over all ranks, a trained
            token of a row with ``n`` of them weighs ``1/N`` (``token``, DAPO), ``1/(R·n)`` (``sequence``, GRPO),
            ``1/length`` (``constant``, LUFFY as published and verl's seq-mean-token-sum-norm) or ``1/(R·length)``
            (``row_constant``, Dr. GRPO in its paper and in TRL).
        length: tokens; what the last two divide by, None for the first two.
        authors: whose tokens.

    Raises:
        ValueError: for an average over a constant that is not given.
    """

    average: Average
    length: float | None
    authors: Collection[Author] = TRAINED

    def __post_init__(self) -> None:
        if self.average.endswith("constant") and not self.length:
            raise ValueError(
                f"algorithm.length={self.length}: average={self.average} divides by it; "
                "set a number of tokens, for instance the longest response allowed"
            )

    def marks(self, authors: Tensor) -> Tensor:
        """[B, T] bool, the tokens that it trains, of ``authors`` [B, T]."""
        return torch.isin(authors, torch.tensor([int(author) for author in self.authors], dtype=authors.dtype))

    def weights(self, marks: Tensor, counted: Tensor, tokens: float, rows: float) -> Tensor:
        """[B, T] float64 of the marked tokens, of which those are ``counted`` that the average is over.

        In the whole update these are ``tokens`` in ``rows`` rows.
        """
        share = marks.double()
        tokens, rows, constant = max(tokens, 1), max(rows, 1), self.length or 1  # no division by what is not there
        match self.average:
            case "token":
                return share / tokens
            case "sequence":
                return share / (rows * counted.sum(1, keepdim=True).clamp(min=1))
            case "constant":
                return share / constant
            case "row_constant":
                return share / (rows * constant)


def pack(
    rollouts: Sequence[Rollout],
    *,
    average: Average,
    length: float | None,
    keep_all: bool,
    authors: Collection[Author] = TRAINED,
    components: Mapping[str, Component] | None = None,
    counting: Callable[[Batch], Tensor] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """The batch of one optimizer step. Every rank must call it, also one without rollouts.

    The counts are over all rollouts that did not fail, also those that the batch then leaves out because they teach
    nothing (every advantage 0): a group without signal lowers no other group's denominator.

    Besides the batch's own ``weight``, ``also`` holds ``weight/<name>`` for each of ``components``; ``mean``, with
    which the tokens of the batch that any of them trains average to a metric; ``mean/own`` and ``mean/off``, the same
    for those that the policy wrote and, if any rank has such, for the others; and ``mean/own_rows``, with which the
    former average to a metric of rows.

    Args:
        rollouts: this rank's, with advantages.
        average: how the trained tokens share the weight, and
        length: what the constants of it are, as in `Component`.
        keep_all: keep rows whose advantages are all 0, for a loss that trains on them (divergence, entropy).
        authors: whose tokens the loss trains.
        components: further terms of the loss, by name. A row that one of them trains is never left out.
        counting: says of all rows, padded, [B, T] over which of the tokens with a weight the average is, for a loss
            that leaves some out by itself; None for all.
        dtype: of what is not an index.

    Returns:
        A batch; of no rows if no rank has any that teach; of one row that weighs nothing if only other ranks have.

    Raises:
        ValueError: for a rollout without advantages or without a prompt, and what `Component` raises.
    """
    terms = {"weight": Component(average, length, authors)}
    terms |= {f"weight/{name}": component for name, component in (components or {}).items()}
    whole, wrote = _pad([rollout for rollout in rollouts if not rollout.failed], dtype)
    marks = {name: term.marks(wrote) for name, term in terms.items()}

    teaches = marks["weight"] & (keep_all | (whole.advantage != 0))
    kept = torch.stack([teaches, *(mark for name, mark in marks.items() if name != "weight")]).any(0).any(1)
    marks["mean"] = torch.stack([*marks.values()]).any(0) & kept[:, None]
    marks["mean/own"] = marks["mean"] & (wrote == Author.POLICY)
    marks["mean/off"] = marks["mean"] & whole.off_policy
    marks["mean/own_rows"] = marks["mean/own"]
    marks["kept"] = kept[:, None]
    counted = dict(marks)
    if counting is not None:
        counted["weight"] = marks["weight"] & counting(replace(whole, weight=marks["weight"].to(dtype)))
    counts = _count(counted)

    terms |= {"mean": Component("token", None), "mean/own": Component("token", None)}
    terms |= {"mean/off": Component("token", None)} if any(counts["mean/off"]) else {}
    terms["mean/own_rows"] = Component("sequence", None)
    also = {name: term.weights(marks[name], counted[name], *counts[name]).to(dtype) for name, term in terms.items()}
    batch = Batch(whole.tokens, whole.length, whole.logp, whole.advantage, whole.off_policy, also.pop("weight"), also)
    _, rows_of_all_ranks = counts["kept"]
    return batch.idle() if rows_of_all_ranks and not kept.any() else batch.rows(kept.nonzero()[:, 0])


def _count(marks: Mapping[str, Tensor]) -> dict[str, tuple[float, float]]:
    """For each [B, T] bool, over all ranks: marked tokens, and rows with any."""
    # In float64, which is exact for every count that fits in memory.
    own = torch.stack([torch.stack([mark.sum(), mark.any(1).sum()]) for mark in marks.values()]).double()
    return {name: (tokens, rows) for name, (tokens, rows) in zip(marks, all_sum(own).tolist(), strict=True)}


def _pad(rollouts: Sequence[Rollout], dtype: torch.dtype) -> tuple[Batch, Tensor]:
    """The rows, right-padded, not weighted yet, and [B, T] who wrote each token."""
    for rollout in rollouts:
        if not rollout.prompt_ids:
            raise ValueError(f"task {rollout.task.id!r} has an empty prompt: nothing predicts its first token")
        if rollout.advantages is None:
            raise ValueError(f"rollout of task {rollout.task.id!r} has no advantages; give it some before packing")
        per_token = rollout.token_ids, rollout.logps, rollout.authors, rollout.advantages
        assert len(set(map(len, per_token))) == 1, "a rollout has one entry per token in each of these"
    prompts = torch.tensor([len(rollout.prompt_ids) for rollout in rollouts], dtype=torch.int64)
    length = prompts + torch.tensor([len(rollout.token_ids) for rollout in rollouts], dtype=torch.int64)
    column = torch.arange(int(length.max()) if len(rollouts) else 1)
    real = column < length[:, None]
    response = real & (column >= prompts[:, None])
    tokens = _filled(real, ((*rollout.prompt_ids, *rollout.token_ids) for rollout in rollouts), torch.int64)
    wrote = _filled(response, (rollout.authors for rollout in rollouts), torch.int8, elsewhere=OUTSIDE)
    batch = Batch(
        tokens=tokens,  # padding follows what is read, so any id will do
        length=length,
        logp=_filled(response, (rollout.logps for rollout in rollouts), dtype),
        advantage=_filled(response, (rollout.advantages or () for rollout in rollouts), dtype),
        off_policy=Component("token", None, OFF_POLICY).marks(wrote),
        weight=torch.zeros(tokens.shape, dtype=dtype),
    )
    return batch, wrote


def _filled(places: Tensor, rows: Iterable[Sequence[float]], dtype: torch.dtype, *, elsewhere: float = 0) -> Tensor:
    """[B, T] with the values of ``rows``, one after another, in ``places``. One tensor of all values, not one per row."""
    filled = torch.full(places.shape, elsewhere, dtype=dtype)
    filled[places] = torch.tensor([*chain.from_iterable(rows)], dtype=dtype)
    return filled
