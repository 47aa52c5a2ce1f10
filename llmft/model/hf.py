"""A pretrained causal model: a folder or a hub name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llmft.chat import Chat, tokenizer_faults
from llmft.config import find
from llmft.model.architecture import shape_of
from llmft.seeds import Seeds

if TYPE_CHECKING:
    from llmft.model.policy import CausalPolicy

Dtype = Literal["float32", "float64", "bfloat16", "float16", "auto"]


class HF:
    """What ``AutoModelForCausalLM`` loads, described before a weight is read.

    Args:
        path: a folder with ``config.json``, tokenizer and safetensors weights, or a hub name.
        revision: the hub's branch, tag or commit; null is its main branch.
        dtype: of the weights; ``auto`` is the checkpoint's own.
        attention: the attention implementation; null lets transformers choose.
        gradient_checkpointing: recompute activations in the backward pass, for memory.
        chat_template: a Jinja file that replaces the tokenizer's own; null keeps it.
        trust_remote_code: run code that the folder or repository brings along.
    """

    def __init__(
        self,
        *,
        path: str,
        revision: str | None,
        dtype: Dtype,
        attention: Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3"] | None,
        gradient_checkpointing: bool,
        chat_template: str | None,
        trust_remote_code: bool,
    ) -> None:
        local = find(path)
        self.path = str(local) if local.exists() else path
        self.is_local = local.exists()
        self.dtype = dtype
        self.attention = attention
        self.gradient_checkpointing = gradient_checkpointing
        self.chat_template = chat_template
        self.hub = {"revision": revision or "main", "trust_remote_code": trust_remote_code}

    def faults(self) -> list[str]:
        """Why this model cannot be trained, found without reading a weight; each begins with the key to change."""
        if not self.is_local and self.path.startswith("bases/"):  # not worth asking a hub for
            return [
                f"model.path={self.path}: the lab has no such base for this dataset; name a model of yours, for instance "
                "model=hf model.path=FOLDER"
            ]
        if not self.is_local and (self.path.count("/") != 1 or self.path.startswith(("/", "."))):
            return [
                f"model.path={self.path}: no such folder, and no hub name (owner/name) either; name one that exists"
            ]
        if self.is_local and not (Path(self.path) / "config.json").is_file():
            return [f"model.path={self.path}: the folder has no config.json; name the folder of a saved model"]
        try:
            tokenizer = self._tokenizer()
        except (OSError, ValueError) as error:  # whatever a hub, a network, a cache or a folder says
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            advice = "give the folder of a saved model, or one that can be reached"
            return [f"model.path={self.path}: its tokenizer cannot be read ({reason}); {advice}"]
        return [f"model.path={self.path}: {fault}" for fault in tokenizer_faults(tokenizer)]

    def tokens(self) -> Chat:
        """The tokenizer with its chat template."""
        return Chat(self._tokenizer())

    def context(self) -> int:
        """How many tokens the model can attend to."""
        return int(getattr(self._config().get_text_config(), "max_position_embeddings", 0) or 2**31)

    def architecture(self) -> Mapping[str, str | int]:
        """Its shape, by which what was made with another model is told apart."""
        return shape_of(self._config())

    def load(self, *, quantization: Any, adapter: Any, seeds: Seeds) -> CausalPolicy:
        """The policy, its weights read. ``quantization`` and ``adapter`` are None or what their groups built."""
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        from llmft.model.policy import CausalPolicy

        logging.disable_progress_bar()  # one line per run for shards that load in milliseconds
        seeds.seed_everything()  # an architecture may draw: a head that the checkpoint lacks
        dtype = "auto" if self.dtype == "auto" else getattr(torch, self.dtype)
        options: dict[str, Any] = {"attn_implementation": self.attention} if self.attention else {}
        if quantization is not None:
            options["quantization_config"] = quantization.config()
        model = AutoModelForCausalLM.from_pretrained(
            self.path, dtype=dtype, use_safetensors=True, **options, **self.hub
        )
        if self.gradient_checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if adapter is not None:
            model = adapter.wrap(model)
        return CausalPolicy(model)

    def _config(self) -> Any:
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(self.path, **self.hub)

    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.path, **self.hub)
        if self.chat_template:
            tokenizer.chat_template = find(self.chat_template).read_text(encoding="utf-8")
        return tokenizer
