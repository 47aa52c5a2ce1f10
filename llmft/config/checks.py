"""`check`: everything that is wrong with a config, found before any model is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from omegaconf import Container, DictConfig

from llmft.config.allow import TargetError, admit, load
from llmft.config.faults import ABSENT, ConfigError, Fault, nearest
from llmft.config.files import ROOT
from llmft.config.parts import has_target, is_part
from llmft.config.rules import RULES
from llmft.config.schema import GLOBAL, LIVE, MaybePart, Part, Parts, Train
from llmft.config.signature import RESERVED, Signature, signature, value_faults
from llmft.config.tree import raw, resolve

MAYBE = {name for name, hint in get_type_hints(Train).items() if hint is MaybePart}
UNKNOWN: Any = object()  # stands for a value that has its fault already


def check(cfg: DictConfig) -> None:
    """Raise ConfigError with every fault of ``cfg``, the composed config of a run."""
    from hydra.core.hydra_config import HydraConfig

    from llmft.config.hydra_section import hydra_faults

    faults = find_faults(cfg)
    if HydraConfig.initialized():
        faults = hydra_faults(HydraConfig.instance().cfg.hydra) + faults  # type: ignore[union-attr]
    if faults:
        raise ConfigError(faults)


def find_faults(cfg: DictConfig) -> list[Fault]:
    """Every fault of ``cfg``, in the order of its keys."""
    faults: list[Fault] = []

    def trouble(path: str, node: Container, key: Any, error: Exception | None) -> Any:
        faults.append(_unresolved(path, node, key, error))
        return UNKNOWN

    tree = resolve(cfg, trouble)
    faults += _refused(tree, "")
    faults += _Checker(tree).section(tree, Train, "")
    for rule in RULES:
        faults += rule(tree)
    order = {key: index for index, key in enumerate(tree)}
    once = {str(fault): fault for fault in faults}.values()
    return sorted(once, key=lambda fault: order.get(fault.path.split(".")[0], len(order)))


class _Checker:
    def __init__(self, tree: Mapping[str, Any]) -> None:
        self.tree = tree

    def section(self, values: Mapping[str, Any], schema: type, path: str) -> Iterator[Fault]:
        """A part of the config whose keys are a dataclass's fields."""
        hints = get_type_hints(schema, include_extras=True)
        for key in values.keys() - hints.keys():
            yield _no_such_key(f"{path}{key}", key, values[key], hints if path else [*hints, *GLOBAL])
        for key, hint in hints.items():
            if key not in values:
                yield Fault(f"{path}{key}", ABSENT, "missing", "give it a value")
            elif values[key] is not UNKNOWN:
                yield from self.field(f"{path}{key}", values[key], hint)

    def field(self, path: str, value: Any, hint: Any) -> Iterator[Fault]:
        if hint in (Part, MaybePart, Parts) or is_dataclass(hint):
            if not isinstance(value, Mapping) and value is not None:
                yield _no_group(path, value)
            elif is_dataclass(hint):
                yield from self.section(value or {}, hint, f"{path}.")  # type: ignore[arg-type]
            else:
                yield from self.group(path, value or {}, hint)
        else:
            yield from value_faults(path, value, hint)

    def group(self, path: str, value: Mapping[str, Any], kind: Any) -> Iterator[Fault]:
        if kind is Parts:
            for name, node in value.items():
                if isinstance(node, Mapping) and "_target_" in node:
                    yield from self.node(f"{path}.{name}", node, frozenset())
                elif node:
                    yield Fault(f"{path}.{name}", node, "no part: it has no _target_", f"see conf/{path}")
        elif "_target_" in value:
            yield from self.node(path, value, LIVE.get(path, frozenset()))
        elif value:
            yield Fault(path, ABSENT, "no part: it has no _target_", f"choose one: {_options(path)}")
        elif kind is Part:
            yield Fault(path, ABSENT, "empty, and a run needs one", f"choose one: {_options(path)}")

    def node(self, path: str, node: Mapping[str, Any], live: frozenset[str]) -> Iterator[Fault]:
        """A node with a `_target_`, whose constructor gets the objects called ``live`` besides."""
        own = {key for key, value in node.items() if is_part(value)}
        for key, value in node.items():
            yield from self.nested(f"{path}.{key}", value, live if key in own else live | own)
        if node["_target_"] is UNKNOWN:
            return
        try:
            takes = signature(load(node["_target_"]))
        except TargetError as error:
            yield Fault(f"{path}._target_", node["_target_"], error.why, error.advice)
            return
        if takes.takes_anything:
            advice = "wrap it in a class with named arguments"
            yield Fault(f"{path}._target_", takes.name, "takes **kwargs, so that a misspelt argument is lost", advice)
        yield from self.given(path, node, takes, live)
        for name, argument in takes.arguments.items():
            if name in node or not argument.required or node.get("_partial_"):
                continue
            if name not in live:
                yield Fault(f"{path}.{name}", ABSENT, f"{takes.name} needs it", "give it a value")
            elif name in MAYBE and not self.tree.get(name, True) and not argument.optional:
                why = f"{takes.name} needs a {name}, but {name}=none"
                yield Fault(path, ABSENT, why, f"choose one: {_options(name)}")

    def given(self, path: str, node: Mapping[str, Any], takes: Signature, live: frozenset[str]) -> Iterator[Fault]:
        for key, value in node.items():
            where = f"{path}.{key}"
            if key in RESERVED or (value is UNKNOWN and key in takes.arguments):
                continue
            if key not in takes.arguments and takes.takes_anything:
                continue
            if key not in takes.arguments:
                free = [one for one in takes.arguments if one not in node and one not in live]
                yield Fault(where, _brief(value), f"{takes.name} takes no {key!r}", nearest(key, free))
            elif not has_target(value) and not _has_unknown(value):
                yield from value_faults(where, value, takes.arguments[key].hint)

    def nested(self, path: str, value: Any, live: frozenset[str]) -> Iterator[Fault]:
        """The nodes inside of a node, which get what is live there, and groups of them what stands beside."""
        if isinstance(value, Mapping):
            if "_target_" in value:
                yield from self.node(path, value, live)
            else:
                for key, one in value.items():
                    yield from self.nested(f"{path}.{key}", one, live)
        elif isinstance(value, list):
            for index, one in enumerate(value):
                yield from self.nested(f"{path}.{index}", one, live)


