"""ingest --require-sandbox, on a kernel that really refuses a layer."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from medvae.ingest import seccomp

from .conftest import DECLARED, Clinic

linux = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in seccomp.MACHINES,
    reason="needs Linux on x86-64 or arm64",
)
# A filter that all child processes inherit: one system call answers ENOSYS, as on a kernel that
# was built without it.
LACKING = """
import ctypes, errno, struct, sys
from medvae.ingest import seccomp
call = int(sys.argv[1])
code = [seccomp._instruction(seccomp.LOAD, 0), seccomp._instruction(seccomp.EQUAL, call, 0, 1)]
code += [seccomp._instruction(seccomp.RETURN, seccomp.ERRNO | errno.ENOSYS)]
code += [seccomp._instruction(seccomp.RETURN, seccomp.ALLOW)]
data = b"".join(code)
held = ctypes.create_string_buffer(data, len(data))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
described = struct.pack("@HP", len(code), ctypes.addressof(held))
assert libc.prctl(22, 2, described, 0, 0) == 0
from medvae.cli.main import run
sys.exit(run(sys.argv[2:]))
"""
LANDLOCK, SECCOMP = {"x86_64": (444, 317)}.get(platform.machine(), (444, 277))


def lacking(clinic: Clinic, call: int, *words: str | Path) -> tuple[int, str, str]:
    given = ["--vault", clinic.root / "vault", "--identity", clinic.root / "key"]
    command = [sys.executable, "-c", LACKING, str(call), *given, *words, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


@linux
@pytest.mark.parametrize(("call", "name"), [(LANDLOCK, "Landlock"), (SECCOMP, "seccomp")])
def test_a_missing_layer_is_a_note_or_a_refusal(
    clinic: Clinic, scans: Path, call: int, name: str
) -> None:
    words = ("ingest", scans, "-d", "d", *DECLARED)
    code, out, err = lacking(clinic, call, *words, "--require-sandbox")
    assert code == 5, err
    assert name in err
    assert "--require-sandbox" in err
    assert clinic("dataset", "list").json["datasets"] == []
    code, out, err = lacking(clinic, call, *words)
    assert code == 0, err
    assert any(f"lacks {name}" in note for note in json.loads(out)["notes"])


@linux
def test_where_all_layers_are_there_nothing_is_said(clinic: Clinic, scans: Path) -> None:
    layers = clinic("doctor").json
    if "lacks" in json.dumps(layers):
        pytest.skip("this kernel lacks a layer")
    notes = clinic("ingest", scans, "-d", "d", *DECLARED, "--require-sandbox").json["notes"]
    assert not any("lacks" in note for note in notes)
