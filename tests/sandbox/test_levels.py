"""Which level this machine has is tried out; what is not in force is noticed; where there is none, programs are refused."""

from __future__ import annotations

import logging
import platform
import shutil
import sys
import time
from functools import cache
from pathlib import Path

import pytest

from llmft.config import ROOT
from llmft.sandbox import connection, levels
from llmft.sandbox.client import ForkServers
from llmft.sandbox.lockdown import Limits
from llmft.types import Program

LIMITS = Limits(wall_s=10, cpu_s=2, memory_mb=512, output_kb=64)
SETTINGS = {"wall_s": 5, "cpu_s": 2, "memory_mb": 512, "output_kb": 64, "servers": 1, "retries": 0}
LEVELS = ("L1", "L2", "L2+")


@cache
def reason(level: str) -> str | None:
    return levels.probe(level, LIMITS)[0]


def need(level: str) -> None:
    if (why := reason(level)) is not None:
        pytest.skip(f"needs level {level}: {why}")


def made(level: str, **settings) -> ForkServers:
    """At a level that was tried out already."""
    need(level)
    servers = ForkServers(level=level, unsafe=False, **{**SETTINGS, **settings})
    servers._found = levels.Found(level, "", None, {})
    return servers


@pytest.fixture(params=LEVELS)
def sandbox(request):
    servers = made(request.param)
    yield servers
    servers.close()


def test_auto_is_the_strongest_that_asks_for_nothing_special():
    need("L1")
    found = levels.find("auto", False, LIMITS)
    assert (found.level, found.fault) == ("L2" if found.facts["landlock"] else "L1", None)


def altered(tmp_path: Path, file: str, old: str, new: str) -> Path:
    """A server of a copy of the package in which something is not done."""
    shutil.copytree(ROOT / "llmft" / "sandbox", tmp_path / "llmft" / "sandbox")
    shutil.copy(ROOT / "llmft" / "__init__.py", tmp_path / "llmft")
    path = tmp_path / "llmft" / "sandbox" / file
    text = path.read_text()
    assert text.count(old) == 1, f"{file} has no {old!r}"
    path.write_text(text.replace(old, new))
    return tmp_path / "llmft" / "sandbox" / "server.py"


NO_FILTER = ("lockdown.py", "self.filter.install(self.libc)", "pass")
NO_RULES = ("lockdown.py", "rules.bind(self.libc)", "pass")
OPEN_NAMES = ("server.py", 'reading=level != "L1"', "reading=True")


@pytest.mark.parametrize(
    ("level", "alteration", "said"),
    [
        ("L2", NO_FILTER, "change a file's mode"),
        ("L2", NO_RULES, "open a file"),
        ("L1", NO_FILTER, "open a file"),
        ("L1", OPEN_NAMES, "open a file"),
        ("L2", ("server.py", "os.environ.clear()", "os.environ['A'] = 'b'"), "see the environment"),
        ("L2", ("syscalls.py", "ptrace 101 117, ", ""), "trace"),
        (
            "L2",
            ("seccomp.py", '"clone": ((Test(0, (THREAD,), THREAD | NAMESPACES),),),', '"clone": ((),),'),
            "start a process",
        ),
        ("L1", ("seccomp.py", '"kill": ((Test(0, (OWN,)),),),', '"kill": ((),),'), "signal its server"),
        (
            "L2",
            ("server.py", "library = os.path.dirname(os.__file__)", 'return ["/usr/share/zoneinfo"]'),
            "could not import the standard",
        ),
    ],
    ids=lambda value: value[0] + ": " + value[1][:20] if isinstance(value, tuple) else None,
)
def test_what_is_not_in_force_is_noticed(tmp_path, monkeypatch, level, alteration, said):
    need(level)
    monkeypatch.setattr(connection, "SERVER", altered(tmp_path, *alteration))
    why, _ = levels.probe(level, LIMITS)
    assert why is not None
    assert said in why


def test_a_kernel_without_landlock_leaves_level_1(tmp_path, monkeypatch):
    need("L1")
    server = altered(
        tmp_path, "landlock.py", "    return max(0, libc.syscall(CREATE, None, ctypes.c_size_t(0), 1))", "    return 0"
    )
    monkeypatch.setattr(connection, "SERVER", server)
    found = levels.find("auto", False, LIMITS)
    assert (found.level, found.fault) == ("L1", None)
    assert "no Landlock" in found.why
    found = levels.find("L2", False, LIMITS)
    assert found.fault is not None
    assert found.fault.startswith("reward.sandbox.level=L2: this machine does not have it (L2: ")
    assert "no Landlock" in found.fault


