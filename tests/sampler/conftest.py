"""Small random models of several architectures, and the tokens that go with them."""

import pytest
import torch

from llmft.model.policy import CausalPolicy

VOCABULARY = 64
SIZE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,  # wide, so that the likeliest token is likeliest by far more than a rounding error
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def make_config(name: str):
    import transformers as hf

    if name == "gpt2":
        return hf.GPT2Config(
            vocab_size=VOCABULARY,
            n_embd=32,
            n_layer=3,
            n_head=4,
            n_positions=128,
            initializer_range=0.2,
            bos_token_id=1,
            eos_token_id=2,
        )
    if name == "bloom":  # positions by a bias made from the attention mask; takes no position ids
        return hf.BloomConfig(
            vocab_size=VOCABULARY, hidden_size=32, n_layer=3, n_head=4, initializer_range=0.2, eos_token_id=2
        )
    if name == "gemma3":  # sliding and full attention in turn
        return hf.Gemma3TextConfig(
            **SIZE,
            head_dim=8,
            sliding_window=6,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        )
    kinds = {
        "llama": (hf.LlamaConfig, {}),
        "llama_eager": (hf.LlamaConfig, {"attn_implementation": "eager"}),
        "qwen2": (hf.Qwen2Config, {}),
        "qwen3": (hf.Qwen3Config, {"head_dim": 8}),
        "mistral": (hf.MistralConfig, {"sliding_window": 6, "head_dim": 8}),
    }
    kind, more = kinds[name]
    return kind(**SIZE, **more)


class Letters:
    """Tokens whose text is one character each; the ids 0, 1 and 2 are special."""

    eos_id, pad_id = 2, 0

    def prompt(self, messages, tools=()):
        raise NotImplementedError

    def response(self, text, *, end=True):
        raise NotImplementedError

    def text(self, token_ids):
        return "".join(chr(ord("0") + token) for token in token_ids if token > 2)


@pytest.fixture(scope="session")
def make_policy():
    from transformers import AutoModelForCausalLM

    made = {}

    def make(name="llama", dtype=torch.float64):
        if (name, dtype) not in made:
            torch.manual_seed(0)
            made[name, dtype] = CausalPolicy(AutoModelForCausalLM.from_config(make_config(name)).to(dtype)).eval()
        return made[name, dtype]

    return make


@pytest.fixture(scope="session")
def letters():
    return Letters()


@pytest.fixture(scope="session")
def prompts():
    """Ragged: 1 to 11 tokens, in no order of length."""
    generator = torch.Generator().manual_seed(7)
    lengths = [4, 11, 1, 7, 7, 2]
    return [torch.randint(3, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]
