"""The attacks of `scripts/bench attacks` that need no vault: releases, names, bombs, sandbox."""

from __future__ import annotations

import collections
import gzip
import io
import json
import os
import platform
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from medvae.errors import MedvaeError
from medvae.ingest import Limits, Quarantined, read, seccomp
from medvae.vault import Vault

Count = collections.Counter[str]
NAMES = (
    "..", ".", "", "/etc", "a/b", "a\\b", "../x", "con", "NUL", "aux.txt", "a.", "a ", ".hidden",
    "a\nb", "a\x1b[2J", "a\0b", "\udce4", "x" * 300, "-rf", "CON.txt", "a:b", "*", "~root",
)  # fmt: skip

# Where in a file a bit is flipped, as a part of its length.
FLIPS = {"first byte": 0.0, "early byte": 0.2, "byte amid": 0.5, "late byte": 0.8, "last byte": 1.0}
CHANGES = (*FLIPS, "gone", "folder", "link", "pipe", "empty")


def outside(root: Path, quick: bool) -> Iterator[tuple[str, Count]]:
    """Name of each attack, and how its trials ended."""
    yield "a release changed or forged", releases(root / "release", quick)
    yield "a hostile name of a tenant", names(root / "names")
    yield "a bomb or a false header given to ingest", bombs(root / "bombs", 30 if quick else 300)
    if sys.platform == "linux" and platform.machine() in seccomp.MACHINES:
        yield "a parser that was taken over acts", escapes(root)


def releases(root: Path, quick: bool) -> Count:
    """Each file changed, removed or replaced by what is no file; a signature of another key."""
    from medvae.release import create, verify
    from tests.release.made import MRI, Key, facts, synthetic

    key, other = Key(), Key(seed=2)
    create(synthetic(1, MRI), root / "r", facts=facts(), sign=key.sign, public_key=key.public)
    create(synthetic(1, MRI), root / "f", facts=facts(), sign=other.sign, public_key=other.public)
    public = root / "key.pem"
    public.write_bytes(key.public)
    names = [path.relative_to(root / "r") for path in (root / "r").rglob("*") if path.is_file()]
    assert verify(root / "r", public_key=public).valid is True
    seen: Count = collections.Counter()
    for name in names:
        for change in CHANGES[2::2] if quick else CHANGES:
            shutil.rmtree(root / "copy", ignore_errors=True)
            shutil.copytree(root / "r", root / "copy")
            path = root / "copy" / name
            data = bytearray(path.read_bytes())
            path.unlink()
            if change in FLIPS:
                data[int(FLIPS[change] * (len(data) - 1))] ^= 1
                path.write_bytes(data)
            elif change == "folder":
                path.mkdir()
                (path / "x").write_bytes(data)
            elif change == "link":
                path.symlink_to("/dev/zero")
            elif change == "pipe":
                os.mkfifo(path)
            elif change == "empty":
                path.touch()
            seen[outcome := _verified(root / "copy", public)] += 1
            if outcome != "found":
                print(f"{outcome}: {name}, {change}", file=sys.stderr)
    seen[_verified(root / "f", public)] += 1
    return seen


def _verified(release: Path, public: Path) -> str:
    from medvae.release import verify

    try:
        return "silent" if verify(release, public_key=public).valid else "found"
    except MedvaeError:
        return "found"
    except Exception as error:  # noqa: BLE001  a defect is what is counted
        print(f"defect: {type(error).__name__}: {error}", file=sys.stderr)
        return "defect"


def names(root: Path) -> Count:
    """Names that lead elsewhere, forge lines, or that a file share does not take."""
    seen: Count = collections.Counter()
    for number, name in enumerate(NAMES):
        keys = {"identity": root / f"k{number}", "recovery": root / f"r{number}"}
        try:
            Vault(root / "vault").create_tenant(name, **keys).close()
            seen["silent"] += 1
        except MedvaeError:
            seen["found"] += 1
        except Exception as error:  # noqa: BLE001  a defect is what is counted
            print(f"defect: {name!r}: {type(error).__name__}: {error}", file=sys.stderr)
            seen["defect"] += 1
    return seen


def bombs(root: Path, mebibytes: int) -> Count:
    """Files that unpack to far more than they are, or claim sizes that they have not."""
    root.mkdir(parents=True)
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 8, 8, 8, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)
    struct.pack_into("<f", header, 108, 352.0)
    header[344:348] = b"n+1\0"
    zeros = bytes(mebibytes << 20)
    (root / "short.nii").write_bytes(header)
    (root / "bomb.nii.gz").write_bytes(gzip.compress(bytes(header) + zeros))
    (root / "twice.nii.gz").write_bytes(gzip.compress(gzip.compress(zeros)))
    struct.pack_into("<8h", header, 40, 3, 32767, 32767, 32767, 1, 1, 1, 1)
    (root / "claim.nii").write_bytes(header)
    (root / "members.nii.gz").write_bytes(gzip.compress(b"") * 20_000)
    (root / "dicom.dcm").write_bytes(bytes(128) + b"DICM" + zlib.compress(zeros))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../escape.nii", bytes(header))
        archive.writestr("a.nii", zeros)
    (root / "bomb.zip").write_bytes(packed.getvalue())
    seen: Count = collections.Counter()
    for path in sorted(root.iterdir()):
        try:
            results = list(read([path], modality="mri", limits=Limits(file_bytes=16 << 20)))
            refused = bool(results) and all(isinstance(one, Quarantined) for one in results)
            seen["found" if refused else "silent"] += 1
        except MedvaeError:
            seen["found"] += 1
        except Exception as error:  # noqa: BLE001  a defect is what is counted
            print(f"defect: {path.name}: {type(error).__name__}: {error}", file=sys.stderr)
            seen["defect"] += 1
    assert not (root.parent.parent / "escape.nii").exists()
    return seen


def escapes(root: Path) -> Count:
    """System calls that a parser does not need, each tried from inside the confinement."""
    import test_ingest_confined as confined

    path = root / "scan"
    path.write_text("voxel")
    column = seccomp.MACHINES[platform.machine()][1]
    calls = {name: numbers[column] for name, numbers in confined.CALLS.items()}
    words = [str(path), json.dumps(calls), json.dumps(confined.PROBES)]
    done = subprocess.run(
        [sys.executable, "-c", confined.SCRIPT, *words], capture_output=True, check=True, text=True
    )
    found = json.loads(done.stdout)
    tried = [code for name, code in found.items() if name not in ("layers", "read")]
    return collections.Counter("found" if code else "silent" for code in tried)
