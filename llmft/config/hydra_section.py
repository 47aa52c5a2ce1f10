"""What Hydra itself would do for a config before the job begins, and which of it a config may not ask for.

Hydra reads these settings from any file that takes part in a composition, also from a run's saved config, and acts on
them before a job could object: `guarded` in `composition.py` looks at them as soon as they are composed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from omegaconf import DictConfig, OmegaConf

from llmft.config.allow import TargetError, admit
from llmft.config.faults import ABSENT, Fault

PLUGINS = ("hydra_plugins.", "hydra._internal.core_plugins.")  # what `hydra/launcher=` and `hydra/sweeper=` name
COMMANDS = ("setup", "python", "srun_args", "additional_parameters")  # what a cluster launcher passes to a shell
PLACES = ("run.dir", "sweep.dir", "sweep.subdir", "output_subdir", "job.name")
HANDLERS = ("logging.StreamHandler", "logging.NullHandler", "logging.FileHandler")
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
LOG_FILE = re.compile(r"\$\{hydra\.runtime\.output_dir\}/(\$\{hydra\.job\.name\}|\w+)\.log")


def hydra_faults(section: DictConfig, typed: Sequence[str] | None = None) -> list[Fault]:
    """Every fault of the composed ``hydra`` section; a place or a command that was ``typed`` is the user's own."""
    lines = section.overrides.hydra if typed is None else typed
    keys = {str(line).lstrip("+").split("=")[0] for line in lines}
    plain = OmegaConf.to_container(section, resolve=False)
    assert isinstance(plain, dict)
    own = [fault for fault in (*_places(section), *_commands(plain)) if fault.path not in keys]
    found = [*own, *_logging(plain), *_plugins(plain)]
    if set(section.job.env_set) - set(section.job.env_copy):
        why = "a config may not set environment variables"
        found.append(Fault("hydra.job.env_set", ABSENT, why, "set them in your shell"))
    if section.callbacks:
        found.append(Fault("hydra.callbacks", ABSENT, "a config may not add callbacks to Hydra", "remove them"))
    return found


def search_path_faults(primary: Any, typed: Sequence[str]) -> list[Fault]:
    """Faults of ``hydra.searchpath`` in the primary config: a ``pkg://`` entry imports that package."""
    if any(line.lstrip("+").startswith("hydra.searchpath=") for line in typed):
        return []
    entries = OmegaConf.select(primary, "hydra.searchpath") if OmegaConf.is_config(primary) else None
    return [
        Fault("hydra.searchpath", entry, "would import a package that was not allowed", "use file://FOLDER")
        for entry in entries or []
        if str(entry).startswith("pkg://") and not _admitted(f"{str(entry)[6:].replace('/', '.')}.conf")
    ]


def _places(section: DictConfig) -> Iterator[Fault]:
    for key in PLACES:
        try:
            value = OmegaConf.select(section, key)
        except Exception:  # what only a job knows, such as its number
            value = OmegaConf.to_container(section, resolve=False)
            for name in key.split("."):
                value = value[name]  # type: ignore[index,call-overload]
        if value is not None and ".." in PurePath(str(value)).parts:
            why = "a config may not leave the folder that it was given"
            yield Fault(f"hydra.{key}", value, why, "write it without .., or give it on the command line")


def _logging(plain: Mapping[Any, Any]) -> Iterator[Fault]:
    for name in ("job_logging", "hydra_logging"):
        for path, key, value in _leaves(plain.get(name), f"hydra.{name}"):
            text = str(value)
            is_file = name == "job_logging" and key == "filename" and LOG_FILE.fullmatch(text)
            if (
                key == "()"
                or (key == "class" and text not in HANDLERS)
                or ((key == "filename" or "${" in text) and not is_file)
                or (text.startswith("ext://") and text not in STREAMS)
            ):
                yield Fault(path, value, "a config may not load code or open files by logging", "remove it")


def _plugins(plain: Mapping[Any, Any]) -> Iterator[Fault]:
    for name in ("launcher", "sweeper"):
        for path, key, value in _leaves(plain.get(name), f"hydra.{name}"):
            if key == "_target_" and not str(value).startswith(PLUGINS) and not _admitted(value):
                yield Fault(path, value, "not one of Hydra's plugins, so it was not imported", "choose one by name")
            elif key == "_target_" and name == "launcher" and "joblib" in str(value):
                yield joblib_fault()


def joblib_fault() -> Fault:
    why = "it runs job after job in the same processes, and a run wants one of its own"
    return Fault("hydra/launcher", "joblib", why, "use hydra/launcher=submitit_local")


def _commands(plain: Mapping[Any, Any]) -> Iterator[Fault]:
    for key in COMMANDS:
        if (plain.get("launcher") or {}).get(key):
            where, why = f"hydra.launcher.{key}", "a config may not hand commands to a cluster"
            yield Fault(where, ABSENT, why, f"give it on the command line: {where}=...")


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """(path, key, value) of everything below ``value`` that is no container."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        if isinstance(one, (Mapping, list)):
            yield from _leaves(one, f"{path}.{key}")
        else:
            yield f"{path}.{key}", key, one


def _admitted(target: Any) -> bool:
    try:
        admit(target)
    except TargetError:
        return False
    return True
