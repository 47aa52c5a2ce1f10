"""`llmft.protocols.Sandbox` over fork servers: processes outside the trainer's, each running one program at a time.

They start with the first program and are started again when they die; the same programs have the same outcomes then.
"""

from __future__ import annotations

import logging
import os
import selectors
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from annotated_types import Ge, Interval

from llmft.config import Why
from llmft.sandbox import levels
from llmft.sandbox.connection import Broken, Connection
from llmft.sandbox.lockdown import Limits
from llmft.types import Program, Ran

log = logging.getLogger(__name__)
PAUSE_S = 0.1  # before a server is started once more
UNSAFE = "model-written programs run WITHOUT ISOLATION (reward.sandbox.unsafe=true): %s"


class ForkServers:
    """Runs programs that a model wrote.

    Args:
        level: L2+, L2 or L1, see `levels`; auto is the strongest of L2 and L1 that works here.
        unsafe: where no level works, run programs without isolation.
        wall_s: seconds that a program may take.
        cpu_s: seconds that it may compute, on all cores together.
        memory_mb: of addresses.
        output_kb: that it may print, and that a value may take.
        servers: processes; null is as many as this process's share of the cores.
        retries: how often a program is run again where the sandbox, not the program, failed.
    """

    def __init__(
        self,
        *,
        level: Literal["auto", "L2+", "L2", "L1"],
        unsafe: bool,
        wall_s: Annotated[float, Interval(gt=0, le=3600), Why("a program needs some time; use 3600 or less, above 0")],
        cpu_s: Annotated[int, Ge(1), Why("the kernel counts whole seconds; use 1 or more")],
        memory_mb: Annotated[int, Ge(64), Why("Python alone takes as much; use 64 or more")],
        output_kb: Annotated[int, Ge(1), Why("nothing could be returned; use 1 or more")],
        servers: Annotated[int, Ge(1), Why("someone has to run the programs; use 1 or more, or null")] | None,
        retries: Annotated[int, Ge(0), Why("a number of times; use 0 or more")],
    ) -> None:
        self.level, self.unsafe, self.servers, self.retries = level, unsafe, servers, retries
        self.limits = Limits(wall_s, cpu_s, memory_mb, output_kb)
        self._reset()
        _forget_after_fork(self)

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._found: levels.Found | None = None
        self._connections: list[Connection] = []

    def run(self, programs: Sequence[Program]) -> list[Ran]:
        """What came of each, in order; several at once over the servers. Raises ValueError where none may start."""
        if not programs:
            return []
        with self._lock:
            if faults := self.faults():
                raise ValueError(faults[0])
            try:
                return _Batch(self, programs).run()
            except BaseException:  # Ctrl-C: what is under way on the servers is nobody's any more
                self.close()
                raise

    def faults(self) -> list[str]:
        """Why programs cannot be isolated here as the config wants it; tried, with programs that must be refused."""
        with self._lock:
            if self._found is None:
                self._found = levels.find(self.level, self.unsafe, self.limits)
                if self._found.level == "none":
                    log.warning(UNSAFE, self._found.why)
            return [self._found.fault] if self._found.fault else []

    def facts(self) -> Mapping[str, Any]:
        """The level, why it is no higher, and what holds."""
        self.faults()
        found = self._found
        assert found is not None
        about = {"level": found.level, "why": found.why, "servers": self._count()}
        return {**about, **found.facts, **self.limits._asdict()}

    def close(self) -> None:
        """End the servers; the next program starts them again."""
        with self._lock:
            for one in self._connections:
                one.close()
            self._connections = []

    def _count(self) -> int:
        if self.servers is not None:
            return self.servers
        from llmft.distributed import world_size

        ranks = int(os.environ.get("LOCAL_WORLD_SIZE") or world_size())
        return max(1, levels.cores() // ranks)

    def connected(self, at_most: int) -> list[Connection]:
        """The servers, at most so many; new ones where some are missing. Raises Broken where none can be had."""
        level = self._found.level if self._found is not None else None
        assert level is not None
        while len(self._connections) < min(self._count(), at_most):
            try:
                self._connections.append(Connection(level, self.limits))
            except Broken:
                if not self._connections:
                    raise
                break
        return self._connections[:]

    def drop(self, one: Connection) -> None:
        one.close()
        self._connections.remove(one)

    def _forget(self) -> None:
        """After a fork, in the child: the servers are the parent's, and the lock may be held by a thread of its."""
        for one in self._connections:
            one.forget()
        found = self._found
        self._reset()
        self._found = found

    def __getstate__(self) -> dict[str, Any]:
        return {key: self.__dict__[key] for key in ("level", "unsafe", "servers", "retries", "limits")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()
        _forget_after_fork(self)

    def __del__(self) -> None:
        for one in getattr(self, "_connections", ()):
            one.close()


def _forget_after_fork(servers: ForkServers) -> None:
    alive = weakref.ref(servers)

    def forget() -> None:
        one = alive()
        if one is not None:
            one._forget()

    os.register_at_fork(after_in_child=forget)


class _Batch:
    """Programs that are run together."""

    def __init__(self, servers: ForkServers, programs: Sequence[Program]) -> None:
        self.servers = servers
        self.programs = programs
        self.left = deque(range(len(programs)))
        self.tries = Counter[int]()
        self.done: dict[int, Ran] = {}

    def run(self) -> list[Ran]:
        failed = 0  # times in a row that no server could be started
        while len(self.done) < len(self.programs):
            try:
                connections = self.servers.connected(at_most=len(self.left))
            except Broken as error:
                failed += 1
                if failed > self.servers.retries:
                    self.done |= {index: Ran("sandbox_error", error=str(error)) for index in self.left}
                time.sleep(PAUSE_S)
                continue
            failed = 0
            self._serve(connections)
        return [self.done[index] for index in range(len(self.programs))]

    def _serve(self, connections: Sequence[Connection]) -> None:
        """Until all is done, or a server is lost."""
        with selectors.DefaultSelector() as selector:
            for one in connections:
                selector.register(one, selectors.EVENT_READ)
            while len(self.done) < len(self.programs):
                for one in connections:
                    self._give(one)
                    selector.modify(one, selectors.EVENT_READ | selectors.EVENT_WRITE * one.sending)
                patience = min(one.patience_s for one in connections)
                ready = {key.fileobj: mask for key, mask in selector.select(max(0.0, patience))}
                for one in connections:
                    try:
                        self._exchange(one, ready.get(one, 0))
                    except Broken as error:
                        return self._lost(one, str(error))

    def _give(self, one: Connection) -> None:
        while self.left and one.has_room:
            index = self.left.popleft()
            one.give(index, self.programs[index])

    def _exchange(self, one: Connection, ready: int) -> None:
        """Send and receive what can be. Raises Broken where the server has to be replaced."""
        if ready & selectors.EVENT_WRITE:
            one.send()
        for index, ran in one.receive() if ready & selectors.EVENT_READ else ():
            if ran.status == "sandbox_error":
                self._again(index, ran.error)
                raise Broken(ran.error)  # it may be out of step
            self.done[index] = ran
        if one.patience_s < 0:
            raise Broken("a server hangs")

    def _lost(self, one: Connection, why: str) -> None:
        """Run again what a server had: only the first of them can have been its end."""
        had = [index for index, _ in one.waiting]
        self.servers.drop(one)
        self.left.extendleft(reversed(had[1:]))
        if had:
            self._again(had[0], why)

    def _again(self, index: int, why: str) -> None:
        self.tries[index] += 1
        if self.tries[index] > self.servers.retries:
            self.done[index] = Ran("sandbox_error", error=why)
        else:
            self.left.appendleft(index)
