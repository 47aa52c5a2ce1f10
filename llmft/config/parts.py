"""From a config to objects. No code below `train.py` sees a DictConfig, and no live object passes through Hydra."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from omegaconf import DictConfig, OmegaConf

from llmft.config.allow import load
from llmft.config.faults import ABSENT
from llmft.config.signature import RESERVED, convert, signature


def build(node: DictConfig | Mapping[str, Any] | None, /, **live: Any) -> Any:
    """The part that ``node`` describes, or None for an empty one.

    ``live`` are objects that YAML does not name; the constructor gets those that it takes, and so do those of the nodes
    with a `_target_` inside of the part. What it takes as nodes of its own (a reward's sandbox) is live, by its key, for
    the groups of parts that stand beside. A node without a target is a group of named parts: a dict comes back, and
    each part gets ``live``.

    Raises:
        ValueError: a target that a config may not name, or a value that its constructor does not take.
    """
    values = plain(node)
    if not values:
        return None
    if "_target_" in values:
        return _construct(values, live)
    return {name: _construct(one, live) for name, one in values.items() if one}


def part(node: DictConfig | Mapping[str, Any]) -> partial[Any]:
    """The constructor that ``node`` names with its values bound, to be called with what is live. Can be pickled."""
    cls, arguments = _arguments(plain(node) or {}, {})
    return partial(cls, **arguments)


def plain(node: DictConfig | Mapping[str, Any] | None) -> dict[str, Any] | None:
    """``node`` as a dict of resolved values."""
    if isinstance(node, DictConfig):
        node = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    return dict(node) if node else None


def is_part(value: Any) -> bool:
    """Is ``value`` itself a node with a `_target_`?"""
    return isinstance(value, Mapping) and "_target_" in value


def has_target(value: Any) -> bool:
    """Is there a `_target_` in ``value``, at any depth?"""
    if isinstance(value, Mapping):
        return "_target_" in value or any(has_target(one) for one in value.values())
    return isinstance(value, (list, tuple)) and any(has_target(one) for one in value)


def _construct(values: Mapping[str, Any], live: Mapping[str, Any]) -> Any:
    cls, arguments = _arguments(values, live)
    if values.get("_partial_"):
        return partial(cls, **arguments)
    takes = signature(cls).arguments
    return cls(**{name: value for name, value in live.items() if name in takes} | arguments)


def _arguments(values: Mapping[str, Any], live: Mapping[str, Any]) -> tuple[type, dict[str, Any]]:
    cls = load(values.get("_target_"))
    takes = signature(cls).arguments
    own = {name: _construct(value, live) for name, value in values.items() if is_part(value)}
    rest = {
        name: _value(value, takes[name].hint if name in takes else ABSENT, {**live, **own})
        for name, value in values.items()
        if name not in RESERVED and name not in own
    }
    return cls, own | rest


def _value(value: Any, hint: Any, live: Mapping[str, Any]) -> Any:
    return _nested(value, live) if has_target(value) else convert(value, hint)


def _nested(value: Any, live: Mapping[str, Any]) -> Any:
    """``value`` with every node in it built."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            return _construct(value, live)
        return {name: _nested(one, live) for name, one in value.items()}
    return [_nested(one, live) for one in value] if isinstance(value, (list, tuple)) else value