def test_a_machine_without_any_is_refused_with_the_reason(monkeypatch, caplog):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    servers = ForkServers(level="auto", unsafe=False, **SETTINGS)
    (fault,) = servers.faults()
    assert fault.startswith("reward.sandbox.unsafe=false: this machine cannot isolate model-written programs")
    assert "Darwin has neither seccomp nor Landlock" in fault
    assert "run on Linux" in fault
    with pytest.raises(ValueError, match="unsafe=false"):
        servers.run([Program("")])
    assert servers.facts()["level"] is None
    unsafe = ForkServers(level="auto", unsafe=True, **SETTINGS)
    with caplog.at_level(logging.WARNING):
        assert unsafe.faults() == []
    assert "WITHOUT ISOLATION" in caplog.text
    assert unsafe.facts()["level"] == "none"


def test_an_unknown_machine_is_refused(monkeypatch, tmp_path):
    server = altered(tmp_path, "syscalls.py", "if platform.machine() == machine:", "if machine == 'riscv64':")
    monkeypatch.setattr(connection, "SERVER", server)
    found = levels.find("L1", False, LIMITS)
    assert found.fault is not None
    assert "kernel are not known" in found.fault


def test_unsafe_isolates_nevertheless_where_it_can():
    need("L1")
    servers = ForkServers(level="auto", unsafe=True, **SETTINGS)
    assert servers.faults() == []
    assert servers.facts()["level"] in ("L1", "L2")


def test_unsafe_takes_a_lower_level_before_none(tmp_path, monkeypatch):
    need("L2")
    server = altered(tmp_path, "server.py", "namespaces.enter(libc,", "raise OSError(")
    monkeypatch.setattr(connection, "SERVER", server)
    assert levels.find("L2+", True, LIMITS).level == "L2"
    assert levels.find("L2+", False, LIMITS).fault.startswith("reward.sandbox.level=L2+: this machine does not have it")


# ---- what holds at every level, seen from outside the child


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in found]


def innermost(pid: int) -> int:
    """The last descendant of a server: the child that runs a program."""
    while below := children(pid):
        pid = below[0]
    return pid


def running(servers: ForkServers, source: str) -> int:
    """Have a server run ``source``, without waiting; its child's id as the machine has it."""
    servers.run([Program("")])
    (server,) = servers._connections
    before = innermost(server.process.pid)
    server.give(0, Program(source))
    while server.sending:
        server.send()
    end = time.monotonic() + 5
    while (pid := innermost(server.process.pid)) == before or status(pid)["Seccomp"] == "0":
        assert time.monotonic() < end
        time.sleep(0.005)
    return pid


