"""Programs that attack are contained at every level, for root and for others, and honest ones work."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from llmft.config import ROOT, build
from llmft.sandbox import syscalls
from llmft.types import Program, Ran

HERE = Path(__file__).resolve().parent
OWN = HERE / "hostile.jsonl"
NOBODY = 65534
SETTINGS = [(level, user) for level in ("L2", "L2+", "L1") for user in (None, NOBODY)]

# Calls of the kernel that no program may reach, by number, from the kernel's own tables: processes, sockets, other
# processes, names and modes of files, what outlives the program, what changes the machine.
FORBIDDEN = {
    "x86_64": """
29 30 31 41 42 43 46 47 49 50 57 58 59 64 68 76 86 88 90 91 92 93 94 101 103 105 106 109 112 116 117 119 126 129
132 133 135 136 139 141 142 144 153 154 155 159 161 163 164 165 166 167 168 169 170 171 172 173 175 176 179 188
189 190 197 199 200 203 212 222 227 235 240 246 248 249 250 251 254 256 259 260 261 265 266 268 272 279 280 288
294 297 298 300 301 303 304 305 308 310 311 312 313 314 317 319 320 321 322 323 424 425 426 428 429 430 434 437
438 440 442 447 448 452 457 458
""",
    "aarch64": """
5 6 7 14 16 18 26 27 30 33 36 37 39 40 41 45 51 52 53 54 55 58 60 88 89 91 92 97 104 105 106 107 112 116 117 118
119 122 130 138 140 142 144 146 147 149 154 157 159 161 162 170 171 180 186 190 194 195 196 198 200 201 202 203
211 212 217 218 219 221 224 225 238 239 240 241 242 262 263 264 265 266 268 270 271 272 273 274 277 279 280 281
282 294 424 425 426 428 429 430 434 437 438 440 442 447 448 452 457 458
""",
}
CALL = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def f(x):
    result = libc.syscall(ctypes.c_long({number}), 0, 0, 0, 0, 0, 0)
    return 'refused' if result == -1 and ctypes.get_errno() in (1, 38) else 'reached'
"""

# Runs another script with Landlock's three calls refused, whose numbers are the same everywhere.
WITHOUT_LANDLOCK = """
import ctypes, os, struct, sys
one = lambda code, true, false, value: struct.pack("=HBBI", code, true, false, value)
refuse = b"".join(one(0x15, 0, 1, number) + one(6, 0, 0, 0x50001) for number in (444, 445, 446))
code = ctypes.create_string_buffer(one(0x20, 0, 0, 0) + refuse + one(6, 0, 0, 0x7FFF0000))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, struct.pack("HP", 8, ctypes.addressof(code)), 0, 0) == 0
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")


def results(
    level: str, *files: Path, user: int | None = None, limit: float = 0.4, by: Sequence[str] = ()
) -> list[dict]:
    """What `containment.py` told of each program; skipped where this machine cannot have the level or the user."""
    if user is not None and os.geteuid() != 0:
        pytest.skip("only root can become another user")
    command = [sys.executable, *by, str(HERE / "containment.py"), level, *map(str, files), "--limit", str(limit)]
    command += ["--user", str(user)] if user is not None else []
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    if "this machine does not have it" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def contained(told: list[dict]) -> None:
    faults = [f"{one['name']} ({one['status']}): {fault}" for one in told for fault in one["faults"]]
    assert not faults, "\n".join(faults)


def test_the_list_is_a_list():
    rows = [json.loads(line) for line in OWN.read_text(encoding="utf-8").splitlines()]
    assert len({row["name"] for row in rows}) == len(rows)
    count = Counter(row["family"] == "legit" for row in rows)
    assert count[False] >= 45
    assert count[True] >= 10
    assert all(row["required_reward"] == 0 for row in rows if row["family"] != "legit")


def test_contained_here():
    contained(results("L2", OWN, limit=0.3))


def test_contained_here_the_shared_list(shared):
    contained(results("L2", shared("hostile/programs.jsonl"), limit=0.3))


@pytest.mark.slow
@pytest.mark.parametrize(("level", "user"), SETTINGS)
def test_contained_everywhere(level, user, shared):
    contained(results(level, OWN, shared("hostile/programs.jsonl"), user=user))


@pytest.mark.slow
def test_contained_where_landlock_is_missing(shared):
    """As in a container under an older profile of Docker's: the kernel's filter alone."""
    contained(results("auto", OWN, shared("hostile/programs.jsonl"), by=("-c", WITHOUT_LANDLOCK)))


@pytest.mark.slow
def test_a_soak(shared):
    """`benchmarks/soak.py`, which says itself what leaks, cut down."""
    lists = ["--hostile", str(OWN), str(shared("hostile/programs.jsonl"))]
    command = [sys.executable, str(ROOT / "benchmarks" / "soak.py"), "--programs", "600", *lists]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def ran_at(level: str, sources: list[str]) -> list[Ran]:
    settings = OmegaConf.load(ROOT / "conf" / "sandbox" / "default.yaml")
    sandbox = build(OmegaConf.merge(settings, {"level": level, "wall_s": 0.5}))
    try:
        return sandbox.run([Program(source, calls=("f(1)",)) for source in sources])
    finally:
        sandbox.close()


@pytest.mark.parametrize("level", ["L2", pytest.param("L1", marks=pytest.mark.slow)])
def test_no_other_call_reaches_the_kernel(level):
    """Each number, with zeros for arguments, against the tables of what is allowed and the list of what never is."""
    machine = platform.machine()
    groups = [syscalls.ALWAYS, syscalls.FILTERED, *([syscalls.READING] if level == "L2" else [])]
    allowed = {number for group in groups for number in syscalls.numbers(group, machine)}
    allowed |= (
        {335, 336} if machine == "x86_64" else set()
    )  # uretprobe, uprobe: newer kernels ask no filter, and refuse
    numbers = [*range(480), 0x40000000, 0x40000000 | 57, 1 << 32 | 57, 1 << 32 | 220, -1]
    runs = ran_at(level, [CALL.format(number=number) for number in numbers])
    reached = {
        number
        for number, ran in zip(numbers, runs, strict=True)
        if ran.status != "violation" and [one.value for one in ran.returned] != ["refused"]
    }
    assert reached <= allowed, {number: runs[numbers.index(number)] for number in reached - allowed}
    assert not reached & set(map(int, FORBIDDEN[machine].split()))
    assert len(reached) > 80


def test_no_death_looks_like_a_failure_of_the_sandbox():
    """Every exit code, every signal, and every letter where the sandbox's own messages stand."""
    deaths = [f"import os\nos._exit({code})" for code in range(256)]
    deaths += [f"import os, signal\nos.kill(os.getpid(), {number})" for number in range(1, 65)]
    deaths += [f"import os\nfor d in (1, 2, 3): os.write(d, bytes([{byte}]) * 9)\nos._exit(0)" for byte in range(256)]
    for source, ran in zip(deaths, ran_at("L2", deaths), strict=True):
        assert ran.status != "sandbox_error", (source, ran)
        assert not any(one.value for one in ran.returned), (source, ran)
