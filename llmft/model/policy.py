"""The policy: a causal language model that scores the tokens of a batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llmft.model import ragged
from llmft.protocols import Entropy, TokenScores
from llmft.types import Batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WORTH_IT = 0.95  # of the padded positions: below it, what a ragged pass saves is more than what its gathers cost


def prediction_scores(
    logits: Tensor, targets: Tensor, *, temperature: float, entropy: Entropy, of: Tensor | None = None
) -> TokenScores:
    """Log-probability of each target, and the entropy of the distribution it is drawn from.

    Args:
        logits: [..., V], any float dtype; reduced in float32 or wider.
        targets: [...] int64; or [K], each predicted by the logits that ``of`` names.
        temperature: the logits are divided by it, as when sampling.
        entropy: whether to compute entropies, nats, and whether a loss will differentiate them.
        of: [K] int64 places in [M, V] logits; a place may predict several targets, or none.

    Returns:
        Two tensors of the targets' shape.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if temperature != 1.0:
        logits = logits / temperature
    normalizer = logits.logsumexp(-1)
    if of is None:
        logp = logits.gather(-1, targets[..., None]).squeeze(-1) - normalizer
    else:
        logp = logits[of, targets] - normalizer[of]
    if entropy == "none":
        return TokenScores(logp, None)
    with torch.set_grad_enabled(torch.is_grad_enabled() and entropy == "gradient"):
        logps = F.log_softmax(logits, -1)
        of_each = -(logps.exp() * logps).sum(-1)
        return TokenScores(logp, of_each if of is None else of_each[of])


class CausalPolicy(nn.Module):
    """A transformers causal model as a policy.

    A row is scored by one forward pass over prompt and response together. Where that saves something, and the model
    can do it, the pass has no padding and computes once what rows have in common, such as the prompt of a group
    (`llmft.model.ragged`); what a token is scored with stays the same. Only predictions that count meet the vocabulary.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        # A list hides the copy from torch: it is neither trained, nor moved, nor saved with the policy.
        self._reference: list[CausalPolicy] = []
        self._faithful: bool | None = None  # to ragged passes; None until asked

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def logp(self, batch: Batch, *, temperature: float) -> Tensor:
        """[B, T] log-probability of ``batch.tokens``; 0 for those without a weight, padding and column 0 among them."""
        return self.scores(batch, temperature=temperature, entropy="none").logp

    def scores(self, batch: Batch, *, temperature: float, entropy: Entropy) -> TokenScores:
        """`logp` and, where asked for, [B, T] entropies, with gradient if a loss needs it."""
        counts = _counting(batch)
        layout = self._layout(batch)
        logits, of = self._padded(batch, counts) if layout is None else self._ragged(batch, counts, layout)
        scored = prediction_scores(logits, batch.tokens[counts], temperature=temperature, entropy=entropy, of=of)
        return TokenScores(*(None if one is None else _placed(one, counts) for one in scored))  # type: ignore[arg-type]

    def _padded(self, batch: Batch, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [M, V], and [K] which of them predicts each token that counts."""
        first, inputs = _first_column(counts), max(batch.tokens.shape[1] - 1, 1)  # nothing reads a row's last token
        logits = self.model(
            input_ids=batch.tokens[:, :inputs],
            # Rows are padded on the right: causality alone keeps padding out of what is scored, and no mask is faster.
            attention_mask=None,
            use_cache=False,
            logits_to_keep=inputs - first + 1,  # what the columns before the first response predict does not count
        ).logits
        row, column = counts.nonzero(as_tuple=True)
        return logits.flatten(0, 1), row * logits.shape[1] + column - first

    def _ragged(self, batch: Batch, counts: Tensor, layout: ragged.Layout) -> tuple[Tensor, Tensor]:
        row, column = counts.nonzero(as_tuple=True)
        nodes, of = layout.node[row, column - 1].unique(return_inverse=True)
        return ragged.forward(self.model, batch, layout, nodes), of

    def _layout(self, batch: Batch) -> ragged.Layout | None:
        """How to compute ``batch`` without padding; None where that would save little, or where the model cannot."""
        if self._faithful is False or not self._may_be_ragged():
            return None
        layout = ragged.lay_out(batch, share=not (self.model.training and self._drops_out()))
        if len(layout.place) > WORTH_IT * layout.node.numel():
            return None
        if self._faithful is None:
            with evaluating(self.model):
                vocabulary = ragged.config_of(self.model).get_text_config().vocab_size
                self._faithful = ragged.is_faithful(self.model, vocabulary, batch.tokens.device)
        return layout if self._faithful else None

    def _may_be_ragged(self) -> bool:
        """Not with another attention, nor where the backward pass runs the forward again, without the layout."""
        if ragged.config_of(self.model)._attn_implementation != ragged.INNER:
            return False
        return not (self.model.training and getattr(self.model, "is_activation_checkpointing", False))

    def _drops_out(self) -> bool:
        """Rows that share a beginning would share what is dropped of it."""
        named = ragged.config_of(self.model).to_dict().items()
        rates = [value for name, value in named if ("dropout" in name or "pdrop" in name) and value]
        return bool(rates) or any(isinstance(one, nn.Dropout) and one.p > 0 for one in self.model.modules())

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


def _counting(batch: Batch) -> Tensor:
    """[B, T] bool, the tokens that any component of the loss reads; nothing predicts column 0."""
    weights = [batch.weight, *(tensor for name, tensor in batch.also.items() if name.startswith("weight/"))]
    counts = torch.stack([weight.ne(0) for weight in weights]).any(0)
    counts[:, 0] = False
    return counts


def _first_column(counts: Tensor) -> int:
    """The first column with a token that counts, at least 1."""
    columns = counts.any(0).nonzero()
    return int(columns[0]) if len(columns) else 1


def _placed(values: Tensor, counts: Tensor) -> Tensor:
    """[B, T] with ``values`` where ``counts``, 0 elsewhere."""
    return values.new_zeros(counts.shape).masked_scatter(counts, values)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards each submodule is as it was."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part in training:
            part.training = True
