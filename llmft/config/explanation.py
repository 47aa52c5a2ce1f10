"""Why a composition failed. Hydra stops at the first mistake; here every override is looked at by itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from llmft.config.composition import as_fault
from llmft.config.faults import ABSENT, Fault, nearest
from llmft.config.hydra_section import joblib_fault

Faults = list[Fault | str]
PACKAGES = {
    "submitit_local": "hydra-submitit-launcher", "submitit_slurm": "hydra-submitit-launcher", "ray": "hydra-ray-launcher", "ray_aws": "hydra-ray-launcher",
    "rq": "hydra-rq-launcher",
}  # fmt: skip


def explain(
    loader: ConfigLoaderImpl,
    config_name: str | None,
    overrides: list[str],
    error: Exception,
    compose: Callable[[list[str]], DictConfig],
) -> Faults:
    """Every fault of ``overrides``, which ``compose`` refused with ``error``."""
    faults: Faults = []
    parsed = list(_parsed(overrides, faults))
    search = [_line(o) for o in parsed if _key(o) == "hydra.searchpath"]
    parsed = [o for o in parsed if _key(o) != "hydra.searchpath"]
    groups = _Groups(loader, config_name, search)
    choices = [o for o in parsed if groups.is_group(_key(o))]
    values = [o for o in parsed if o not in choices]
    if config_name not in (None, "train"):
        ours = [o for o in choices if not o.is_add() and not _key(o).startswith("hydra/")]
        faults += map(_saved, ours)
        choices = [o for o in choices if o not in ours]
    wrong = {_line(o): fault for o in choices if (fault := groups.fault(o))}
    faults += wrong.values()
    unsure = {_key(o) for o in choices if _line(o) in wrong}
    try:
        cfg = compose(search + [_line(o) for o in choices if _line(o) not in wrong])
    except Exception as reason:
        return [*faults, _told(reason, groups)]
    top = [*map(str, cfg), *groups.names()]
    sound = []
    for override in values:
        if _key(override).split(".")[0] in unsure:
            continue  # another option may well have this key
        fault = _place(override, cfg, top)
        faults += [fault] if fault else []
        sound += [] if fault else [_line(override)]
    if faults and not wrong:
        faults += _further(compose, [*search, *map(_line, choices), *sound])
    return faults or [_told(error, groups)]


def _parsed(overrides: list[str], faults: Faults) -> Any:
    parser = OverridesParser.create()
    for line in overrides:
        try:
            yield parser.parse_override(line)
        except HydraException as error:
            reason = str(error).splitlines()[0] if str(error) else "no override"
            faults.append(
                Fault(line, ABSENT, f"cannot be read ({reason})", "write key=value, and quote what is special")
            )


def _key(override: Override) -> str:
    return override.key_or_group


def _line(override: Override) -> str:
    return override.input_line or ""


class _Groups:
    """The config groups that a composition can choose from, wherever their files are."""

    def __init__(self, loader: ConfigLoaderImpl, config_name: str | None, search: list[str]) -> None:
        self._options = lambda group, kind: loader.get_group_options(group, kind, config_name, search)

    def names(self) -> list[str]:
        return self._options("", ObjectType.GROUP)

    def options(self, group: str) -> list[str]:
        """The names that may be chosen, those in folders as ``folder/name``."""
        folders = self._options(group, ObjectType.GROUP)
        within = [f"{folder}/{one}" for folder in folders for one in self.options(f"{group}/{folder}")]
        return [*self._options(group, ObjectType.CONFIG), *within]

    def is_group(self, key: str) -> bool:
        return bool(self.options(key)) or key in self.names()

    def fault(self, override: Override) -> Fault | None:
        group, value = _key(override), override.value()
        if override.is_delete():
            return None
        chosen = value.list if isinstance(value, ChoiceSweep) else value if isinstance(value, list) else [value]
        options = self.options(group)
        for one in chosen:
            if one is None and group in ("experiment", "debug", "hparams_search"):
                continue
            if one is None or isinstance(one, (dict, list)):
                advice = f"choose none, as in {group}=none" if "none" in options else nearest("", options)
                return Fault(group, one, "an option is a name", advice)
            if override.is_sweep_override() and not isinstance(value, ChoiceSweep):
                return None
            if str(one) not in options:
                return _no_option(group, str(one), options)
        return None


def _no_option(group: str, name: str, options: list[str]) -> Fault:
    if group == "hydra/launcher" and name == "joblib":
        return joblib_fault()
    if group == "hydra/launcher" and name in PACKAGES:
        return Fault(group, name, "it is not installed", f"pip install {PACKAGES[name]}")
    return Fault(group, name, "there is no such option", nearest(name, options))


def _saved(override: Override) -> Fault:
    """A saved config is whole: its groups were chosen when it was made."""
    group, value = _key(override), _line(override).partition("=")[2]
    advice = f"leave --config-name out, or set single values, {group}.KEY=VALUE"
    return Fault(group, value, "a saved config has no groups to choose from", advice)


def _place(override: Override, cfg: DictConfig, top: list[str]) -> Fault | None:
    """Is there a key for ``override`` in ``cfg``?"""
    key = _key(override)
    if key.startswith(("hydra.job.env_set.", "hydra.callbacks.")):
        return Fault(key.rpartition(".")[0], ABSENT, "a config may not set this", "set variables in your shell")
    if override.is_add() or override.is_force_add():
        return None  # `check` says whether the key may be added
    value = ABSENT if override.is_delete() else _line(override).partition("=")[2]
    node: Any = cfg
    parts = key.split(".")
    for index, name in enumerate(parts):
        path = ".".join(parts[: index + 1])
        if not isinstance(node, DictConfig):
            return None  # a list's index, or a value that Hydra will say more about
        if name not in map(str, node):  # `in` the node itself would not see a key whose value is still ???
            names = top if node is cfg else [str(one) for one in node if one != "_target_"]
            chosen = OmegaConf.select(cfg, "hydra.runtime.choices", default={}).get(parts[0])
            in_an_option = index and chosen and parts[0] != "hydra"
            why = f"{parts[0]}={chosen} has no such key" if in_an_option else "there is no such key"
            return Fault(path if index < len(parts) - 1 else key, value, why, nearest(name, names))
        node = OmegaConf.select(cfg, path, throw_on_missing=False)
    return None


def _further(compose: Callable[[list[str]], DictConfig], overrides: list[str]) -> Faults:
    """What `check` would find next, so that one message holds it all."""
    from llmft.config.checks import find_faults

    try:
        return list(find_faults(compose(overrides)))
    except Exception as error:
        return [as_fault(error)]


def _told(error: Exception, groups: _Groups) -> Fault | str:
    """Hydra's message, with the nearest name where a file asks for an option that is not there."""
    told = as_fault(error)
    missing = re.search(r"Could not find '([\w/]+)/([^/']+)'", str(told))
    if missing is None:
        return told
    group, name = missing.groups()
    why = "there is no such option, and one of the chosen files asks for it"
    return Fault(group, name, why, nearest(name, groups.options(group)))
