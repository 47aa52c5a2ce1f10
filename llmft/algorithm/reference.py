"""Log-probabilities under the reference policy, once per batch, in passes that fit into memory."""

from __future__ import annotations

import torch
from torch import Tensor

from llmft.protocols import Policy
from llmft.types import Batch


def reference_logp(policy: Policy, batch: Batch, *, temperature: float, rows: int) -> Tensor:
    """[B, T] of ``batch.tokens``, computed ``rows`` rows at a time, rows of similar length together."""
    logp = torch.zeros_like(batch.logp)
    order = torch.argsort(batch.length, descending=True, stable=True)
    for index in order.split(rows):
        part = batch.rows(index).to(policy.device)
        logp[index, : part.tokens.shape[1]] = policy.reference_logp(part, temperature=temperature).to(logp)
    return logp
