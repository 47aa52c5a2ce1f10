"""Make a small model folder with random weights, for trying `model=hf model.path=FOLDER` without a download.

python tests/make_model.py FOLDER --text ../shared/data/gsm8k/train.jsonl
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def byte_tokenizer(lines: Iterable[str], words: int):
    """A byte-level BPE of ``words`` words, trained on ``lines``, with a ChatML template: it can write any text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        lines, trainers.BpeTrainer(vocab_size=words, special_tokens=SPECIAL, initial_alphabet=alphabet)
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=SPECIAL[0], eos_token=SPECIAL[2], model_max_length=1024
    )
    tokenizer.chat_template = CHATML
    return tokenizer


def make(folder: Path, lines: Iterable[str], *, words: int = 1024, hidden: int = 128, layers: int = 2) -> Path:
    """A random Qwen2 of some half a million parameters in ``folder``."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = byte_tokenizer(lines, words)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=words,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=3 * hidden,
        max_position_embeddings=1024,
        initializer_range=0.06,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--text", type=Path, required=True, help="a text file that the tokenizer is trained on")
    parser.add_argument("--words", type=int, default=1024, help="words of the vocabulary")
    parser.add_argument("--hidden", type=int, default=128, help="width; a multiple of 4")
    parser.add_argument("--layers", type=int, default=2)
    given = parser.parse_args()
    text = given.text.read_text(encoding="utf-8").splitlines()
    print(make(given.folder, text, words=given.words, hidden=given.hidden, layers=given.layers))
