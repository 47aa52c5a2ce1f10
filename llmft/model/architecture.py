"""What is told of a model's shape before its weights are read, and by which files made with one are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SHAPE = ("model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")


def shape_of(config: Any) -> Mapping[str, str | int]:
    """Of a transformers config, its text model's."""
    text = config.get_text_config()
    return {name: getattr(text, name) for name in SHAPE if isinstance(getattr(text, name, None), str | int)}
