"""A filter of the kernel's calls, in the kernel's own small language, installed without any library.

Whatever is not named is refused as if it were not permitted, so that a program may go on without it; what no honest
program asks for kills the process.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import NamedTuple

from llmft.sandbox import syscalls
from llmft.sandbox.syscalls import Machine

ARCHITECTURES: dict[Machine, int] = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH_*
X32 = 0x40000000  # a bit of the number: another table of calls on x86-64
ALLOW, KILL, REFUSE, ABSENT = 0x7FFF0000, 0x80000000, 0x00050000 | 1, 0x00050000 | 38  # EPERM, ENOSYS
LOAD, EQUAL, SET, JUMP, AND, RETURN = 0x20, 0x15, 0x45, 0x05, 0x54, 0x06  # BPF_LD|W|ABS, JEQ, JSET, JA, AND, RET
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data; both machines have the low word first
ALL = 0xFFFFFFFF
OWN = -1  # in a test's values: the process's own id, filled in when the filter is installed
PR_SET_SECCOMP, FILTER = 22, 2

Instruction = tuple[int, int, int, int]  # code, jump where true, jump where false, constant


class Test(NamedTuple):
    """Is word ``word`` of the arguments, of 32 bits, under ``mask`` one of ``values``?

    The low word of argument i is word 2i. The kernel reads no more than that of a file descriptor's command, a process
    id or a flag that is tested here; to read more would let through what differs above.
    """

    word: int
    values: tuple[int, ...]
    mask: int = ALL


THREAD, NAMESPACES = 0x00010100, 0x7E020000  # CLONE_THREAD | CLONE_VM; CLONE_NEW*
# Of each call, the ways in which its arguments may be: tests that hold together.
RULES: dict[str, tuple[tuple[Test, ...], ...]] = {
    "clone": ((Test(0, (THREAD,), THREAD | NAMESPACES),),),  # threads, no processes
    "kill": ((Test(0, (OWN,)),),),
    "tgkill": ((Test(0, (OWN,)),),),
    # Without F_SETOWN, F_SETSIG, F_NOTIFY and F_SETLEASE, by which the kernel sends signals to others, and O_ASYNC.
    "fcntl": ((Test(2, (0, 1, 2, 3, 5, 6, 7, 1030, 1032)),), (Test(2, (4,)), Test(4, (0,), 0x2000))),
    "ioctl": ((Test(2, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)),),),  # TCGETS TIOCGWINSZ FION* FIO*CLEX
    "prctl": ((Test(0, (15, 16)),),),  # a thread's name
    # Limits may be read; only that of the stack, which deep recursion needs, may be changed.
    "prlimit64": ((Test(0, (0,)), Test(2, (3,))), (Test(0, (0,)), Test(4, (0,)), Test(5, (0,)))),
    "setrlimit": ((Test(0, (3,)),),),
    "socketpair": ((Test(0, (1,)), Test(2, (1,), 0xF)),),  # local streams: a datagram could be sent to a path
    # Not to truncate without writing, which Landlock did not see before its third version.
    "open": ((Test(2, (0, 1, 2, 0x201, 0x202), 0x203),),),
    "openat": ((Test(4, (0, 1, 2, 0x201, 0x202), 0x203),),),
}


class Filter:
    """A program for the kernel, made once, installed in each child.

    Args:
        machine: as `platform.machine` has it.
        reading: may files be opened and looked at by name? Landlock says which.
        writing: may they be made and removed? Landlock says where.
    """

    def __init__(self, machine: Machine, *, reading: bool, writing: bool) -> None:
        self.instructions = list(_instructions(machine, reading=reading, writing=writing))
        self._own = [index for index, one in enumerate(self.instructions) if one[3] == OWN]
        code = b"".join(struct.pack("=HBBI", *_plain(one)) for one in self.instructions)
        self._code = ctypes.create_string_buffer(code)
        # struct sock_fprog: a length, and a pointer at the next aligned place
        self._program = ctypes.create_string_buffer(
            struct.pack("HP", len(self.instructions), ctypes.addressof(self._code))
        )

    def install(self, libc: ctypes.CDLL) -> None:
        """Bind this process to it, for ever. Raises OSError."""
        for index in self._own:
            struct.pack_into("=I", self._code, index * 8 + 4, os.getpid())
        if libc.prctl(PR_SET_SECCOMP, FILTER, ctypes.addressof(self._program), 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "seccomp")


def _plain(one: Instruction) -> Instruction:
    return one if one[3] != OWN else (*one[:3], 0)


def _instructions(machine: Machine, *, reading: bool, writing: bool) -> list[Instruction]:
    code = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, ARCHITECTURES[machine]), _end(KILL), (LOAD, 0, 0, NUMBER)]
    if machine == "x86_64":
        code += [(SET, 0, 1, X32), _end(KILL)]
    allowed = [syscalls.ALWAYS] + [syscalls.READING] * reading + [syscalls.WRITING] * writing
    for group in allowed:
        for number in syscalls.numbers(group, machine):
            code += [(EQUAL, 0, 1, number), _end(ALLOW)]
    for name, ways in RULES.items():
        number = syscalls.number(name, machine)
        if number >= 0 and (reading or name not in ("open", "openat")):
            rule = _rule(ways)
            code += [(EQUAL, 0, len(rule), number), *rule]
    for number in syscalls.numbers(syscalls.DEADLY, machine):
        code += [(EQUAL, 0, 1, number), _end(KILL)]
    # Its flags stand in memory, where they cannot be read: the C library then asks for `clone`.
    clone3 = [(EQUAL, 0, 1, syscalls.number("clone3", machine)), _end(ABSENT)]
    return [*code, *clone3, _end(REFUSE)]


def _rule(ways: tuple[tuple[Test, ...], ...]) -> list[Instruction]:
    """Instructions that end with a verdict."""
    code: list[Instruction] = []
    for tests in ways:
        way: list[Instruction] = [_end(ALLOW)]
        for test in reversed(tests):
            rest, count = len(way), len(test.values)
            equal = [(EQUAL, count - index, 0, value) for index, value in enumerate(test.values)]
            masked = [(AND, 0, 0, test.mask)] if test.mask != ALL else []
            way = [(LOAD, 0, 0, ARGUMENTS + 4 * test.word), *masked, *equal, (JUMP, 0, 0, rest), *way]
        code += way
    return [*code, _end(REFUSE)]


def _end(verdict: int) -> Instruction:
    return (RETURN, 0, 0, verdict)
