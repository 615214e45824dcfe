"""What the reading process may still ask of the kernel once it has confined itself."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

from medvae.ingest import seccomp
from medvae.ingest.records import DEFAULT_LIMITS
from medvae.ingest.sandbox import Sandbox

linux = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in seccomp.MACHINES,
    reason="needs Linux on x86-64 or arm64",
)

# Each word of Python is tried by itself; 0 means that it worked.
PROBES = {
    "TCP socket": "socket.socket()",
    "UDP socket": "socket.socket(type=socket.SOCK_DGRAM)",
    "UDP socket over IPv6": "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
    "Unix socket": "socket.socket(socket.AF_UNIX)",
    "pair of sockets": "socket.socketpair()",
    "netlink socket": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "fork": "os.fork()",
    "execute": "os.execv('/bin/true', ['true'])",
    "thread": "__import__('_thread').start_new_thread(int, ())",
    "mode of a file": "os.chmod(PATH, 0o777)",
    "mode of an open file": "os.fchmod(FILE, 0o777)",
    "owner of a file": "os.chown(PATH, 0, 0)",
    "times of a file": "os.utime(PATH)",
    "attributes of a file": "os.setxattr(PATH, 'user.x', b'1')",
    "remove a file": "os.unlink(PATH)",
    "rename a file": "os.rename(PATH, PATH + '2')",
    "write to a file": "os.open(PATH, os.O_WRONLY)",
    "make a file": "os.open(PATH + 'n', os.O_CREAT | os.O_RDWR)",
    "link a file": "os.symlink(PATH, PATH + 'l')",
    "signal to the parent": "os.kill(os.getppid(), 18)",
    "priority of the parent": "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
    "processors of the parent": "os.sched_setaffinity(os.getppid(), {0})",
    "limits of the parent": "resource.prlimit(os.getppid(), resource.RLIMIT_CPU)",
    "descriptor of the parent": "os.pidfd_open(os.getppid())",
    "memory file": "os.memfd_create('x')",
    "pipe": "os.pipe()",
}
CALLS = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "io_uring_setup": (425, 425),
    "keyctl": (250, 219),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "mount": (165, 40),
    "clone3": (435, 435),
    "open_by_handle_at": (304, 265),
}
SCRIPT = """
import ctypes, errno, json, os, resource, socket, sys
from medvae.ingest import confine
PATH, CALLS, PROBES = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
FILE = os.open(PATH, os.O_RDONLY)
layers = confine.confine(1 << 30)
found = {"layers": layers, "read": os.read(FILE, 5).decode()}
for name, word in PROBES.items():
    try:
        eval(word)
        found[name] = 0
    except OSError as error:
        found[name] = error.errno
    except RuntimeError:
        found[name] = errno.EPERM
libc = ctypes.CDLL(None, use_errno=True)
for name, number in CALLS.items():
    found[name] = ctypes.get_errno() if libc.syscall(number, 0, 0, 0, 0, 0) < 0 else 0
sys.stdout.write(json.dumps(found))
sys.stdout.flush()
"""


@linux
def test_a_worker_says_which_layers_hold_it():
    sandbox = Sandbox(("nifti",), DEFAULT_LIMITS)
    try:
        assert "seccomp" in sandbox.layers()
    finally:
        sandbox.stop()


@linux
def test_nothing_leaves_a_confined_process_but_by_the_open_descriptor(tmp_path):
    path = tmp_path / "scan"
    path.write_text("voxel")
    column = seccomp.MACHINES[platform.machine()][1]
    calls = {name: numbers[column] for name, numbers in CALLS.items()}
    # The whole of it, and a file of one's own to change: what root or the owner could do.
    command = [sys.executable, "-c", SCRIPT, str(path), json.dumps(calls), json.dumps(PROBES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "seccomp" in found.pop("layers")
    assert found.pop("read") == "voxel"
    assert {name for name, code in found.items() if code == 0} == set()
    assert path.read_text() == "voxel"
    assert oct(path.stat().st_mode)[-3:] != "777"


@linux
def test_a_call_of_another_architecture_ends_the_process():
    script = (
        "import ctypes\n"
        "from medvae.ingest import confine\n"
        "confine.confine(1 << 30)\n"
        "ctypes.CDLL(None).syscall(0x40000000 | 39)\n"
    )
    if platform.machine() != "x86_64":
        pytest.skip("x32 is of x86-64 alone")
    done = subprocess.run([sys.executable, "-c", script], timeout=60, check=False)
    assert done.returncode == -31  # SIGSYS


@pytest.mark.parametrize("machine", sorted(seccomp.MACHINES))
def test_jumps_of_the_filter_stay_within_it(machine):
    code = seccomp.program(machine)
    size = seccomp._INSTRUCTION.size
    rows = [seccomp._INSTRUCTION.unpack_from(code, at) for at in range(0, len(code), size)]
    assert len(rows) <= 4096
    for at, (operation, if_true, if_false, _) in enumerate(rows):
        if operation not in (seccomp.LOAD, seccomp.RETURN):
            assert at + 1 + max(if_true, if_false) < len(rows)
    assert rows[-1][0] == seccomp.RETURN
    assert rows[-1][3] >> 16 == seccomp.ERRNO >> 16
