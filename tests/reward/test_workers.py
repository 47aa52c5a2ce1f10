"""Processes that may hang or die: what is said of each item, and that none outlives who asked."""

from __future__ import annotations

import functools
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import breaking
import pytest

from llmft.reward.workers import GRACE_S, Workers, _popen


def doing(work):
    """A setup that can be pickled, for a function of this project's test modules."""
    return functools.partial(functools.partial, work)


def workers(work=breaking.value, *, processes=2, setup=None) -> Workers:
    return Workers(setup or doing(work), processes=processes, quiet=True)


@pytest.fixture
def two():
    made = workers()
    yield made
    made.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


def ends(pid: int, within_s: float) -> bool:
    until = time.monotonic() + within_s
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not alive(pid)


def test_each_item_has_its_own_fate_in_its_own_place(two):
    items = ["a", "hang", "raise", "exit", "kill", "segfault", "b", "none", "word"]
    replies = two.map(items, 0.5)
    assert [(one.state, one.value) for one in replies] == [
        ("done", 1.0),
        ("hung", "hung"),
        ("raised", "ValueError: no idea"),
        ("died", "worker died (exit code 3)"),
        ("died", "worker died (SIGKILL)"),
        ("died", "worker died (SIGSEGV)"),
        ("done", 0.0),
        ("done", None),
        ("done", "high"),
    ]
    assert [one.code for one in replies if one.state == "died"] == [3, -signal.SIGKILL, -signal.SIGSEGV]


def test_work_that_holds_the_interpreter_is_ended_too():
    busy = workers(setup=doing(functools.partial(pow, 9)))
    began = time.monotonic()
    assert busy.map([9**9], 0.5)[0].state == "hung"
    assert time.monotonic() - began < 5
    busy.close()


def test_a_hang_delays_nobody_but_its_own_worker(two):
    two.map(["a", "a"], 5)  # both stand
    began, done = time.monotonic(), {}

    def ask(name, items):
        two.map(items, 2.0)
        done[name] = time.monotonic() - began

    threads = [threading.Thread(target=ask, args=pair) for pair in (("hang", ["hang"]), ("rest", ["a"] * 200))]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert done["rest"] < 1.5 < 2.0 <= done["hang"]


def test_no_more_workers_than_items_and_the_same_ones_again(two):
    assert two.pids() == []  # none before there is something to do
    two.map(["a"], 5)
    (pid,) = two.pids()
    two.map(["a"], 5)
    assert two.pids() == [pid]
    two.map(["a"] * 50, 5)
    assert pid in two.pids()
    assert len(two.pids()) <= 2


def test_what_is_printed_is_no_answer(capfd):
    loud = Workers(doing(print), processes=1, quiet=False)
    assert [one.value for one in loud.map(["hello"], 5)] == [None]
    loud.close()
    assert capfd.readouterr().err == "hello\n"


def test_large_items_travel_and_values_that_cannot_are_a_failure():
    same = workers(setup=doing(str.upper), processes=1)
    text = "x" * 3_000_000  # more than a pipe holds
    assert same.map([text], 10)[0].value == text.upper()
    same.close()
    odd = workers(setup=doing(complex), processes=1)
    assert odd.map([1], 5)[0].value.startswith("TypeError: Object of type complex is not JSON")
    assert odd.map([threading.Lock()], 5)[0].value.startswith("TypeError: cannot pickle")  # an item that cannot
    odd.close()


def nothing_to_set_up():
    raise LookupError("no such model")


def test_a_setup_that_fails_is_asked_once_and_told_of_every_item(monkeypatch):
    broken, began = workers(setup=nothing_to_set_up), []
    monkeypatch.setattr("llmft.reward.workers._popen", lambda *args, make=_popen: began.append(1) or make(*args))
    assert {(one.state, one.value) for one in broken.map(range(100), 1)} == {("died", "LookupError: no such model")}
    assert len(began) <= 2  # a worker each, for a hundred items
    assert broken.fault() == "LookupError: no such model"
    assert workers().fault() is None


def test_an_interpreter_that_does_not_start(monkeypatch):
    monkeypatch.setattr("llmft.reward.workers.sys.executable", "/bin/false")
    (reply,) = workers().map(["a"], 1)
    assert (reply.state, reply.value) == ("died", "worker died while it started (exit code 1)")
    assert reply.code is None


def test_a_worker_that_was_killed_while_it_rested(two):
    two.map(["a", "a"], 5)
    for pid in two.pids():
        os.kill(pid, signal.SIGKILL)
    assert [one.value for one in two.map(["a", "b"], 5)] == [1.0, 0.0]


def test_a_stopped_worker_is_a_hang(two):
    two.map(["a"], 5)
    os.kill(two.pids()[0], signal.SIGSTOP)
    assert two.map(["a"], 0.5)[0].state == "hung"
    assert two.map(["a"], 5)[0].value == 1.0