def test_a_child_is_locked_down(sandbox):
    pid = running(sandbox, "import time\ntime.sleep(60)")
    told = status(pid)
    assert told["Seccomp"] == "2"  # a filter
    assert told["NoNewPrivs"] == "1"
    assert {int(told[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {0}
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "1000"
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    limits = {line[:26].strip(): line[26:].split()[0] for line in lines}
    assert limits["Max address space"] == str(512 << 20)
    assert (limits["Max cpu time"], limits["Max core file size"]) == ("2", "0")
    try:
        handles = [int(one.name) for one in Path(f"/proc/{pid}/fd").iterdir()]
    except PermissionError:  # it is not dumpable, and this user is not root
        handles = [0, 1, 2, 3]
    assert sorted(handles) == [0, 1, 2, 3]
    server = sandbox._connections[0].process.pid
    sandbox.close()
    end = time.monotonic() + 2
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert not Path(f"/proc/{pid}").exists(), f"it outlived its server {server}"


def test_two_processes_share_one_channel_and_nothing_else(sandbox):
    seen = "import os\ndef f():\n    there = []\n    for one in range(256):\n        try: os.get_inheritable(one)\n        except OSError: continue\n"
    seen += "        there.append(one)\n    return there\n"
    (ran,) = sandbox.run(
        [Program(seen, tests=("assert f() == [0, 1, 2, 3, 4]", f"{seen}assert f() == [0, 1, 2, 3, 4]"))]
    )
    assert [one.error for one in ran.returned] == [None, None]


STORM = """
import threading, time
def f():
    threading.stack_size(32768)
    while True: threading.Thread(target=time.sleep, args=(60,)).start()
"""


def test_threads_are_counted(sandbox):
    roomy = made(sandbox.level, memory_mb=8192)
    (ran,) = roomy.run([Program(STORM, calls=("f()",))])
    roomy.close()
    assert (ran.status, ran.error) == ("memory", "too many threads")


USUAL = """
import asyncio, concurrent.futures, csv, datetime, decimal, json, re, sqlite3, subprocess, tempfile, threading, unittest, zoneinfo
def f():
    with concurrent.futures.ThreadPoolExecutor(4) as pool: squares = list(pool.map(lambda x: x * x, range(3)))
    rome = datetime.datetime(2020, 7, 1, tzinfo=zoneinfo.ZoneInfo('Europe/Rome')).utcoffset().seconds
    async def five(): await asyncio.sleep(0.001); return 5
    row = sqlite3.connect(':memory:').execute('select 1 + 1').fetchone()
    return squares, rome, asyncio.run(five()), row, datetime.datetime.strptime('2020-01-02', '%Y-%m-%d').day
"""


def test_the_standard_library_works(sandbox):
    ran, script = sandbox.run(
        [Program(USUAL, calls=("f()",)), Program("print(open(0).read(), input.__name__)", stdin="é")]
    )
    assert ran.returned == ((([0, 1, 4], 7200, 5, (2,), 2), None),)
    assert script.stdout == "é input\n"


# ---- what only L2+ has


@pytest.fixture
def plus():
    servers = made("L2+")
    yield servers
    servers.close()


KEEP = """
import os, tempfile
def keep():
    os.mkdir(os.path.join(tempfile.gettempdir(), 'sub'))
    with tempfile.NamedTemporaryFile('w', delete=False) as file: file.write('x')
    return open(file.name).read()
def found(): return os.listdir(tempfile.gettempdir())
def fill():
    written = 0
    try:
        for name in map(str, range(99)):
            open(os.path.join(tempfile.gettempdir(), name), 'wb').write(b'x' * (1 << 20))
            written += 1
    except OSError: return written
"""


def test_each_program_has_an_empty_scratch_folder(plus):
    first, second = plus.run(
        [
            Program(KEEP, calls=("found()", "keep()", "len(found())", "fill()")),
            Program(KEEP, calls=("found()", "keep()")),
        ]
    )
    assert [one.value for one in first.returned[:3]] == [[], "x", 2]
    assert 10 <= first.returned[3].value <= 16
    assert [one.value for one in second.returned] == [[], "x"]


def test_tests_do_not_see_the_scratch_folder(plus):
    (ran,) = plus.run([Program(KEEP, tests=("assert keep() == 'x'", "import os\nos.listdir('/scratch/tmp')"))])
    assert ran.returned[0].error is None
    assert ran.returned[1].error.startswith("PermissionError")


def test_the_host_is_not_there(plus):
    source = "import os, socket\ndef size(path): return os.stat(path).st_size\ndef who(): return os.getppid(), os.uname().nodename"
    (ran,) = plus.run([Program(source, calls=("size('/etc/passwd')", "size('/proc/self')", "size('/root')", "who()"))])
    assert [(one.error or "")[:17] for one in ran.returned[:2]] == ["FileNotFoundError"] * 2
    assert ran.returned[3].value == (1, "sandbox")


# ---- without isolation


def test_without_isolation_programs_run_and_what_they_leave_is_ended(monkeypatch):
    monkeypatch.setattr(levels, "probe", lambda level, limits: ("not here", {}))
    servers = ForkServers(level="auto", unsafe=True, **{**SETTINGS, "wall_s": 1})
    leave = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(60)\n    os._exit(0)\ndef f(): return 1"
    ran, slow = servers.run([Program(leave, calls=("f()",)), Program("import time\ntime.sleep(9)")])
    assert ran.returned[0].value == 1
    assert slow.status == "timeout"
    assert children(servers._connections[0].process.pid) == []
    servers.close()
