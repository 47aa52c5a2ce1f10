"""The run folder: what a run leaves behind, the same for every algorithm, and what it needs to be continued.

    config.yaml      the resolved config without this run's own path; repeats the run
    manifest.json    where the run comes from
    metrics.csv      one row per logged step
    summary.json     how it stands, or how it ended
    curves.png       the rows as a picture
    samples.jsonl    some rollouts
    nonfinite.json   the newest update whose loss or gradient was not finite, if there was one
    checkpoints/     the newest ones and the best
    final/           what from_pretrained loads

One process at a time may write a run: it holds a lock that the system takes back when the process dies.
Under several ranks only the first writes; on the others every method that would write does nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from llmft import durable
from llmft.config import Stop
from llmft.config.faults import FAILED, INTERRUPTED, REFUSED, TERMINATED
from llmft.distributed import gather, rank
from llmft.protocols import Tokens
from llmft.trainer import shelf
from llmft.trainer.metrics import MetricsLog
from llmft.trainer.provenance import differing_files
from llmft.trainer.samples import SampleLog
from llmft.types import Rollout

log = logging.getLogger(__name__)

CONFIG, MANIFEST, METRICS, SUMMARY, SAMPLES = (
    "config.yaml", "manifest.json", "metrics.csv", "summary.json", "samples.jsonl"
)  # fmt: skip
STATUS = {INTERRUPTED: "interrupted", TERMINATED: "interrupted"}  # of an exit code; every other one is "failed"


class RunFolder:
    """A run's folder, open for this process. Use it in a ``with`` statement: leaving it releases the lock, and an
    exception on the way out is written into the summary."""

    def __init__(self, path: Path, *, objective: str, tokens: Tokens | None) -> None:
        self.path = path
        self.objective = objective
        self.writes = rank() == 0
        self.resume_from: Path | None = None
        self.finished = False  # nothing is left to do
        self.health: list[dict[str, Any]] = []  # what seems to be wrong with it
        self.identity = ""  # tells this run's checkpoints from others'; known where they are written
        self._lock: int | None = None
        if self.writes:
            self._take_lock()
        self.metrics = MetricsLog(path / METRICS)
        self.samples = SampleLog(path / SAMPLES, tokens)

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def config_path(self) -> Path:
        return self.path / CONFIG

    # ------------------------------------------------------------------ begin

    def begin(self, config: str, manifest: Mapping[str, Any]) -> None:
        """Make this folder a new run's.

        Args:
            config: the text of ``config.yaml``.
            manifest: what ``manifest.json`` says.

        Raises:
            Stop: if the folder already holds a run.
        """
        if not self.writes:
            return
        if (self.path / MANIFEST).exists() or (self.path / METRICS).exists() or shelf.listed(self.checkpoints):
            raise Stop(
                REFUSED,
                f"hydra.run.dir={self.path}: a run is there already; "
                f"continue it with ckpt_path={self.path}, or choose another folder",
            )
        self._require_writable(self.checkpoints)
        durable.write_text(self.config_path, config)
        durable.write_json(self.path / MANIFEST, dict(manifest))  # from here on there is a run
        self.identity = _identity(manifest)
        self.summarize("running")

    def resume(self, config: str, manifest: Mapping[str, Any], changed: Sequence[str], max_steps: int) -> None:
        """Continue the run of this folder from its newest undamaged checkpoint, or from its start if it has none.

        A run that is finished, and has made ``max_steps`` steps, is left as it is.

        Args:
            config: the text of ``config.yaml`` from here on.
            manifest: of this process; the files of model and data must be those of the run.
            changed: keys of the config that differ, and may.

        Raises:
            Stop: if data or model have changed.
            RuntimeError: if every checkpoint is damaged.
        """
        if self.writes:
            before = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))
            self._require_same_files(differing_files(before["files"], manifest["files"]))
            self.identity = _identity(before)
            self._require_writable(self.checkpoints)
            durable.clean(self.path)
            durable.clean(self.checkpoints)
            self.resume_from = shelf.newest_valid(self.checkpoints, self.identity)
            step = shelf.step_of(self.resume_from) if self.resume_from else -1
            self.finished = step >= max_steps and self._summary().get("status") == "completed"
            if not self.finished:
                self.metrics.cut(step)
                self.samples.cut(step)
                again = {"from_step": max(step, 0), "changed": list(changed), **_differing(before, manifest)}
                durable.write_text(self.config_path, config)
                durable.write_json(self.path / MANIFEST, {**before, "resumed": [*before.get("resumed", []), again]})
                self.summarize("running")
        self.resume_from, self.finished = gather([(self.resume_from, self.finished)])[0]

    def _require_same_files(self, differing: list[str]) -> None:
        if differing:
            raise Stop(
                REFUSED,
                f"ckpt_path={self.path}: not the files that this run began with; "
                f"bring them back or start a new run: {'; '.join(differing)}",
            )

    # ------------------------------------------------------------------ while it goes on

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One row of ``metrics.csv``, for the state after ``step`` steps."""
        if self.writes:
            self.metrics.add(step, metrics)

    def sample(self, step: int, rollouts: Sequence[Rollout], count: int) -> None:
        """Some rollouts for ``samples.jsonl``."""
        if self.writes:
            self.samples.add(step, rollouts, count)

    def note(self, name: str, facts: Mapping[str, Any]) -> None:
        """``NAME.json``: what somebody who looks into a fault will want to know; the newest of its kind."""
        if self.writes:
            durable.write_json(self.path / f"{name}.json", dict(facts))

    def flush(self) -> None:
        """Have the disk hold what a checkpoint is about to rely on."""
        if self.writes:
            self.metrics.flush()
            self.samples.flush()

    def summarize(self, status: str, **facts: Any) -> None:
        """Write ``summary.json``: the status, the objective and the metrics so far, and ``facts``."""
        if not self.writes:
            return
        names = [name for name in self.metrics.columns if name != "step"]
        before, after = self.heldout()
        summary = {
            "status": status,
            "objective": {"name": self.objective, "value": self.metrics.last(self.objective)},
            "step": self.step(),
            "metrics": {name: self.metrics.last(name) for name in names},
            "before": before,
            "after": after,
            "health": self.health,
            "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        durable.write_json(self.path / SUMMARY, {**summary, **facts})

    def step(self) -> int:
        """The step that the run has come to: of the last row, or of a checkpoint whose row is yet to be written."""
        saved = [shelf.step_of(path) for path in shelf.listed(self.checkpoints)[:1]]
        return max(int(self.metrics.last("step") or 0), *saved, 0)

    def heldout(self) -> tuple[dict[str, float], dict[str, float]]:
        """The held-out metrics of the first evaluation and of the last."""
        rows = [
            {name: value for name, value in row.items() if name.startswith("heldout/")} for row in self.metrics.rows
        ]
        evaluated = [row for row in rows if row]
        return (evaluated[0], evaluated[-1]) if evaluated else ({}, {})

    def value(self) -> float:
        """The objective's latest value. Raises ValueError, with the names that there are, if no row has it."""
        if not self.writes:
            return float("nan")
        value = self.metrics.last(self.objective)
        if value is None:
            names = ", ".join(name for name in self.metrics.columns if name != "step")
            raise ValueError(f"objective={self.objective}: the run logged no such metric; choose one of {names}")
        return value

    # ------------------------------------------------------------------ end

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None and (self.path / MANIFEST).exists():
                self._tell(error)
        except RuntimeError as unwritten:
            log.warning("%s", unwritten)  # of the two, the error that ended the run is to be seen
        finally:
            self.close()

    def _tell(self, error: BaseException) -> None:
        """The summary of a run that did not finish, with what the running summary knew."""
        code = (
            error.code if isinstance(error, Stop) else INTERRUPTED if isinstance(error, KeyboardInterrupt) else FAILED
        )
        known = self._summary()
        kept = {name: known[name] for name in ("seconds", "peak_memory_bytes") if name in known}
        message = str(error) if isinstance(error, Stop) else f"{type(error).__name__}: {error}"
        self.summarize(STATUS.get(code, "failed"), **kept, error=message, exit_code=code)

    def _summary(self) -> dict[str, Any]:
        file = self.path / SUMMARY
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _require_writable(self, folder: Path) -> None:
        try:
            durable.require_writable(folder)
        except RuntimeError as error:
            raise Stop(REFUSED, f"hydra.run.dir={self.path}: choose a folder that can be written: {error}") from None

    def _take_lock(self) -> None:
        self._require_writable(self.path)
        handle = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise Stop(
                REFUSED, f"{self.path}: another process is writing this run; wait for it, or choose another folder"
            ) from None
        self._lock = handle


def _identity(manifest: Mapping[str, Any]) -> str:
    """Of the run that began with this manifest, however often it was continued since."""
    began = {name: value for name, value in manifest.items() if name != "resumed"}
    return hashlib.sha256(json.dumps(began, sort_keys=True).encode()).hexdigest()


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """What of code, reward, versions and device is not as it was: allowed, but the reader of the manifest should know."""
    names = ("code", "reward", "versions", "device")
    return {name: now.get(name) for name in names if now.get(name) != before.get(name)}
