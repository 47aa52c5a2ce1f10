"""From compared responses to the batches of a step's updates, with everything that their loss reads besides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from llmft.algorithm.reference import current_logp, reference_logp
from llmft.batch import OFF_POLICY, TRAINED, Average, Component, pack
from llmft.loss.token import TokenLoss
from llmft.protocols import Policy
from llmft.types import Author, Batch, Rollout


class Packing(NamedTuple):
    """How the responses of a mini-batch become the batch of an update.

    Args:
        policy: whose log-probabilities are asked for, where they are, and
        temperature: at which, and
        rows: in passes of how many rows.
        loss: of a token, and
        average: what it is averaged over, and
        length: tokens that a constant average divides by.
        entropy_average: what the entropy's bonus is averaged over; None for what the loss is.
        keep_all: train on rows without an advantage.
        reference: ask for the reference's log-probabilities.
        dtype: of what is not an index.
    """

    policy: Policy
    temperature: float
    rows: int
    loss: TokenLoss
    average: Average
    length: float | None
    entropy_average: Average | None
    keep_all: bool
    reference: bool
    dtype: torch.dtype = torch.float32

    def batch(self, rollouts: Sequence[Rollout], *, guided: bool) -> Batch:
        """The batch of one update; ``also`` has ``guided`` where the guidance may have added to its groups."""
        imitates = self.loss.sft_coef > 0
        components = {"sft": Component("token", None, OFF_POLICY)} if imitates else {}
        if self.entropy_average is not None:
            components["entropy"] = Component(self.entropy_average, None)
        batch = pack(
            rollouts,
            average=self.average,
            length=self.length,
            keep_all=self.keep_all,
            authors={Author.POLICY} if imitates else TRAINED,
            components=components,
            counting=None if self.loss.all_max is None or self.average == "constant" else self._kept,
            dtype=self.dtype,
        )
        also = dict(batch.also)
        if guided:
            also["guided"] = torch.ones_like(batch.weight)
        if self.reference and len(batch):
            also["reference"] = reference_logp(self.policy, batch, temperature=self.temperature, rows=self.rows)
        return replace(batch, also=also)

    def _kept(self, batch: Batch) -> Tensor:
        """[B, T] bool, the tokens that the loss leaves in, by the weights of now: those that the step begins with.

        A later update of the step leaves out by its own weights; its denominator stays this one, because a
        denominator is data.
        """
        return self.loss.kept(current_logp(self.policy, batch, temperature=self.temperature, rows=self.rows))


def mark_first(updates: Sequence[Batch]) -> list[Batch]:
    """Ask the first update for the gap between sampler and trainer: it alone sees the weights that were sampled from."""
    first = next((place for place, batch in enumerate(updates) if len(batch)), None)
    return [
        replace(batch, also={**batch.also, "mean/gap": batch.also["mean/own"]}) if place == first else batch
        for place, batch in enumerate(updates)
    ]
