"""Keys and values of many rows in one preallocated slab: written in place, read as views, rows moved without copies of the rest.

transformers' own dynamic cache concatenates every key and value at every step; its static one attends over columns that
are not written yet. This one returns views of exactly the columns that are written, for the rows that are live.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from transformers.cache_utils import (
    Cache,
    CacheLayerMixin,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
)


class Slab(CacheLayerMixin):
    """One layer: keys and values [rows, heads, width, head size], of which the first rows and ``length`` columns are in use.

    A layer with a sliding window is kept whole and the model's own mask hides what lies before the window.

    ``width`` grows by ``stride`` columns at a time up to ``columns``. On a GPU the stride is all of them. A CPU reads a
    head's columns as one stream that its prefetcher follows over a gap of a few hundred bytes and no further: with wide
    gaps between the heads attention takes twice as long, which is more than it costs to lay the columns out anew every
    few steps.
    """

    is_sliding = False

    def __init__(self, rows: int, columns: int, stride: int, spare: dict[tuple, Tensor]) -> None:
        super().__init__()
        self.rows, self.columns, self.stride, self.spare = rows, columns, stride, spare
        self.length, self.width = 0, 0
        self.buffers: list[Tensor] = []  # flat, one for the keys and one for the values

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        for states in (key_states, value_states):
            # Not zeroed: memory is first touched where a token is written, which many never are.
            self.buffers.append(states.new_empty(self.rows * states.shape[1] * self.columns * states.shape[3]))
        self.keys, self.values = (
            states.new_empty(0, states.shape[1], 0, states.shape[3]) for states in (key_states, value_states)
        )
        self.is_initialized = True

    def pair(self) -> tuple[Tensor, Tensor]:
        """The whole of keys and values, [rows, heads, width, head size] each."""
        assert self.keys is not None
        assert self.values is not None
        return self.keys, self.values

    def lay_out(self, rows: int, width: int, drop: int = 0) -> None:
        """Lay the first ``rows`` rows out anew, at least ``width`` columns wide and without the first ``drop`` columns."""
        self.width = min(width + self.stride - 1, self.columns)
        laid = []
        for index, old in enumerate(self.pair()):
            shape = (self.rows, old.shape[1], self.width, old.shape[3])
            flat = self.buffers[index]
            if old.shape[2]:  # something is laid out in this buffer: write to the spare one, which then is this one
                key = (flat.numel(), flat.dtype)
                target = self.spare.pop(key) if key in self.spare else torch.empty_like(flat)
                self.spare[key], self.buffers[index] = flat, target
            new = self.buffers[index][: math.prod(shape)].view(shape)
            if kept := self.length - drop:
                new[:rows, :, :kept].copy_(old[:rows, :, drop : self.length])
            laid.append(new)
        self.keys, self.values = laid
        self.length -= drop

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows, start, end = key_states.shape[0], self.length, self.length + key_states.shape[2]
        if end > self.width:
            self.lay_out(rows, end)
        keys, values = (tensor[:rows, :, :end] for tensor in self.pair())
        keys[:, :, start:].copy_(key_states)
        values[:, :, start:].copy_(value_states)
        self.length = end
        return keys, values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return self.columns


class SlabCache(Cache):
    """The slabs of a model's layers, ``rows`` by ``columns``, allocated when first written."""

    def __init__(self, layers: int, rows: int, columns: int, stride: int) -> None:
        spare: dict[tuple, Tensor] = {}  # buffers to lay out into, shared by the layers
        self.slabs = [Slab(rows, columns, stride, spare) for _ in range(layers)]
        super().__init__(layers=list(self.slabs))

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args, **kwargs
    ) -> tuple[Tensor, Tensor]:
        return self.slabs[layer_idx].update(key_states, value_states)

    def tensors(self) -> list[Tensor]:
        """Each layer's keys and values, [rows, heads, width, head size]."""
        return [tensor for slab in self.slabs for tensor in slab.pair()]

    def adopt(self, prompts: SlabCache, index: Tensor, first: int, end: int) -> None:
        """Rows ``first`` and on become copies of the prompts' rows ``index``, ending before column ``end``."""
        rows, columns = slice(first, first + len(index)), slice(end - prompts.get_seq_length(), end)
        for slab, prompt in zip(self.slabs, prompts.slabs, strict=True):
            if not slab.is_initialized:
                slab.lazy_initialization(*prompt.pair())
            if end > slab.width:
                slab.lay_out(first, end)
            for own, others in zip(slab.pair(), prompt.pair(), strict=True):
                own[rows, :, : columns.start] = 0  # a masked column still enters sums as 0 * its value
                own[rows, :, columns] = others[index]
            slab.length = end

    def drop_columns(self, rows: int, count: int) -> None:
        """Move the first ``rows`` rows ``count`` columns to the left."""
        for slab in self.slabs:
            slab.lay_out(rows, slab.length - count + 1, drop=count)


def plain_layers(model) -> int:
    """How many layers of keys and values the model's cache has.

    Raises:
        ValueError: if the model keeps another state (recurrent, convolutional, compressed, shared between layers):
            such a state cannot be cut and moved by rows and columns.
    """
    config = model.config.get_text_config(decoder=True)
    layers = DynamicCache(config=config).layers
    others = sorted(
        {type(layer).__name__ for layer in layers} - {DynamicLayer.__name__, DynamicSlidingWindowLayer.__name__}
    )
    if others or not layers or model.config.is_encoder_decoder:
        raise ValueError(
            f"sampler=native: {type(model).__name__} keeps more than keys and values ({', '.join(others) or 'no decoder cache'}); "
            "use sampler=hf"
        )
    return len(layers)
