"""A config as plain containers, value by value, so that one value that cannot be resolved does not hide the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omegaconf import Container, DictConfig, ListConfig, OmegaConf

Trouble = Callable[[str, Container, Any, Exception | None], Any]
# (path, the container, the key, what was raised; None: `???`) -> the value to put there


def resolve(cfg: DictConfig, trouble: Trouble) -> dict[str, Any]:
    """``cfg`` resolved, without Hydra's own section; ``trouble`` says what stands where a value is missing."""
    return {str(key): _value(cfg, key, str(key), trouble) for key in cfg if key != "hydra"}


def _resolve(node: Any, path: str, trouble: Trouble) -> Any:
    if isinstance(node, DictConfig):
        if node._is_none():
            return None
        return {str(key): _value(node, key, f"{path}.{key}" if path else str(key), trouble) for key in node}
    if isinstance(node, ListConfig):
        return None if node._is_none() else [_value(node, i, f"{path}.{i}", trouble) for i in range(len(node))]
    return node


def _value(node: Any, key: Any, path: str, trouble: Trouble) -> Any:
    if OmegaConf.is_missing(node, key):
        return trouble(path, node, key, None)
    try:
        value = node[key]
    except Exception as error:  # a resolver may raise anything
        return trouble(path, node, key, error)
    return _resolve(value, path, trouble)


def raw(node: Container, key: Any) -> Any:
    """The value as it is written, interpolations and all."""
    found = node._get_node(key)
    return found._value() if found is not None else None  # type: ignore[union-attr]
