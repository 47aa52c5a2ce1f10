"""The config that a run leaves behind: it repeats the run elsewhere, and tells whether two runs are the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from omegaconf import Container, DictConfig, OmegaConf

from llmft.config.files import ROOT
from llmft.config.tree import raw, resolve

HEADER = """\
# The config of a run, resolved. Again, in a new folder: python train.py --config-dir RUN --config-name config
# and in a folder of your choice: the same with hydra.run.dir=FOLDER.
"""
PATTERNS = (("run", "dir"), ("sweep", "dir"))
OF_ONE_START = ("ckpt_path", "resume", "sweep", "reward.validate")  # how a run was started, not what it is
OUTSIDE = ("extras", "logger", "paths", "tags")  # how it is shown and found: nothing that it computes
UNNAMED = (*OF_ONE_START, *OUTSIDE, "hydra")
OPEN, CLOSE = "\x02", "\x03"  # around what must stay an interpolation


def settings(cfg: DictConfig) -> dict[str, Any]:
    """``cfg`` as plain, resolved values, fit to be written down.

    What came from the environment, directly or through other keys, stays the interpolation ``${oc.env:NAME}``: a
    secret is not copied, and whoever repeats the run gives their own.
    """

    def trouble(path: str, node: Container, key: Any, error: Exception | None) -> Any:
        return "???" if error is None else _kept(raw(node, key))

    with _environment_kept():
        found = resolve(cfg, trouble)
    return _escaped(found)


def snapshot(cfg: DictConfig) -> str:
    """The text of a run's ``config.yaml``: its settings, and where Hydra puts runs, but not where it put this one."""
    from hydra.core.hydra_config import HydraConfig

    plain = settings(cfg)
    plain["ckpt_path"] = None
    plain["hydra"] = _patterns(HydraConfig.instance().cfg)
    return HEADER + OmegaConf.to_yaml(OmegaConf.create(plain))


def differing_keys(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The dotted keys in which a run cannot be continued: ``saved`` is its config, ``now`` the one it is started with.

    More steps are no difference, nor is what ``resume.allow`` of ``now`` names: a key, or a group with all its keys.
    """
    before, after = dict(_leaves(saved, "")), dict(_leaves(now, ""))
    allowed: Sequence[str] = (now.get("resume") or {}).get("allow") or []
    differing = [key for key in {**before, **after} if before.get(key, OPEN) != after.get(key, OPEN)]
    if _longer(before.get("trainer.max_steps"), after.get("trainer.max_steps")):
        differing.remove("trainer.max_steps")
    return sorted(key for key in differing if not _under(key, (*OF_ONE_START, "hydra", *allowed)))


def identity(values: Mapping[str, Any]) -> str:
    """Ten hex digits that stand for what a run computes, made from its `settings`.

    Every key counts but those of one start and those that say where a run is written, shown and found.
    """
    kept = {key: _as_number(value) for key, value in _leaves(values, "") if not _under(key, UNNAMED)}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:10]


def _as_number(value: Any) -> Any:
    """1.0 is 1: which of the two was typed decides nothing."""
    if isinstance(value, list):
        return [_as_number(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _longer(before: Any, after: Any) -> bool:
    return isinstance(before, int) and isinstance(after, int) and after > before


def _under(key: str, names: Sequence[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _leaves(one, f"{path}.{key}" if path else str(key))
    elif path:
        yield path, value


def _patterns(cfg: Any) -> dict[str, Any]:
    """Hydra's folder patterns. A folder that was given in full is this run's own, and the project's stands for it."""
    project = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "hydra" / "default.yaml"), resolve=False)
    given = OmegaConf.to_container(cfg.hydra, resolve=False) if cfg is not None else {}
    patterns: dict[str, dict[str, Any]] = {}
    for home, name in PATTERNS:
        own = given.get(home, {}).get(name)  # type: ignore[union-attr]
        is_pattern = isinstance(own, str) and "${" in own
        patterns.setdefault(home, {})[name] = own if is_pattern else project[home][name]  # type: ignore[index,call-overload]
    return patterns


@contextmanager
def _environment_kept() -> Iterator[None]:
    """While this holds, ``${oc.env:NAME}`` resolves to itself."""
    from omegaconf.resolvers import oc

    def itself(name: str, *default: Any) -> str:
        return _kept("${oc.env:" + ",".join([name, *("null" if one is None else repr(one) for one in default)]) + "}")

    replace: Callable[..., None] = OmegaConf.register_new_resolver
    replace("oc.env", itself, replace=True)
    try:
        yield
    finally:
        replace("oc.env", oc.env, replace=True)


def _kept(text: Any) -> Any:
    return text.replace("${", OPEN).replace("}", CLOSE) if isinstance(text, str) else text


def _escaped(value: Any) -> Any:
    """Texts that merely look like interpolations are escaped, and those that were kept are put back."""
    if isinstance(value, Mapping):
        return {key: _escaped(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_escaped(one) for one in value]
    if isinstance(value, str):
        return value.replace("${", "\\${").replace(OPEN, "${").replace(CLOSE, "}")
    return value
