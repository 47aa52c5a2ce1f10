"""What the machine does to runs, and what comes of it: the tables of the README's section on reliability.

    python benchmarks/faults.py [--out docs/faults.md] [--megabytes 440]

The experiments are the tests that record a figure: `record_property("3", "truncated: found")` says what happened under
fault 3. This runs them all, the slow ones too, and gathers what they recorded; a test that fails stands in the table.
Then it measures what a checkpoint costs that is written whole, flushed and hashed, against `torch.save`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FAULTS = {
    1: "SIGKILL at random moments", 2: "cut at every step, between two updates, in an evaluation, in a save",
    3: "checkpoint truncated, zeroed, flipped, foreign", 4: "disk full", 5: "folder read-only",
    6: "TMPDIR on another disk", 7: "NaN and infinity in loss, gradient, reward", 8: "SIGTERM, SIGUSR1, Ctrl-C in each phase",
    9: "a signal, twice", 10: "two runs in one folder", 11: "continued with another config, data or model",
    12: "clock set back", 13: "killed between rename and pruning", 14: "a reward's worker killed",
    15: "a pickle in a checkpoint",
}  # fmt: skip
FILES = ["tests/trainer", "tests/test_lives.py", "tests/test_train.py", "tests/test_train_processes.py"]


class Figures:
    """A pytest plugin: runs the tests that record figures, and keeps what they recorded."""

    def __init__(self) -> None:
        self.told: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))  # fault: result: cases
        self.not_passed: list[str] = []

    def pytest_collection_modifyitems(self, items) -> None:
        items[:] = [item for item in items if "record_property" in item.fixturenames]

    def pytest_runtest_logreport(self, report) -> None:
        if report.failed or report.skipped:
            why = report.longrepr[2] if report.skipped else ""
            self.not_passed.append(f"{report.outcome}: {report.nodeid} {why}".strip())
        if report.when != "call" or not report.passed:
            return
        for number, text in report.user_properties:
            case, _, result = text.rpartition(": ")
            self.told[int(number)][result].append(case)

    def table(self) -> str:
        rows = ["| | fault | what happened |", "|---|---|---|"]
        for number, fault in FAULTS.items():
            cases = [f"{', '.join(dict.fromkeys(cases))}: {result}" for result, cases in self.told[number].items()]
            rows.append(f"| {number} | {fault} | {'; '.join(cases) or 'no figure'} |")
        return "\n".join(rows)


def cost(megabytes: int, repeats: int = 5) -> str:
    """Seconds and MB/s of writing weights and two moments, the sides taking turns, medians."""
    import torch

    from llmft import durable
    from llmft.trainer.checkpoint import FolderCheckpointIO

    torch.manual_seed(0)
    weight, *moments = (torch.randn(megabytes * 2**20 // 12) for _ in range(3))
    checkpoint = {"state_dict": {"weight": weight}, "optimizer_states": dict(enumerate(moments))}
    seconds: dict[str, list[float]] = defaultdict(list)

    def timed(name: str, job) -> None:
        began = time.perf_counter()
        job()
        seconds[name].append(time.perf_counter() - began)

    with tempfile.TemporaryDirectory(dir=ROOT / "logs" if (ROOT / "logs").is_dir() else None) as place:
        file, folder = Path(place) / "plain.pt", Path(place) / "step_000001"
        for _ in range(repeats):
            os.sync()  # what others have written should not be waited for
            timed("torch.save", lambda: torch.save(checkpoint, file))
            timed("the same, flushed to the disk", lambda: durable.flush(file))
            timed(
                "a checkpoint: written, hashed, flushed",
                lambda: FolderCheckpointIO("x").save_checkpoint(checkpoint, folder),
            )
            timed("read back and verified", lambda: durable.fault(folder))
    flushed = "the same, flushed to the disk"
    seconds[flushed] = [one + two for one, two in zip(seconds["torch.save"], seconds[flushed], strict=True)]
    rows = [f"| {megabytes} MB | seconds | MB/s |", "|---|---|---|"]
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    rows += [f"| {name} | {median:.2f} | {megabytes / median:,.0f} |" for name, median in medians.items()]
    return "\n".join(rows)


def main() -> int:
    import pytest

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "faults.md")
    parser.add_argument("--megabytes", type=int, default=440, help="size of the checkpoint whose writing is measured")
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.chdir(ROOT)
    figures, began = Figures(), time.monotonic()
    with contextlib.redirect_stdout(sys.stderr):
        code = pytest.main(["-q", "--no-header", "-p", "no:cacheprovider", *FILES], plugins=[figures])
    minutes = (time.monotonic() - began) / 60
    parts = [f"`python benchmarks/faults.py`, {minutes:.1f} minutes.", figures.table(), *figures.not_passed]
    text = "\n\n".join([*parts, cost(given.megabytes)]) + "\n"
    given.out.write_text(text, encoding="utf-8")
    print(text)
    return int(code)


if __name__ == "__main__":
    raise SystemExit(main())
