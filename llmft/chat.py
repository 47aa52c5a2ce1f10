"""Text to ids and back, made once: nothing that a sampler or a reader has turned into ids is ever tokenised again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmft.protocols import Tokens
from llmft.types import Author, Message, Rollout, Task, Trace

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OPENING = "<think>\n"  # of a reasoning model's thoughts; some chat templates end with it
TAIL = 16  # tokens at the end of a prompt that hold an opening, whatever the tokenizer


def tokenizer_faults(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Why a tokenizer cannot serve, in words that say what to do."""
    faults = []
    if tokenizer.eos_token_id is None:
        faults.append("its tokenizer has no end token, so no response would ever end; set eos_token in the folder")
    if not tokenizer.chat_template:
        faults.append(
            "its tokenizer has no chat template, so prompts cannot be laid out; "
            "put a chat_template.jinja into the folder or name one with model.chat_template=FILE"
        )
    return faults


class Chat:
    """A tokenizer with its chat template. Raises ValueError if either cannot serve (see `tokenizer_faults`)."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if faults := tokenizer_faults(tokenizer):
            raise ValueError("; ".join(faults))
        self.tokenizer = tokenizer
        self._rust = _rust_tokenizer(tokenizer)
        self.eos_id = int(tokenizer.eos_token_id)  # type: ignore[arg-type]
        self.pad_id = int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self.eos_id)  # type: ignore[arg-type]

    def prompt(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> tuple[int, ...]:
        """The ids of a prompt through the chat template, up to where the model's answer begins."""
        laid_out: Any = self.tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            tools=[dict(tool) for tool in tools] or None,
            add_generation_prompt=True,
            tokenize=False,
        )
        return self._ids(laid_out)

    def response(self, text: str, *, end: bool = True) -> tuple[int, ...]:
        """The ids of a response that somebody else wrote, with the end token unless ``end`` is false."""
        ids = self._ids(text)
        return (*ids, self.eos_id) if end else ids

    def text(self, token_ids: Sequence[int]) -> str:
        """The text of ids, without special tokens and without tidying of spaces."""
        return str(self.tokenizer.decode(list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _ids(self, text: str) -> tuple[int, ...]:
        """The ids of a text. The template has written the special tokens; adding more would double the start token."""
        rust = self._rust
        # What transformers' call does before and after it takes four times as long as the work itself.
        if (
            rust is not None
            and rust.truncation is None
            and rust.padding is None
            and rust.encode_special_tokens == self.tokenizer.split_special_tokens
        ):
            return tuple(rust.encode(text, add_special_tokens=False).ids)
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)

    def save(self, folder: Path) -> None:
        """Write the tokenizer so that ``AutoTokenizer.from_pretrained`` reads it."""
        self.tokenizer.save_pretrained(folder)


def _rust_tokenizer(tokenizer: PreTrainedTokenizerBase) -> Any:
    """The tokenizer of `tokenizers` that does all of the work of ``tokenizer``; None if there is more to it."""
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

    kind = type(tokenizer)
    if not isinstance(tokenizer, PreTrainedTokenizerFast) or kind.__call__ is not PreTrainedTokenizerBase.__call__:
        return None
    return tokenizer.backend_tokenizer if kind._encode_plus is PreTrainedTokenizerFast._encode_plus else None


def response_text(tokens: Tokens, prompt_ids: tuple[int, ...], trace: Trace) -> str:
    """What of a trace is the response: a prompt that ends with the opening of its thoughts has written that already."""
    opened = trace.text.startswith(OPENING) and tokens.text(prompt_ids[-TAIL:]).endswith(OPENING)
    return trace.text.removeprefix(OPENING) if opened else trace.text


def as_response(tokens: Tokens, task: Task, prompt_ids: tuple[int, ...], trace: Trace, *, limit: int) -> Rollout:
    """A trace as a response to its task, every token of advantage 1 and of unknown log-probability.

    ``limit`` bounds the tokens of prompt and response together: a longer response is cut, loses its end token and
    says so in ``finish``; where the prompt leaves no room it has no tokens.
    """
    text = response_text(tokens, prompt_ids, trace)
    whole = tokens.response(text)
    kept = whole[: max(limit - len(prompt_ids), 0)]
    cut = len(kept) < len(whole)
    return Rollout(
        task=task,
        prompt_ids=prompt_ids,
        token_ids=kept,
        logps=(0.0,) * len(kept),
        authors=(Author.TRACE,) * len(kept),
        source="trace",
        text=tokens.text(kept) if cut else text,
        finish="length" if cut else "end",
        advantages=(1.0,) * len(kept),
    )
