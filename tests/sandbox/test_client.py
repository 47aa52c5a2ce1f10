"""Programs over fork servers: what comes back, limits, and servers that die, hang or cannot start."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path

import pytest

from llmft.sandbox import connection, levels
from llmft.sandbox.client import ForkServers
from llmft.sandbox.lockdown import Limits
from llmft.types import Program, Ran, Returned

SETTINGS = {
    "level": "auto",
    "unsafe": False,
    "wall_s": 10,
    "cpu_s": 2,
    "memory_mb": 512,
    "output_kb": 64,
    "servers": 1,
    "retries": 2,
}
PLUS_ONE = Program("def f(x): return x + 1", calls=("f(1)", "f(2)"))


@cache
def found() -> levels.Found:
    return levels.find("auto", False, Limits(10, 2, 512, 64))


def made(**settings) -> ForkServers:
    if (fault := found().fault) is not None:
        pytest.skip(fault)
    servers = ForkServers(**{**SETTINGS, **settings})
    servers._found = found()  # once for all of these tests
    return servers


@pytest.fixture(scope="module")
def sandbox():
    servers = made()
    yield servers
    servers.close()


def one(sandbox: ForkServers, source: str, *calls: str, **other) -> Ran:
    (ran,) = sandbox.run([Program(source, calls=calls, **other)])
    return ran


def pids(servers: ForkServers) -> list[int]:
    return [one.process.pid for one in servers._connections]


def test_calls_in_order_in_one_process(sandbox):
    source = (
        "seen = []\ndef f(x):\n    seen.append(x)\n    return seen, (x, {x: {1.5}})\ndef bad(): raise KeyError('k')"
    )
    ran = one(sandbox, source, "f(1)", "bad()", "f('é')", "g", "f(", "__name__")
    assert ran.status == "ok"
    assert ran.returned[:3] == (
        Returned(([1], (1, {1: {1.5}})), None),
        Returned(None, "KeyError: 'k'"),
        Returned(([1, "é"], ("é", {"é": {1.5}})), None),
    )
    assert ran.returned[3] == Returned(None, "NameError: name 'g' is not defined")
    assert ran.returned[4].error.startswith("SyntaxError")
    assert ran.returned[5] == Returned("program", None)


def test_a_script_has_its_input_and_its_threads_and_its_exit(sandbox):
    source = """
import atexit, sys, threading, time
print(sum(map(int, input().split())), __name__)
atexit.register(print, "at exit")
threading.Thread(target=lambda: (time.sleep(0.05), print(repr(sys.stdin.read())))).start()
sys.exit()
"""
    assert one(sandbox, source, stdin="1 2\nré\nst").stdout == "3 __main__\n'ré\\nst'\nat exit\n"
    left = one(sandbox, "print(open(0).read().upper()); exit()", stdin="a\n")
    assert (left.status, left.stdout) == ("ok", "A\n\n")
    left = one(sandbox, "import os; os.write(1, b'x'); os._exit(0)", stdin="")
    assert (left.status, left.stdout) == ("ok", "x")
    failed = one(sandbox, "print(1)\nraise SystemExit(3)", stdin="")
    assert (failed.status, failed.stdout, failed.error) == ("error", "1\n", "SystemExit: 3")
    assert one(sandbox, "if __name__ == '__main__': print(1)", stdin="").stdout == "1\n"


def test_a_long_input_is_read_whole(sandbox):
    text = "1 2 3\n" * 50_000
    assert one(sandbox, "import sys; print(len(sys.stdin.read()))", stdin=text).stdout == f"{len(text)}\n"


def test_assertions_in_a_second_process(sandbox):
    program = Program(
        "def f(x): return [x + 1]",
        tests=("assert f(1) == [2]", "assert f(1) == [3], 'no'", "x = f(2)\nassert x[0] == 3"),
    )
    (ran,) = sandbox.run([program])
    assert ran.status == "ok"
    assert ran.returned == (Returned(True, None), Returned(None, "AssertionError: no"), Returned(True, None))


@pytest.mark.parametrize(
    ("source", "status", "before"),
    [
        ("def f(x): return x +", "error", 0),
        ("raise ValueError('no')", "error", 0),
        ("import sys\nsys.exit()", "error", 0),
        ("def f(x):\n    while x == 2: pass\n    return x", "timeout", 1),
        ("def f(x): return len(bytearray(x * 300 << 20))", "memory", 1),
        ("def f(x): return 'a' * x ** 20", "output_limit", 1),
        ("def f(x):\n    while x == 2: print('a' * 99)\n    return x", "output_limit", 1),
        ("import os\ndef f(x): return x if x == 1 else os.abort()", "crash", 1),
        ("import os, sys\ndef f(x): return x if x == 1 else os._exit(0)", "no_result", 1),
        ("import ctypes\ndef f(x): return x if x == 1 else ctypes.CDLL(None).ptrace(16, 1, 0, 0)", "violation", 1),
        ("class A(int): pass\ndef f(x): return A(x)", "ok", 2),
        ("def f(x): raise SystemExit", "ok", 2),
        ("def f(x): return f(x)", "ok", 2),
        ("class E(Exception):\n    def __str__(self): raise self\ndef f(x): raise E", "ok", 2),
    ],
)
def test_each_status(source, status, before):
    with_limits = made(cpu_s=1)
    try:
        ran = one(with_limits, source, "f(1)", "f(2)")
    finally:
        with_limits.close()
    assert (ran.status, len(ran.returned)) == (status, before), ran


def test_the_clock_ends_what_only_waits():
    quick = made(wall_s=0.3)
    start = time.monotonic()
    ran = one(quick, "import time\ndef f(): time.sleep(60)", "f()")
    assert (ran.status, ran.error) == ("timeout", "more than 0.3 s")
    assert 0.3 <= ran.seconds <= time.monotonic() - start
    quick.close()


def test_many_over_several_servers_come_back_in_order():
    two = made(servers=2)
    programs = [
        Program(f"import time\ntime.sleep({0.02 if i % 7 == 0 else 0})\ndef f(): return {i}", calls=("f()",))
        for i in range(40)
    ]
    assert [ran.returned[0].value for ran in two.run(programs)] == list(range(40))
    assert len(pids(two)) == 2
    two.close()


def test_the_same_program_has_the_same_outcome_on_every_server():
    source = "import random\ndef f(): return list({'a', 'b', 'c', 'd', 'e'}), random.random(), hash('x')"
    outcomes = set()
    for _ in range(3):
        servers = made()
        outcomes |= {repr(one(servers, source, "f()").returned) for _ in range(2)}
        servers.close()
    assert len(outcomes) == 1


LOOK = """
import ctypes, os
def f():
    found, half, libc = 0, b"e7" * 10, ctypes.CDLL(None)
    libc.sbrk.restype = ctypes.c_ulong
    read, write = os.pipe()
    for place in id(object()), libc.sbrk(0):  # where Python's objects are, and where C's are
        start = place >> 12 << 12
        for address in range(start - (32 << 20), start + (32 << 20), 4096):
            if libc.write(write, ctypes.c_void_p(address), 4096) == 4096:  # it fails where nothing is
                page = os.read(read, 4096)
                at = page.find(half)
                found += at >= 0 and page[at + 20 : at + 40] == half
    return found
