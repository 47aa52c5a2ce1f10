"""Make a table, or make it again: run what is not run yet, and write its results, pictures and README.

python -m experiments.table lab_reasoning                 # what is finished stays, what was cut off goes on
python -m experiments.table lab_reasoning --again         # from the snapshots, everything anew
python -m experiments.table lab_reasoning --rows luffy --seeds 1 2
python -m experiments.table lab_reasoning --report        # README and pictures from results.json
python -m experiments.table lab_reasoning --check         # is what table.yaml composes what the snapshots say?
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments import cells, results, runs
from experiments.cells import Cell, Places
from experiments.report import write_report
from experiments.spec import Table, read
from llmft.config import ROOT, ConfigError, Fault, find
from llmft.config.faults import FAILED, FINISHED, REFUSED, TERMINATED, nearest

LISTED = 6  # cells that a message names


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # what runs is ended on the way out
    try:
        return _told(given)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _told(given: argparse.Namespace) -> int:
    folder = find(given.table) if "/" in given.table else ROOT / "experiments" / given.table
    table, places = read(folder), Places(folder, given.runs / folder.name)
    chosen = _chosen(table, given)
    if given.check:
        return _check(table, chosen, places)
    if given.snapshots or not given.report:
        written = cells.write_snapshots(table, chosen, places, anew=given.snapshots)
        print(f"{written} snapshots written", flush=True) if written else None
    failed = {} if given.report or given.snapshots else _run(table, chosen, places, given)
    if not given.snapshots:
        write_report(table, places, results.load(folder))
    for cell, why in failed.items():
        print(f"{cell.name} failed: {why}", file=sys.stderr)
    return FAILED if failed else FINISHED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", help="a folder of experiments/, or the path of another one")
    for name, kind in (("blocks", str), ("rows", str), ("seeds", int)):
        parser.add_argument(f"--{name}", nargs="+", type=kind, default=[], help=f"only these {name}")
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1, help="cells that go on at a time")
    parser.add_argument("--runs", type=Path, default=Path("logs/tables"), help="where the runs go")
    parser.add_argument("--again", action="store_true", help="run also what is finished, from its start")
    parser.add_argument("--keep", action="store_true", help="take what other code has made as it is")
    parser.add_argument("--report", action="store_true", help="run nothing: write README and pictures anew")
    parser.add_argument("--check", action="store_true", help="run nothing: compare table.yaml with the snapshots")
    parser.add_argument("--snapshots", action="store_true", help="run nothing: write the snapshots anew")
    return parser


def _chosen(table: Table, given: argparse.Namespace) -> list[Cell]:
    """The cells that the command line asks for. Raises ConfigError for a name that the table does not have."""
    seeds = {str(seed) for block in table.blocks.values() for seed in block.seeds}
    known = {"blocks": table.blocks, "rows": table.rows, "seeds": seeds}
    faults: list[Fault | str] = [
        Fault(f"--{kind}", name, "the table has none of this name", nearest(str(name), names))
        for kind, names in known.items()
        for name in getattr(given, kind)
        if str(name) not in names
    ]
    if given.at_once < 1:
        faults.append(Fault("--at-once", given.at_once, "at least one cell goes on at a time", "use 1 or more"))
    if faults:
        raise ConfigError(faults)
    return cells.cells_of(table, given.blocks, given.rows, given.seeds)


def _check(table: Table, chosen: Sequence[Cell], places: Places) -> int:
    told = cells.outdated(table, chosen, places)
    print("\n".join(told) or f"{len(chosen)} cells: table.yaml composes what their snapshots say")
    if told:
        print("Take the change back, or write the snapshots anew with --snapshots and run these cells with --again")
    return FAILED if told else FINISHED


def _run(table: Table, chosen: Sequence[Cell], places: Places, given: argparse.Namespace) -> dict[Cell, str]:
    """Run what is to be run of ``chosen``; those that failed, and why. Raises ConfigError for what is not of a piece."""
    here = cells.code()
    wanted = {cell: cells.identities(table, cell, places) for cell in chosen}
    found = results.load(places.table)
    if given.again:
        for cell in chosen:
            shutil.rmtree(places.runs / cell.name, ignore_errors=True)
        to_run = list(chosen)
    else:
        to_run = [cell for cell in chosen if not _recorded(cell, wanted[cell], found)]
        _refuse_others(chosen, to_run, wanted, found, places, here, keep=given.keep)
    print(f"{len(chosen) - len(to_run)} of {len(chosen)} cells are finished, {len(to_run)} are to be run", flush=True)

    def finished(cell: Cell) -> str:
        found[cell.name] = one = results.result_of(
            table, cell, places, identities=wanted[cell], code=runs.code_of(cell, places), at_once=given.at_once
        )
        results.save(places.table, found)
        return ", ".join(f"{name} {results.metric(table, one['final'], name):.3f}" for name in table.metrics)

    return runs.run(table, to_run, places, code=here, at_once=given.at_once, finished=finished)


def _recorded(cell: Cell, wanted: dict[str, str], found: dict[str, results.Result]) -> bool:
    return found.get(cell.name, {}).get("identities") == wanted


def _refuse_others(
    chosen: Sequence[Cell],
    to_run: Sequence[Cell],
    wanted: dict[Cell, dict[str, str]],
    found: dict[str, results.Result],
    places: Places,
    here: str,
    *,
    keep: bool,
) -> None:
    """Raise ConfigError for finished and begun cells that would not be of a piece with what is run now."""
    stand = {cell: runs.standing(cell, places, wanted[cell], here) for cell in to_run}
    code = [cell for cell in chosen if cell not in stand and found[cell.name]["code"] != here]
    code += [cell for cell, what in stand.items() if what == "other code"]
    config = [cell for cell, what in stand.items() if what == "other config"]
    faults: list[Fault | str] = []
    if code and not keep:
        why = "made with other code than what is here"
        faults.append(Fault("cells", _listed(code), why, "take them as they are with --keep, or run them with --again"))
    if config:
        why = "made with another config than their snapshots'"
        faults.append(
            Fault("cells", _listed(config), why, "run them with --again, and --rows, --seeds for these alone")
        )
    if faults:
        raise ConfigError(faults)


def _listed(some: Sequence[Cell]) -> str:
    more = f" and {len(some) - LISTED} more" if len(some) > LISTED else ""
    return ", ".join(cell.name for cell in some[:LISTED]) + more


if __name__ == "__main__":
    raise SystemExit(main())
