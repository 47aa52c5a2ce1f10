"""Which classes a config may name, decided before anything is imported: a shared config must not run code.

A `_target_` starts with ``llmft.`` or stands, whole, in `NAMES`. A user's own package is added by the environment,
``LLMFT_TARGETS=mypackage.`` (comma-separated; a name without the last dot is one class), never by a config.
"""

from __future__ import annotations

import os
import pkgutil
import re
from importlib import import_module
from typing import Any

from llmft.config.faults import nearest

PREFIXES = ("llmft.",)
NAMES = frozenset(
    {
        "torch.optim.Adam",
        "torch.optim.AdamW",
        "torch.optim.SGD",
        "bitsandbytes.optim.AdamW8bit",
        "bitsandbytes.optim.PagedAdamW8bit",
        "lightning.pytorch.callbacks.DeviceStatsMonitor",
        "lightning.pytorch.callbacks.EarlyStopping",
        "lightning.pytorch.callbacks.LearningRateMonitor",
        "lightning.pytorch.callbacks.RichModelSummary",
        "lightning.pytorch.callbacks.Timer",
    }
)
DOTTED = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)+", re.ASCII)


class TargetError(ValueError):
    """Why a target cannot be used, and what to do."""

    def __init__(self, why: str, advice: str) -> None:
        self.why, self.advice = why, advice
        super().__init__(f"{why}; {advice}")


def admit(target: Any) -> None:
    """Raise TargetError unless a config may name ``target``. Imports nothing."""
    if not isinstance(target, str) or not DOTTED.fullmatch(target):
        raise TargetError("a target is the full name of a public class", "write package.module.Class")
    if target not in NAMES and not _under_a_prefix(target) and target not in _own():
        raise TargetError(
            "a config may not name this, so it was not imported",
            "use a class of llmft, or allow your own package with the environment variable LLMFT_TARGETS=mypackage.",
        )


def admit_own(name: Any) -> None:
    """Raise TargetError unless the environment allows ``name``, a function of the user's own. Imports nothing."""
    if not isinstance(name, str) or not DOTTED.fullmatch(name):
        raise TargetError("a function is named in full", "write package.module.function")
    if not is_own(name):
        raise TargetError(
            "a config may not name this, so it was not imported",
            "allow your own package with the environment variable LLMFT_TARGETS=mypackage.",
        )


def is_own(name: str) -> bool:
    """Does the environment allow ``name``?"""
    return name in _own() or name.startswith(tuple(entry for entry in _own() if entry.endswith(".")))


def load(target: Any) -> type:
    """The class that ``target`` names. Raises TargetError where it is refused, missing or no class."""
    admit(target)
    home, _, name = target.rpartition(".")
    try:
        module = import_module(home)
    except ImportError as error:
        missing = getattr(error, "name", None) or ""
        if not f"{home}.".startswith(f"{missing}."):
            raise TargetError(f"{home} cannot be imported ({error})", "install what it needs") from error
        raise TargetError(f"there is no module {home!r}", nearest(home, _modules_near(home))) from error
    found = getattr(module, name, None)
    if found is None:
        raise TargetError(f"{home} has no {name!r}", nearest(name, _classes(module)))
    # an import that another module happens to hold (llmft.seeds.random) is not that module's to offer
    if not isinstance(found, type) or not (target in NAMES | _own() or _under_a_prefix(f"{found.__module__}.")):
        raise TargetError(f"{home} has no class {name!r} of its own", nearest(name, _classes(module)))
    return found


def _own() -> set[str]:
    """What the environment adds."""
    return {entry.strip() for entry in os.environ.get("LLMFT_TARGETS", "").split(",")}


def _under_a_prefix(name: str) -> bool:
    return name.startswith((*PREFIXES, *(entry for entry in _own() if entry.endswith("."))))


def _classes(module: Any) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__ and not name.startswith("_")
    ]


def _modules_near(home: str) -> list[str]:
    """The modules beside the one that is missing, by name, without importing them."""
    parent = home.rpartition(".")[0]
    while parent:
        try:
            package = import_module(parent)
        except ImportError:
            parent = parent.rpartition(".")[0]
            continue
        return [f"{parent}.{entry.name}" for entry in pkgutil.iter_modules(getattr(package, "__path__", []))]
    return []
