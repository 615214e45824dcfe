"""Seccomp: the system calls that a parser needs, and no others (Linux, x86-64 and arm64).

A filter of classic BPF that the kernel runs at every system call (Linux man-pages,
seccomp(2)); it cannot be taken off again. What is not listed answers EPERM: sockets of any
kind, processes and threads, other processes' memory, limits and descriptors, io_uring, keys,
shared memory, namespaces, mounts, and all that changes a file, also its mode, owner, times
or attributes. A system call of another architecture (32-bit, x32) ends the process.

Landlock (landlock.py) says which paths may be read; a filter cannot look at paths. Data leave
by the descriptor that is open already, and by no other.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys
from functools import cache
from typing import Final

# Every thread gets the filter, or none.
SET_MODE_FILTER, ALL_THREADS = 1, 1
# include/uapi/linux/seccomp.h, audit.h, bpf_common.h.
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
X32 = 0x40000000
SECCOMP: Final = (317, 277)
# Machine -> its name for the kernel, and which column of numbers below is its own.
MACHINES: Final = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}

# Numbers of system calls on x86-64 and arm64 (arch/*/entry/syscalls; asm-generic/unistd.h).
ALLOWED: Final = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "pread64": (17, 67),
    "readv": (19, 65),
    "writev": (20, 66),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "dup": (32, 23),
    "nanosleep": (35, 101),
    "getpid": (39, 172),
    "sendto": (44, 206),
    "recvfrom": (45, 207),
    "recvmsg": (47, 212),
    "shutdown": (48, 210),
    "exit": (60, 93),
    "uname": (63, 160),
    "getcwd": (79, 17),
    "readlinkat": (267, 78),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
    "getuid": (102, 174),
    "getgid": (104, 176),
    "geteuid": (107, 175),
    "getegid": (108, 177),
    "getppid": (110, 173),
    "sigaltstack": (131, 132),
    "gettid": (186, 178),
    "futex": (202, 98),
    "getdents64": (217, 61),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "newfstatat": (262, 79),
    "faccessat": (269, 48),
    "pselect6": (270, 72),
    "ppoll": (271, 73),
    "set_robust_list": (273, 99),
    "getrandom": (318, 278),
    "statx": (332, 291),
    "rseq": (334, 293),
    "faccessat2": (439, 439),
}
# What arm64 never had.
OLD: Final = {"stat": 4, "lstat": 6, "poll": 7, "access": 21, "readlink": 89, "gettimeofday": 96}
OPENAT: Final = (257, 56)
# O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_TMPFILE: a file is opened for reading, or not.
WRITING: Final = 0x1 | 0x2 | 0x40 | 0x200 | 0x400000
# Call -> the argument that is looked at, and the values that it may have.
# ioctl: is it a terminal, blocking, close on exec. fcntl: duplicate, flags. prlimit64 and
# sched_getaffinity: of this process only.
CHECKED: Final = {
    (16, 29): (1, (0x5401, 0x5421, 0x5450, 0x5451)),
    (72, 25): (1, (0, 1, 2, 3, 4, 1030)),
    (302, 261): (0, (0,)),
    (204, 123): (0, (0,)),
}


def allow_only_reading() -> bool:
    """Install the filter on this process, for good. Needs `no_new_privs`.

    Returns whether it is in force: not on another system or machine, nor where the kernel
    refuses.
    """
    if sys.platform != "linux" or platform.machine() not in MACHINES:
        return False
    code = program(platform.machine())
    buffer = ctypes.create_string_buffer(code, len(code))
    length = len(code) // _INSTRUCTION.size
    described = struct.pack("@HP", length, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    number = SECCOMP[MACHINES[platform.machine()][1]]
    return bool(libc.syscall(number, SET_MODE_FILTER, ALL_THREADS, described) == 0)


@cache
def program(machine: str) -> bytes:
    """The filter of a machine ("x86_64", "aarch64") as the kernel takes it."""
    name, column = MACHINES[machine]
    refuse = _instruction(RETURN, ERRNO | errno.EPERM)
    code = [
        _instruction(LOAD, ARCHITECTURE),
        _instruction(EQUAL, name, 1, 0),
        _instruction(RETURN, KILL),
        _instruction(LOAD, NUMBER),
    ]
    if machine == "x86_64":
        code += [_instruction(AT_LEAST, X32, 0, 1), _instruction(RETURN, KILL)]
    plain = [numbers[column] for numbers in ALLOWED.values()]
    for number in plain + (list(OLD.values()) if column == 0 else []):
        code += [_instruction(EQUAL, number, 0, 1), _instruction(RETURN, ALLOW)]
    for numbers, (argument, values) in CHECKED.items():
        body = _is_one_of(argument, values)
        code += [_instruction(EQUAL, numbers[column], 0, len(body)), *body]
    body = [
        _instruction(LOAD, ARGUMENTS + 8 * 2),
        _instruction(ANY_BIT, WRITING, 1, 0),
        _instruction(RETURN, ALLOW),
        refuse,
    ]
    code += [_instruction(EQUAL, OPENAT[column], 0, len(body)), *body]
    return b"".join([*code, refuse])


def _is_one_of(argument: int, values: tuple[int, ...]) -> list[bytes]:
    """Allow where the argument's low 32 bits, which are all that these calls look at, are one."""
    code = [_instruction(LOAD, ARGUMENTS + 8 * argument)]
    for value in values:
        code += [_instruction(EQUAL, value, 0, 1), _instruction(RETURN, ALLOW)]
    return [*code, _instruction(RETURN, ERRNO | errno.EPERM)]


_INSTRUCTION: Final = struct.Struct("=HBBI")


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return _INSTRUCTION.pack(code, if_true, if_false, value)
