"""Our own decode loop over any transformers causal model, through the model's own forward.

Against ``generate()`` it computes once what completions have in common, the prompt and all tokens up to where they part,
lets finished rows leave the batch at once and waiting ones enter, writes keys and values in place, asks for the logits of
one position only, and does nothing else between two forward passes than draw the tokens. It knows no architecture: what
it needs of a model is a forward that takes ``past_key_values`` and a state made of keys and values.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import Tensor

from llmft.protocols import Policy, Tokens
from llmft.sampler.finish import completion
from llmft.sampler.mode import rooms, sampling_mode, spread
from llmft.sampler.rows import Rows
from llmft.sampler.stop import Watches
from llmft.sampler.streams import uniforms
from llmft.types import Completion, Sampling

LEAVE_SHARE = 32  # rows leave together once they are this part of the live ones: moving the others has a price, too
LOOK_EVERY = 16  # steps between two looks at which rows ended, on a device where a look makes the host wait for it


class Native:
    """Completions by our own loop over the policy's forward.

    Args:
        max_rows: completions written at once; the memory of the cache grows with it. More wait for a place.
        policy: with ``.model``, a transformers causal model, adapters and quantization included.
        tokens: for the end token and, where stop strings are given, the text.

    Raises:
        ValueError: if the model keeps another state than keys and values.
    """

    def __init__(self, *, max_rows: Annotated[int, Ge(1)], policy: Any, tokens: Tokens) -> None:
        from llmft.sampler.cache import plain_layers

        self.max_rows, self.policy, self.tokens = max_rows, policy, tokens
        self.layers = plain_layers(policy.model)

    def sync(self, policy: Policy, version: int) -> None:
        """Nothing: it samples from the live weights."""

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        n: int | Sequence[int],
        sampling: Sampling,
        streams: Sequence[int],
        limits: Sequence[int] | None = None,
    ) -> list[list[Completion]]:
        """See `llmft.protocols.Sampler`. Raises ValueError if prompt and completion exceed the model's positions."""
        counts = spread(prompts, n, streams)
        if not sum(counts):
            return [[] for _ in prompts]
        allowed = rooms(self.policy.model, prompts, sampling, limits)
        with sampling_mode(self.policy):
            written = Loop(self, prompts, counts, sampling, streams, allowed).run()
        return [[written[prompt, j] for j in range(count)] for prompt, count in enumerate(counts)]


