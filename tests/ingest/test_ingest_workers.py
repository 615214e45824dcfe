"""Which files share a reading process, and how much it may answer."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ingest_makers import nifti, save, series, write

from medvae.ingest import Ingested, first, read, wire
from medvae.ingest import sandbox as sandboxes
from medvae.ingest.records import Limits
from medvae.ingest.sandbox import Sandbox

GOOD = nifti()
NIFTI_JOB = {"modality": "mri", "mask_optional": False, "meta": {}}


@dataclass
class Seen:
    """A file that notes which process it is handed to."""

    path: Path
    sandbox: Sandbox
    origin: str
    member: str | None = None
    pids: list[int] = field(default_factory=list)

    def open(self) -> int:
        process = self.sandbox._process
        assert process is not None
        self.pids.append(process.pid)
        return os.open(self.path, os.O_RDONLY)


def pids(tmp_path: Path, origins: list[str]) -> list[int]:
    path = save(tmp_path / "a.nii", GOOD)
    sandbox = Sandbox(["nifti"], Limits())
    seen = [Seen(path, sandbox, origin) for origin in origins]
    try:
        for file in seen:
            _, body = sandbox.run("nifti", [file], **NIFTI_JOB)
            assert body
    finally:
        sandbox.stop()
    found = [file.pids[0] for file in seen]
    assert not any(Path(f"/proc/{pid}").exists() for pid in found)
    return found


def test_a_process_reads_of_one_folder_only(tmp_path: Path) -> None:
    first, second, third = pids(tmp_path, ["a", "b", "a"])
    assert len({first, second, third}) == 3


def test_small_files_of_a_folder_share_a_process_up_to_a_number(tmp_path: Path) -> None:
    found = pids(tmp_path, ["a"] * (sandboxes.SHARED_JOBS + 1))
    assert len(set(found[:-1])) == 1
    assert found[-1] != found[0]


def test_a_large_file_has_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandboxes, "SHARED_BYTES", len(GOOD))
    first, second = pids(tmp_path, ["a", "a"])
    assert first != second


def test_headers_share_a_process_as_long_as_they_are_of_one_patient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandboxes, "SHARED_BYTES", 1)
    write(tmp_path / "a", series(4, patient="A"))
    write(tmp_path / "b", series(1, patient="B"))
    sandbox = Sandbox(["headers", "content"], Limits())
    paths = [*sorted((tmp_path / "a").iterdir()), *(tmp_path / "b").iterdir()]
    one, two, three, four, other = (Seen(path, sandbox, "x") for path in paths)
    last, after = Seen(paths[0], sandbox, "x"), Seen(paths[0], sandbox, "x")
    try:
        for batch in ([one, two], [three], [four, other], [last]):
            head, _ = sandbox.run("headers", batch, salt="00" * 32, channels=[])
            assert len(head["ok"]) == len(batch)
        sandbox.run("content", [after], most=1)
    finally:
        sandbox.stop()
    assert one.pids == two.pids == three.pids == four.pids == other.pids
    # Two patients were in one batch; what reads a volume has read no headers before.
    assert len({one.pids[0], last.pids[0], after.pids[0]}) == 3


def copies_of(sandbox: Sandbox, before: int) -> set[int]:
    """The two copies that there are to be, once the one `before` is gone and the next is made."""
    assert sandbox._first is not None
    first, until = sandbox._first._process.pid, time.monotonic() + 10
    while time.monotonic() < until:
        found = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        if len(found) == 2 and str(before) not in found:
            return set(map(int, found))
    raise AssertionError(f"{len(found)} copies")


def test_the_next_process_is_made_while_one_works_and_the_one_before_is_ended(
    tmp_path: Path,
) -> None:
    path = save(tmp_path / "a.nii", GOOD)
    sandbox = Sandbox(["nifti"], Limits())
    waiting: set[int] = set()
    before = 0
    try:
        for origin in "abcd":
            file = Seen(path, sandbox, origin)
            sandbox.run("nifti", [file], **NIFTI_JOB)
            found = copies_of(sandbox, before)
            assert file.pids[0] in found
            # The one that waited has read; another one waits now.
            assert not waiting or waiting == set(file.pids)
            waiting = found - set(file.pids)
            before = file.pids[0]
    finally:
        sandbox.stop()
    assert not any(Path(f"/proc/{pid}").exists() for pid in found)


def test_a_process_that_was_started_ahead_is_the_one_that_is_copied(tmp_path: Path) -> None:
    save(tmp_path / "a.nii", GOOD)
    with first.started() as ahead:
        (result,) = read([tmp_path / "a.nii"], modality="mri", first=ahead)
        assert isinstance(result, Ingested)
        assert ahead.is_gone
    with first.started() as unused:
        assert not unused.is_gone
    assert unused.is_gone


def test_a_process_loads_no_network_client_and_no_format_that_is_not_read() -> None:
    code = (
        "import sys; from medvae.ingest import reading, worker; "
        "worker._prepared(list(reading.KINDS), 1 << 30); print(*(m for m in sys.modules "
        "if sys.modules[m] and m in "
        "('ssl', 'tqdm', 'http.client', 'nibabel.gifti', 'nibabel.nifti1')))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["nibabel.nifti1"]


def test_a_copy_loads_nothing_to_read_a_series(tmp_path: Path) -> None:
    """What the first process has not loaded, each copy of it would have to load."""
    write(tmp_path, series(12, InstanceNumber=None))
    code = f"""
