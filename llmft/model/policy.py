"""The policy: a causal language model that scores the tokens of a batch."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llmft.protocols import Entropy, TokenScores
from llmft.types import Batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def prediction_scores(logits: Tensor, targets: Tensor, *, temperature: float, entropy: Entropy) -> TokenScores:
    """Log-probability of each target, and the entropy of the distribution it is drawn from.

    Args:
        logits: [B, T, V], any float dtype; reduced in float32 or wider.
        targets: [B, T] int64.
        temperature: the logits are divided by it, as when sampling.
        entropy: whether to compute [B, T] entropies, nats, and whether a loss will differentiate them.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if temperature != 1.0:
        logits = logits / temperature
    picked = logits.gather(-1, targets[..., None]).squeeze(-1)
    logp = picked - logits.logsumexp(-1)
    if entropy == "none":
        return TokenScores(logp, None)
    with torch.set_grad_enabled(torch.is_grad_enabled() and entropy == "gradient"):
        logps = F.log_softmax(logits, -1)
        return TokenScores(logp, -(logps.exp() * logps).sum(-1))


class CausalPolicy(nn.Module):
    """A transformers causal model as a policy.

    A row is scored by one forward pass over prompt and response together; only the columns where some row has a
    weight pay for logits, so a long shared prompt never meets the vocabulary.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        # A list hides the copy from torch: it is neither trained, nor moved, nor saved with the policy.
        self._reference: list[CausalPolicy] = []

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def logp(self, batch: Batch, *, temperature: float) -> Tensor:
        """[B, T] log-probability of ``batch.tokens``; 0 where no token of the batch has a weight, and in column 0."""
        return self.scores(batch, temperature=temperature, entropy="none").logp

    def scores(self, batch: Batch, *, temperature: float, entropy: Entropy) -> TokenScores:
        """`logp` and, where asked for, [B, T] entropies, with gradient if a loss needs it."""
        width = batch.tokens.shape[1]
        first = _first_scored_column(batch)
        outputs = self.model(
            input_ids=batch.tokens,
            # Rows are padded on the right: causality alone keeps padding out of what is scored, and no mask is faster.
            attention_mask=None,
            use_cache=False,
            # The last prediction has no target, and the columns before the first response have none that counts.
            logits_to_keep=width - first + 1,
        )
        scored = prediction_scores(
            outputs.logits[:, :-1], batch.tokens[:, first:], temperature=temperature, entropy=entropy
        )
        real = torch.arange(first, width, device=batch.tokens.device) < batch.length[:, None]
        pad = (first, 0)
        return TokenScores(
            F.pad(scored.logp * real, pad), None if scored.entropy is None else F.pad(scored.entropy * real, pad)
        )

    def keep_reference(self) -> None:
        """Keep a frozen copy of the weights of now. A second call changes nothing."""
        if not self._reference:
            frozen = copy.deepcopy(self).eval().requires_grad_(False)
            self._reference.append(frozen)

    @torch.no_grad()
    def reference_logp(self, batch: Batch, *, temperature: float) -> Tensor:
        """[B, T] as `logp`, under the frozen copy. Raises RuntimeError if `keep_reference` was never called."""
        if not self._reference:
            raise RuntimeError("the policy keeps no reference; call keep_reference() before training starts")
        reference = self._reference[0].to(self.device)
        return reference.logp(batch, temperature=temperature)

    def save(self, folder: Path) -> None:
        """Write weights (safetensors) and config so that ``from_pretrained`` reads them."""
        self.model.save_pretrained(folder)


def _first_scored_column(batch: Batch) -> int:
    """The first column that any component of the loss reads, at least 1: nothing predicts column 0."""
    weights = [batch.weight, *(tensor for name, tensor in batch.also.items() if name.startswith("weight/"))]
    columns = torch.stack([weight.ne(0).any(0) for weight in weights]).any(0).nonzero()
    return max(1, int(columns[0])) if len(columns) else 1
