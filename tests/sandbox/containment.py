"""Runs hostile programs one at a time, and looks after each at what it did to the machine.

    python tests/sandbox/containment.py LEVEL FILE... [--user 65534] [--limit 0.5] [--only NAME...]

For each program a line of JSON: name, status, seconds and faults, which is empty where it was contained as its row
requires. A script, because it becomes another user, adopts what its processes leave behind, and has a secret.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import ctypes
import json
import os
import re
import secrets
import shutil
import site
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from llmft.config import ROOT, build
from llmft.types import Program, Ran

PUBLIC = ["/", "/tmp", "/var/tmp", "/dev/shm", "/run", "/etc", os.path.expanduser("~"), *site.getsitepackages()]
LIBRARY = [Path(os.__file__), Path(json.__file__), *Path("/usr/lib").glob("python3*/os.py")]  # which may be read
LEFT = re.compile(r"HOSTILE|^f\d+$|^PWNED$")  # what the programs of the lists call their files
HONEST = Program("def f(x): return x + 1", calls=("f(1)", "f(2)"))
PATIENCE = 1.0  # seconds by which a limit may be exceeded, and in which what a program left must be gone


class Machine:
    """What a program could have touched: a folder of bait, public folders, shared memory, other processes."""

    def __init__(self, folder: Path) -> None:
        self.bait = folder / "bait"
        self.bait.mkdir(mode=0o755)
        for name in ("SECRET", "VICTIM"):
            (self.bait / name).write_text(f"{name} {secrets.token_hex(8)}")
        with contextlib.suppress(OSError):
            os.setxattr(self.bait / "VICTIM", "user.kept", b"1")
        self.sockets = [socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
        self.sockets[0].bind(str(self.bait / "SOCKET"))
        self.sockets[1].bind("\0HOSTILE_SOCKET")

    def seen(self) -> dict[str, Any]:
        """Everything that must be the same before and after a program."""
        files = [self.bait, *sorted(self.bait.iterdir()), *(path for path in LIBRARY if os.access(path, os.R_OK))]
        left = [f"{folder}/{name}" for folder in PUBLIC for name in _names(folder) if LEFT.search(name)]
        return {
            "files": {str(path): _file(path) for path in files},
            "left": left,
            "shm": sorted(_names("/dev/shm")) if os.environ.get("CI") else _used("/dev/shm") >> 24,
            "ipc": [Path(f"/proc/sysvipc/{kind}").read_text() for kind in ("shm", "sem", "msg")],
            "mounts": Path("/proc/self/mounts").read_text(),
            "host": (os.uname(), os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)),
            "received": [_received(one) for one in self.sockets],
            "private": sorted(str(path) for path in Path.cwd().rglob("*")),
            "processes": {pid: _process(pid) for pid in descendants(os.getpid())},
        }

    def settled(self, before: dict[str, Any]) -> dict[str, Any]:
        """What is seen once it is as before, or after a moment of patience."""
        end = time.monotonic() + PATIENCE
        while (now := self.seen()) != before and time.monotonic() < end:
            time.sleep(0.02)
        return now


def _file(path: Path) -> tuple[Any, ...]:
    stat = path.lstat()
    extra = sorted(os.listxattr(path)) if path.is_file() else []
    return stat.st_ino, stat.st_mode, stat.st_uid, stat.st_gid, stat.st_nlink, stat.st_size, stat.st_ctime_ns, extra


def _names(folder: str) -> list[str]:
    with contextlib.suppress(OSError):
        return os.listdir(folder)
    return []


def _used(folder: str) -> int:
    usage = os.statvfs(folder)
    return (usage.f_blocks - usage.f_bfree) * usage.f_frsize


def _received(one: socket.socket) -> bytes:
    with contextlib.suppress(BlockingIOError):
        return one.recv(100, socket.MSG_DONTWAIT)
    return b""


def descendants(root: int) -> list[int]:
    """The processes that come from ``root``, the oldest first; those whose parent has died are its own by adoption."""
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{name}/stat").read_text()
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(name))
    found = list(children.get(root, []))
    for pid in found:
        found += children.get(pid, [])
    return sorted(found)


def _process(pid: int) -> tuple[Any, ...]:
    """A process's state, when it began, its group and session, its priority, limits, open files, as far as to be seen."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ()
    told: list[Any] = [fields[0] in "TtZX", fields[19], fields[2], fields[3]]
    for look in (
        lambda: os.getpriority(os.PRIO_PROCESS, pid),
        lambda: sorted(os.sched_getaffinity(pid)),
        lambda: os.sched_getscheduler(pid),
        lambda: Path(f"/proc/{pid}/limits").read_text(),
        lambda: os.readlink(f"/proc/{pid}/cwd"),
        lambda: len(os.listdir(f"/proc/{pid}/fd")),
    ):
        with contextlib.suppress(OSError):
            told.append(look())
    return tuple(told)


