"""The rows that are being written: their tokens, their cache, and how rows enter, part and leave without waiting.

Completions of one prompt that have drawn the same tokens so far are one row: what comes next is computed once for all of
them, each draws with its own numbers, and those that draw another token part from the row with a copy of its cache. A
policy that is sure of most of its tokens, as one trained on verifiable tasks soon is, computes a fraction of the rows.

All rows share one *column*, the next to be written. A row that enters late is placed so that its prompt ends just before
that column; what lies to the left of its prompt is masked. A row that leaves is replaced by the last one, so the live
rows are always the first ones and a view of them is free.

    column:      0 1 2 3 4 5 6 7 8
    row 0        P P P P a b c d .      start 0, begin 4, two completions
    row 1        - - - P P e f g .      start 3, begin 5, entered one step later
    row 2        P P P P a b h i .      parted from row 0 where it drew h instead of c
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from llmft.sampler.draw import draw
from llmft.types import Sampling

if TYPE_CHECKING:
    from llmft.sampler.cache import SlabCache

NOTHING = -1  # no token id, so that what an earlier row left is never taken for an end token


@dataclass(slots=True)
class Row:
    """What one or more completions of a prompt have written so far."""

    prompt: int  # index of the prompt in the call
    completions: list[int]  # indices among the completions of that prompt
    places: list[int]  # of each, in the table of uniform numbers
    start: int  # column of the prompt's first token
    begin: int  # column of the completion's first token
    limit: int  # tokens that the completion may have
    over: bool = False  # it has ended; what it writes from now on counts for nothing
    stopped: int | None = None  # after how many tokens a stop string was complete


class Rows:
    """Rows for at most ``capacity`` completions. ``len(rows)`` of them are live, in the slots 0 and on."""

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
        self.mask = torch.zeros(shape, dtype=torch.int64, device=device)  # 1 from the row's start on
        self.starts = torch.zeros(capacity, dtype=torch.int64, device=device)
        self.uniform = torch.zeros(shape, dtype=torch.float64, device=device)  # of each completion, not of each row
        self.free = list(range(capacity))[::-1]  # places in it
        self.drawing: Tensor | None = None  # what `_places` gave for all live rows, until they change

    def __len__(self) -> int:
        return len(self.live)

    @property
    def padded(self) -> bool:
        """Does any row start behind column 0?"""
        return any(row.start for row in self.live)

    def expired(self) -> list[int]:
        """The slots of rows that have written all the tokens they may."""
        return [slot for slot, row in enumerate(self.live) if row.begin + row.limit <= self.column]

    def enter(
        self, prompts: SlabCache, index: Tensor, rows: Sequence[tuple[int, list[int], int, int]], uniform: Tensor
    ) -> slice:
        """Let rows in, each a copy of a prompt's cache. Returns their slots; their first token is yet to be written.

        Args:
            prompts: the cache of left-padded prompts.
            index: [rows] which of those prompts each row continues.
            rows: (prompt, completions, length of the prompt, tokens that they may have) of each.
            uniform: [completions, max_new_tokens] the numbers that draw their tokens, in the order of the rows.
        """
        width = prompts.get_seq_length()
        begin = self.column - 1 if self.live else width
        assert width <= begin, "a later prompt is longer than every live row"
        slots, self.drawing = slice(len(self.live), len(self.live) + len(rows)), None
        self.cache.adopt(prompts, index, slots.start, begin)
        for prompt, completions, length, limit in rows:
            places = [self.free.pop() for _ in completions]
            self.live.append(Row(prompt, completions, places, begin - length, begin, limit))
        self.uniform[self._places(slots), begin : begin + self.max_new_tokens] = uniform
        self.tokens[slots] = NOTHING
        starts = self._tensor([row.start for row in self.live[slots]])
        self.starts[slots] = starts
        self.mask[slots] = torch.arange(self.mask.shape[1], device=starts.device) >= starts[:, None]
        self.column = begin + 1
        return slots

    def draw(self, slots: slice, logits: Tensor, sampling: Sampling) -> slice:
        """Write a token of the newest column for each completion of ``slots``, of whose rows ``logits`` [slots, V] are.

        Returns:
            ``slots`` and those of the rows that parted from them.
        """
        rows, places, newest = self.live[slots], self._places(slots), self.column - 1
        together = len(places) > len(rows)
        if together:
            logits = logits[self._tensor([index for index, row in enumerate(rows) for _ in row.places])]
        tokens, logps = draw(logits, self.uniform[places, newest], sampling)
        if together:
            first = self._tensor(self._part(slots, tokens.tolist()))
            tokens, logps, slots = tokens[first], logps[first], slice(slots.start, len(self.live))
        self.tokens[slots, newest] = tokens
        self.logps[slots, newest] = logps
        return slots

    def _part(self, slots: slice, drawn: Sequence[int]) -> list[int]:
        """Have completions that drew another token than the first of their row leave it for a new row.

        ``drawn`` are the tokens of all completions of ``slots``. Returns which of them each row is to write, the rows of
        ``slots`` first and then the new ones, which are the last of the live ones.
        """
        assert slots.stop == len(self.live), "new rows follow those that they part from"
        stay, gone, parents, begin = [], [], [], 0
        for slot in range(slots.start, slots.stop):
            row = self.live[slot]
            by_token: dict[int, list[int]] = {}
            for index in range(len(row.places)):
                by_token.setdefault(drawn[begin + index], []).append(index)
            mine, *others = by_token.values() if not row.over else [range(len(row.places))]
            stay.append(begin)
            for indices in others:
                gone.append(begin + indices[0])
                parents.append(slot)
                self.live.append(_share(row, indices))
            if others:
                self.live[slot] = _share(row, mine)
            begin += len(row.places)
        if parents:
            self._copy(self._tensor(parents), slots.stop)
            self.drawing = None
        return stay + gone

    def _places(self, slots: slice) -> Tensor:
        """Of the completions of ``slots`` in turn; made anew only when those of all live rows have changed."""
        if slots.start or self.drawing is None:
            places = self._tensor([place for row in self.live[slots] for place in row.places])
            self.drawing = None if slots.start else places
            return places
        return self.drawing

    def _copy(self, parents: Tensor, first: int) -> None:
        """What the rows in the slots ``parents`` hold, also for the slots ``first`` and on."""
        slots, written = slice(first, first + len(parents)), self.cache.get_seq_length()
        for tensor in (self.tokens, self.logps, self.mask, self.starts):
            tensor[slots] = tensor[parents]
        for tensor in self.cache.tensors():
            tensor[slots, :, :written] = tensor[parents, :, :written]

    def _tensor(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self.tokens.device)

    def advance(self) -> None:
        """Open a column, first making room where none is left."""
        if self.column == self.columns:
            self._drop_columns(min(row.start for row in self.live))
        self.column += 1

    def leave(self, slots: Sequence[int]) -> list[tuple[Row, list[int], list[float]]]:
        """Take rows out, with the tokens and log-probabilities they wrote (to the newest column or to their limit)."""
        index, self.drawing = self._tensor(slots), None
        tokens, logps = self.tokens[index, : self.column].tolist(), self.logps[index, : self.column].tolist()
        taken = []
        for slot, ids, values in zip(slots, tokens, logps, strict=True):
            row = self.live[slot]
            self.free += row.places
            end = row.begin + row.limit
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
            for tensor in (self.tokens, self.logps, self.mask, self.starts):
                tensor[hole].copy_(tensor[mover])
            for tensor in self.cache.tensors():
                tensor[hole, :, :written].copy_(tensor[mover, :, :written])
            self.live[hole] = self.live[mover]
        del self.live[left:]

    def _drop_columns(self, count: int) -> None:
        """Move everything ``count`` columns to the left, over columns that no live row uses."""
        assert count > 0, "the cache is too narrow for a live row"
        live = len(self.live)
        for tensor in (self.tokens, self.logps, self.mask):
            tensor[:live, :-count] = tensor[:live, count:].clone()
        self.uniform[:, :-count] = self.uniform[:, count:].clone()
        self.cache.drop_columns(live, count)
        self.starts[:live] -= count
        self.column -= count
        for row in self.live:
            row.start -= count
            row.begin -= count


def _share(row: Row, indices: Sequence[int]) -> Row:
    """The row for some of its completions only."""
    completions, places = ([of[index] for index in indices] for of in (row.completions, row.places))
    return replace(row, completions=completions, places=places)