import sys
from pathlib import Path
from medvae.ingest import reading, worker
from medvae.ingest.records import Limits
files = [path.open("rb") for path in sorted(Path({str(tmp_path)!r}).iterdir())]
jobs, _ = worker._prepared(list(reading.KINDS), 1 << 30)
before = set(sys.modules)
heads, _ = jobs["headers"]({{"salt": "00" * 32}}, iter(files), Limits())
[file.seek(0) for file in files]
job = dict(keys=[heads["ok"][0]["key"]], salt="00" * 32, images=len(files), meta={{}})
job |= dict(keep_demographics=False, mark_keys=[], scheme=None)
_, volume = jobs["series"](job, iter(files), Limits())
print(len(volume) > 100, *set(sys.modules) - before)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True"]


def test_the_first_process_that_dies_is_replaced(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", GOOD)
    sandbox = Sandbox(["nifti"], Limits())
    try:
        sandbox.start()
        sandbox.interrupt()
        assert sandbox._first is not None
        sandbox._first.wait()
        _, body = sandbox.run("nifti", [Seen(path, sandbox, "a")], **NIFTI_JOB)
        assert body
    finally:
        sandbox.stop()


@pytest.mark.parametrize(("over", "accepted"), [(0, True), (1, False)])
def test_a_head_above_its_bound_is_refused_before_it_is_read(over: int, accepted: bool) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        text = b'{"x": "' + b"y" * 100 + b'"}'
        theirs.sendall(wire.LENGTHS.pack(len(text), 0) + (text if accepted else b""))
        if accepted:
            head, _ = wire.receive(ours, 0, None, len(text) - over)
            assert head["x"] == "y" * 100
        else:
            with pytest.raises(wire.ClosedError):
                wire.receive(ours, 0, None, len(text) - over)


def test_a_reply_is_no_larger_than_its_input_can_unpack_to() -> None:
    sandbox = Sandbox(["nifti"], Limits())
    most = Limits().voxels * sandboxes.BYTES_PER_VOXEL + sandboxes.REPLY
    assert sandbox._largest_reply("nifti", False, 0) == sandboxes.SMALL_REPLY
    assert sandbox._largest_reply("nifti", False, 10**9) == most
    assert sandbox._largest_reply("nifti", True, 0) == most
    assert sandbox._largest_reply("members", False, 10**9) == sandboxes.NAMES_BYTES


def test_names_are_packed_in_order_and_counted() -> None:
    names = ["b", "a/ü", "\udce4", "c d"]
    body = wire.pack_names(names)
    assert wire.unpack_names(body, len(names)) == names
    assert wire.unpack_names(b"", 1) == []
    with pytest.raises(wire.ClosedError):
        wire.unpack_names(body, len(names) - 1)
    with pytest.raises(wire.ClosedError):
        wire.unpack_names(b"\xff\xfe", 5)