def _refused(value: Any, path: str) -> Iterator[Fault]:
    """Every `_target_` that a config may not name, also where nothing would be built; imports nothing."""
    if isinstance(value, Mapping):
        if "_target_" in value and value["_target_"] is not UNKNOWN:
            try:
                admit(value["_target_"])
            except TargetError as error:
                where = f"{path}._target_" if path else "_target_"
                yield Fault(where, value["_target_"], error.why, error.advice)
        for key, one in value.items():
            yield from _refused(one, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from _refused(one, f"{path}.{index}")


def _unresolved(path: str, node: Container, key: Any, error: Exception | None) -> Fault:
    if error is None:
        return Fault(path, "???", "it has no default", f"give it on the command line: {path}=...")
    why = f"cannot be resolved ({str(error).splitlines()[0]})"
    return Fault(path, raw(node, key), why, "give it a value")


def _no_such_key(path: str, key: str, value: Any, names: Any) -> Fault:
    if path in GLOBAL:
        why = f"the file in conf/{key}/ does not say where its keys belong"
        return Fault(path, ABSENT, why, "let its first line be `# @package _global_`")
    return Fault(path, _brief(value), "there is no such key", nearest(key, names))


def _no_group(path: str, value: Any) -> Fault:
    why = "a whole group cannot be one value"
    advice = f"a saved config has no groups to choose from: leave --config-name out, or set single values, {path}.KEY="
    return Fault(path, value, why, advice)


def _options(group: str) -> str:
    names = sorted(file.stem for file in Path(ROOT, "conf", group).glob("*.yaml") if file.stem != "none")
    return ", ".join(f"{group}={name}" for name in names) or f"an option of conf/{group}"


def _brief(value: Any) -> Any:
    return ABSENT if value is UNKNOWN or isinstance(value, (Mapping, list)) else value


def _has_unknown(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_has_unknown(one) for one in value.values())
    return value is UNKNOWN or (isinstance(value, list) and any(_has_unknown(one) for one in value))
