"""How well programs are isolated on this machine: found by running some that must be refused.

L2: a filter of the kernel's calls and Landlock's rules on files. L2+: namespaces of their own too, without a network,
with a small scratch folder. L1: the filter alone, which refuses to open any file; it works where Landlock is missing.
"""

from __future__ import annotations

import os
import platform
import sys
from typing import Any, NamedTuple

from llmft.sandbox.connection import Broken, Connection
from llmft.sandbox.lockdown import Limits
from llmft.types import Program, Ran

ORDER = {"auto": ("L2", "L1"), "L2+": ("L2+",), "L2": ("L2",), "L1": ("L1",)}
PROBE_S = 20.0  # for each probe, on a busy machine


class Found(NamedTuple):
    level: str | None
    why: str  # it is no stronger one
    fault: str | None  # for the user, where programs may not run
    facts: dict[str, Any]


class Probe(NamedTuple):
    """A function, and what it must come to; ``what`` it did where it does not."""

    what: str
    source: str
    value: Any = "refused"
    status: str = "ok"


def _refused(what: str, act: str) -> Probe:
    lines = "import ctypes, os, socket\ndef f():\n    try:\n        {}\n    except OSError:\n        return 'refused'"
    return Probe(what, lines.format(act))


PROBES = (
    _refused("could open a file", "open('/etc/passwd')"),
    _refused("could list a folder", "os.listdir('/')"),
    _refused("could write a file", "open('/tmp/llmft-probe', 'w')"),
    _refused("could change a file's mode", "os.chmod('/dev/null', 0o666)"),
    _refused("could open a socket", "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"),
    _refused("could start a process", "os.fork() or os._exit(0)"),
    _refused("could signal its server", "os.kill(os.getppid(), 0)"),
    Probe(
        "could trace others", "import ctypes\ndef f(): return ctypes.CDLL(None).ptrace(16, 1, 0, 0)", status="violation"
    ),
    Probe("could see the environment", "import os\ndef f(): return 'refused' if not os.environ else 'seen'"),
)
WORKS = Probe("could not import the standard library", "import colorsys\ndef f(): return 'works'", "works")
ONLY = {
    "L1": (_refused("could look at a file", "os.stat('/')"),),
    "L2": (WORKS,),
    "L2+": (WORKS, _refused("could look at a file of the host", "os.stat('/etc/passwd')")),
}


def find(level: str, unsafe: bool, limits: Limits) -> Found:
    """The first of the levels that ``level`` stands for which refuses what it must."""
    reasons: list[str] = []
    below = ORDER["auto"] if unsafe else ()  # whatever there is, before none
    for one in dict.fromkeys((*ORDER[level], *below)):
        reason, facts = probe(one, limits)
        if reason is None:
            return Found(one, "; ".join(reasons) or f"reward.sandbox.level={level}", None, facts)
        reasons.append(f"{one}: {reason}")
    why = "; ".join(dict.fromkeys(reasons))
    if unsafe:
        return Found("none", why, None, {})
    if level == "auto":
        fault = f"reward.sandbox.unsafe=false: this machine cannot isolate model-written programs ({why}); run on Linux"
        fault += " 5.13 or later, or set reward.sandbox.unsafe=true to run them without any protection"
    else:
        fault = f"reward.sandbox.level={level}: this machine does not have it ({why}); use reward.sandbox.level=auto"
    return Found(None, why, fault, {})


def probe(level: str, limits: Limits) -> tuple[str | None, dict[str, Any]]:
    """Why ``level`` does not work here, if it does not; and what its server says of itself."""
    if sys.platform != "linux":
        return f"{platform.system()} has neither seccomp nor Landlock", {}
    try:
        connection = Connection(level, limits._replace(wall_s=PROBE_S))
    except (Broken, OSError) as error:
        return str(error), {}
    try:
        for one in (*PROBES, *ONLY[level]):
            ran = connection.ask(Program(one.source, calls=("f()",)))
            if not _as_it_must(one, ran):
                return f"a program {one.what}: {ran.status} {ran.error or ran.returned}", {}
    except Broken as error:
        return str(error), {}
    finally:
        connection.close()
    return None, connection.facts


def _as_it_must(one: Probe, ran: Ran) -> bool:
    if one.status != "ok":
        return ran.status == one.status
    return ran.status == "ok" and ran.returned[0] == (one.value, None)


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
