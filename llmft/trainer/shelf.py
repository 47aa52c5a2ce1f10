"""Which checkpoints a run has: the order is by step, never by the clock, and nothing is believed without its hashes."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from llmft import durable

log = logging.getLogger(__name__)

NAME = re.compile(r"step_(\d{6,})")


def folder_name(step: int) -> str:
    return f"step_{step:06d}"


def step_of(folder: Path) -> int:
    """The number of steps done when the checkpoint was made: what orders checkpoints, whatever the clock says."""
    match = NAME.fullmatch(folder.name)
    if match is None:
        raise ValueError(f"{folder}: not a checkpoint; its name should be like {folder_name(120)}")
    return int(match.group(1))


def listed(checkpoints: Path) -> list[Path]:
    """The checkpoints of a run by their steps, newest first, damaged ones included."""
    found = (path for path in checkpoints.iterdir() if NAME.fullmatch(path.name)) if checkpoints.is_dir() else ()
    return sorted(found, key=step_of, reverse=True)


def newest_valid(checkpoints: Path, owner: str | None = None) -> Path | None:
    """The checkpoint to continue from, None if no checkpoint was ever finished.

    A damaged one, and one that is not ``owner``'s, is passed over with a warning that names the file, and set aside
    under another name, so that it takes no other's place. Raises RuntimeError if there is nothing else.
    """
    candidates = listed(checkpoints)
    for place, candidate in enumerate(candidates):
        fault = durable.fault(candidate, owner)
        if fault is None:
            for refused in candidates[:place]:
                aside = refused.with_name(f"refused-{refused.name}")
                durable.remove_folder(aside)
                refused.rename(aside)
            return candidate
        log.warning("%s; falling back to the checkpoint before it", fault)
    if candidates:
        raise RuntimeError(f"{checkpoints}: none of the {len(candidates)} checkpoints is undamaged; start a new run")
    return None


def prune(checkpoints: Path, *, keep: int, best: int | None) -> None:
    """Delete all but the newest ``keep`` checkpoints and the one of step ``best``.

    Nothing is deleted unless the newest one reads back as it was written.
    """
    candidates = listed(checkpoints)
    if not candidates or len(candidates) <= keep:
        return
    if fault := durable.fault(candidates[0]):
        log.warning("%s; older checkpoints are kept", fault)
        return
    for doomed in candidates[keep:]:
        if step_of(doomed) != best:
            durable.remove_folder(doomed)
