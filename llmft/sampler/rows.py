"""The rows that are being written: their tokens, their cache, and how rows enter and leave without waiting for each other.

All rows share one *column*, the next to be written. A row that enters late is placed so that its prompt ends just before
that column; what lies to the left of its prompt is masked. A row that leaves is replaced by the last one, so the live
rows are always the first ones and a view of them is free.

    column:      0 1 2 3 4 5 6 7 8
    row 0        P P P P a b c d .      start 0, begin 4
    row 1        - - - P P e f g .      start 3, begin 5, entered one step later
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from llmft.sampler.cache import SlabCache

NOTHING = -1  # no token id, so that what an earlier row left is never taken for an end token


@dataclass(slots=True)
class Row:
    """One completion that is being written."""

    prompt: int  # index of the prompt in the call
    completion: int  # index among the completions of that prompt
    start: int  # column of the prompt's first token
    begin: int  # column of the completion's first token
    over: bool = False  # it has ended; what it writes from now on counts for nothing
    stopped: int | None = None  # after how many tokens a stop string was complete


class Rows:
    """At most ``capacity`` rows. ``len(rows)`` of them are live, in the slots 0 and on."""

    def __init__(
        self, cache: SlabCache, capacity: int, columns: int, max_new_tokens: int, device: torch.device
    ) -> None:
        self.cache, self.capacity, self.columns, self.max_new_tokens = cache, capacity, columns, max_new_tokens
        self.live: list[Row] = []
        self.column = 0
        # A row may begin in the last column of the cache, and its uniform numbers are laid down when it enters.
        shape = (capacity, columns + max_new_tokens)
        self.tokens = torch.full(shape, NOTHING, dtype=torch.int64, device=device)
        self.logps = torch.zeros(shape, dtype=torch.float64, device=device)
        self.uniform = torch.zeros(shape, dtype=torch.float64, device=device)
        self.mask = torch.zeros(shape, dtype=torch.int64, device=device)  # 1 from the row's start on
        self.starts = torch.zeros(capacity, dtype=torch.int64, device=device)

    def __len__(self) -> int:
        return len(self.live)

    @property
    def padded(self) -> bool:
        """Does any row start behind column 0?"""
        return any(row.start for row in self.live)

    def expired(self) -> list[int]:
        """The slots of rows that have written all the tokens they may."""
        limit = self.column - self.max_new_tokens
        return [slot for slot, row in enumerate(self.live) if row.begin <= limit]

    def enter(self, prompts: SlabCache, index: Tensor, rows: Sequence[tuple[int, int, int]], uniform: Tensor) -> slice:
        """Let rows in, each a copy of a prompt's cache. Returns their slots; their first token is yet to be written.

        Args:
            prompts: the cache of left-padded prompts.
            index: [rows] which of those prompts each row continues.
            rows: (prompt, completion, length of the prompt) of each.
            uniform: [rows, max_new_tokens] the numbers that draw its tokens.
        """
        width = prompts.get_seq_length()
        begin = self.column - 1 if self.live else width
        assert width <= begin, "a later prompt is longer than every live row"
        slots = slice(len(self.live), len(self.live) + len(rows))
        self.cache.adopt(prompts, index, slots.start, begin)
        self.live += [Row(prompt, completion, begin - length, begin) for prompt, completion, length in rows]
        self.tokens[slots] = NOTHING
        self.uniform[slots, begin : begin + self.max_new_tokens] = uniform
        starts = torch.tensor([row.start for row in self.live[slots]], device=self.starts.device)
        self.starts[slots] = starts
        self.mask[slots] = torch.arange(self.mask.shape[1], device=starts.device) >= starts[:, None]
        self.column = begin + 1
        return slots

    def write(self, slots: slice, tokens: Tensor, logps: Tensor) -> None:
        """The tokens [slots] of the newest column, and their log-probabilities."""
        self.tokens[slots, self.column - 1] = tokens
        self.logps[slots, self.column - 1] = logps

    def advance(self) -> None:
        """Open a column, first making room where none is left."""
        if self.column == self.columns:
            self._drop_columns(min(row.start for row in self.live))
        self.column += 1

    def leave(self, slots: Sequence[int]) -> list[tuple[Row, list[int], list[float]]]:
        """Take rows out, with the tokens and log-probabilities they wrote (to the newest column or to their limit)."""
        index = torch.tensor(slots, device=self.tokens.device)
        tokens, logps = self.tokens[index, : self.column].tolist(), self.logps[index, : self.column].tolist()
        taken = []
        for slot, ids, values in zip(slots, tokens, logps, strict=True):
            row = self.live[slot]
            end = row.begin + self.max_new_tokens
            taken.append((row, ids[row.begin : end], values[row.begin : end]))
        self._close_gaps(set(slots))
        return taken

    def _close_gaps(self, gone: set[int]) -> None:
        """Move the last rows into the slots of those that left: what stays where it is costs nothing."""
        left = len(self.live) - len(gone)
        holes = [slot for slot in sorted(gone) if slot < left]
        movers = [slot for slot in range(left, len(self.live)) if slot not in gone]
        written = self.cache.get_seq_length()
        for hole, mover in zip(holes, movers, strict=True):
            for tensor in (self.tokens, self.logps, self.uniform, self.mask, self.starts):
                tensor[hole].copy_(tensor[mover])
            for tensor in self.cache.tensors():
                tensor[hole, :, :written].copy_(tensor[mover, :, :written])
            self.live[hole] = self.live[mover]
        del self.live[left:]

    def _drop_columns(self, count: int) -> None:
        """Move everything ``count`` columns to the left, over columns that no live row uses."""
        assert count > 0, "the cache is too narrow for a live row"
        live = len(self.live)
        for tensor in (self.tokens, self.logps, self.uniform, self.mask):
            tensor[:live, :-count] = tensor[:live, count:].clone()
        self.cache.drop_columns(live, count)
        self.starts[:live] -= count
        self.column -= count
        for row in self.live:
            row.start -= count
            row.begin -= count