class Loop:
    """One call of `Native.generate`: a queue of completions, the rows being written, and what is done."""

    def __init__(
        self,
        native: Native,
        prompts: Sequence[Sequence[int]],
        counts: Sequence[int],
        sampling: Sampling,
        streams: Sequence[int],
        limits: Sequence[int],
    ) -> None:
        from llmft.sampler.cache import SlabCache

        self.cache_type, self.layers = SlabCache, native.layers
        self.forward = Forward(native.policy.model)
        self.prompts, self.sampling, self.streams, self.tokens = prompts, sampling, streams, native.tokens
        self.limits, self.longest = limits, max(limits)
        self.device = native.policy.device
        # Longest prompts first: a row that enters later then always finds room to the left of the shared column.
        order = sorted((i for i in range(len(prompts)) if counts[i]), key=lambda i: -len(prompts[i]))
        self.queue = deque((i, j) for i in order for j in range(counts[i]))
        capacity, span = min(native.max_rows, len(self.queue)), len(prompts[order[0]]) + self.longest
        columns = span if capacity == len(self.queue) else span + span // 4 + 1
        stride = 4 if self.device.type == "cpu" else columns
        cache = SlabCache(native.layers, capacity, columns, stride)
        self.rows = Rows(cache, capacity, columns, self.longest, self.device)
        self.watches = Watches(sampling.stop, native.tokens.text) if sampling.stop else None
        self.patience = 1 if self.device.type == "cpu" or sampling.stop else LOOK_EVERY
        # To part they are looked at in every step; and a text that is watched for stop strings is one completion's.
        self.together = self.device.type == "cpu" and not sampling.stop
        self.looked = 0  # the column up to which end tokens have been looked for
        self.done: dict[tuple[int, int], Completion] = {}

    def run(self) -> dict[tuple[int, int], Completion]:
        """Every completion, by (prompt, number)."""
        while self.queue or self.rows:
            free = len(self.rows.free)
            # Entering costs a forward pass over prompts: worth it for a quarter of the rows, or when nothing else is left.
            if self.queue and (free * 4 >= self.rows.capacity or not self.rows):
                slots = self._admit(free)
            else:
                slots = self._step()
            self._retire(slots)
        return self.done

    def _admit(self, free: int) -> slice:
        """Compute waiting prompts once each, let their completions in and draw their first tokens."""
        batch = [self.queue.popleft() for _ in range(min(free, len(self.queue)))]
        chosen = list(dict.fromkeys(prompt for prompt, _ in batch))
        lengths = {prompt: len(self.prompts[prompt]) for prompt in chosen}
        width = max(lengths.values())
        cache = self.cache_type(self.layers, len(chosen), width, width)
        logits = self.forward.prompts(
            [self.prompts[prompt] for prompt in chosen], cache, self.tokens.pad_id, self.device
        )
        place = {prompt: index for index, prompt in enumerate(chosen)}
        rows = [(prompt, [j]) for prompt, j in batch]
        if self.together:
            rows = [(prompt, [j for _, j in group]) for prompt, group in groupby(batch, key=itemgetter(0))]
        index = torch.tensor([place[prompt] for prompt, _ in rows], device=self.device)
        numbers = uniforms([self.streams[prompt] for prompt, _ in batch], [j for _, j in batch], self.longest)
        uniform = torch.from_numpy(numbers).to(self.device)
        entering = [(prompt, mine, lengths[prompt], self.limits[prompt]) for prompt, mine in rows]
        slots = self.rows.enter(cache, index, entering, uniform)
        slots = self.rows.draw(slots, logits[index], self.sampling)
        self.looked = min(self.looked, self.rows.column - 1)
        return slots

    def _step(self) -> slice:
        """One more token for each live row."""
        rows, slots = self.rows, slice(0, len(self.rows))
        before = rows.column
        rows.advance()
        self.looked -= before + 1 - rows.column  # columns may have moved to the left
        newest = rows.column - 1
        mask, positions = None, None
        if rows.padded:
            mask, positions = rows.mask[slots, :newest], newest - 1 - rows.starts[slots, None]
        logits = self.forward(rows.tokens[slots, newest - 1 : newest], rows.cache, mask, positions)
        return rows.draw(slots, logits, self.sampling)

    def _retire(self, slots: slice) -> None:
        """Take out the rows that ended, once they are enough to be worth it; ``slots`` have just written a token."""
        rows = self.rows
        expired = rows.expired()
        if expired or rows.column - self.looked >= self.patience:
            ended = rows.tokens[: len(rows), self.looked : rows.column] == self.tokens.eos_id
            if ended.any():
                for slot in ended.any(dim=1).nonzero().flatten().tolist():
                    rows.live[slot].over = True
            self.looked = rows.column
        self._watch(slots)
        over = [slot for slot, row in enumerate(rows.live) if row.over]
        if expired or len(over) * LEAVE_SHARE >= len(rows):
            for row, ids, logps in rows.leave(sorted({*over, *expired})):
                where = f"completion {row.completions[0]} of prompt {row.prompt}"
                written = completion(ids, logps, self.tokens.eos_id, row.stopped, where)
                self.done.update({(row.prompt, number): written for number in row.completions})

    def _watch(self, slots: slice) -> None:
        """Show the text that ``slots`` have just written to the watches for stop strings."""
        if self.watches is None:
            return
        newest = self.rows.column - 1
        tokens = self.rows.tokens[slots, newest].tolist()
        for row, token in zip(self.rows.live[slots], tokens, strict=True):
            if not row.over and self.watches.write((row.prompt, row.completions[0]), token):
                row.over, row.stopped = True, newest - row.begin + 1


class Forward:
    """A model's forward, asked for the last position's logits only, with the arguments that its signature has."""

    def __init__(self, model: Any) -> None:
        self.model = model
        base = model.get_base_model() if hasattr(model, "get_base_model") else model  # an adapter hides the signature
        accepted = inspect.signature(base.forward).parameters
        self.positions = "position_ids" in accepted
        self.constant: dict[str, Any] = {"use_cache": True, "return_dict": True}
        if "logits_to_keep" in accepted:
            self.constant["logits_to_keep"] = 1

    def __call__(self, ids: Tensor, cache: Any, mask: Tensor | None, positions: Tensor | None) -> Tensor:
        """[B, V] logits after ids [B, T]. Without a mask [B, columns] all columns count; positions follow the cache."""
        given = dict(self.constant)
        if positions is not None and self.positions:
            given["position_ids"] = positions
        return self.model(input_ids=ids, attention_mask=mask, past_key_values=cache, **given).logits[:, -1]

    def prompts(self, prompts: Sequence[Sequence[int]], cache: Any, pad_id: int, device: torch.device) -> Tensor:
        """[prompts, V] logits after whole prompts, which are padded on the left to the longest."""
        width = max(len(prompt) for prompt in prompts)
        starts = torch.tensor([[width - len(prompt)] for prompt in prompts], device=device)
        ids = torch.tensor([[pad_id] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=device)
        columns = torch.arange(width, device=device)
        if all(len(prompt) == width for prompt in prompts):
            return self(ids, cache, None, None)
        return self(ids, cache, (columns >= starts).long(), (columns - starts).clamp(min=0))