def _dead(pid: int) -> bool:
    """Nothing is left of it but its entry, which waits for this process to look, as the system's first one would."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    return True


def text_of(value: str | dict[str, Any]) -> str:
    return value["text"] * value["times"] if isinstance(value, dict) else value


def program_of(row: dict[str, Any], bait: Path) -> Program:
    code = row["code"].replace("{DIR}", str(bait))
    if row["mode"] == "stdio":
        return Program(code, stdin=text_of(row["stdin"]))
    return Program(code, calls=("f()",) if row["family"] == "legit" else HONEST.calls)


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types throughout."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def reward(row: dict[str, Any], ran: Ran) -> float:
    """What the trusted side would give: f(x) == x + 1 for 1 and 2, or the whole output."""
    if ran.status != "ok":
        return 0.0
    if row["mode"] == "stdio":
        return float(ran.stdout == text_of(row["expected_stdout"]))
    if any(one.error is not None for one in ran.returned):
        return 0.0
    values = [one.value for one in ran.returned]
    if row["family"] != "legit":
        return float(same(values, [2, 3]))
    if "required_literal" in row:
        return float(same(values, [ast.literal_eval(row["required_literal"])]))
    return float(len(values) == 1 and ("required_value" not in row or same(values[0], row["required_value"])))


def verdict_faults(row: dict[str, Any], ran: Ran) -> Iterator[str]:
    """In what a program's end is not what its row requires."""
    status = {ran.status} | ({"error"} if ran.status == "ok" and any(one.error for one in ran.returned) else set())
    if not status & set(row["allowed_status"]):
        yield f"status {ran.status}, not {row['allowed_status']}: {ran.error} {ran.returned}"[:300]
    required = row.get("required_reward", 1.0)
    if reward(row, ran) != required:
        yield f"reward {reward(row, ran)}, not {required}: {ran}"[:300]
    if row["family"] != "legit" and ran.status == "ok" and "required_value" in row:
        for one in ran.returned:
            if one.error is None and not same(one.value, row["required_value"]):
                yield f"value {one.value!r}, not {row['required_value']!r}"[:300]
            if one.error is not None and "error" not in row["allowed_status"]:
                yield f"raised {one.error}"[:300]
    if os.environ["LLMFT_SECRET"] in repr(ran):
        yield "the host's secret is in what came back"
    (ran.stdout + ran.error).encode()  # can be logged


def differences(before: Any, after: Any, path: str = "") -> list[str]:
    if not isinstance(before, dict):
        return [] if before == after else [f"{path}: {before!r} -> {after!r}"[:400]]
    keys = before.keys() | after.keys()
    return [
        line for key in sorted(keys, key=str) for line in differences(before.get(key), after.get(key), f"{path}/{key}")
    ]


def new_sandbox(level: str, limit: float) -> Any:
    settings = OmegaConf.load(ROOT / "conf" / "sandbox" / "default.yaml")
    return build(OmegaConf.merge(settings, {"level": level, "wall_s": limit}))


def run(level: str, rows: list[dict[str, Any]], limit: float, folder: Path) -> Iterator[dict[str, Any]]:
    machine, sandbox, patient = Machine(folder), new_sandbox(level, limit), new_sandbox(level, 20)
    try:
        for one in (sandbox, patient):
            one.run([HONEST])
        before = machine.seen()
        for row in rows:
            began = time.monotonic()
            hasty = "timeout" in row["allowed_status"]  # the others are not to be cut short on a busy machine
            (ran,) = (sandbox if hasty else patient).run([program_of(row, machine.bait)])
            seconds = time.monotonic() - began
            try:
                faults = list(verdict_faults(row, ran))
            except ValueError as error:  # it cannot even be printed
                faults = [str(error)]
            if hasty and seconds > limit + PATIENCE:
                faults.append(f"took {seconds:.2f} s")
            began = time.monotonic()
            (honest,) = sandbox.run([HONEST])
            if [one.value for one in honest.returned] != [2, 3] or time.monotonic() - began > 1:
                faults.append(f"the next honest program, after {time.monotonic() - began:.2f} s: {honest}")
            after = machine.settled(before)
            faults += differences(before, after)
            before = after
            yield {"name": row["name"], "status": ran.status, "seconds": round(seconds, 3), "faults": faults}
    finally:
        sandbox.close()
        patient.close()
    end = time.monotonic() + PATIENCE
    while (running := [pid for pid in descendants(os.getpid()) if not _dead(pid)]) and time.monotonic() < end:
        time.sleep(0.02)
    left = [*running, *map(str, Path.cwd().rglob("*"))]
    yield {"name": "close", "status": "ok", "seconds": 0, "faults": [f"left: {left}"] if left else []}


def python_for_all() -> str:
    """An interpreter that any user may start."""
    for path in (sys.executable, os.path.realpath(sys.executable), "/usr/local/bin/python3", "/usr/bin/python3"):
        parents = Path(os.path.realpath(path)).parents
        if os.path.exists(path) and all(
            parent.stat().st_mode & 0o005 == 0o005 for parent in [*parents, *Path(path).parents]
        ):
            return path
    return ""


def become(user: int, folder: Path) -> None:
    """Be another user from now on, with everything imported that this one can read and that one might not."""
    sandbox = new_sandbox("auto", 20)
    sandbox.run([HONEST])
    sandbox.close()
    for path in (folder, *folder.iterdir()):
        os.chown(path, user, user)
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    sys.executable = python_for_all()
    if not sys.executable:
        sys.exit(f"for user {user} this machine does not have it: a Python that it may start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("level")
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--user", type=int, help="whom to become")
    parser.add_argument("--limit", type=float, default=0.5, help="seconds of a hostile program")
    parser.add_argument("--only", nargs="+", help="names of programs")
    asked = parser.parse_args()
    rows = [json.loads(line) for file in asked.files for line in file.read_text(encoding="utf-8").splitlines()]
    folder = Path(tempfile.mkdtemp(prefix="llmft-hostile-"))
    folder.chmod(0o755)
    try:
        (private := folder / "private").mkdir()
        os.chdir(private)
        if asked.user is not None:
            become(asked.user, folder)
        os.environ |= {"LLMFT_SECRET": secrets.token_hex(16), "HOME": str(private), "TMPDIR": str(private)}
        tempfile.tempdir = None
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # orphans come to this process, and are seen
        rows = [row for row in rows if not asked.only or row["name"] in asked.only]
        for told in run(asked.level, rows, asked.limit, folder):
            print(json.dumps(told), flush=True)
    finally:
        os.chdir("/")
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
