"""The filter, run in a small machine of our own for both architectures, and its numbers against the kernel's headers."""

from __future__ import annotations

import errno
import re
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmft.sandbox import seccomp, syscalls
from llmft.sandbox.seccomp import ALLOW, ARCHITECTURES, KILL, OWN, Filter

EPERM, ENOSYS = (0x00050000 | code for code in (errno.EPERM, errno.ENOSYS))
PID = 4242
EVERY = {**syscalls.ALWAYS, **syscalls.READING, **syscalls.WRITING, **syscalls.FILTERED, **syscalls.DEADLY}
L2, L1, PLUS = (
    {"reading": True, "writing": False},
    {"reading": False, "writing": False},
    {"reading": True, "writing": True},
)


def verdict(machine: syscalls.Machine, level: dict[str, bool], call: str | int, *given: int, architecture=None) -> int:
    """What the kernel would do: its interpreter of the instructions that are used, on ``struct seccomp_data``."""
    number = syscalls.number(call, machine) if isinstance(call, str) else call
    assert number >= 0
    arguments = [*given, *[0] * (6 - len(given))]
    told = ARCHITECTURES[machine] if architecture is None else architecture
    data = struct.pack("<IIQ6Q", number, told, 0, *(one % 2**64 for one in arguments))
    code, at, accumulator = Filter(machine, **level).instructions, 0, 0
    while True:
        operation, if_true, if_false, constant = code[at]
        constant = PID if constant == OWN else constant
        at += 1
        if operation == seccomp.LOAD:
            (accumulator,) = struct.unpack_from("<I", data, constant)
        elif operation == seccomp.AND:
            accumulator &= constant
        elif operation == seccomp.JUMP:
            at += constant
        elif operation == seccomp.RETURN:
            return constant
        else:
            true = accumulator == constant if operation == seccomp.EQUAL else accumulator & constant
            at += if_true if true else if_false


machines = pytest.mark.parametrize("machine", syscalls.MACHINES)
levels = pytest.mark.parametrize("level", [L2, L1, PLUS], ids=["L2", "L1", "L2+"])


@machines
@levels
def test_every_call_that_is_not_named_is_refused(machine, level):
    named = {number for group in EVERY.values() if (number := group[syscalls.MACHINES.index(machine)]) is not None}
    assert {verdict(machine, level, number) for number in range(600) if number not in named} == {EPERM}


@machines
@levels
def test_groups(machine, level):
    def verdicts(group):
        return {verdict(machine, level, number) for number in syscalls.numbers(group, machine)}

    assert verdicts(syscalls.ALWAYS) == {ALLOW}
    assert verdicts(syscalls.DEADLY) == {KILL}
    assert verdicts(syscalls.READING) == {ALLOW if level["reading"] else EPERM}
    assert verdicts(syscalls.WRITING) == {ALLOW if level["writing"] else EPERM}


@machines
def test_another_architecture_or_table_is_deadly(machine):
    for other in (0x40000003, 0x40000028, *ARCHITECTURES.values()):  # 32-bit x86 and ARM
        if other != ARCHITECTURES[machine]:
            assert verdict(machine, L2, "read", architecture=other) == KILL
    if machine == "x86_64":
        assert verdict(machine, L2, 0x40000000) == verdict(machine, L2, 0x40000000 + 520) == KILL  # x32's read, execve


NEVER = """fork vfork execve execveat socket connect bind listen accept accept4 sendmsg sendmmsg recvmsg setsid setpgid
tkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open pidfd_send_signal chmod fchmod fchmodat chown fchown utimensat setxattr
fsetxattr getxattr chdir fchdir chroot mknod mknodat link linkat symlink symlinkat truncate memfd_create shmget shmat semget
msgget mq_open inotify_add_watch sched_setaffinity setpriority setuid setresuid capset setrlimit openat2 creat mlock
setsockopt timer_create seccomp landlock_restrict_self sethostname personality io_setup vmsplice splice tee"""


@pytest.mark.parametrize("name", NEVER.split())
def test_never(name):
    numbers = header("x86_64")
    if name in numbers:
        assert verdict("x86_64", PLUS, numbers[name], 7, 7, 7) == EPERM
    numbers = header("aarch64")
    if name in numbers:
        assert verdict("aarch64", PLUS, numbers[name], 7, 7, 7) == EPERM


@machines
def test_threads_and_no_processes(machine):
    threads = 0x3D0F00  # as the C library makes them
    assert verdict(machine, L2, "clone", threads) == ALLOW
    for flags in (
        17,
        0x1200011,
        0x4111,
        threads & ~0x10000,
        threads & ~0x100,
        threads | 0x10000000,
        threads | 0x40000000,
    ):
        assert verdict(machine, L2, "clone", flags) == EPERM  # fork, vfork, not a thread, new namespaces
    assert verdict(machine, L2, "clone3", threads) == ENOSYS


@machines
def test_signals_go_to_itself_alone(machine):
    assert verdict(machine, L2, "kill", PID, 9) == verdict(machine, L2, "tgkill", PID, PID + 1, 9) == ALLOW
    assert verdict(machine, L2, "kill", 2**32 + PID, 9) == ALLOW  # the kernel reads 32 bits
    for other in (PID + 1, 1, 0, -1, -PID):
        assert verdict(machine, L2, "kill", other, 9) == verdict(machine, L2, "tgkill", other, PID, 9) == EPERM


