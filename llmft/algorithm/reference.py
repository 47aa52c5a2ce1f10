"""Log-probabilities without gradient, once per batch, in passes that fit into memory: of the policy and its reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from llmft.batch import TRAINED, pack
from llmft.distributed import sum_dicts
from llmft.loss.kl import ESTIMATORS, Estimator, k3
from llmft.protocols import Policy
from llmft.types import Batch, Rollout


def reference_logp(policy: Policy, batch: Batch, *, temperature: float, rows: int) -> Tensor:
    """[B, T] of ``batch.tokens`` under the reference, computed ``rows`` rows at a time."""
    return _in_passes(partial(policy.reference_logp, temperature=temperature), policy.device, batch, rows)


@torch.no_grad()
def current_logp(policy: Policy, batch: Batch, *, temperature: float, rows: int) -> Tensor:
    """[B, T] of ``batch.tokens`` under the policy of now, computed ``rows`` rows at a time."""
    return _in_passes(partial(policy.logp, temperature=temperature), policy.device, batch, rows)


def _in_passes(score: Callable[[Batch], Tensor], device: torch.device, batch: Batch, rows: int) -> Tensor:
    """[B, T] in passes of rows of similar length."""
    logp = torch.zeros_like(batch.logp)
    for index in torch.argsort(batch.length, descending=True, stable=True).split(rows) if len(batch) else ():
        part = batch.rows(index).to(device)
        logp[index, : part.tokens.shape[1]] = score(part).to(logp)
    return logp


def divergences(
    policy: Policy, groups: Sequence[Sequence[Rollout]], estimator: Estimator, *, temperature: float, rows: int
) -> tuple[list[list[float]], dict[str, float]]:
    """How far each response has gone from the reference: the estimates of its own tokens summed, nats.

    The policy's log-probabilities are those that the responses were sampled with. A response that failed, and what
    somebody else wrote, has gone nowhere. Besides, as a metric, k3 averaged over the tokens of all ranks.
    """
    asked = [one for group in groups for one in group if not one.failed and TRAINED.intersection(one.authors)]
    batch = pack([one.with_advantage(0.0) for one in asked], average="token", length=None, keep_all=True)
    gone: list[float] = []
    mean = 0.0
    if len(batch):
        reference, own = reference_logp(policy, batch, temperature=temperature, rows=rows), batch.also["mean/own"]
        estimates = torch.where(own != 0, ESTIMATORS[estimator](batch.logp, reference), 0.0)
        gone = estimates.double().sum(1).tolist()
        mean = float((k3(batch.logp, reference) * own).double().sum())
    in_order = iter(gone)
    summed = [
        [next(in_order) if not one.failed and TRAINED.intersection(one.authors) else 0.0 for one in group]
        for group in groups
    ]
    return summed, sum_dicts({"train/kl": mean})
