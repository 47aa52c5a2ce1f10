"""Reshaping the ratio of a token, so that what is rare in a good response is not what is learned last.

The loss of a token is ``-A·f``. With ``x = π/π_author`` and ``u = log x``, and ``π`` the policy's probability now:

| shape         | ``f``, somebody else wrote it | ``f``, the policy wrote it       | derivative by ``log π``       |
|---------------|-------------------------------|----------------------------------|-------------------------------|
| `none`        | ``x``                         | ``x``                            | ``x``                         |
| `logp`        | ``weight·log π``              | ``u``                            | ``weight``, or 1              |
| `p_logp`      | ``x + weight·log π``          | ``x + weight·u``                 | ``x + weight``                |
| `square_root` | ``√x``                        | ``√x``                           | ``√x/2``                      |
| `pow`         | ``x^power``                   | ``x^power``                      | ``power·x^power``             |
| `gamma`       | ``x/(x+gamma)``               | ``[π/(π+gamma)]/[q/(q+gamma)]``  | ``gamma·x/(x+gamma)²``, or ``f·gamma/(π+gamma)`` |

where ``q`` is the probability that the policy wrote the token with. `gamma` is LUFFY's policy shaping
(https://arxiv.org/abs/2504.14945, section 3.3): with ``x`` in place of ``f`` the gradient of a token is in proportion to
its probability, and the steps of an expert that the policy would never take are learned least; with `gamma` the
gradient is greatest, ¼, at ``x = gamma``. `logp` and `p_logp` have the logarithm of the probability for a token by
somebody else, also where its author's probability is known, as LUFFY's and ExGRPO's code have.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Shape = Literal["none", "logp", "p_logp", "square_root", "pow", "gamma"]


class Shaping(NamedTuple):
    """A shape with its constants; each is read by the shapes that the table above has it in, and by no other."""

    shape: Shape
    gamma: float
    weight: float
    power: float

    def others(self, log_ratio: Tensor, logp: Tensor) -> Tensor:
        """[B, T] ``f`` of tokens that somebody else wrote, of ``u`` and ``log π``, [B, T] each."""
        if self.shape == "logp":
            return self.weight * logp
        if self.shape == "gamma":
            return self._saturated(log_ratio)
        return self._plain(log_ratio, logp)

    def own(self, log_ratio: Tensor, logp: Tensor, logp_old: Tensor) -> Tensor:
        """[B, T] ``f`` of tokens that the policy wrote, of ``u``, ``log π`` and ``log q``, [B, T] each."""
        if self.shape == "logp":
            return log_ratio
        if self.shape == "gamma":
            return self._saturated(logp) / self._saturated(logp_old)
        return self._plain(log_ratio, log_ratio)

    def _plain(self, log_ratio: Tensor, added: Tensor) -> Tensor:
        power = {"square_root": 0.5, "pow": self.power}.get(self.shape, 1.0)
        ratio = torch.exp(log_ratio if power == 1.0 else power * log_ratio)
        return ratio + self.weight * added if self.shape == "p_logp" else ratio

    def _saturated(self, log_x: Tensor) -> Tensor:
        """``x/(x+gamma)``, which overflows for no ``x``."""
        return torch.sigmoid(log_x - math.log(self.gamma))
