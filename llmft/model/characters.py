"""A tokenizer whose tokens are the printable ASCII characters: small models learn rules, not spelling."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<bos>", "<eos>")
CHARACTERS = "\n" + "".join(chr(code) for code in range(32, 127))
VOCABULARY_ROWS = (
    128  # the 99 tokens, rounded up so that quantised kernels, which want multiples of 32, accept the head
)

# A prompt is the start token and the turns' words, and ends where the answer begins: no role marks to learn.
TEMPLATE = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}"


def character_tokenizer() -> PreTrainedTokenizerFast:
    """One token per character; a character outside printable ASCII is dropped. Ids: pad 0, bos 1, eos 2, then ASCII."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *CHARACTERS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=None))
    backend.normalizer = normalizers.Replace(Regex(r"[^\n\x20-\x7e]"), "")
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    backend.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", model_max_length=512
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer
