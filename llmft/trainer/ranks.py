"""One run on several processes of this machine.

Each process runs the whole job and they meet in collectives, so a job is written as if it were alone. Processes are
spawned, not forked: nothing that the parent has open or has computed leaks into them, and it works in a sweep and in a
test as it does on the command line.
"""

from __future__ import annotations

import math
import os
import pickle
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from llmft.config import Stop
from llmft.config.faults import INTERRUPTED
from llmft.trainer.signals import CODES

T = TypeVar("T")
Outcome = tuple[str, float, Any]  # returned, stopped or raised; when, in seconds; what
GRACE_S = 20.0  # for the others to end by themselves when one process has failed


def on_ranks(count: int, backend: str, job: Callable[..., T], *arguments: Any) -> T:
    """``job(*arguments)`` on ``count`` processes; what it returns on the first of them.

    Under ``torchrun`` or another launcher that sets WORLD_SIZE, this process is one of them already.

    Args:
        count: 1 runs it right here.
        backend: ``gloo`` or ``nccl``.
        job: a function that can be pickled, as can ``arguments``.

    Raises:
        Stop: if a process stopped.
        RuntimeError: with the trace of the process that failed first.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return _joined(backend, None, job, *arguments)
    if count == 1:
        return job(*arguments)
    context: Any = get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="llmft-ranks-") as folder:
        meeting = f"file://{Path(folder) / 'meeting'}"
        pipes = [context.Pipe(duplex=False) for _ in range(count)]
        processes = [
            context.Process(target=_rank, args=(index, count, backend, meeting, pipes[index][1], job, arguments))
            for index in range(count)
        ]
        for process, (_, sending) in zip(processes, pipes, strict=True):
            process.start()
            sending.close()
        with _forwarding(processes):
            return _outcome(processes, [receiving for receiving, _ in pipes])


def _rank(
    index: int, count: int, backend: str, meeting: str, answer: Connection, job: Callable[..., Any], arguments: Any
) -> None:
    os.setsid()  # Ctrl-C reaches the parent alone, which passes it on once
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(
        RANK=str(index), LOCAL_RANK=str(index), WORLD_SIZE=str(count), LOCAL_WORLD_SIZE=str(count), NODE_RANK="0"
    )

    def reported() -> None:
        # Before the group is left, which makes the others fail too: the clock tells who was first.
        how, what = _ended(job, arguments)
        # By value: a tensor that went through torch's own pickling would be gone with this process.
        answer.send_bytes(pickle.dumps((how, time.monotonic(), what if index == 0 or how != "returned" else None)))

    _joined(backend, meeting, reported)


def _ended(job: Callable[..., Any], arguments: Any) -> tuple[str, Any]:
    try:
        return "returned", job(*arguments)
    except Stop as stop:
        return "stopped", (stop.code, stop.message)
    except KeyboardInterrupt:
        return "stopped", (INTERRUPTED, "interrupted")
    except Exception:
        return "raised", traceback.format_exc()


def _joined(backend: str, meeting: str | None, job: Callable[..., T], *arguments: Any) -> T:
    import torch.distributed as dist

    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=count)
    try:
        return job(*arguments)
    finally:
        dist.destroy_process_group()


def _outcome(processes: list[Any], pipes: list[Connection]) -> Any:
    """Wait for all; what the first rank returned, or an exception for who failed first."""
    outcomes: dict[int, Outcome] = {}
    failed: list[Outcome] = []
    while len(outcomes) < len(processes):
        waiting = [pipe for index, pipe in enumerate(pipes) if index not in outcomes]
        ready = wait(waiting, timeout=GRACE_S if failed else None)
        for index in (index for index, pipe in enumerate(pipes) if pipe in ready):
            outcomes[index] = _received(processes[index], pipes[index])
        failed = [outcome for outcome in outcomes.values() if outcome[0] != "returned"]
        if not ready:
            break
    for process in processes:
        process.kill() if failed else process.join()
        process.join()
    if not failed:
        return outcomes[0][2]
    how, _, why = min(failed, key=lambda outcome: outcome[1])
    if how == "stopped":
        raise Stop(*why)
    raise RuntimeError(f"one of {len(processes)} processes failed:\n{why}")


def _received(process: Any, pipe: Connection) -> Outcome:
    try:
        return pickle.loads(pipe.recv_bytes())
    except (EOFError, OSError):
        process.join()
        if code := CODES.get(-process.exitcode):  # a signal came before the run began
            return "stopped", -math.inf, (code, "interrupted; no run had begun")
        return "raised", -math.inf, f"process {process.pid} died with exit code {process.exitcode}"


@contextmanager
def _forwarding(processes: list[Any]) -> Iterator[None]:
    """Signals to this process go to the others, who know what to do; this one waits for them."""

    def forward(number: int, frame: FrameType | None) -> None:
        for process in processes:
            if process.is_alive():
                os.kill(process.pid, number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.signal(one, forward) for one in CODES}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
