"""A forward pass over ragged rows that computes no padding, and a beginning that rows share only once.

The state of a causal model at a token is a function of the row up to it. So the distinct beginnings of the rows, their
*nodes*, are laid end to end in one row of [1, N], on which everything works that looks at one token alone: embedding,
norms, projections, feed-forward, and what an adapter adds. For attention alone the nodes are spread to rows again, each
beginning at position 0, the model's own attention runs on them as on any batch that is padded on the right, with its own
mask (causal, sliding), and its results are gathered back. Rows that share a pass meet in no product: none sees another.

It goes through the tables in which transformers looks up attention and masks by name, and knows no architecture. Whether
a model can do it is asked of the model (`is_faithful`), not of its name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from llmft.types import Batch

NAME, INNER = "llmft_ragged", "sdpa"  # the attention that is registered, and the one that it runs on the rows


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each token of the rows [B, W] is computed; the last token of a row is read by nothing and has no place."""

    node: Tensor  # [B, W] int64, which of the N nodes is the token; 0 for padding, which nothing reads
    rows: Tensor  # [R] int64, the rows that attention runs on: those with a node that no row before them has
    place: Tensor  # [N] int64, which of the R·W tokens of these is the node

    @property
    def width(self) -> int:
        return self.node.shape[1]


_layout: ContextVar[Layout] = ContextVar("_layout")


def lay_out(batch: Batch, *, share: bool) -> Layout:
    """The nodes of ``batch``, in the order of its rows; with ``share``, beginnings that rows have in common are one node.

    Made on the CPU, where sorting rows costs no synchronisation per comparison, and moved to the batch's device.
    """
    device, tokens, inputs = batch.tokens.device, batch.tokens.cpu(), batch.length.cpu() - 1
    count, width = len(tokens), max(int(inputs.max()), 1)
    tokens, real = tokens[:, :width], torch.arange(width) < inputs[:, None].clamp(min=1)
    every = torch.arange(count)[:, None]
    owner = _first_with_this_beginning(tokens, real) if share else every.expand(count, width)
    own = real & (owner == every)
    number = (own.flatten().cumsum(0) - 1)[owner * width + torch.arange(width)]
    rows = own.any(1).nonzero()[:, 0]
    place = own[rows].flatten().nonzero()[:, 0]
    return Layout(torch.where(real, number, 0).to(device), rows.to(device), place.to(device))


def _first_with_this_beginning(tokens: Tensor, real: Tensor) -> Tensor:
    """[B, W] int64: for each token a row, the same for all rows that are equal up to this token."""
    as_lists = tokens.tolist()
    order = torch.tensor(sorted(range(len(tokens)), key=as_lists.__getitem__))
    ordered, present = tokens[order], real[order]
    same = (ordered[1:] == ordered[:-1]) & present[1:] & present[:-1]
    joined = torch.cat([torch.zeros_like(present[:1]), same.cumprod(1).bool()])  # with the row before, up to here
    rank = torch.arange(len(tokens))[:, None]
    first = torch.where(joined, 0, rank).cummax(0).values
    owner = torch.empty_like(first)
    owner[order] = order[first]
    return owner


def forward(model: Any, batch: Batch, layout: Layout, nodes: Tensor) -> Tensor:
    """[n, V] logits after ``nodes`` [n] int64, the nodes of ``batch`` that predict a token that counts."""
    ids = batch.tokens[layout.rows, : layout.width].flatten()[layout.place][None]
    with _attending_by_rows(model, layout):
        outputs = model(
            input_ids=ids,
            position_ids=(layout.place % layout.width)[None],
            # All of it is real. Without a mask transformers would build that of a packed row, which is N by N.
            attention_mask=torch.ones_like(ids),
            use_cache=False,
            logits_to_keep=nodes,
        )
    return outputs.logits[0]


@contextmanager
def _attending_by_rows(model: Any, layout: Layout) -> Iterator[None]:
    _register()
    config, token = config_of(model), _layout.set(layout)
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = INNER
        _layout.reset(token)


def config_of(model: Any) -> Any:
    """The config that its layers look at, under an adapter too."""
    return (model.get_base_model() if hasattr(model, "get_base_model") else model).config


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, _mask)


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor | None]:
    """Attention of nodes [1, heads, N, size] among their rows; [1, N, heads, size]."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    layout, inner = _layout.get(), ALL_ATTENTION_FUNCTIONS[INNER]
    node = layout.node[layout.rows]
    rows, weights = inner(module, *(_spread(one, node) for one in (query, key, value)), attention_mask, **options)
    flat = rows.reshape(node.numel(), -1)
    return flat[layout.place].view(1, len(layout.place), *rows.shape[2:]), weights


def _spread(nodes: Tensor, node: Tensor) -> Tensor:
    """[1, heads, N, size] to [R, heads, W, size]. As an embedding, whose gradient is summed fast, in a fixed order."""
    _, heads, count, size = nodes.shape
    flat = nodes[0].transpose(0, 1).reshape(count, heads * size)
    return torch.embedding(flat, node).view(*node.shape, heads, size).transpose(1, 2)


def _mask(batch_size: int, q_length: int, kv_length: int, attention_mask: Any = None, **options: Any) -> Any:
    """The mask that rows of equal length would have, None where the kernel is told that it is causal."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    rows, width = len(_layout.get().rows), _layout.get().width
    options["allow_is_causal_skip"] = True
    return ALL_MASK_ATTENTION_FUNCTIONS[INNER](
        batch_size=rows, q_length=width, kv_length=width, attention_mask=None, **options
    )


def is_faithful(model: Any, vocabulary: int, device: torch.device) -> bool:
    """Whether ``model`` computes the same for rows without padding as for rows with it, and none of them sees another.

    False for a model with an attention of its own, without position ids, or that refuses what `forward` gives it.
    """
    ids = torch.arange(22, device=device) * 7 % vocabulary
    rows = [ids[:9], ids[9:14], torch.cat([ids[:3], ids[14:18]])]
    others = [ids[3:12], rows[1], ids[15:22]]
    try:
        shared, alone, beside_others = (
            _probed(model, rows, share=True), _probed(model, rows, share=False), _probed(model, others, share=False)
        )  # fmt: skip
        plain = model(input_ids=_rows(rows).tokens[:, :-1], use_cache=False).logits
    except Exception:  # whatever its reason is not to take it, there is the pass over padded rows
        return False
    real = torch.arange(plain.shape[1], device=device) < _rows(rows).length[:, None] - 1
    eps = max(torch.finfo(plain.dtype).eps, torch.finfo(torch.float32).eps)  # some norms compute in float32
    scale = plain[real].abs().max()
    same = all((one[real] - plain[real]).abs().max() <= eps**0.6 * scale for one in (shared, alone))
    return bool(same and (alone[1, :4] - beside_others[1, :4]).abs().max() <= 8 * eps * scale)


def _probed(model: Any, rows: list[Tensor], *, share: bool) -> Tensor:
    """[B, W, V] logits of ``rows``, computed ragged."""
    batch = _rows(rows)
    layout = lay_out(batch, share=share)
    return forward(model, batch, layout, torch.arange(len(layout.place), device=layout.place.device))[layout.node]


def _rows(rows: list[Tensor]) -> Batch:
    tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    length, zeros = torch.tensor([len(row) for row in rows], device=tokens.device), torch.zeros(tokens.shape)
    return Batch(tokens, length, zeros, zeros, zeros.bool(), zeros)
