"""A reward of given parts with the settings of ``reward=exact``, for tests that change one or none."""

from __future__ import annotations

from typing import Any

import yaml

from llmft.config import ROOT
from llmft.reward.weighted import Weighted


def summed(parts: dict[str, Any], **changes: Any) -> Weighted:
    """Each part with weight 1; the first says what is correct."""
    settings = yaml.safe_load((ROOT / "conf" / "reward" / "exact.yaml").read_text())
    del settings["_target_"]
    own = {"parts": parts, "weights": dict.fromkeys(parts, 1.0), "success_part": next(iter(parts))}
    return Weighted(**{**settings, **own, **changes})