def test_what_a_worker_started_ends_with_it():
    spawning = workers(setup=doing(_start_a_sleeper), processes=1)
    replies = spawning.map([False, True], 1.0)
    assert replies[0].state == "done"
    sleeper = replies[0].value
    assert replies[1].state == "hung"
    assert ends(sleeper, 5)
    spawning.close()


def _start_a_sleeper(hang):
    if hang:
        time.sleep(60)
    return subprocess.Popen(["sleep", "60"]).pid


def test_closed_ones_are_gone_and_come_back(two):
    two.map(["a", "a"], 5)
    pids = two.pids()
    two.close()
    assert all(ends(pid, 5) for pid in pids)
    assert two.map(["a"], 5)[0].value == 1.0


def test_they_go_with_their_owner():
    made = workers()
    made.map(["a", "a"], 5)
    pids = made.pids()
    del made
    assert all(ends(pid, 5) for pid in pids)


ASKER = """
import os, signal, sys, threading, time
import breaking, functools
from llmft.reward.workers import Workers
made = Workers(functools.partial(functools.partial, {work}), processes=1, quiet=True)
made.map([{first}], 60)
print(made.pids()[0], flush=True)
threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
made.map([{second}], {limit_s})
"""


@pytest.mark.parametrize(
    ("work", "first", "second", "limit_s"),
    [
        ("breaking.value", "'a'", "'a'", 60),  # it waits for the next item
        ("breaking.value", "'a'", "'hang'", 60),  # it is busy
        ("pow, 9", "1", "9**9", 1.0),  # it is busy and holds the interpreter: ended by its own clock
    ],
)
def test_no_worker_outlives_an_asker_that_was_killed(work, first, second, limit_s):
    code = ASKER.format(work=work, first=first, second=second, limit_s=limit_s)
    asker = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; exec(sys.argv[1])", code],
        stdout=subprocess.PIPE,
        text=True,
    )
    pid = int(asker.stdout.readline())
    assert alive(pid) or asker.poll() is not None
    asker.wait(30)
    asker.stdout.close()
    assert ends(pid, 6)


def test_ctrl_c_is_not_for_them(two):
    two.map(["a"], 5)
    (pid,) = two.pids()
    assert os.getsid(pid) == pid != os.getsid(0)


def test_after_a_fork_each_has_its_own(two):
    two.map(["a", "a"], 5)
    mine = sorted(two.pids())
    reader, writer = os.pipe()
    if not os.fork():
        try:
            values = [one.value for one in two.map(["b", "a"], 5)]
            os.write(writer, repr((values, sorted(two.pids()))).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.wait()
    values, pids = eval(os.read(reader, 1000))
    os.close(reader)
    assert values == [0.0, 1.0]
    assert sorted(two.pids()) == mine
    assert all(alive(pid) for pid in mine)
    assert not set(pids) & set(mine)
    assert all(ends(pid, 5) for pid in pids)
    assert [one.value for one in two.map(["a", "b"], 5)] == [1.0, 0.0]


def test_by_pickle(two):
    again = pickle.loads(pickle.dumps(two))
    assert again.map(["a"], 5)[0].value == 1.0
    again.close()


def test_from_many_threads_at_once(two):
    found: dict[int, list[float]] = {}

    def ask(index: int) -> None:
        found[index] = [one.value for one in two.map(["ab"[(index + place) % 2] for place in range(50)], 10)]

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == {index: [float((index + place) % 2 == 0) for place in range(50)] for index in range(6)}


def test_an_interrupted_call_leaves_nothing_behind(two):
    """What a worker still says to a question that was given up is nobody's answer."""
    one = workers(processes=1)
    one.map(["a"], 5)
    before = signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            one.map(["hang", "a"], 30)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert [reply.value for reply in one.map(["b", "a"], 5)] == [0.0, 1.0]
    one.close()


def test_an_interrupted_call_leaves_the_rest_undone():
    two, began = workers(setup=doing(time.sleep)), time.monotonic()
    two.map([0, 0], 5)
    before = signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            two.map([0.5] * 60, 30)  # 15 seconds' worth
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < 8
    two.close()


def test_a_worker_that_rests_is_not_ended_by_the_clock_of_its_last_item(two):
    two.map(["raise"], 0.1)
    pids = two.pids()
    time.sleep(0.1 + GRACE_S + 0.4)
    assert all(alive(pid) for pid in pids)


def test_files_and_processes_do_not_pile_up(two):
    two.map(["a", "a"], 5)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        two.map(["hang", "exit"], 0.1)
    two.map(["a", "a"], 5)
    assert len(os.listdir("/proc/self/fd")) <= before
