"""LUFFY's and ExGRPO's published cases, and their token losses once more, in numpy and without automatic gradients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

KINDS = {"dr": ("group", "dr_grpo_no_std"), "std": ("group_std", "grpo_std_unbiased_eps1e_6")}


class Case(NamedTuple):
    """What a case says, in our words."""

    name: str
    arguments: dict[str, Any]  # of the published function
    out: dict[str, float]
    tokens: dict[str, list[list[float]]]  # losses and gradients, where they are given
    replays: bool  # off-policy tokens are the policy's own of before
    off_policy: np.ndarray  # [8, 6] bool
    advantage: str  # as `group_advantages` calls it
    advantages: np.ndarray  # [8, 1]

    @property
    def loss(self) -> dict[str, Any]:
        """The settings of `TokenLoss` that are not those of loss=plain."""
        given = self.arguments
        known = given.get("target_probs")  # known probabilities of the author's are never shaped
        settings = {**_shape("off", given.get("off_reshape", "no_reshape") if not known else "no_reshape")}
        settings |= _shape("on", given.get("on_reshape", "no_reshape"))
        settings |= {
            ours: given[theirs]
            for theirs, ours in {
                "off_weight": "off_weight", "on_weight": "on_weight", "off_pow": "off_power", "on_pow": "on_power",
                "off_max_clip": "off_max", "off_min_clip": "off_min", "all_max_clip": "all_max",
            }.items()
            if theirs in given
        }  # fmt: skip
        return {**settings, "clip": "never" if given.get("remove_clip") else "always"}

    @property
    def bounds(self) -> dict[str, float | None]:
        high = max(self.arguments.get("clip_upper_bound", 1.0), 1.2) - 1
        return {"clip_low": 0.2, "clip_high": high, "clip_dual": None}

    @property
    def average(self) -> dict[str, Any]:
        if self.arguments.get("remove_token_mean"):
            return {"average": "constant", "length": 6}
        return {"average": "token", "length": None}


class Published:
    """The inputs, as arrays, and the cases."""

    def __init__(self, path: Path) -> None:
        self.vectors = json.loads(path.read_text())
        inputs = self.vectors["inputs"]
        self.logp, self.old = np.array(inputs["LP"]), np.array(inputs["OLD"])
        self.mask = np.array(inputs["MASK"], dtype=bool)
        self.rewards = inputs["REWARDS"]
        self.probs = np.array(inputs["TARGET_PROBS"])
        self.places = {"full": inputs["PREFIX"], "part": inputs["PREFIX_PART"], "none": np.zeros((8, 6))}

    def case(self, paper: str, name: str) -> Case:
        one = self.vectors[paper][name]
        kind, key = KINDS[one["adv"]]
        return Case(
            name=name,
            arguments=one["args"],
            out=one["out"],
            tokens={key: one[key] for key in ("token_losses", "grad_wrt_LP") if key in one},
            replays=paper == "exgrpo",
            off_policy=np.array(self.places[one["prefix"]], dtype=bool) & self.mask,
            advantage=kind,
            advantages=np.array(self.vectors["advantages"][key])[:, None],
        )

    def stored(self, case: Case) -> np.ndarray:
        """[8, 6] log-probabilities as a rollout has them."""
        if case.replays:
            return self.old
        theirs = np.log(self.probs + 1e-6, where=self.probs > 0, out=np.zeros_like(self.probs))
        return np.where(case.off_policy, theirs if "target_probs" in case.arguments else 0.0, self.old)

    def by_hand(self, case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """[8, 6] loss of each token, its derivative by the log-probability, and ``f``; derived on paper."""
        given, advantage = case.arguments, case.advantages
        u = self.logp - self.stored(case)
        shape = "no_reshape" if "target_probs" in given else given.get("off_reshape", "no_reshape")
        off, d_off = _shaped(shape, u, self.logp, given.get("off_weight", 1.0), given.get("off_pow", 0.5))
        for bound, beyond in (("off_max_clip", np.greater), ("off_min_clip", np.less)):
            if bound in given:
                over = beyond(off, given[bound])
                off, d_off = np.where(over, given[bound], off), np.where(over, 0.0, d_off)
        shape, u = given.get("on_reshape", "no_reshape"), self.logp - self.old
        if shape.startswith("p_div_p"):
            gamma, p, q = float(shape[8:]), np.exp(self.logp), np.exp(self.old)
            on = p / (p + gamma) / (q / (q + gamma))
            d_on = on * gamma / (p + gamma)
        else:
            on, d_on = _shaped(
                shape, u, u, 1.0 if shape == "logp" else given.get("on_weight", 1.0), given.get("on_pow", 0.5)
            )
        if not given.get("remove_clip"):
            cut = self.cut(case, on)
            high = 1 + case.bounds["clip_high"]
            on, d_on = np.where(cut, np.clip(on, 0.8, high), on), np.where(cut, 0.0, d_on)
        f = np.where(case.off_policy, off, on)
        slope = np.where(case.off_policy, d_off, d_on)
        kept = self.mask & (np.exp(self.logp) <= given.get("all_max_clip", 1.0))
        return -advantage * f * kept, -advantage * slope * kept, f

    def cut(self, case: Case, ratio: np.ndarray) -> np.ndarray:
        high = 1 + case.bounds["clip_high"]
        return ((ratio > high) & (case.advantages > 0)) | ((ratio < 0.8) & (case.advantages < 0))

    def denominator(self, case: Case) -> float:
        if case.arguments.get("remove_token_mean"):
            return 6
        return (self.mask & (np.exp(self.logp) <= case.arguments.get("all_max_clip", 1.0))).sum()


def _shape(author: str, theirs: str) -> dict[str, Any]:
    if theirs.startswith("p_div_p"):
        return {f"{author}_reshape": "gamma", f"{author}_gamma": float(theirs[8:])}
    return {f"{author}_reshape": {"no_reshape": "none"}.get(theirs, theirs)}


def _shaped(shape: str, u: np.ndarray, added: np.ndarray, weight: float, power: float) -> tuple[np.ndarray, np.ndarray]:
    """``f`` and its derivative, of ``x = exp(u)``."""
    x = np.exp(u)
    if shape.startswith("p_div_p"):
        gamma = float(shape[8:])
        return x / (x + gamma), gamma * x / (x + gamma) ** 2
    return {
        "no_reshape": (x, x),
        "logp": (weight * added, np.full_like(x, weight)),
        "p_logp": (x + weight * added, x + weight),
        "square_root": (np.sqrt(x), np.sqrt(x) / 2),
        "pow": (x**power, power * x**power),
    }[shape]
