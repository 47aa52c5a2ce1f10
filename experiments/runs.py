"""Running the cells of a table: some at a time, each stage after the one before, and taken up where they were cut off."""

from __future__ import annotations

import json
import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from statistics import fmean

from experiments.cells import Cell, Places, arguments_of, identity_of
from experiments.results import COST
from experiments.spec import Collect, Table
from experiments.worker import Workers
from llmft import durable
from llmft.trainer.jobs import read, written
from llmft.trainer.run import CONFIG, MANIFEST, SUMMARY

POLL_S = 0.05
CODE = "code"  # a file beside a cell's runs: which code made them
Finished = Callable[[Cell], str]  # told of a cell whose stages are all done; says what came out


class Failed(Exception):
    """A stage did not end well."""


class Running:
    """A cell whose stages are being run."""

    def __init__(self, table: Table, cell: Cell, places: Places, workers: Workers) -> None:
        self.table, self.cell, self.places, self.workers = table, cell, places, workers
        self.waiting = deque(table.rows[cell.row].stages.items())
        self.process: BaseProcess | None = None
        self.stage = ""
        self.began = self.began_stage = time.monotonic()

    def goes_on(self) -> bool:
        """Start the next stage where none runs; False once all are done. Raises Failed."""
        if self.process is not None:
            if self.process.is_alive():
                return True
            code, self.process = self.process.exitcode, None
            if code:
                log = self.places.log(self.cell, self.stage)
                raise Failed(f"{self.stage} ended with code {code}; its last words, of {log}:\n{_tail(log)}")
            self._cost()
        while self.waiting:
            self.stage, wanted = self.waiting[0]
            folder = self.places.run(self.cell, self.stage)
            if written(folder):
                return True  # by a process that a killed command left behind, and that is about to end
            self.waiting.popleft()
            if not is_finished(folder, wanted):
                self._start(folder, wanted)
                return True
        return False

    def _start(self, folder: Path, wanted: list[str] | Collect) -> None:
        log = self.places.log(self.cell, self.stage)
        self.began_stage = time.monotonic()
        if isinstance(wanted, Collect):
            shutil.rmtree(folder, ignore_errors=True)  # what it cost is known only of one that was not cut off
            self.process = self.workers.start(
                wanted.module, arguments_of(self.places.snapshot(self.cell, self.stage)), log
            )
            return
        snapshot = self.places.snapshot(self.cell, self.stage)
        arguments = ["--config-dir", str(snapshot.parent.absolute()), "--config-name", snapshot.stem]
        arguments.append(f"hydra.run.dir='{folder}'")
        if (folder / MANIFEST).is_file():
            arguments.append(f"ckpt_path='{folder}'")
        self.process = self.workers.start("train", arguments, log)

    def _cost(self) -> None:
        """Write down what a stage that collects has cost; a training's own folder says it."""
        if isinstance(self.table.rows[self.cell.row].stages[self.stage], Collect):
            folder = self.places.run(self.cell, self.stage)
            rows = [json.loads(line) for file in folder.glob("*.jsonl") for line in file.open(encoding="utf-8")]
            cost = {"seconds": time.monotonic() - self.began_stage, "tokens": sum(row["answer_tokens"] for row in rows)}
            snapshot = self.places.snapshot(self.cell, self.stage)
            durable.write_text(folder / CONFIG, snapshot.read_text(encoding="utf-8"))  # as a training leaves its own
            durable.write_json(folder / COST, cost)

    def end(self) -> None:
        """Have the stage end, with a checkpoint; a second signal would not wait for that."""
        if self.process is not None:
            self.process.terminate()

    def ended(self) -> None:
        """Wait for that."""
        if self.process is not None:
            self.process.join()


def standing(cell: Cell, places: Places, wanted: Mapping[str, str], code: str) -> str:
    """What the run folders of ``cell`` hold: ``new``, ``begun``, or runs of ``other code`` or of an ``other config``.

    Args:
        wanted: what each stage computes, by its name.
        code: stands for the code that is here now.
    """
    marker = places.runs / cell.name / CODE
    if not marker.is_file():
        return "new"
    for stage, identity in wanted.items():
        config = places.run(cell, stage) / CONFIG
        if config.is_file() and identity_of(config) != identity:
            return "other config"
    return "begun" if code_of(cell, places) == code else "other code"


def mark(cell: Cell, places: Places, code: str) -> None:
    """Write down which code makes the runs of ``cell``, unless some made them before."""
    marker = places.runs / cell.name / CODE
    marker.parent.mkdir(parents=True, exist_ok=True)
    if not marker.is_file():
        durable.write_text(marker, code)


def code_of(cell: Cell, places: Places) -> str:
    """Which code made the runs of ``cell``."""
    return (places.runs / cell.name / CODE).read_text(encoding="utf-8")


def is_finished(folder: Path, wanted: list[str] | Collect) -> bool:
    if isinstance(wanted, Collect):
        return (folder / COST).is_file()
    return read(folder / SUMMARY).get("status") == "completed"


def run(
    table: Table, cells: Sequence[Cell], places: Places, *, code: str, at_once: int, finished: Finished
) -> dict[Cell, str]:
    """Run ``cells``, ``at_once`` of them at a time; those that failed, and why. The others run on.

    ``code`` stands for the code that is here.
    """
    workers, queue = Workers(), deque(cells)
    failed: dict[Cell, str] = {}
    running: list[Running] = []
    clock = Clock(cells, at_once)
    try:
        while queue or running:
            while queue and len(running) < at_once:
                mark(queue[0], places, code)
                running.append(Running(table, queue.popleft(), places, workers))
            for one in list(running):
                try:
                    if one.goes_on():
                        continue
                    told = finished(one.cell)
                    for stage in table.rows[one.cell.row].stages:  # what only a run that goes on needs
                        shutil.rmtree(places.run(one.cell, stage) / "checkpoints", ignore_errors=True)
                except Failed as error:
                    failed[one.cell] = told = str(error)
                running.remove(one)
                print(clock.told(one.cell, time.monotonic() - one.began, told), flush=True)
            time.sleep(POLL_S)
    finally:
        for one in running:  # all are told before the first is waited for
            one.end()
        for one in running:
            one.ended()
    return failed


class Clock:
    """How long the rest will take, by what the same row took before."""

    def __init__(self, cells: Sequence[Cell], at_once: int) -> None:
        self.left, self.total, self.at_once = list(cells), len(cells), at_once
        self.took: dict[tuple[str, str], list[float]] = {}

    def told(self, cell: Cell, seconds: float, text: str) -> str:
        self.left.remove(cell)
        self.took.setdefault((cell.training, cell.row), []).append(seconds)
        done = self.total - len(self.left)
        about = f"; about {self.rest_s() / 60:.0f} min left" if self.left else ""
        return f"[{done}/{self.total}] {cell.name}: {text}, {seconds:.0f} s{about}"

    def rest_s(self) -> float:
        means = {key: fmean(ones) for key, ones in self.took.items()}
        usual = fmean(means.values())
        return sum(means.get((cell.training, cell.row), usual) for cell in self.left) / self.at_once


def _tail(log: Path, lines: int = 12) -> str:
    text = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.is_file() else []
    return "\n".join(f"    {line}" for line in text[-lines:])