@machines
@given(command=st.integers(0, 2**32 - 1), high=st.sampled_from([0, 2**32]))
def test_commands_on_files(machine, command, high):
    fine = {0, 1, 2, 3, 4, 5, 6, 7, 1030, 1032}
    assert verdict(machine, L2, "fcntl", 3, command + high) == (ALLOW if command in fine else EPERM)
    fine = {0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451}
    assert verdict(machine, L2, "ioctl", 3, command + high) == (ALLOW if command in fine else EPERM)


@machines
def test_commands_that_make_the_kernel_send_signals_or_type(machine):
    for command in (8, 10, 15, 1024, 1026, 1031):  # F_SETOWN F_SETSIG F_SETOWN_EX F_SETLEASE F_NOTIFY F_SETPIPE_SZ
        assert verdict(machine, L2, "fcntl", 3, command, 1) == EPERM
    assert verdict(machine, L2, "fcntl", 3, 4, 0o4000) == ALLOW  # O_NONBLOCK
    assert verdict(machine, L2, "fcntl", 3, 4, 0o4000 | 0x2000) == EPERM  # O_ASYNC
    for command in (0x5412, 0x8901, 0x8902, 0x541C):  # TIOCSTI FIOSETOWN SIOCSPGRP TIOCLINUX
        assert verdict(machine, L2, "ioctl", 3, command) == EPERM


@machines
def test_limits_but_the_stack_s_are_only_read(machine):
    stack, memory, pointer = 3, 9, 0x7FFF_0000_1000
    assert verdict(machine, L2, "prlimit64", 0, memory, 0, pointer) == ALLOW
    assert verdict(machine, L2, "prlimit64", 0, stack, pointer, 0) == ALLOW
    assert verdict(machine, L2, "prlimit64", 0, memory, pointer, 0) == EPERM
    assert verdict(machine, L2, "prlimit64", 0, memory, 0x7FFF_0000_0000, 0) == EPERM  # whose low word is zero
    assert verdict(machine, L2, "prlimit64", 1, stack, pointer, 0) == EPERM
    assert verdict(machine, L2, "prlimit64", 1, memory, 0, pointer) == EPERM
    assert verdict(machine, L2, "setrlimit", stack, pointer) == ALLOW
    assert verdict(machine, L2, "setrlimit", memory, pointer) == EPERM


@machines
def test_sockets_are_pairs_of_local_streams(machine):
    local, stream, datagram, later = 1, 1, 2, 0o2004000  # with SOCK_CLOEXEC | SOCK_NONBLOCK
    assert (
        verdict(machine, L2, "socketpair", local, stream)
        == verdict(machine, L2, "socketpair", local, stream | later)
        == ALLOW
    )
    assert verdict(machine, L2, "socketpair", local, datagram) == EPERM
    assert verdict(machine, L2, "socketpair", 2, stream) == verdict(machine, L2, "socketpair", 16, stream) == EPERM


@machines
def test_opening(machine):
    read, write, create, cut, odd = 0, 1, 0o100, 0o1000, 3
    for flags in (read, write, 2, write | create | cut, 2 | cut, 0o2000000):
        assert verdict(machine, L2, "openat", -100, 0, flags) == ALLOW  # Landlock says where
        assert verdict(machine, L1, "openat", -100, 0, flags) == EPERM
    for flags in (read | cut, odd | cut, odd):
        assert verdict(machine, L2, "openat", -100, 0, flags) == EPERM


def test_a_thread_s_name_is_all_of_prctl():
    assert [option for option in range(1000) if verdict("x86_64", L2, "prctl", option) == ALLOW] == [15, 16]


def header(machine: syscalls.Machine) -> dict[str, int]:
    """Names and numbers of the kernel's own header, or a skip."""
    if machine == "x86_64":
        path = next(iter(Path("/usr/include").glob("**/asm/unistd_64.h")), None)
        text = path.read_text() if path else ""
        return {name: int(number) for name, number in re.findall(r"#define __NR_(\w+)\s+(\d+)", text)} or skip()
    path = Path("/usr/include/asm-generic/unistd.h")
    if not path.exists():
        skip()
    asked = ["RENAMEAT", "NEW_STAT", "SET_GET_RLIMIT", "SYS_CLONE3"]
    options = ["-D__BITS_PER_LONG=64", *(f"-D__ARCH_WANT_{name}" for name in asked)]
    try:
        done = subprocess.run(["gcc", "-E", "-dM", *options, str(path)], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        skip()
    found = dict(re.findall(r"#define (__NR\w+)\s+(\S+)", done.stdout))
    resolved = {name: found.get(value, value) for name, value in found.items()}
    return {name.removeprefix("__NR_"): int(value) for name, value in resolved.items() if value.isdigit()}


def skip():
    pytest.skip("needs the kernel's headers (linux-libc-dev) and gcc")


@machines
def test_numbers_are_the_kernel_s(machine):
    kernel = header(machine)
    ours = {name: pair[syscalls.MACHINES.index(machine)] for name, pair in EVERY.items()}
    assert {name: number for name, number in ours.items() if number != kernel.get(name)} == {}
