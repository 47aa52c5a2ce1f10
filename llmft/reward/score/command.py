"""What a reward says of recorded responses: ``python -m llmft.reward.score FILE reward=math [overrides]``.

FILE is a run's ``samples.jsonl`` or the run's folder, or JSON lines that stand by themselves: ``prompt`` or
``messages``, ``response`` or ``responses``, and ``answer``, ``tests``, ``tools`` or ``kind``. A line that names a task has
its answer, tests and tools from the config's dataset. A run's file is scored with the run's own reward, dataset and model
where no other is chosen.

Printed: the parts, verdicts and failures, latency and speed, what differs from rewards that the file has, the best and
the worst. Written, beside FILE or as --out says: every score as a JSON line, and a picture of the same name.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from llmft import durable
from llmft.config import ConfigError, Fault, build
from llmft.config.checks import find_faults
from llmft.config.faults import FAILED, FINISHED, INTERRUPTED, REFUSED
from llmft.protocols import Reward, Tokens
from llmft.reward.score import options as asked
from llmft.reward.score import picture, records, report
from llmft.reward.score.records import Record, Recorded
from llmft.reward.score.scoring import Timed, rollout, score, watched
from llmft.reward.score.summary import agreement, columns
from llmft.reward.score.tasks import tasks_of
from llmft.types import Rollout, Splits

if TYPE_CHECKING:
    from rich.console import Console


class Ready(NamedTuple):
    """What is to be scored, and by what."""

    reward: Reward
    rollouts: list[Rollout]
    wheres: list[str]
    recorded: list[Recorded | None]
    notes: list[str]


class Scored(NamedTuple):
    """What came of it."""

    timed: Timed
    programs: Mapping[str, int]  # that a sandbox ran, by how they ended
    rows: list[dict[str, Any]]  # what the file of scores says


def prepare(file: Path, overrides: list[str], limit: int | None) -> Ready:
    """Read the file, its tasks and the reward. Raises ConfigError with what does not fit."""
    cfg = asked.config_for(file, overrides)
    if faults := [fault for fault in find_faults(cfg) if fault.path.split(".")[0] in ("dataset", "reward")]:
        raise ConfigError(faults)
    lines, notes = records.read(file)
    tasks, more = tasks_of(lines, lambda: _loaded(cfg))
    named = any(one.startswith("model") for one in overrides)
    tokens = _tokens(cfg, named) if any(not line.pieces for line in lines) else None
    found = [
        (rollout(line, place, task, tokens), _where(line, place), line.recorded if len(line.texts) == 1 else None)
        for line, task in zip(lines, tasks, strict=True)
        for place in range(len(line.texts))
    ][:limit]
    rollouts = [one for one, _, _ in found]
    try:
        reward = build(cfg.reward)
    except ValueError as error:
        raise ConfigError([str(error)]) from None
    if faults := reward.faults(list({id(one.task): one.task for one in rollouts}.values())):
        raise ConfigError(faults)
    return Ready(reward, rollouts, [where for _, where, _ in found], [was for _, _, was in found], [*notes, *more])


def rows_of(ready: Ready, timed: Timed) -> list[dict[str, Any]]:
    """What the file of scores says, a row for each response."""
    seconds = dict(zip(timed.alone, timed.latencies, strict=True))
    rows = []
    for place, (one, made) in enumerate(zip(ready.rollouts, timed.scores, strict=True)):
        was = ready.recorded[place]
        row = {"where": ready.wheres[place], "task": one.task.id, "response": one.text, "reward": made.value}
        row |= {"parts": dict(made.parts), "correct": made.correct, "failure": made.failure}
        if was is not None:
            row["recorded"] = {"reward": was.value, "parts": dict(was.parts), "correct": was.correct}
        if place in seconds:
            row["seconds"] = round(seconds[place], 6)
        rows.append(row)
    return rows


def tell(console: Console, ready: Ready, scored: Scored, show: int) -> None:
    """Print everything."""
    timed, programs, rows = scored
    scores = timed.scores
    for title, places in zip(("best", "worst"), report.ranked(scores, show), strict=True):
        if places:
            console.rule(f"the {title} {len(places)}", align="left")
        for place in places:
            console.print(report.response(ready.rollouts[place], scores[place], ready.wheres[place]))
    console.rule()
    console.print(report.parts_table(scores, getattr(ready.reward, "weights", {})))
    said = [*report.verdicts(scores), *report.ended(programs), *report.speed(timed)]
    if found := agreement(scores, ready.recorded):
        said += report.agreeing(found, scores, rows)
    for line in [*said, *report.facts(ready.reward.facts()), *ready.notes]:
        console.print(line, markup=False, soft_wrap=True)


def run(console: Console, options: Namespace) -> int:
    """Score the file. Returns the exit code; raises ConfigError for what cannot be."""
    file, overrides = asked.file_and_overrides(options.given)
    out = asked.out_of(options, file)
    try:
        durable.require_writable(out.parent)
    except RuntimeError as error:
        raise ConfigError([Fault("--out", str(out), str(error), "name a place that can be written")]) from None
    ready = prepare(file, overrides, options.limit)
    programs = watched(ready.reward)
    try:
        with _progress(console, len(ready.rollouts)) as advance:
            timed = score(ready.reward, ready.rollouts, batch=options.batch, alone=options.alone, tell=advance)
        rows = rows_of(ready, timed)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        durable.write_bytes(out, lines.encode("utf-8", "replace"))
        rewards = {"reward": [one.value for one in timed.scores if one.value is not None]}
        image = out.with_suffix(".png")
        picture.draw(image, file.name, rewards | columns(timed.scores), timed.latencies)
        tell(console, ready, Scored(timed, programs, rows), options.show)
        console.print(f"written: {out} and {image}", markup=False, soft_wrap=True)
        scored = [one.with_score(made) for one, made in zip(ready.rollouts, timed.scores, strict=True)]
        ready.reward.require_sound(scored)
    except RuntimeError as error:  # too many failed, or the disk took nothing
        print(error, file=sys.stderr)
        return FAILED
    finally:
        ready.reward.close()
    return FINISHED


def main() -> int:
    from rich.console import Console

    options = asked.parser(__doc__).parse_intermixed_args()
    try:
        return run(Console(highlight=False), options)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED


def _loaded(cfg: Any) -> Splits:
    try:
        return build(cfg.dataset).load()
    except (ValueError, OSError) as error:
        raise ConfigError([str(error)]) from None


def _tokens(cfg: Any, named: bool) -> Tokens | None:
    """The tokenizer of the config's model. None where it is not at hand and nobody named it: few rewards count tokens."""
    try:
        source = build(cfg.model)
        if not named and not getattr(source, "is_local", True):
            return None
        if faults := source.faults():
            raise ConfigError(faults)
        return source.tokens()
    except (ValueError, OSError) as error:
        if named:
            raise ConfigError(getattr(error, "faults", [str(error)])) from None
        return None


def _where(line: Record, place: int) -> str:
    return line.where if len(line.texts) == 1 else f"{line.where}[{place}]"


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Callable[[int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    with Progress(
        BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True
    ) as progress:
        bar = progress.add_task("", total=total)
        yield lambda count: progress.advance(bar, count)
