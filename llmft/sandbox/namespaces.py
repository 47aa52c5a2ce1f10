"""A server in namespaces of its own: other processes, the network and almost all files are not there at all.

Needs what some machines forbid to an ordinary user: a user namespace.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Sequence
from contextlib import suppress

from llmft.sandbox import lockdown, syscalls

NEW_MOUNTS, NEW_UTS, NEW_IPC = 0x20000, 0x4000000, 0x8000000
NEW_USER, NEW_PID, NEW_NET = 0x10000000, 0x20000000, 0x40000000
READ_ONLY, NO_SUID, NO_DEVICES, NO_EXECUTING, REMOUNT, BIND = 1, 2, 4, 8, 32, 4096
RECURSIVE, PRIVATE, DETACH = 1 << 14, 1 << 18, 2
KEPT = NO_SUID | NO_DEVICES | NO_EXECUTING  # what a mount of the host has and this one may not lose
NEW_ROOT = "/sys"  # a folder that every Linux has and that holds nothing a program needs: the new root is built over it
# Landlock's rule is for the folder above, so that it holds for whatever is mounted here later.
ABOVE_SCRATCH, SCRATCH = "/scratch", "/scratch/tmp"
SCRATCH_OPTIONS = b"size=16m,nr_inodes=1024,mode=700"


def enter(libc: ctypes.CDLL, files: Sequence[str]) -> None:
    """Go on as the first process of new namespaces, with ``files`` to read and a scratch folder. Raises OSError."""
    user, group = os.geteuid(), os.getegid()
    spaces = NEW_USER | NEW_MOUNTS | NEW_UTS | NEW_IPC | NEW_PID | NEW_NET
    _call(libc.unshare(spaces), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    _become_the_first(libc)
    _call(libc.mount(None, b"/", None, RECURSIVE | PRIVATE, None), "mount private")
    _build(libc, files)
    pivot_root = syscalls.number("pivot_root", syscalls.this_machine())
    _call(libc.syscall(pivot_root, NEW_ROOT.encode(), f"{NEW_ROOT}/old".encode()), "pivot_root")
    os.chdir("/")
    _call(libc.umount2(b"/old", DETACH), "umount")
    os.rmdir("/old")
    _call(libc.mount(None, b"/", None, REMOUNT | BIND | READ_ONLY | NO_SUID | NO_DEVICES, None), "remount the root")
    clean_scratch(libc)
    libc.sethostname(b"sandbox", 7)


def clean_scratch(libc: ctypes.CDLL) -> None:
    """Give the next program an empty scratch folder."""
    use = os.statvfs(SCRATCH)
    if use.f_files - use.f_ffree > 1 or use.f_flag & READ_ONLY:  # used, or not yet mounted
        libc.umount2(SCRATCH.encode(), DETACH)
        flags = NO_SUID | NO_DEVICES | NO_EXECUTING
        _call(libc.mount(b"scratch", SCRATCH.encode(), b"tmpfs", flags, SCRATCH_OPTIONS), "mount scratch")


def _become_the_first(libc: ctypes.CDLL) -> None:
    """Fork: the child, process 1 of the new namespace, returns; this process ends as it does."""
    outside = os.getpid()
    if (inside := os.fork()) == 0:
        lockdown.control(libc, lockdown.PR_SET_PDEATHSIG, signal.SIGKILL)
        return
    os.closerange(3, lockdown.HIGHEST)  # the client's socket among them
    assert outside == os.getpid()
    _, status = os.waitpid(inside, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _build(libc: ctypes.CDLL, files: Sequence[str]) -> None:
    """A tree that holds ``files`` and nothing else, read-only."""
    _call(libc.mount(b"root", NEW_ROOT.encode(), b"tmpfs", NO_SUID | NO_DEVICES, b"size=1m,mode=755"), "mount a root")
    bound: list[str] = []
    for path in sorted({os.path.realpath(one) for one in files if os.path.exists(one)}):
        if not any(path.startswith(f"{one}/") for one in bound):
            _bind(libc, path)
            bound.append(path)
    for path in sorted(files):
        place = NEW_ROOT + path
        if os.path.exists(path) and not os.path.lexists(place):  # by another name, through a link
            os.makedirs(os.path.dirname(place), exist_ok=True)
            with suppress(FileExistsError):
                os.symlink(os.path.realpath(path), place)
    for name in ("/old", SCRATCH):
        os.makedirs(NEW_ROOT + name)


def _bind(libc: ctypes.CDLL, path: str) -> None:
    place = NEW_ROOT + path
    os.makedirs(os.path.dirname(place), exist_ok=True)
    if os.path.isdir(path):
        os.makedirs(place, exist_ok=True)
    else:
        os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o600))
    _call(libc.mount(path.encode(), place.encode(), None, BIND | RECURSIVE, None), f"mount {path}")
    flags = os.statvfs(place).f_flag & KEPT
    _call(libc.mount(None, place.encode(), None, REMOUNT | BIND | READ_ONLY | flags, None), f"remount {path}")


def _call(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
