"""A run folder is opened: a new run's, or one that is continued and must be the same run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmft.config import Stop, differing_keys, settings
from llmft.config.faults import REFUSED
from llmft.distributed import rank
from llmft.trainer import provenance
from llmft.trainer.preflight import Checked
from llmft.trainer.run import CONFIG, MANIFEST, RunFolder
from llmft.trainer.start import Start

log = logging.getLogger(__name__)


def open_run(start: Start, checked: Checked) -> RunFolder:
    """The folder that a run writes into, locked, with its config and manifest.

    Raises:
        Stop: if it belongs to another config or other data, holds a run already, or is being written by a process.
    """
    asked, facts = start.settings, checked.reward.facts()
    model = Path(getattr(checked.source, "path", ""))
    manifest = provenance.manifest(start, checked.splits.hashes, model, facts)
    run = RunFolder(start.folder, objective=asked["objective"], tokens=checked.tokens)
    try:
        if asked["ckpt_path"]:
            changed = _allowed_changes(run.path, asked)
            run.resume(start.config, manifest, changed, max_steps=asked["trainer"]["max_steps"])
        else:
            run.begin(start.config, manifest)
    except BaseException:
        run.close()
        raise
    for name, said in facts.items() if rank() == 0 else ():
        log.info("%s: %s", name, ", ".join(f"{key} {value}" for key, value in said.items()))
    return run


def _allowed_changes(folder: Path, now: Mapping[str, Any]) -> list[str]:
    """The keys in which a continued run differs from before."""
    from omegaconf import OmegaConf

    if not ((folder / CONFIG).is_file() and (folder / MANIFEST).is_file()):
        raise Stop(REFUSED, f"ckpt_path={folder}: no run is there; it should hold {CONFIG} and {MANIFEST}")
    before = settings(OmegaConf.load(folder / CONFIG))  # type: ignore[arg-type]
    if refused := differing_keys(before, now):
        raise Stop(
            REFUSED,
            f"ckpt_path={folder}: the run began with another config; take these back, start a new run, or let them "
            f"differ with resume.allow=[{','.join(refused)}]: {_listed(refused, before, now)}",
        )
    steps = "trainer.max_steps"
    longer = [steps] if _at(before, steps) != _at(now, steps) else []
    return [*differing_keys(before, {**now, "resume": {"allow": []}}), *longer]


def _listed(keys: list[str], before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    return "; ".join(f"{key} was {_at(before, key)}, is {_at(now, key)}" for key in keys)


def _at(values: Any, key: str) -> Any:
    for name in key.split("."):
        values = values.get(name) if isinstance(values, Mapping) else None
    return values
