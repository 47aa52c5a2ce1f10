"""Numbers of the kernel's calls on x86-64 and on aarch64, in groups of what a program may do with them."""

from __future__ import annotations

import platform
from typing import Literal

Machine = Literal["x86_64", "aarch64"]
MACHINES: tuple[Machine, ...] = ("x86_64", "aarch64")
Numbers = dict[str, tuple[int | None, int | None]]  # of each name, on each machine; None where it has no such call


def this_machine() -> Machine:
    """Raises OSError where the numbers of its calls are not known."""
    for machine in MACHINES:
        if platform.machine() == machine:
            return machine
    raise OSError(f"the calls of a {platform.machine()} kernel are not known")


def number(name: str, machine: Machine) -> int:
    """Of ``name`` on ``machine``; -1 where it has no such call."""
    group = next(group for group in (ALWAYS, READING, WRITING, FILTERED, DEADLY) if name in group)
    found = group[name][MACHINES.index(machine)]
    return -1 if found is None else found


def numbers(group: Numbers, machine: Machine) -> list[int]:
    """Those that ``machine`` has."""
    found = (pair[MACHINES.index(machine)] for pair in group.values())
    return [one for one in found if one is not None]


def _table(text: str) -> Numbers:
    """``name x86-64 aarch64``, separated by commas."""
    rows = (entry.split() for entry in text.replace("\n", ",").split(",") if entry.strip())
    return {name: (_number(first), _number(second)) for name, first, second in rows}


def _number(text: str) -> int | None:
    return None if text == "-" else int(text)


# What a program of one process may ask of the kernel without a file's name.
ALWAYS = _table("""
read 0 63, write 1 64, readv 19 65, writev 20 66, pread64 17 67, pwrite64 18 68, preadv 295 69
pwritev 296 70, preadv2 327 286, pwritev2 328 287, lseek 8 62, close 3 57, close_range 436 436, dup 32 23
dup2 33 -, dup3 292 24, pipe 22 -, pipe2 293 59, fstat 5 80, ftruncate 77 46, fsync 74 82, fdatasync 75 83
fadvise64 221 223
poll 7 -, ppoll 271 73, select 23 -, pselect6 270 72, epoll_create 213 -, epoll_create1 291 20
epoll_ctl 233 21, epoll_wait 232 -, epoll_pwait 281 22, epoll_pwait2 441 441, eventfd 284 -, eventfd2 290 19
mmap 9 222, mprotect 10 226, munmap 11 215, mremap 25 216, madvise 28 233, msync 26 227, mincore 27 232
brk 12 214
rt_sigaction 13 134, rt_sigprocmask 14 135, rt_sigreturn 15 139, rt_sigpending 127 136, rt_sigsuspend 130 133
rt_sigtimedwait 128 137, sigaltstack 131 132, signalfd4 289 74, pause 34 -, restart_syscall 219 128
nanosleep 35 101, clock_nanosleep 230 115, clock_gettime 228 113, clock_getres 229 114, gettimeofday 96 169
time 201 -, times 100 153, getitimer 36 102, setitimer 38 103, alarm 37 -, timerfd_create 283 85
timerfd_settime 286 86, timerfd_gettime 287 87
futex 202 98, futex_waitv 449 449, set_robust_list 273 99, get_robust_list 274 100, set_tid_address 218 96
rseq 334 293, arch_prctl 158 -, exit 60 93, exit_group 231 94
gettid 186 178, getpid 39 172, getppid 110 173, getpgid 121 155, getpgrp 111 -, getsid 124 156
getuid 102 174, geteuid 107 175, getgid 104 176, getegid 108 177, getresuid 118 148, getresgid 120 150
getgroups 115 158, getrlimit 97 163, getrusage 98 165
sysinfo 99 179, uname 63 160, umask 95 166, getcwd 79 17, getcpu 309 168, getrandom 318 278
sched_yield 24 124, sched_getaffinity 204 123, sched_getparam 143 121, sched_getscheduler 145 120
sched_get_priority_max 146 125, sched_get_priority_min 147 126, getpriority 140 141
sendto 44 206, recvfrom 45 207, shutdown 48 210, getsockname 51 204, getpeername 52 205, getsockopt 55 209
""")

# What needs a name of a file and changes nothing: where Landlock says which files.
READING = _table("""
stat 4 -, lstat 6 -, newfstatat 262 79, statx 332 291, access 21 -, faccessat 269 48, faccessat2 439 439
readlink 89 -, readlinkat 267 78, getdents 78 -, getdents64 217 61
""")

# What changes files by name: in a scratch folder of its own, where there is one.
WRITING = _table("""
unlink 87 -, unlinkat 263 35, mkdir 83 -, mkdirat 258 34, rmdir 84 -, rename 82 -, renameat 264 38
renameat2 316 276, flock 73 32
""")

# What depends on its arguments; `seccomp` has the rules.
FILTERED = _table("""
clone 56 220, clone3 435 435, kill 62 129, tgkill 234 131, fcntl 72 25, ioctl 16 29, prctl 157 167
prlimit64 302 261, setrlimit 160 164, socketpair 53 199, open 2 -, openat 257 56
""")

# No honest program asks for these: the process is killed at once.
DEADLY = _table("""
ptrace 101 117, process_vm_readv 310 270, process_vm_writev 311 271, process_madvise 440 440
pidfd_getfd 438 438, kcmp 312 272
mount 165 40, umount2 166 39, pivot_root 155 41, mount_setattr 442 442, move_mount 429 429, open_tree 428 428
fsopen 430 430, fsmount 432 432, fsconfig 431 431, fspick 433 433, unshare 272 97, setns 308 268
bpf 321 280, io_uring_setup 425 425, io_uring_enter 426 426, io_uring_register 427 427, userfaultfd 323 282
perf_event_open 298 241, keyctl 250 219, add_key 248 217, request_key 249 218
kexec_load 246 104, kexec_file_load 320 294, init_module 175 105, finit_module 313 273, delete_module 176 106
reboot 169 142, swapon 167 224, swapoff 168 225, acct 163 89, quotactl 179 60, iopl 172 -, ioperm 173 -
modify_ldt 154 -
open_by_handle_at 304 265, name_to_handle_at 303 264, lookup_dcookie 212 18
""")
