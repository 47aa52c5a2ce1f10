"""`launch`: how `train.py` starts, how its errors are told, and which code it exits with.

0 finished, 1 error, 2 refused config, 3 not finite, 130 and 143 interrupted.
"""

from __future__ import annotations

import functools
import inspect
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn, Protocol

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode
from omegaconf import DictConfig

from llmft.config.composition import CONF, guarded, limited
from llmft.config.faults import ABSENT, INTERRUPTED, REFUSED, TERMINATED, ConfigError, Fault, Stop
from llmft.config.files import ROOT, find

Job = Callable[[DictConfig], Any]


class Sweep(Protocol):
    """What runs the jobs of a sweep: a launcher of Hydra's that can say how they ended."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None: ...

    def finish(self) -> int:
        """Tell how the jobs ended; the exit code that they amount to."""
        ...


WITH_VALUE = {"-c", "--cfg", "-p", "--package", "-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir"}


def launch(main: Job, sweep: Callable[[Callable[[], Any]], Sweep]) -> None:
    """Run ``main``, with or without Hydra's decorator, on the config that the command line composes.

    The jobs of a sweep are run by what ``sweep`` makes; it is given a function that makes the launcher which the
    config names. Inside a sweep a job that stops raises, so that the others run on; an interruption ends the sweep.
    """
    try:
        _refuse_options(sys.argv[1:])
        arguments = options_first(continued(sys.argv[1:]))
    except ConfigError as error:
        _refuse(error)
    sys.argv = [sys.argv[0], *arguments]
    with guarded(_refuse), _swept_by(sweep) as sweeps:
        try:
            hydra.main(version_base="1.3", config_path=CONF, config_name="train")(job(inspect.unwrap(main)))()
        finally:
            codes = [one.finish() for one in sweeps]
    if any(codes):
        raise SystemExit(max(codes))


@contextmanager
def _swept_by(sweep: Callable[[Callable[[], Any]], Sweep]) -> Iterator[list[Sweep]]:
    """While this holds, sweeps are run by ``sweep``; yields what was made.

    Hydra knows launchers of its own namespace only: so the method that makes one is wrapped. Its check of a sweep stops
    at the first job with a fault, and ours tells them all.
    """
    instantiate, validate = Plugins.instantiate_launcher, Sweeper.validate_batch_is_legal
    made: list[Sweep] = []

    def instantiate_launcher(self: Plugins, hydra_context: Any, task_function: Any, config: DictConfig) -> Any:
        found = sweep(lambda: instantiate(self, hydra_context, task_function, config))
        found.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        made.append(found)
        return found

    Plugins.instantiate_launcher = instantiate_launcher  # type: ignore[method-assign]
    Sweeper.validate_batch_is_legal = lambda self, batch: None  # type: ignore[method-assign]
    try:
        yield made
    finally:
        Plugins.instantiate_launcher = instantiate  # type: ignore[method-assign]
        Sweeper.validate_batch_is_legal = validate  # type: ignore[method-assign]


def options_first(arguments: list[str]) -> list[str]:
    """``arguments`` with Hydra's options before the overrides, so that ``experiment=x -m seed=1,2`` may be typed.

    argparse takes overrides in one run only: what comes after an option in their middle would be refused.
    """
    options, overrides, rest = [], [], iter(arguments)
    for argument in rest:
        if not argument.startswith("-"):
            overrides.append(argument)
            continue
        options.append(argument)
        if argument in WITH_VALUE:
            options += [value] if (value := next(rest, None)) is not None else []
    return [*options, *overrides]


def continued(arguments: list[str]) -> list[str]:
    """``arguments`` with what ``ckpt_path=RUN`` stands for: that run's folder, and its own saved config.

    The saved config has no groups: where one is chosen, or a config is named, that is composed as usual.

    Raises:
        ConfigError: RUN is no run's folder, or a sweep is asked for.
    """
    given = [_override_value(argument) for argument in arguments if argument.startswith("ckpt_path=")]
    if not given or not given[-1]:
        return arguments
    run = find(given[-1])
    if not (run / "config.yaml").is_file():
        raise ConfigError([Fault("ckpt_path", given[-1], "not the folder of a run: it has no config.yaml", "give one")])
    if {"-m", "--multirun"} & set(arguments):
        raise ConfigError(
            [Fault("ckpt_path", given[-1], "a sweep finds its runs by itself", "start the sweep's own command again")]
        )
    if not any(argument.startswith("hydra.run.dir=") for argument in arguments):
        quoted = str(run).replace("\\", "\\\\").replace("'", "\\'")
        # Beside the other overrides: argparse does not take them up again once an option has come between.
        place = next(place for place, argument in enumerate(arguments) if argument.startswith("ckpt_path="))
        arguments = [*arguments[:place], f"hydra.run.dir='{quoted}'", *arguments[place:]]
    if not any(_chooses(argument) for argument in arguments):
        arguments = ["--config-dir", str(run), "--config-name", "config", *arguments]
    return arguments


def _override_value(argument: str) -> str:
    """The value of ``key=value`` as Hydra reads it, quotes and all."""
    try:
        value = OverridesParser.create().parse_override(argument).value()
    except HydraException:  # composing tells
        return ""
    return "" if value is None else str(value)


def _refuse_options(arguments: list[str]) -> None:
    """Raise ConfigError for what Hydra would read before it composes anything."""
    for option, after in pairwise([*arguments, ""]):
        name, _, value = option.partition("=")
        if name == "--experimental-rerun":
            why = "it reads a pickle, which may run code"
            raise ConfigError([Fault(name, ABSENT, why, "use --config-dir RUN --config-name config")])
        if name in ("--config-dir", "-cd") and not Path(value or after).is_dir():
            raise ConfigError([Fault(name, value or after, "there is no such folder", "give one that holds configs")])


def _chooses(argument: str) -> bool:
    """Does ``argument`` name a config, or an option of a group?"""
    if argument.startswith(("--config-name", "-cn", "--config-path", "-cp")):
        return True
    group = argument.lstrip("+~").split("=")[0].split("@")[0]
    ours = "." not in group and not group.startswith("hydra")
    return not argument.startswith("-") and ours and (ROOT / "conf" / group).is_dir()


def _refuse(error: ConfigError) -> NoReturn:
    _say(str(error))
    raise SystemExit(REFUSED)


def job(main: Job) -> Job:
    """``main`` as Hydra calls it: what it raises is told, and becomes an exit code outside of a sweep."""

    @functools.wraps(main)
    def run(cfg: DictConfig) -> Any:
        try:
            return main(limited(cfg, HydraConfig.get().overrides.task))  # again: a cluster's job composes unguarded
        except (ConfigError, Stop, KeyboardInterrupt) as error:
            code, message = _ending(error)
            if code == REFUSED:
                _leave_no_folder(Path(HydraConfig.get().runtime.output_dir))
            _say(message)
            if HydraConfig.get().mode == RunMode.MULTIRUN and code not in (INTERRUPTED, TERMINATED):
                raise
            raise SystemExit(code) from None

    return run


def _ending(error: BaseException) -> tuple[int, str]:
    if isinstance(error, Stop):
        return error.code, str(error)
    return (REFUSED, str(error)) if isinstance(error, ConfigError) else (INTERRUPTED, "interrupted")


def _leave_no_folder(folder: Path) -> None:
    """Hydra makes a folder before the job begins; one that holds nothing of a run goes with the refused config."""
    if folder.is_dir() and {one.name for one in folder.iterdir()} <= {".hydra", "train.log"}:
        shutil.rmtree(folder, ignore_errors=True)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
