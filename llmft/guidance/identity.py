"""By what token ids are known to be of this tokenizer, and of each other."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence

from llmft.protocols import Tokens

PROBE = "".join(map(chr, range(32, 127))) + "\n the answer is therefore 3.14159 \\boxed{x^2}\tÀé中文"


def digest(ids: Sequence[int]) -> int:
    """63 bits of a hash of token ids: what two sequences share only if they are the same."""
    hashed = hashlib.blake2b(array("q", ids).tobytes(), digest_size=8).digest()
    return int.from_bytes(hashed, "little") >> 1


def tokens_mark(tokens: Tokens) -> str:
    """Differs between tokenizers that write a probe of characters and words differently."""
    return f"{digest((*tokens.response(PROBE), tokens.eos_id)):016x}"
