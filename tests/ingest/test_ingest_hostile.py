"""Files made to harm: each is refused in a sentence, quickly, in little memory, and nothing
else of the same read suffers."""

from __future__ import annotations

import ctypes
import gzip
import io
import os
import signal
import socket
import struct
import subprocess
import sys
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import pytest
from ingest_makers import (
    is_sentence,
    nifti,
    one,
    patched,
    refusal,
    save,
    series,
    slice_of,
    voxels,
    write,
)
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medvae.ingest import Ingested, Limits, Quarantined, read
from medvae.ingest.facts import allowed
from medvae.ingest.records import WorkerDiedError
from medvae.ingest.sandbox import Sandbox

MIB = 1 << 20
GOOD = nifti()


def zeros(size: int, start: bytes, wbits: int) -> bytes:
    """A few kilobytes that inflate to `start` and `size` zeros (gzip: checksum missing)."""
    pack = zlib.compressobj(1, zlib.DEFLATED, wbits)
    head = pack.compress(start) + pack.flush(zlib.Z_FULL_FLUSH)
    # After a full flush, a block stands alone and can be repeated.
    block = pack.compress(bytes(MIB)) + pack.flush(zlib.Z_FULL_FLUSH)
    return head + block * (size // MIB)


def refused_in_little_memory(path: Path) -> str:
    """The reason, from a fresh process whose worker stayed below 300 MiB."""
    code = """
import resource, sys
from pathlib import Path
from medvae.ingest import read
for result in read([Path(sys.argv[1])], modality=None):
    print(result.reason)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, check=True)
    reason, peak = done.stdout.decode().splitlines()
    assert int(peak) < 300 * 1024
    return is_sentence(reason)


def test_gzip_bomb_behind_a_small_image(tmp_path: Path) -> None:
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(zeros(2048 * MIB, GOOD, 31))
    assert "more data than its header declares" in refused_in_little_memory(path)


def test_header_that_claims_a_petabyte(tmp_path: Path) -> None:
    path = save(tmp_path / "claim.nii.gz", patched(GOOD, 42, b"\xff\x7f" * 3))
    assert "allowed" in refusal(path, modality="mri")
    wide = nifti(voxels(), kind=nibabel.Nifti2Image)
    claim = struct.pack("<qqqq", 3, 2**62, 2**62, 2**62)
    assert "allowed" in refusal(save(tmp_path / "n2.nii", patched(wide, 16, claim)), modality="mri")


def deflated(size: int) -> bytes:
    """A DICOM slice whose data set inflates to `size` zeros in a private element."""
    data = slice_of(0, voxels((6, 4)))
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    plain = io.BytesIO()
    data.save_as(plain, enforce_file_format=True)
    raw = plain.getvalue()
    begin = 144 + int.from_bytes(raw[140:144], "little")
    body = zlib.decompress(raw[begin:], -15)
    element = struct.pack("<HH2sHI", 0x0009, 0x1010, b"OB", 0, size)
    at = body.index(struct.pack("<HH", 0x0010, 0x0010))
    end = zlib.compressobj(1, zlib.DEFLATED, -15)
    rest = end.compress(body[at:]) + end.flush()
    return raw[:begin] + zeros(size, body[:at] + element, -15) + rest


def test_deflated_dicom_bomb(tmp_path: Path) -> None:
    harmless = save(tmp_path / "ok/a.dcm", deflated(MIB))
    assert one(harmless).volume.shape == (4, 6, 1)
    bomb = save(tmp_path / "bad/a.dcm", deflated(2048 * MIB))
    assert bomb.stat().st_size < 12 * MIB
    assert "unpacks to more" in refused_in_little_memory(bomb)


def test_memory_limit_spoils_one_file_only(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz", nifti(np.zeros((400, 400, 400), np.int16)))
    save(tmp_path / "b.nii.gz", GOOD)
    first, second = read([tmp_path], modality="mri", limits=Limits(memory=100 * MIB))
    assert isinstance(first, Quarantined)
    assert "memory" in first.reason
    assert isinstance(second, Ingested)


def test_processor_time_limit() -> None:
    code = "from medvae.ingest import confine; confine.allow_cpu(1); [0 for _ in iter(int, 1)]"
    done = subprocess.run([sys.executable, "-c", code], timeout=60)
    assert done.returncode == -signal.SIGXCPU


@dataclass
class Trap:
    """A file that does something to the worker when it is handed over."""

    path: Path
    sandbox: Sandbox
    blow: signal.Signals
    member: None = None
    origin: str = "."
    hit: list[int] = field(default_factory=list)

    def open(self) -> int:
        process = self.sandbox._process
        assert process is not None
        self.hit.append(process.pid)
        os.kill(process.pid, self.blow)
        return os.open(self.path, os.O_RDONLY)


@pytest.mark.parametrize(
    ("blow", "words"),
    [
        (signal.SIGSEGV, "crash"),
        (signal.SIGSTOP, "more than 3 seconds"),
        (signal.SIGXCPU, "processor time"),
    ],
)
def test_crash_and_hang_of_the_worker_are_survived(
    tmp_path: Path, blow: signal.Signals, words: str
) -> None:
    path = save(tmp_path / "a.nii", GOOD)
    sandbox = Sandbox(["nifti"], Limits(wall_seconds=3))
    trap = Trap(path, sandbox, blow)
    job = {"modality": "mri", "mask_optional": False, "meta": {}}
    try:
        with pytest.raises(WorkerDiedError, match=words):
            sandbox.run("nifti", [trap], **job)
        assert not Path(f"/proc/{trap.hit[0]}").exists()

        class Plain(Trap):
            def open(self) -> int:
                return os.open(self.path, os.O_RDONLY)

        answer, data = sandbox.run("nifti", [Plain(path, sandbox, blow)], **job)
        assert "ok" in answer
        assert data
    finally:
        sandbox.stop()


def test_no_worker_is_left_behind_when_reading_stops_early(tmp_path: Path) -> None:
    for number in range(6):
        save(tmp_path / f"{number}.nii", GOOD)
    reading = read([tmp_path], modality="mri", workers=2)
    next(reading)
    assert children()
    reading.close()
    assert not children()


def children() -> list[str]:
    tasks = Path("/proc/self/task")
    return [c for t in tasks.iterdir() for c in (t / "children").read_text().split()]


CONFINED = """
import os, socket, sys
from medvae.ingest import confine
listener = socket.create_server(("127.0.0.1", 0))
report = os.dup(1)
confine.confine(256 << 20)
def write():
    with open(sys.argv[1], "wb") as file:
        file.write(b"patient")
def grow():
    bytearray(512 << 20)
def look():
    open(sys.argv[2], "rb").read()
def call():
    socket.create_connection(listener.getsockname())
for attempt in (write, grow, look, call):
    try:
        attempt()
        os.write(report, (attempt.__name__ + " ").encode())
    except (OSError, MemoryError):
        pass
"""


def test_the_confined_process_can_do_little(tmp_path: Path) -> None:
    secret, leak = save(tmp_path / "secret", b"patient"), tmp_path / "leak"
    done = subprocess.run(
        [sys.executable, "-c", CONFINED, leak, secret], stdout=subprocess.PIPE, check=True
    )
    worked = set(done.stdout.decode().split())
    assert not worked & {"write", "grow"}
    assert not leak.exists() or leak.stat().st_size == 0
    if not landlock_is_here():
        pytest.skip("this kernel has no Landlock: paths and connections are not barred")
    assert worked == set()


def landlock_is_here() -> bool:
    """Whether the kernel knows version 4, which also bars TCP."""
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.syscall(444, None, ctypes.c_size_t(0), 1) >= 4)


def test_links_pipes_and_devices(tmp_path: Path) -> None:
    outside = save(tmp_path / "outside/secret.nii", GOOD)
    root = tmp_path / "in"
    save(root / "real/a.nii", GOOD)
    (root / "inside.nii").symlink_to("real/a.nii")
    (root / "out.nii").symlink_to(outside)
    (root / "dangling.nii").symlink_to("nowhere.nii")
    (root / "loop.nii").symlink_to("loop.nii")
    (root / "zero.nii").symlink_to("/dev/zero")
    (root / "up").symlink_to(tmp_path)
    os.mkfifo(root / "pipe.nii")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "sock.nii"))
    results = {Path(r.source).name: r for r in read([root], modality="mri")}
    kept = {name for name, r in results.items() if isinstance(r, Ingested)}
    assert kept == {"a.nii", "inside.nii"}
    reasons = {name: r.reason for name, r in results.items() if isinstance(r, Quarantined)}
    assert "leads out" in reasons["out.nii"]
    assert "leads out" in reasons["zero.nii"]
    assert "regular" in reasons["pipe.nii"]
    assert "regular" in reasons["sock.nii"]
    assert "not followed" in reasons["up"]
    assert set(reasons) >= {"dangling.nii", "loop.nii"}


def test_a_folder_swapped_for_a_link_after_the_walk_leads_nowhere(tmp_path: Path) -> None:
    save(tmp_path / "outside/z.nii", GOOD)
    root = tmp_path / "in"
    for name in ("a/1.nii", "a/2.nii", "a/3.nii", "a/4.nii", "b/z.nii"):
        save(root / name, GOOD)
    reading = read([root], modality="mri")
    first = next(reading)
    assert isinstance(first, Ingested)
    (root / "b").rename(tmp_path / "moved")
    (root / "b").symlink_to(tmp_path / "outside")
    rest = list(reading)
    assert [type(r) for r in rest if "/b" in r.source] == [Quarantined]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", GOOD)
    path.chmod(0)
    assert "permission" in refusal(path, modality="mri")


def test_names_that_are_no_text_still_name_a_subject(tmp_path: Path) -> None:
    name = os.fsdecode(b"p\xff\xfe.nii")
    save(tmp_path / "d" / name, GOOD)
    assert one(tmp_path / "d", modality="mri").subject.encode()


def test_a_source_replaced_after_the_start_is_not_read(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        save(tmp_path / f"in/{name}.nii", GOOD)
        save(tmp_path / f"other/{name}.nii", GOOD)
    reading = read([tmp_path / "in"], modality="mri")
    assert isinstance(next(reading), Ingested)
    (tmp_path / "in").rename(tmp_path / "moved")
    (tmp_path / "other").rename(tmp_path / "in")
    assert isinstance(list(reading)[-1], Quarantined)


def test_a_worker_that_lies_is_not_believed(tmp_path: Path) -> None:
    assert allowed({"kvp": 120.0, "sex": "F", "age_group": "90+", "label": 3}, {"label": 3})
    for meta in (
        {"sex": "Jane"},
        {"age_group": "47"},
        {"kvp": "120"},
        {"kvp": 120.123456},
        {"convolution_kernel_class": "Jane Doe"},
        {"label": "Jane"},
        {"class": 1},
    ):
        assert not allowed(meta, {"label": 3}), meta


def test_names_cannot_forge_lines_or_colours(tmp_path: Path) -> None:
    evil = "ok.nii\n\x1b[32mverified\x1b[0m \u202e\udcff.nii"
    save(tmp_path / "d" / evil, b"junk")
    save(tmp_path / "d" / f"good{evil}", GOOD)
    (tmp_path / "d" / "subjects.csv").write_bytes(b"filename,subject\nno\x1b[2J.nii,A\n")
    for result in read([tmp_path / "d"], modality="mri"):
        assert result.source.isprintable()
        assert isinstance(result, Quarantined)
        is_sentence(result.reason)
        result.source.encode()


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in members.items():
            out.writestr(zipfile.ZipInfo(name) if name.startswith("/") else name, data)
    return path


def test_archive_names_lead_nowhere(tmp_path: Path) -> None:
    before = set(tmp_path.parent.rglob("*"))
    path = archive(
        tmp_path / "a.zip",
        {"../../evil.nii": GOOD, "/etc/evil.nii": GOOD, "..\\evil.nii": GOOD, "C:\\x.nii": GOOD,
         "ok/a.nii": GOOD, "inner.zip": b"PK", "note.txt": b"hello"},
    )  # fmt: skip
    results = list(read([path], modality="mri"))
    kept = [r.source for r in results if isinstance(r, Ingested)]
    assert kept == [f"{path}/ok/a.nii"]
    assert len(results) == 7
    assert set(tmp_path.parent.rglob("*")) - before <= {path}


def test_archive_bombs(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(50 * MIB))
    deep = archive(tmp_path / "a.zip", {"a.nii.gz": zeros(300 * MIB, GOOD, 31), "b.nii.gz": bomb})
    assert {type(r) for r in read([deep], modality="mri")} == {Quarantined}
    fat = archive(tmp_path / "b.zip", {"a.nii": GOOD + bytes(64 * MIB), "b.nii": GOOD})
    first, second = read([fat], modality="mri", limits=Limits(file_bytes=MIB))
    assert isinstance(first, Quarantined)
    assert "unpacks to more" in first.reason
    assert isinstance(second, Ingested)
    # Two entries of the directory that point at the same bytes.
    raw = bytearray(archive(tmp_path / "c.zip", {"a.nii": GOOD, "b.nii": GOOD}).read_bytes())
    end = raw.index(b"PK\5\6")
    start = raw.index(b"PK\1\2")
    entries = bytes(raw[start:end]) * 40
    count = 80
    tail = bytearray(raw[end:])
    tail[8:16] = struct.pack("<HHI", count, count, len(entries))
    (tmp_path / "c.zip").write_bytes(bytes(raw[:start]) + entries + bytes(tail))
    assert "overlap" in refusal(tmp_path / "c.zip", modality="mri")


def test_damaged_and_encrypted_archives(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"a.nii": GOOD})
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    assert "zip" in refusal(path)
    path.write_bytes(b"")
    assert "zip" in refusal(path)
    locked = bytearray(raw)
    locked[6] |= 1
    locked[raw.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(locked)
    assert "encrypted" in refusal(path, modality="mri")
    flipped = bytearray(raw)
    flipped[60] ^= 0xFF
    path.write_bytes(flipped)
    assert "damaged" in refusal(path, modality="mri")


def test_executable_preamble_is_not_kept(tmp_path: Path) -> None:
    program = b"MZ\x90\x00EVILPROGRAM".ljust(128, b"\xcc")
    slices = series()
    for data in slices:
        data.preamble = program
    volume = one(write(tmp_path / "ct", slices)).volume
    assert b"EVILPROGRAM" not in bytes(volume.to_bytes())


def test_deep_sequences_and_lying_lengths(tmp_path: Path) -> None:
    deep = Dataset()
    for _ in range(3000):
        outer = Dataset()
        outer.add_new(0x00081140, "SQ", Sequence([deep]))
        deep = outer
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    element = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    raw = slice_bytes(slice_of(0, voxels((6, 4))))
    at = raw.index(struct.pack("<HH", 0x0010, 0x0010))
    save(tmp_path / "deep.dcm", raw[:at] + (element + item) * 100_000)
    private = struct.pack("<HH2sHI", 0x0009, 0x1010, b"OB", 0, 0xFFFFFFF0)
    save(tmp_path / "private.dcm", raw[:at] + private + raw[at:])
    pixels = raw.index(struct.pack("<HH", 0x7FE0, 0x0010))
    save(tmp_path / "pixels.dcm", patched(raw, pixels + 8, struct.pack("<I", 0xFFFFFFF0)))
    save(tmp_path / "pixels2.dcm", patched(raw, pixels + 8, struct.pack("<I", 4)))
    results = list(read([tmp_path]))
    assert results
    for result in results:
        assert isinstance(result, Quarantined), result.source
        is_sentence(result.reason)


def slice_bytes(data: Dataset) -> bytes:
    out = io.BytesIO()
    data.save_as(out, enforce_file_format=True)
    return out.getvalue()


@pytest.mark.parametrize("seed", range(2))
def test_mutated_files_are_always_answered_for(tmp_path: Path, seed: int) -> None:
    """Random damage to headers: never an error out of `read`, never a hang."""
    draw = np.random.default_rng(seed)
    raw = slice_bytes(slice_of(0, voxels((6, 4))))
    samples = {".nii": GOOD, ".nii.gz": gzip.compress(GOOD), ".dcm": raw, ".zip": b""}
    samples[".zip"] = archive(tmp_path / "sample.zip", {"a.nii": GOOD, "b.dcm": raw}).read_bytes()
    (tmp_path / "sample.zip").unlink()
    count = int(os.environ.get("MEDVAE_FUZZ", "150"))
    zips = []
    for number in range(count):
        for ending, sample in samples.items():
            data = bytearray(sample)
            for at in draw.integers(0, min(len(data), 700), draw.integers(1, 6)):
                data[at] = draw.choice([0, 1, 0x7F, 0x80, 0xFF, int(draw.integers(256))])
            if draw.random() < 0.1:
                del data[int(draw.integers(len(data))) :]
            folder = tmp_path / ("zips" if ending == ".zip" else "files")
            path = folder / f"{number}{ending}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
            if ending == ".zip" and number < count // 5:
                zips.append(path)
    results = list(read([tmp_path / "files", *zips], modality="mri"))
    assert len(results) >= count * 2
    for result in results:
        if isinstance(result, Quarantined):
            is_sentence(result.reason)
        assert result.source.isprintable()
