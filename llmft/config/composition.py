"""Composing a config with Hydra, with Hydra's own work looked at before it is done and its errors told all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import InterpolationResolutionError

from llmft.config.faults import ConfigError, Fault
from llmft.config.files import ROOT
from llmft.config.hydra_section import hydra_faults, search_path_faults

CONF = str(ROOT / "conf")
LOAD = ConfigLoaderImpl.load_configuration  # Hydra's own: a guard inside of a guard refuses in its own way
Overrides = Sequence[str]


def compose(
    overrides: Overrides = (),
    config_name: str = "train",
    config_dir: str | Path | None = None,
    *,
    with_hydra: bool = False,
) -> DictConfig:
    """The config that ``python train.py --config-dir DIR --config-name NAME *overrides`` would run with.

    Checks nothing: that is `check`'s.

    Raises:
        ConfigError: an override that no config of ours has a place for, or a ``hydra`` section that is not allowed.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    lines = list(overrides)
    if config_dir is not None:
        lines.append(f"hydra.searchpath=['file://{CONF}']")
    home = CONF if config_dir is None else str(Path(config_dir).resolve())
    with guarded(), initialize_config_dir(version_base="1.3", config_dir=home):
        return hydra_compose(config_name, overrides=lines, return_hydra_config=with_hydra)


@contextmanager
def guarded(refuse: Callable[[ConfigError], NoReturn] | None = None) -> Iterator[None]:
    """While this holds, every composition, whoever asks for it, ends in a config that Hydra may act on, or is refused.

    Hydra configures logging and calls callbacks between composing and the job, and offers no hook between: so its
    loader's one public method is wrapped.
    """
    before = ConfigLoaderImpl.load_configuration
    refuse = refuse or _raise

    def load_configuration(
        self: ConfigLoaderImpl, config_name: str | None, overrides: list[str], *args: Any, **kwargs: Any
    ) -> DictConfig:
        if faults := search_path_faults(_primary(self, config_name), overrides):
            refuse(ConfigError(faults))
        try:
            cfg = LOAD(self, config_name, overrides, *args, **kwargs)
        except Exception as error:  # whatever Hydra trips over, it is the config that is refused
            from llmft.config.explanation import explain

            def again(some: list[str]) -> DictConfig:
                return LOAD(self, config_name, some, *args, **kwargs)

            refuse(ConfigError(explain(self, config_name, overrides, error, again)))
        if faults := hydra_faults(cfg.hydra, overrides):
            refuse(ConfigError(faults))
        return limited(cfg, overrides)

    ConfigLoaderImpl.load_configuration = load_configuration  # type: ignore[method-assign]
    try:
        yield
    finally:
        ConfigLoaderImpl.load_configuration = before  # type: ignore[method-assign]


def _raise(error: ConfigError) -> NoReturn:
    raise error


def limited(cfg: DictConfig, typed: Overrides = ()) -> DictConfig:
    """``cfg`` with its ``limits`` and ``stand_ins`` applied, and with none left.

    Each value that a limit names is at most what it says; each that a stand-in names is the stand-in, unless that is
    null. A key that ``cfg`` lacks is passed over, and so is one that was ``typed``: the command line has the last word.
    """
    own = {line.lstrip("+").split("=")[0] for line in typed}
    with open_dict(cfg):
        for section, fits in (("limits", _exceeds), ("stand_ins", _is_replaced)):
            changes = OmegaConf.select(cfg, section)
            if not isinstance(changes, DictConfig):
                continue
            for key in changes:
                home, _, name = str(key).rpartition(".")
                node = OmegaConf.select(cfg, home) if home else cfg
                value = _found(changes, key)
                if key not in own and isinstance(node, DictConfig) and name in [*node] and fits(node, name, value):
                    node[name] = value
            cfg[section] = {}
    return cfg


def _found(changes: DictConfig, key: Any) -> Any:
    """A value, or None where it follows a key that the options chosen do not have."""
    try:
        return changes[key]
    except InterpolationResolutionError:
        return None


def _is_replaced(node: DictConfig, name: str, value: Any) -> bool:
    return value is not None


def _exceeds(node: DictConfig, name: str, most: float) -> bool:
    if OmegaConf.is_missing(node, name):
        return False
    if OmegaConf.is_interpolation(node, name):  # follows a value that has a limit of its own
        return False
    value = node[name]
    return value is None or (isinstance(value, (int, float)) and value > most)


def _primary(loader: ConfigLoaderImpl, config_name: str | None) -> Any:
    """The primary config as its file has it, unless it is the project's own."""
    if config_name in (None, "train"):
        return None
    try:
        loaded = loader.repository.load_config(config_path=config_name)
    except Exception:  # told in full by the composition that follows
        return None
    return loaded.config if loaded is not None else None


def as_fault(error: BaseException) -> Fault | str:
    """Hydra's own words, where we have none of our own."""
    cause: BaseException | None = error
    lines: list[str] = []
    while cause is not None:
        lines += [line for line in str(cause).splitlines() if line.strip() and line not in lines]
        cause = cause.__cause__
    return "\n".join(lines) or type(error).__name__
