"""Landlock: only the program's own libraries may be opened from here on (Linux 5.13 and later).

A process gives up rights for good, without being root (Linux man-pages, landlock(7)). The
worker needs no path of the user's, since files reach it as descriptors; so even code that
took it over could not read another patient's scan. That it cannot send one away is the
matter of seccomp.py: Landlock bars TCP only.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterable

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION_FLAG = 1
PATH_BENEATH = 1
# include/uapi/linux/landlock.h: execute, read a file, read a folder.
READ = 1 << 0 | 1 << 2 | 1 << 3
# How many file rights each version of the interface knows.
FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
NEWEST = max(FILE_RIGHTS)
# Since version 4: bind and connect of TCP. Since version 6: abstract sockets and signals.
TCP, SCOPES = 0b11, 0b11
MACHINES = ("x86_64", "aarch64", "riscv64", "ppc64le", "s390x")


def forbid_paths(readable: Iterable[str]) -> bool:
    """Give up opening files but under `readable`, and where the kernel can, TCP and signals.

    Needs `no_new_privs`. Returns whether it is in force; an older kernel, another system,
    or one that forbids the call keeps the other limits only.
    """
    if sys.platform != "linux" or platform.machine() not in MACHINES:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), VERSION_FLAG)
    if version < 1:
        return False
    fields = [(1 << FILE_RIGHTS[min(version, NEWEST)]) - 1]
    if version >= 4:
        fields.append(TCP)
    if version >= 6:
        fields.append(SCOPES)
    ruleset = struct.pack(f"={len(fields)}Q", *fields)
    descriptor = libc.syscall(CREATE_RULESET, ruleset, ctypes.c_size_t(len(ruleset)), 0)
    if descriptor < 0:
        return False
    try:
        for folder in readable:
            _allow(libc, descriptor, folder)
        return bool(libc.syscall(RESTRICT_SELF, descriptor, 0) == 0)
    finally:
        os.close(descriptor)


def _allow(libc: ctypes.CDLL, ruleset: int, folder: str) -> None:
    try:
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return  # a search path that is not there needs no right
    try:
        rule = struct.pack("=Qi", READ, descriptor)
        libc.syscall(ADD_RULE, ruleset, PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)
