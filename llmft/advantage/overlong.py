"""What a response pays for being long, before it is compared."""

from __future__ import annotations


def overlong_penalty(tokens: int, *, longest: int, buffer: float) -> float:
    """DAPO's soft overlong punishment, https://arxiv.org/abs/2503.14476, equation 13: from 0 down to -1.

    Nothing up to ``longest - buffer`` tokens, then in proportion, and -1 from ``longest`` on: where a cut-off without
    warning would punish good reasoning by chance, this shows the way to shorter ones.

    Args:
        tokens: of the response, its end token included.
        longest: tokens that a response may have.
        buffer: the last tokens of them, in which the penalty grows; 0 for no penalty at all.
    """
    if buffer <= 0:
        return 0.0
    return max(min((longest - buffer - tokens) / buffer, 0.0), -1.0)