"""


def test_nothing_of_a_program_stays_in_memory_for_the_next(sandbox):
    """Neither its text nor what it returned, printed or was tested with."""
    mark = "e7" * 20  # LOOK holds a half of it
    plain = Program(f"a = '{mark}'\nprint(a)", calls=(f"a + '{mark}'", f"1 / 0 or '{mark}'"))
    tested = Program(f"def f(): return '{mark}'", tests=(f"assert f() == '{mark}'", f"assert f() == 1, '{mark}'"))
    script = Program("print(input())", stdin=mark)
    assert {ran.status for ran in sandbox.run([plain, tested, script, plain])} == {"ok"}
    assert one(sandbox, LOOK, "f()").returned[0].value == 0
    assert one(sandbox, f"a = {mark!r}\n{LOOK}", "f()").returned[0].value > 0  # so it would be found


def test_a_server_that_dies_is_replaced_with_the_same_outcomes():
    servers = made(servers=2, wall_s=20)
    programs = [Program(f"import time\ntime.sleep(0.03)\ndef f(): return {i}", calls=("f()",)) for i in range(30)]
    expected = [ran.returned for ran in servers.run(programs)]
    first = pids(servers)
    got: list[Ran] = []
    thread = threading.Thread(target=lambda: got.extend(servers.run(programs)))
    thread.start()
    time.sleep(0.2)
    for pid in first:
        os.kill(pid, signal.SIGKILL)
    thread.join()
    assert [ran.returned for ran in got] == expected
    assert {ran.status for ran in got} == {"ok"}
    assert not set(first) & set(pids(servers))
    servers.close()


def test_a_server_that_died_between_two_batches_is_replaced(sandbox):
    sandbox.run([PLUS_ONE])
    os.kill(pids(sandbox)[0], signal.SIGKILL)
    assert sandbox.run([PLUS_ONE])[0].status == "ok"


def test_a_server_that_hangs_is_replaced(monkeypatch):
    monkeypatch.setattr(connection, "PATIENCE_S", 3.0)
    servers = made(wall_s=0.5)
    servers.run([PLUS_ONE])
    (stopped,) = pids(servers)
    os.kill(stopped, signal.SIGSTOP)
    assert servers.run([PLUS_ONE])[0].status == "ok"
    assert pids(servers) != [stopped]
    servers.close()


def broken(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "server.py"
    path.write_text(text)
    return path


def test_where_no_server_starts_the_sandbox_failed_and_no_program(tmp_path, monkeypatch):
    servers = made(servers=2)
    started = tmp_path / "started"
    monkeypatch.setattr(
        connection, "SERVER", broken(tmp_path, f"open({str(started)!r}, 'a').write('x')\nraise SystemExit('no disk')")
    )
    ran = servers.run([PLUS_ONE] * 50)
    assert [(one.status, one.error) for one in ran] == [("sandbox_error", "no disk")] * 50
    assert started.read_text() == "xxx"  # a first time and two retries, whatever the number of programs
    servers.close()


DIES = """
import json, os, socket, sys
connection = socket.socket(fileno=int(sys.argv[1]))
greeting = json.dumps({"landlock": 0}).encode()
connection.sendall(len(greeting).to_bytes(4, "big") + greeting)
connection.recv(1)
"""


def test_a_program_at_which_servers_die_again_and_again(tmp_path, monkeypatch):
    servers = made(retries=1)
    monkeypatch.setattr(connection, "SERVER", broken(tmp_path, DIES))
    assert [ran.status for ran in servers.run([PLUS_ONE] * 3)] == ["sandbox_error"] * 3
    monkeypatch.undo()
    assert servers.run([PLUS_ONE])[0].status == "ok"
    servers.close()


def test_it_survives_pickling_and_forking(sandbox):
    sandbox.run([PLUS_ONE])
    copy = pickle.loads(pickle.dumps(sandbox))
    assert copy.run([PLUS_ONE])[0].status == "ok"
    assert set(pids(copy)).isdisjoint(pids(sandbox))
    copy.close()
    mine = pids(sandbox)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:  # as a thread that runs programs does, at the fork
        with sandbox._lock:
            held.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    if (child := os.fork()) == 0:
        signal.alarm(30)
        ran = sandbox.run([PLUS_ONE])[0]
        fine = ran.status == "ok" and set(pids(sandbox)).isdisjoint(mine)
        sandbox.close()
        os._exit(0 if fine else 1)
    release.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sandbox.run([PLUS_ONE])[0].status == "ok"
    assert pids(sandbox) == mine


def test_threads_may_share_it(sandbox):
    got: dict[int, list[Ran]] = {}

    def run(index: int) -> None:
        got[index] = sandbox.run([Program(f"def f(): return {index}", calls=("f()",))] * 5)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {index: {ran.returned[0].value for ran in rans} for index, rans in got.items()} == {i: {i} for i in range(4)}


def test_an_interrupted_batch_leaves_nothing_under_way(sandbox):
    def interrupt(*_):
        raise KeyboardInterrupt

    sandbox.run([PLUS_ONE])  # the server stands
    old = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            sandbox.run([Program("import time\ndef f(): time.sleep(3)", calls=("f()",))] * 3)
    finally:
        signal.signal(signal.SIGALRM, old)
    assert sandbox.run([PLUS_ONE])[0].returned[0].value == 2


def gone(pid: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not Path(f"/proc/{pid}").exists() or "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
            return True
        time.sleep(0.02)
    return False


def test_servers_start_with_the_first_program_and_end_on_closing():
    servers = made(servers=2)
    assert pids(servers) == []
    servers.run([PLUS_ONE] * 3)
    mine = pids(servers)
    assert len(mine) == 2
    assert all(os.getsid(pid) == pid for pid in mine)  # no Ctrl-C reaches them
    servers.close()
    assert all(gone(pid, 1) for pid in mine)
    assert servers.run([PLUS_ONE])[0].status == "ok"
    servers.close()


LEFT = """
import sys
from llmft.sandbox.client import ForkServers
from llmft.types import Program
servers = ForkServers(level="auto", unsafe=False, wall_s=2, cpu_s=2, memory_mb=512, output_kb=64, servers=1, retries=2)
servers.run([Program("")])
print(servers._connections[0].process.pid, flush=True)
servers.run([Program("import time\\ntime.sleep(60)")])
"""


def test_servers_end_with_their_trainer(sandbox):
    with subprocess.Popen([sys.executable, "-c", LEFT], stdout=subprocess.PIPE, text=True) as trainer:
        assert trainer.stdout is not None
        server = int(trainer.stdout.readline())
        time.sleep(0.2)
        trainer.kill()
    assert gone(server, 4)


def test_servers_are_as_many_as_this_rank_s_cores(monkeypatch):
    monkeypatch.setattr(levels, "cores", lambda: 7)
    assert ForkServers(**{**SETTINGS, "servers": None})._count() == 7
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert ForkServers(**{**SETTINGS, "servers": None})._count() == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert ForkServers(**{**SETTINGS, "servers": None})._count() == 1
    assert ForkServers(**{**SETTINGS, "servers": 5})._count() == 5


def test_facts(sandbox):
    facts = sandbox.facts()
    assert facts["level"] in ("L2", "L1")
    assert facts["wall_s"] == 10
    assert facts["servers"] == 1
