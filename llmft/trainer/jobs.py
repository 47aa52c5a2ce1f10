"""The jobs of a sweep before they run: what each computes, where it lies, and how it stands.

A job is known by the hash of its resolved config, and so is its folder: the same command, started again, finds what it
left behind.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import filter_overrides
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from llmft.config import ConfigError, Fault, check, identity, part, settings
from llmft.config.composition import guarded
from llmft.trainer.provenance import Files, differing_files, model_files
from llmft.trainer.run import CONFIG, MANIFEST, SUMMARY

FREE = ["extras", "logger", "paths", "tags"]  # in which a job may differ from its run, not being what it computes


@dataclass(frozen=True, slots=True)
class Job:
    number: int  # of the sweep, from 0
    overrides: tuple[str, ...]  # what was typed for it
    cfg: DictConfig  # composed and checked, with Hydra's own section
    folder: Path
    name: str  # what it has of its own: the overrides that not all jobs share

    @property
    def lines(self) -> list[str]:
        """What `continued`, and the name of the folder, are as overrides."""
        told = [f"hydra.sweep.subdir='{self.folder.name}'"]
        if self.cfg.ckpt_path:
            quoted = self.cfg.ckpt_path.replace("'", "\\'")
            told += [f"ckpt_path='{quoted}'", f"resume.allow=[{','.join(FREE)}]"]
        return told

    @property
    def asked(self) -> dict[str, Any]:
        return settings(self.cfg)

    def continued(self) -> Job:
        """This job, to go on with the run in its folder."""
        cfg = self.cfg.copy()
        with open_dict(cfg):
            cfg.ckpt_path = str(self.folder)
            cfg.resume.allow = FREE
        return replace(self, cfg=cfg)


class Standing(NamedTuple):
    """What a job's folder says."""

    what: Literal["new", "begun", "completed", "failed", "running elsewhere", "not this job's"]
    why: str = ""
    value: float | None = None  # of the objective


def plan(compose: Callable[[list[str]], DictConfig], batch: Sequence[Sequence[str]], first: int) -> list[Job]:
    """The jobs of ``batch``, each composed and checked; one of several that would compute the same.

    Args:
        compose: the config, with Hydra's section, for the overrides of a job.
        batch: overrides of each job.
        first: the number of the first one.

    Raises:
        ConfigError: with the faults of every job, by its overrides.
    """
    jobs: dict[Path, Job] = {}
    faults: dict[str, list[str]] = {}  # the jobs that have it, by fault
    shared = set.intersection(*map(set, batch)) if len(batch) > 1 else set()
    before = HydraConfig.instance().cfg
    try:
        for number, overrides in enumerate(batch, first):
            name = " ".join(one for one in filter_overrides(overrides) if one not in shared) or f"job {number}"
            try:
                job = _planned(compose, number, overrides, name)
            except ConfigError as error:
                for fault in error.faults:
                    faults.setdefault(str(fault), []).append(name)
                continue
            twin = jobs.setdefault(job.folder, job)
            if twin is not job:
                print(f"{job.name}: the same job as {twin.name}, which runs once", flush=True)
    finally:
        HydraConfig.instance().cfg = before
    if faults:
        raise ConfigError([f"{told}\nin {_listed(names, len(batch))}" for told, names in faults.items()])
    return list(jobs.values())


def _planned(compose: Callable[[list[str]], DictConfig], number: int, overrides: Sequence[str], name: str) -> Job:
    with guarded():
        cfg = compose(list(overrides))
    subdir = [line for line in cfg.hydra.overrides.hydra if line.lstrip("+").startswith("hydra.sweep.subdir=")]
    if subdir:
        why = "a sweep's runs are named by their configs, so that it finds them again"
        raise ConfigError([Fault("hydra.sweep.subdir", subdir[0].partition("=")[2], why, "set hydra.sweep.dir")])
    with open_dict(cfg.hydra.job):
        cfg.hydra.job.id = cfg.hydra.job.num = number
    HydraConfig.instance().set_config(cfg)
    check(cfg)
    with read_write(cfg.hydra):
        cfg.hydra.sweep.subdir = f"seed{cfg.seed}-{identity(settings(cfg))}"
    folder = Path(cfg.hydra.sweep.dir).absolute() / cfg.hydra.sweep.subdir
    return Job(number, tuple(overrides), cfg, folder, name)


def _listed(names: list[str], jobs: int) -> str:
    if len(names) == jobs > 1:
        return "every job"
    more = f"; and {len(names) - 3} more" if len(names) > 3 else ""
    return f"the job{'s' if len(names) > 1 else ''} " + "; ".join(names[:3]) + more


def standing(job: Job, files: Callable[[DictConfig], Files]) -> Standing:
    """How ``job`` stands. ``files`` gives the hashes of the data and of the model as they are now."""
    if written(job.folder):
        return Standing("running elsewhere")
    manifest = read(job.folder / MANIFEST)
    if not manifest:
        return Standing("new")
    before = settings(OmegaConf.load(job.folder / CONFIG))  # type: ignore[arg-type]
    if identity(before) != identity(job.asked):
        return Standing("not this job's", "the run was continued with another config; move its folder away")
    summary = read(job.folder / SUMMARY)
    if summary.get("status") == "failed":
        return Standing("failed", str(summary.get("error")))
    if summary.get("status") != "completed":
        return Standing("begun")
    try:
        differing = differing_files(manifest["files"], files(job.cfg))
    except (ValueError, OSError) as error:
        return Standing("not this job's", f"its data cannot be compared with what is there now ({error})")
    if differing:
        why = f"not the files that the run was made from: {'; '.join(differing)}"
        return Standing("not this job's", f"{why}; bring them back, or move its folder away")
    return Standing("completed", value=summary["objective"]["value"])


def files_now() -> Callable[[DictConfig], Files]:
    """A function that hashes the files of a config's data and model, the same ones once."""
    known: dict[str, Files] = {}

    def find(cfg: DictConfig) -> Files:
        asked = settings(cfg)
        key = json.dumps([asked["dataset"], asked["model"]], sort_keys=True)
        if key not in known:
            source = part(cfg.model)()
            data = part(cfg.dataset)().load().hashes
            known[key] = {"data": dict(data), "model": model_files(Path(getattr(source, "path", "")))}
        return known[key]

    return find


def written(folder: Path) -> bool:
    """Is a process writing this run?"""
    try:
        handle = os.open(folder / ".lock", os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(handle)


def shown(path: Path) -> str:
    """As short as it can be from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def read(file: Path) -> dict[str, Any]:
    """A JSON file of a run; empty where there is none yet."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
