"""The weight of the entropy bonus: a constant, or steered so that entropy stays near a target."""

from __future__ import annotations

import math

from llmft.protocols import State

DECAYS, EPSILON = (0.9, 0.999), 1e-8  # Adam's
LEAST_ENTROPY = 1e-6  # nats; what is divided by


class EntropyCoefficient:
    """``value`` times the entropy is subtracted from the loss; `adapt` is told the entropy after each update.

    Without a target the value never changes. With one, the two ways of LUFFY's ``use_adaptive_temperature``:

    Learned (``lr`` given), as in SAC (https://arxiv.org/abs/1812.05905, section 5): ``a = log value`` descends
    ``exp(a)·(H - target)``, so its gradient is ``g = value·(H - target)``, and one step of Adam is
    ``a -= lr · m̂/(√v̂ + 1e-8)``. The first step has the length ``lr``, whatever ``g``: too little entropy multiplies the
    value by ``exp(lr)``, too much divides it. LUFFY's Adam decays ``a`` towards 0 besides, which is a value of 1; ours
    does not.

    Proportional (``lr`` None): ``coef · target/H``. LUFFY takes ``H`` from the micro-batch at hand, so that its
    weight depends on how the work is cut up; ours is the whole update's, of the update before.

    Raises:
        ValueError: for a target with a coefficient of 0, which no factor changes.
    """

    def __init__(self, coef: float, target: float | None, lr: float | None) -> None:
        if target is not None and coef <= 0:
            raise ValueError(
                f"algorithm.entropy_coef={coef}: algorithm.entropy_target={target} adapts it by factors, which leave 0 "
                "as it is; begin with a small one, for instance 0.001"
            )
        self.coef, self.target, self.lr = coef, target, lr
        self.value = coef
        self.updates, self.mean, self.square = 0, 0.0, 0.0  # Adam's count and moments

    def adapt(self, entropy: float) -> None:
        """Take in the mean entropy of an update, nats per token; one that is not finite teaches nothing."""
        if self.target is None or not math.isfinite(entropy):
            return
        if self.lr is None:
            self.value = self.coef * self.target / max(entropy, LEAST_ENTROPY)
            return
        gradient = self.value * (entropy - self.target)
        self.updates += 1
        self.mean += (1 - DECAYS[0]) * (gradient - self.mean)
        self.square += (1 - DECAYS[1]) * (gradient**2 - self.square)
        mean = self.mean / (1 - DECAYS[0] ** self.updates)
        square = self.square / (1 - DECAYS[1] ** self.updates)
        self.value *= math.exp(-self.lr * mean / (math.sqrt(square) + EPSILON))

    def state_dict(self) -> State:
        """Nothing without a target: a constant is the config's to say."""
        if self.target is None:
            return {}
        return {"value": self.value, "updates": self.updates, "mean": self.mean, "square": self.square}

    def load_state_dict(self, state: State) -> None:
        if self.target is not None and state:
            self.value, self.updates = state["value"], state["updates"]
            self.mean, self.square = state["mean"], state["square"]
