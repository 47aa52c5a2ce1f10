"""Many programs through one sandbox, one in ten of them hostile: what is wrong, and what is left behind.

    python benchmarks/soak.py                          # 20,000 programs, limit 0.3 s
    python benchmarks/soak.py --programs 600 --hostile FILE...

Honest ones compute something that is known, another one each time, in all three ways of running one; a hostile one must
end as its row allows, with nothing. In the table: at the start and at the end, open files of this process and of the
servers, their processes, their memory, folders for temporary files, shared memory.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from llmft.config import ROOT, build
from llmft.types import Program, Ran

ALLOWANCE = {"memory of the servers, kB": 8 << 10, "memory of this process, kB": 64 << 10}  # of growth
LISTS = [ROOT / "tests" / "sandbox" / "hostile.jsonl"]


def honest(number: int) -> tuple[Program, Any]:
    """A program and what comes of it."""
    way = number % 4
    if way == 0:
        source = f"import collections\ndef f(x): return [x + {number}, collections.Counter('aab')['a'], 'n{number}']"
        return Program(source, calls=("f(1)", "f(2)")), [[1 + number, 2, f"n{number}"], [2 + number, 2, f"n{number}"]]
    if way == 1:
        return Program(f"print(sum(map(int, input().split())) * {number})", stdin="1 2 3\n"), f"{6 * number}\n"
    if way == 2:
        source = f"class S:\n    def __init__(self): self.items = [{number}]\n    def top(self): return self.items[-1]"
        return Program(source, tests=(f"assert S().top() == {number}", f"assert S().top() == {number + 1}")), [
            True,
            None,
        ]
    return Program(f"def f(x): raise KeyError({number})", calls=("f(1)",)), [None]


def right(expected: Any, ran: Ran) -> bool:
    got = ran.stdout if isinstance(expected, str) else [one.value for one in ran.returned]
    return ran.status == "ok" and got == expected


def attack(row: dict[str, Any], folder: str) -> Program:
    code = row["code"].replace("{DIR}", folder)
    if row["mode"] == "call":
        return Program(code, calls=("f(1)", "f(2)"))
    stdin = row["stdin"]
    return Program(code, stdin=stdin if isinstance(stdin, str) else stdin["text"] * stdin["times"])


def contained(row: dict[str, Any], ran: Ran) -> bool:
    """It ended as it may, and not with what was asked of it."""
    failed = ran.status == "ok" and any(one.error for one in ran.returned)
    if ran.status not in [*row["allowed_status"], "timeout"] and not (failed and "error" in row["allowed_status"]):
        return False  # the limit here is so short that any may meet it
    if ran.status != "ok":
        return True
    if row["mode"] == "stdio":
        expected = row["expected_stdout"]
        return ran.stdout != (expected if isinstance(expected, str) else expected["text"] * expected["times"])
    values = [one.value for one in ran.returned if one.error is None]
    return values != [2, 3] and ("required_value" not in row or all(one == row["required_value"] for one in values))


def descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            state, parent = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state not in "ZX":  # or it has ended, and waits for this process to look
            children.setdefault(int(parent), []).append(int(name))
    found = list(children.get(root, []))
    for pid in found:
        found += children.get(pid, [])
    return found


def state() -> dict[str, Any]:
    """What could leak."""
    servers = descendants(os.getpid())
    memory = [
        int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 10 for pid in servers
    ]
    return {
        "open files of this process": len(os.listdir("/proc/self/fd")),
        "open files of the servers": sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in servers),
        "processes": len(servers),
        "memory of the servers, kB": sum(memory),
        "memory of this process, kB": int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        >> 10,
        "temporary files": sum(1 for _ in Path(tempfile.gettempdir()).rglob("*")),
        "System V objects": sum(
            len(Path(f"/proc/sysvipc/{kind}").read_text().splitlines()) - 1 for kind in ("shm", "sem", "msg")
        ),
    }


def soak(asked: argparse.Namespace, folder: str) -> tuple[dict[str, tuple[Any, Any]], Counter[str], list[str]]:
    """The state before and after, how programs ended, and what was wrong."""
    rows = [json.loads(line) for file in asked.hostile for line in file.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["family"] != "legit"]
    draw, statuses, wrong = random.Random(asked.seed), Counter[str](), []
    settings = OmegaConf.load(ROOT / "conf" / "sandbox" / "default.yaml")
    sandbox = build(OmegaConf.merge(settings, {"level": asked.level, "wall_s": asked.limit}))
    try:
        sandbox.run([honest(number)[0] for number in range(100)])
        before = state()
        for first in range(0, asked.programs, asked.batch):
            if first % (asked.batch * 16) == 0:
                print(f"{first:,}, wrong: {len(wrong)}", file=sys.stderr)
            count = min(asked.batch, asked.programs - first)
            batch = [
                draw.choice(rows) if draw.random() < asked.share else number for number in range(first, first + count)
            ]
            jobs = [honest(one) if isinstance(one, int) else (attack(one, folder), one) for one in batch]
            for (_, expected), ran in zip(jobs, sandbox.run([program for program, _ in jobs]), strict=True):
                hostile = isinstance(expected, dict)
                statuses[f"{'hostile' if hostile else 'honest'}: {ran.status}"] += 1
                if not (contained(expected, ran) if hostile else right(expected, ran)):
                    wrong.append(f"{expected['name'] if hostile else expected}: {ran}"[:500])
        after = state()
    finally:
        sandbox.close()
    left = state()
    wrong += [f"left running: {pid}" for pid in descendants(os.getpid())]
    wrong += [f"leaked: {name}" for name in before if after[name] - before[name] > ALLOWANCE.get(name, 0)]
    return {name: (before[name], after[name], left[name]) for name in before}, statuses, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=20_000)
    parser.add_argument("--share", type=float, default=0.1, help="of hostile ones")
    parser.add_argument("--limit", type=float, default=0.3, help="seconds of one")
    parser.add_argument("--level", default="L2")
    parser.add_argument("--batch", type=int, default=256, help="programs that are handed over together")
    parser.add_argument("--hostile", type=Path, nargs="+", default=LISTS, help="lists of hostile programs")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # orphans come to this process, and are counted
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        (Path(folder) / "SECRET").write_text("secret")
        (Path(folder) / "VICTIM").write_text("victim")
        began = time.monotonic()
        states, statuses, wrong = soak(asked, folder)
        seconds = time.monotonic() - began
        tempfile.tempdir = None
    print(
        f"{asked.programs:,} programs in {seconds:.0f} s, {asked.programs / seconds:.0f} a second; wrong: {len(wrong)}"
    )
    print("\n| | at the start | at the end | closed |\n|---|---|---|---|")
    for name, values in states.items():
        print(f"| {name} | " + " | ".join(map(str, values)) + " |")
    print("\n" + "; ".join(f"{name} {count:,}" for name, count in sorted(statuses.items())))
    print("\n".join(wrong[:50]))
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
