"""The loss of a token as ``loss=plain`` has it, for tests that change a setting or none."""

from __future__ import annotations

import yaml

from llmft.config import ROOT, build
from llmft.loss.token import TokenLoss


def token_loss(**changes) -> TokenLoss:
    return build({**yaml.safe_load((ROOT / "conf" / "loss" / "plain.yaml").read_text()), **changes})
