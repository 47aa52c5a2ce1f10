"""Which of a question's trajectories is met again: the one that the policy of now is surest of, ExGRPO section 4.2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from llmft.protocols import Policy
from llmft.types import Batch

Choice = Literal["entropy", "entropy_original", "perplexity", "random"]
CHUNK = 8  # trajectories that the published code measures together


class Scored(NamedTuple):
    """One trajectory under the policy of now, from the prompt's second token on; [P-1+T] each, float64."""

    logps: Tensor
    entropies: Tensor
    prompt: int  # P, tokens of the prompt

    @property
    def response_logps(self) -> Tensor:
        return self.logps[self.prompt - 1 :]

    @property
    def response_entropies(self) -> Tensor:
        return self.entropies[self.prompt - 1 :]


@torch.no_grad()
def score_trajectories(
    policy: Policy, prompt: Sequence[int], responses: Sequence[Sequence[int]], *, temperature: float, rows: int
) -> list[Scored]:
    """The trajectories of one question, in passes of ``rows``: what else is asked for has no part in the numbers."""
    scored: list[Scored] = []
    for start in range(0, len(responses), rows):
        some = [torch.tensor([*prompt, *one]) for one in responses[start : start + rows]]
        batch = _batch(some)
        logps, entropies = policy.scores(batch.to(policy.device), temperature=temperature, entropy="value")
        assert entropies is not None, "they were asked for"
        for row, one in enumerate(some):
            places = slice(1, len(one))  # nothing predicts the first token
            scored.append(Scored(logps[row, places].double().cpu(), entropies[row, places].double().cpu(), len(prompt)))
    return scored


class Chooser:
    """Compares a question's trajectories.

    Args:
        what: they are compared by, under the weights of now and at temperature 1.
        pick: the lowest or the highest; the first of equal ones.
        longest: tokens of a response.
        rows: of one forward pass.
    """

    def __init__(self, what: Choice, pick: Literal["lowest", "highest"], longest: int, rows: int) -> None:
        self.what, self.pick, self.longest, self.rows = what, min if pick == "lowest" else max, longest, rows

    def choose(
        self, policy: Policy, prompt: Sequence[int], responses: Sequence[Sequence[int]], masks: Sequence[int]
    ) -> int:
        """The place of the chosen one. ``masks`` are `original_masks` of them, for ``entropy_original``."""
        if len(responses) == 1:
            return 0
        scored = score_trajectories(policy, prompt, responses, temperature=1.0, rows=self.rows)
        if self.what == "entropy_original":
            masked = zip(scored, masks, strict=True)
            values = [original_entropy(one.entropies, width=self.longest, masked=mask) for one, mask in masked]
        else:
            values = [perplexity(one) if self.what == "perplexity" else mean_entropy(one) for one in scored]
        return values.index(self.pick(values))


def mean_entropy(scored: Scored) -> float:
    """Over the tokens of the response, nats: the paper's."""
    return float(scored.response_entropies.mean())


def perplexity(scored: Scored) -> float:
    """Of the response."""
    return math.exp(-float(scored.response_logps.mean()))


def original_entropy(entropies: Tensor, *, width: int, masked: int) -> float:
    """What the published code takes for the mean entropy of a response.

    Its entropies are at the right of a row of ``width`` columns, after those of the prompt; its mask is that of a
    response at the left of such a row, inverted. So the first ``masked`` columns are left out, and what stands in the
    others is summed and divided by their number: short responses win, whatever their entropy.

    Args:
        entropies: [N] of prompt and response, nats.
        width: tokens of the longest response that the run allows.
        masked: tokens of a response; the code takes another one's, see `original_masks`.
    """
    columns = width - masked  # at the right end, with the last of the entropies in the last of them
    return float(entropies[max(len(entropies) - columns, 0) :].sum()) / columns if columns > 0 else 0.0


def original_masks(lengths: Sequence[int]) -> list[int]:
    """For each trajectory of a step, in their order, the length that the published code masks with.

    It measures ``CHUNK`` trajectories together, the last ones filled up with rows of padding, and then looks up the
    i-th one's mask in the last chunk, as its row ``i mod CHUNK``.
    """
    begin = max(len(lengths) - 1, 0) // CHUNK * CHUNK
    last = [*lengths[begin:], *[0] * CHUNK][:CHUNK]
    return [last[place % CHUNK] for place in range(len(lengths))]


def _batch(rows: Sequence[Tensor]) -> Batch:
    """Whole rows, each of whose tokens but the first is to be scored."""
    length = torch.tensor([len(row) for row in rows])
    tokens = pad_sequence(list(rows), batch_first=True)
    column = torch.arange(tokens.shape[1])
    scored = ((column > 0) & (column < length[:, None])).float()
    nothing = torch.zeros_like(scored)
    return Batch(tokens, length, nothing, nothing, scored > 1, scored)
