"""A canary in names, headers and voxels of the scans, through the whole journey: it is nowhere.

Not in the vault, the home, the temporary folder, the release or what is printed, in any of the
ways that a value can be written; and at no moment, for what is short-lived is looked at too:
files at the time they are removed or renamed, and what the processes have open.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from medvae.ingest import Ingested, read
from tests.cli.conftest import QUICK
from tests.conftest import phantom

CANARY = "Zebrafinch7731"
SHAPE = (16, 24, 16)

# Runs the verbs. The hook sees each file that Python removes or renames before that happens.
DRIVER = """
import json, os, sys
from pathlib import Path
told = json.load(sys.stdin)
needles = [bytes.fromhex(one) for one in told["needles"]]
root = told["root"]
seen = 0

def watch(event, args):
    global seen
    if event not in ("os.remove", "os.rename", "shutil.move"):
        return
    try:
        with open(args[0], "rb") as file:
            data = file.read()
    except OSError:
        return
    seen += 1
    for one in needles:
        if one in data:
            print("FOUND", one.hex(), "in", args[0], flush=True)

sys.addaudithook(watch)
from medvae.cli.main import run
for verb in told["verbs"]:
    print("$ medvae", verb[0], flush=True)
    code = run([*verb, "-v"])
    assert code == 0, (verb, code)
print("JOURNEY DONE, removed or renamed:", seen, flush=True)
"""


def image(seed: int) -> tuple[np.ndarray, np.ndarray]:
    return phantom(np.random.default_rng(seed), SHAPE)


def sources(folder: Path) -> Path:
    """Ten patients as NIfTI with masks and one as DICOM; each place for words says the canary."""
    for name in ("images", "labels", "dicom"):
        (folder / name).mkdir(parents=True)
    rows = [("filename", "subject")]
    for patient in range(10):
        name = f"{CANARY}-{patient}.nii"
        for kind, data in zip(("images", "labels"), image(patient), strict=True):
            made = nib.Nifti1Image(data, np.diag([1.0, 1.0, 1.5, 1.0]))
            made.header["descrip"] = made.header["db_name"] = CANARY
            made.header.extensions.append(nib.nifti1.Nifti1Extension("comment", CANARY.encode()))
            nib.save(made, folder / kind / name)
        rows.append((name, f"{CANARY}^Patient^{patient}"))
    with (folder / "subjects.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def series(folder: Path) -> None:
    """One patient's slices."""
    pixels, _ = image(99)
    for at in range(pixels.shape[2]):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = MRImageStorage
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3", "1.2.3.4"
        data.PatientName = data.PatientID = data.StudyDescription = CANARY
        data.InstitutionName = data.ReferringPhysicianName = CANARY
        data.Modality, data.ImageType = "MR", ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.Rows, data.Columns = pixels.shape[1], pixels.shape[0]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PixelRepresentation = 1
        data.PixelSpacing, data.SliceThickness = [1.0, 1.0], 1.5
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.ImagePositionPatient, data.InstanceNumber = [0, 0, 1.5 * at], at + 1
        data.PixelData = np.ascontiguousarray(pixels[:, :, at].T).astype("<i2").tobytes()
        data.save_as(folder / f"{CANARY}-{at}.dcm", enforce_file_format=True)


def needles(folder: Path) -> list[bytes]:
    """The canary's encodings; and runs of voxels, as they came and as ingest makes them."""
    words = [CANARY, CANARY.lower(), CANARY.upper(), CANARY[::-1]]
    found = [
        word.encode(coding) for word in words for coding in ("utf-8", "utf-16-le", "utf-16-be")
    ]
    found.append(CANARY.encode().hex().encode())
    for seed in (0, 5, 99):
        middle = image(seed)[0]
        for run in (middle[2:14, 12, 8], middle[8, 12, 2:14], middle[8, 6:18, 8]):
            found += [run.astype(kind).tobytes() for kind in ("<i2", ">i2", "<f4", ">f4", "<f8")]
    for item in read([folder / "images", folder / "dicom"], modality="mri"):
        assert isinstance(item, Ingested)
        stored = np.asarray(item.volume.voxels)
        assert stored.shape == SHAPE
        for run in (stored[8, 12, 2:14], stored[2:14, 12, 8], stored[8, 6:18, 8]):
            kinds = (
                {"<i2", "<f2", "<f4", "<f8"} if stored.dtype.kind == "i" else {"<f2", "<f4", "<f8"}
            )
            found += [run.astype(kind).tobytes() for kind in (stored.dtype, *sorted(kinds))]
    return [one for one in dict.fromkeys(found) if len(set(one)) > 6]


