"""The other ways to run a program, in a process that has imported nothing of ours: `reward.py` starts and asks it.

`a_process_each` is written after the public evaluation of HumanEval (https://github.com/openai/human-eval,
execution.py): what it does for each program, and in which order.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

LIMIT_S = 30.0  # theirs is 3, which a busy machine may need to start a process


def source(number: int) -> str:
    return f"def f(x):\n    return x + {number}\n"


def fresh(flags: Sequence[str], number: int) -> bool:
    """One program in an interpreter of its own."""
    code = source(number) + "import json\nprint(json.dumps([f(1), f(2)]))\n"
    done = subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, timeout=LIMIT_S)
    return json.loads(done.stdout) == [1 + number, 2 + number]


class Late(Exception):
    pass


def guarded(program: str, result: list[str]) -> None:
    """Run a program with its assertions in this process, which is not to be used again."""
    with tempfile.TemporaryDirectory() as folder:
        kept = os.rmdir, os.unlink, os.chdir, os.scandir
        home = os.getcwd()
        os.chdir(folder)
        disarm()
        try:
            printed = io.StringIO()
            signal.signal(signal.SIGALRM, late)
            signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                exec(program, {})
            result.append("passed")
        except Late:
            result.append("timed out")
        except BaseException as error:
            result.append(f"failed: {error}")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            os.rmdir, os.unlink, os.chdir, os.scandir = kept
            os.chdir(home)


def late(number: int, frame: object) -> None:
    raise Late


def disarm() -> None:
    """Take from this interpreter what a careless program would do harm with."""
    import builtins
    import shutil

    faulthandler.disable()
    builtins.exit = builtins.quit = None  # type: ignore[assignment]
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in ("kill", "system", "putenv", "remove", "removedirs", "fchdir", "setuid", "fork", "forkpty", "killpg"):
        setattr(os, name, None)
    for name in ("rename", "renames", "truncate", "replace", "unlink", "fchmod", "chmod", "chown", "chroot", "rmdir"):
        setattr(os, name, None)
    shutil.move = shutil.chown = None  # type: ignore[assignment]
    subprocess.Popen = None  # type: ignore[assignment,misc]
    for name in ("ipdb", "joblib", "resource", "psutil", "tkinter"):
        sys.modules[name] = None  # type: ignore[assignment]


def a_process_each(number: int) -> bool:
    """One program with its assertions, as the public evaluation of HumanEval does it."""
    program = source(number) + f"assert f(1) == {1 + number}\nassert f(2) == {2 + number}\n"
    with multiprocessing.Manager() as manager:
        result = manager.list()
        process = multiprocessing.Process(target=guarded, args=(program, result))
        process.start()
        process.join(LIMIT_S + 1)
        if process.is_alive():
            process.kill()
        return list(result) == ["passed"]


OTHERS: dict[str, Callable[[int], bool]] = {
    "python -c": lambda number: fresh((), number),
    "python -I -S -c": lambda number: fresh(("-I", "-S"), number),
    "a process each, as for HumanEval": a_process_each,
}


def serve() -> None:
    """Run one of the others when asked: ``[name, first number, programs, threads, cores]``; answers with seconds."""
    for line in sys.stdin:
        name, first, count, threads, cores = json.loads(line)
        os.sched_setaffinity(0, cores)
        began = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            right = list(pool.map(OTHERS[name], range(first, first + count)))
        seconds = time.perf_counter() - began
        assert all(right), name
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    serve()
