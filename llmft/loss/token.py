"""The policy-gradient loss of a token, by who wrote it: LUFFY's, ExGRPO's and, with nothing reshaped, GRPO's."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple, TypedDict

import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor

from llmft.config import Why
from llmft.loss.policy import clipped, clipped_surrogate
from llmft.loss.shapes import require_same_shape
from llmft.loss.shaping import Shape, Shaping

Gamma = Annotated[float, Gt(0), Why("x/(x+gamma) is 1 for any ratio x with 0, and no shape with less; LUFFY has 0.1")]
Power = Annotated[float, Gt(0), Why("x^0 is 1 for any ratio x, and has no gradient; use more than 0, for instance 0.5")]
Probability = Annotated[float, Interval(gt=0, le=1), Why("it is a probability; use more than 0 and at most 1, or null")]


class Bounds(TypedDict):
    clip_low: float
    clip_high: float
    clip_dual: float | None


class Priced(NamedTuple):
    """What each token costs, and what became of its ratio."""

    loss: Tensor  # [B, T] unmasked and unreduced
    ratio: Tensor  # [B, T] reshaped; no gradient
    cut: Tensor  # [B, T] 1.0 where clipping cut the gradient, or one of off_min and off_max did; no gradient


class TokenLoss:
    """``-A·f``, where ``f`` is the ratio, reshaped (see `llmft.loss.shaping`).

    A token that the policy wrote has the clipped surrogate. One by somebody else is never clipped: the policy begins
    far from its author, where that would cut the gradient of most. Its ratio is ``π`` over the author's probability,
    which is 1 where that is not known (LUFFY, https://arxiv.org/abs/2504.14945), and the policy's own of the time it
    was written in a replay (ExGRPO, https://arxiv.org/abs/2510.02245).

    Args:
        off_reshape: ``f`` of tokens that somebody else wrote, and
        off_gamma: its constant where it is ``gamma``,
        off_weight: where it is ``logp`` or ``p_logp``, and
        off_power: where it is ``pow``.
        off_min: ``f`` is no less, and has no gradient where it would be; None for no bound.
        off_max: likewise, no more.
        off_policy_weight: multiplies the advantage of tokens that somebody else wrote (LUFFY's prefix_reward_weight_alpha).
        on_reshape: ``f`` of tokens that the policy wrote, and
        on_gamma: its constants, as above,
        on_weight: where it is ``p_logp``, and
        on_power: where it is ``pow``.
        on_policy_weight: multiplies the advantage of tokens that the policy wrote (prefix_reward_weight_beta).
        all_max: leave out every token that the policy writes with a greater probability, whoever wrote it, also from
            the number of tokens that the loss is averaged over; None for none (LUFFY's all_max_clip).
        clip: whether the algorithm's bounds of the ratio hold: always, never, or in the steps whose groups the guidance
            adds nothing to (ExGRPO's warm-up).
        sft_coef: weight of the negative log-likelihood of what others wrote, which is then no part of the policy loss
            (the paper's "RL with SFT loss"); 0 for none.
    """

    def __init__(
        self,
        *,
        off_reshape: Shape,
        off_gamma: Gamma,
        off_weight: float,
        off_power: Power,
        off_min: float | None,
        off_max: float | None,
        off_policy_weight: Annotated[float, Ge(0)],
        on_reshape: Shape,
        on_gamma: Gamma,
        on_weight: float,
        on_power: Power,
        on_policy_weight: Annotated[float, Ge(0)],
        all_max: Probability | None,
        clip: Literal["always", "unguided", "never"],
        sft_coef: Annotated[float, Ge(0)],
    ) -> None:
        self.off = Shaping(off_reshape, off_gamma, off_weight, off_power)
        self.on = Shaping(on_reshape, on_gamma, on_weight, on_power)
        self.off_bounds = {"min": off_min, "max": off_max}
        self.weights = off_policy_weight, on_policy_weight  # of the advantage, by author
        self.all_max, self.clip, self.sft_coef = all_max, clip, sft_coef

    def clips(self, *, guided: bool) -> bool:
        """Are the ratios of a step clipped, whose groups the guidance might or might not add to?"""
        return self.clip == "always" or (self.clip == "unguided" and not guided)

    def __call__(
        self,
        logp: Tensor,
        logp_old: Tensor,
        advantage: Tensor,
        off_policy: Tensor,
        log_ratio: Tensor,
        bounds: Bounds | None,
    ) -> Priced:
        """The loss of each token.

        Args:
            logp: [B, T] log-probability under the policy being trained, nats.
            logp_old: [B, T] the same under the author, 0 where that is not known; no gradient.
            advantage: [B, T] credit; no gradient.
            off_policy: [B, T] bool, tokens that somebody else wrote.
            log_ratio: [B, T] of the policy's own tokens (see `llmft.loss.ratio`), nats.
            bounds: what clipping goes by; None to clip nothing.
        """
        require_same_shape(
            logp=logp, logp_old=logp_old, advantage=advantage, off_policy=off_policy, log_ratio=log_ratio
        )
        logp_old, (theirs, mine) = logp_old.detach(), self.weights
        weighed = advantage.detach() * torch.where(off_policy, advantage.new_tensor(theirs), advantage.new_tensor(mine))
        raw = self.off.others(logp - logp_old, logp)
        off = raw.clamp(**self.off_bounds) if any(bound is not None for bound in self.off_bounds.values()) else raw
        on = self.on.own(log_ratio, logp, logp_old)
        own = -on * weighed if bounds is None else clipped_surrogate(on, weighed, **bounds)
        loss = torch.where(off_policy, -off * weighed, own)
        if self.all_max is not None:
            loss = loss * self.kept(logp)
        with torch.no_grad():
            cut = torch.zeros_like(loss)
            if bounds is not None:
                cut = clipped(on, weighed, clip_low=bounds["clip_low"], clip_high=bounds["clip_high"])
            cut = torch.where(off_policy, (off != raw).to(cut), cut)
            return Priced(loss, torch.where(off_policy, off, on), cut)

    def kept(self, logp: Tensor) -> Tensor:
        """[B, T] bool, the tokens that ``all_max`` leaves in; no gradient."""
        return torch.ones_like(logp, dtype=torch.bool) if self.all_max is None else logp.detach().exp() <= self.all_max
