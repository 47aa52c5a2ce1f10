"""Stop strings, found in text that grows by a token at a time without decoding it again from its beginning."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache

PARTIAL = "\N{REPLACEMENT CHARACTER}"  # what decoders write for bytes that are not a whole character yet


class Watch:
    """One completion's text, watched for stop strings.

    Tokens are decoded together with the ones before them, back to the last whole character but one, because many
    tokenizers write a token differently at the beginning of a text. Only as much text is kept as a stop string can span.
    """

    def __init__(self, stop: Sequence[str], text: Callable[[tuple[int, ...]], str]) -> None:
        self.stop = stop
        self.text = text
        self.before: tuple[int, ...] = ()  # tokens whose text is known; context for the next ones
        self.pending: tuple[int, ...] = ()  # tokens whose text is not whole yet
        self.tail = ""
        self.keep = max(len(string) for string in stop) - 1

    def write(self, token: int) -> bool:
        """Add a token; True if the text now holds a stop string."""
        self.pending = (*self.pending, token)
        both = self.text(self.before + self.pending)
        seen = self.tail + both[len(self.text(self.before)) :]
        if any(string in seen for string in self.stop):
            return True
        if not both.endswith(PARTIAL):
            self.tail = seen[-self.keep :] if self.keep else ""
            self.before, self.pending = self.pending, ()
        return False


class Watches:
    """Stop strings for many completions, each with its own text."""

    def __init__(self, stop: Sequence[str], text: Callable[[Sequence[int]], str]) -> None:
        # Texts of one to three tokens repeat all the time: a look-up instead of a call into the tokenizer.
        self.text = lru_cache(maxsize=1 << 16)(text)
        self.stop = tuple(stop)
        self.rows: dict[Hashable, Watch] = {}

    def write(self, row: Hashable, token: int) -> bool:
        """Add a token to the named completion; True if its text now holds a stop string."""
        if row not in self.rows:
            self.rows[row] = Watch(self.stop, self.text)
        return self.rows[row].write(token)
