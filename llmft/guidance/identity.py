"""By what a pool of trajectories is known to be of this tokenizer and this model."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence

from llmft.protocols import Policy, Tokens

PROBE = "".join(map(chr, range(32, 127))) + "\n the answer is therefore 3.14159 \\boxed{x^2}\tÀé中文"
SHAPE = ("model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")


def digest(ids: Sequence[int]) -> int:
    """63 bits of a hash of token ids: what two sequences share only if they are the same."""
    hashed = hashlib.blake2b(array("q", ids).tobytes(), digest_size=8).digest()
    return int.from_bytes(hashed, "little") >> 1


def tokens_mark(tokens: Tokens) -> str:
    """Differs between tokenizers that write a probe of characters and words differently."""
    return f"{digest((*tokens.response(PROBE), tokens.eos_id)):016x}"


def model_mark(policy: Policy) -> dict[str, str | int]:
    """What a model's config says of its architecture; nothing for a policy that is no such model."""
    config = getattr(getattr(policy, "model", None), "config", None)
    text = config.get_text_config() if config is not None else None
    return {name: getattr(text, name) for name in SHAPE if isinstance(getattr(text, name, None), str | int)}