class Watcher(threading.Thread):
    """Reads, as long as the journey runs, what lies under a folder and what is open."""

    def __init__(self, root: Path, sources: Path, words: list[bytes], pid: int) -> None:
        super().__init__(daemon=True)
        self.root, self.wanted, self.pid = root, words, pid
        self.quiet = (
            str(sources),
            sys.prefix,
            sys.base_prefix,
            "/usr",
            "/lib",
            str(QUICK.parents[1]),
        )
        self.done = threading.Event()
        self.found: list[str] = []
        self.files = self.descriptors = 0
        self._known: set[tuple[int, ...]] = set()

    def run(self) -> None:
        while not self.done.is_set():
            for folder, _, names in os.walk(self.root):  # skips what is gone meanwhile
                for name in names:
                    self.files += self.look(Path(folder, name), f"{folder}/{name}")
            for path in self.opened():
                self.descriptors += self.look(path, f"descriptor {path}")
            time.sleep(0.02)

    def opened(self) -> list[Path]:
        """Descriptors of the process and of its children; not of programs and of the sources."""
        paths = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
                if self.pid in (parent, int(process.name)):
                    for fd in (process / "fd").iterdir():
                        with contextlib.suppress(OSError):
                            if not str(fd.readlink()).startswith(self.quiet):
                                paths.append(fd)
        return paths

    def look(self, path: Path, name: str) -> bool:
        with contextlib.suppress(OSError):
            info = path.stat()
            state = (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns)
            if stat.S_ISREG(info.st_mode) and state not in self._known:
                self._known.add(state)
                self.found += [
                    f"{one!r} in {name}" for one in self.wanted if one in path.read_bytes()
                ]
                return True
        return False


def verbs(folder: Path, root: Path) -> list[list[str]]:
    """The journey: every verb that a patient's data pass through and that keeps them inside."""
    table = ["--subjects", str(folder / "subjects.csv"), "--modality", "mri"]
    return [
        ["tenant", "create", "clinic", "--recovery-out", str(root / "home" / "spare")],
        ["ingest", str(folder / "dicom"), "-d", "e"],
        ["ingest", str(folder / "images"), "-d", "d", *table, "--labels", str(folder / "labels")],
        ["verify", "--read-data"],
        ["dataset", "show", "d"],
        [
            "train",
            "-c",
            str(QUICK),
            "-d",
            "d",
            "--name",
            "m",
            "--set",
            "data.labels=0",
            "--small-cohort",
        ],
        ["budget", "-d", "d"],
        ["generate", "m", "-n", "2", "-o", str(root / "synthetic")],
        ["evaluate", "m", "--against", "d", "-n", "4", "--no-downstream"],
        ["release", "create", "m", "-n", "4", "-o", str(root / "release")],
        ["keys", "rotate"],
        ["log"],
        ["log", "export"],
        ["model", "list"],
    ]


def test_the_canary_is_nowhere_in_the_journey(tmp_path: Path) -> None:
    folder, root = sources(tmp_path / "sources"), tmp_path / "root"
    series(folder / "dicom")
    for name in ("home", "tmp"):
        (root / name).mkdir(parents=True)
    wanted = needles(folder)
    assert len(wanted) > 100
    given = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert sum(one in given for one in wanted) > 10  # it can be found
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(root / "home"), "TMPDIR": str(root / "tmp"),
        "SQLITE_TMPDIR": str(root / "tmp"), "OMP_NUM_THREADS": "1",
        "MEDVAE_VAULT": str(root / "vault"), "PYTHONPATH": str(QUICK.parents[1]),
    }  # fmt: skip
    with (root / "log").open("wb") as log:
        journey = subprocess.Popen(
            [sys.executable, "-c", DRIVER], stdin=subprocess.PIPE, stdout=log, stderr=log,
            env=environment, cwd=root,
        )  # fmt: skip
        watcher = Watcher(root, folder, wanted, journey.pid)
        watcher.start()
        told = {
            "needles": [one.hex() for one in wanted], "root": str(root),
            "verbs": verbs(folder, root),
        }  # fmt: skip
        journey.communicate(json.dumps(told).encode())
        watcher.done.set()
        watcher.join()
    said = (root / "log").read_text()
    assert journey.returncode == 0, said[-3000:]
    assert "JOURNEY DONE" in said
    assert "FOUND" not in said, said
    assert watcher.found == [], said[-2000:]
    assert watcher.files > 50
    assert watcher.descriptors > 5
    for path in root.rglob("*"):
        assert CANARY.lower() not in path.relative_to(root).as_posix().lower()
        if path.is_file():
            data = path.read_bytes()
            data += gzip.decompress(data) if path.suffix == ".gz" else b""
            for one in wanted:
                assert one not in data, f"{one!r} in {path}"
