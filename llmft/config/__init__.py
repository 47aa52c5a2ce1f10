"""Configuration: what a config may say, what is wrong with it, and how its parts are built.

Importing this loads no torch, no pydantic and no Hydra; each name below is loaded when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from llmft.config.faults import ConfigError, Fault, Stop, Why
from llmft.config.files import ROOT, find

if TYPE_CHECKING:
    from llmft.config.checks import check
    from llmft.config.composition import compose
    from llmft.config.console import apply_extras, print_tree
    from llmft.config.entry import launch
    from llmft.config.parts import build, part
    from llmft.config.saved import differing_keys, identity, settings, snapshot

_HOME = {
    "apply_extras": "console",
    "build": "parts",
    "check": "checks",
    "compose": "composition",
    "differing_keys": "saved",
    "identity": "saved",
    "launch": "entry",
    "part": "parts",
    "print_tree": "console",
    "settings": "saved",
    "snapshot": "saved",
}

__all__ = [
    "ROOT",
    "ConfigError",
    "Fault",
    "Stop",
    "Why",
    "apply_extras",
    "build",
    "check",
    "compose",
    "differing_keys",
    "find",
    "identity",
    "launch",
    "part",
    "print_tree",
    "settings",
    "snapshot",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
