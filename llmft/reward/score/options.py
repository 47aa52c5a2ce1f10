"""The options of ``python -m llmft.reward.score``, and the config that they come to."""

from __future__ import annotations

import argparse
from argparse import Namespace
from pathlib import Path
from typing import Any

from llmft.config import ROOT, ConfigError, Fault, compose, find
from llmft.config.faults import ABSENT

SAMPLES, CONFIG = "samples.jsonl", "config.yaml"  # of a run
ITS_OWN = ("dataset", "model", "reward")  # what a run's file is scored with, where nothing else is named


def parser(description: str | None) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m llmft.reward.score",
        usage="%(prog)s [options] FILE [overrides]",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--out", type=Path, metavar="SCORES.jsonl", help="FILE's name with .scores.jsonl, if not given")
    made.add_argument("--limit", type=_at_least(1), help="the first so many responses; all, if not given")
    made.add_argument("--batch", type=_at_least(1), default=256, help="responses that are scored at once")
    made.add_argument(
        "--alone", type=_at_least(0), default=100, help="responses that are scored one by one, for the latency"
    )
    made.add_argument(
        "--show", type=_at_least(0), default=10, help="of the best and of the worst responses, so many each"
    )
    made.add_argument(
        "given", nargs="*", metavar="FILE and overrides", help="e.g. samples.jsonl reward=math dataset=gsm8k"
    )
    return made


def file_and_overrides(given: list[str]) -> tuple[Path, list[str]]:
    """The file of responses (a run's folder stands for its samples), and the other arguments.

    Raises ConfigError where that is no one file.
    """
    files = [one for one in given if not _is_override(one)]
    if len(files) != 1:
        advice = "name one: python -m llmft.reward.score FILE reward=math"
        raise ConfigError([Fault("FILE", " ".join(files) or ABSENT, f"{len(files) or 'no'} files are named", advice)])
    path = find(files[0])
    if path.is_dir() and not (path / SAMPLES).is_file():
        raise ConfigError([Fault("FILE", files[0], f"a folder without {SAMPLES}", "name a run's folder, or a file")])
    path = path / SAMPLES if path.is_dir() else path
    if not path.is_file():
        raise ConfigError(
            [Fault("FILE", files[0], "there is no such file", "name a .jsonl of responses, or a run's folder")]
        )
    return path, [one for one in given if one not in files]


def config_for(file: Path, overrides: list[str]) -> Any:
    """The config that the overrides compose; of a run's file, its dataset, model and reward where none is chosen."""
    run = file.parent
    if file.name != SAMPLES or not (run / CONFIG).is_file():
        return compose(overrides)
    chosen = {one.split("=")[0] for one in overrides if (ROOT / "conf" / one.split("=")[0]).is_dir()}
    own = [group for group in ITS_OWN if group not in chosen]
    values = [one for one in overrides if one.split(".")[0] in own]
    saved = compose(values, "config", run)
    cfg = compose([one for one in overrides if one not in values])
    for group in own:
        cfg[group] = saved[group]
    return cfg


def out_of(options: Namespace, file: Path) -> Path:
    """Where the scores go. Raises ConfigError for what they cannot be written to."""
    out = options.out or file.with_suffix(".scores.jsonl")
    if out.suffix != ".jsonl":
        raise ConfigError([Fault("--out", str(out), "scores are written in JSON lines", "name a .jsonl")])
    if out.resolve() == file.resolve():
        raise ConfigError([Fault("--out", str(out), "that is the file that is scored", "name another")])
    return out


def _is_override(argument: str) -> bool:
    return argument.startswith(("~", "+")) or ("=" in argument and not Path(argument).exists())


def _at_least(low: int) -> Any:
    def number(text: str) -> int:
        if int(text) < low:
            raise argparse.ArgumentTypeError(f"{text}: it must be {low} or more")
        return int(text)

    number.__name__ = "int"  # for argparse's message about what is no number
    return number
