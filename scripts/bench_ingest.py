"""Speed and memory of reading in the confined process, against plain nibabel and pydicom.

Every figure is a whole fresh Python process, imports included (`cold`), or the loop over
files alone after a first file has been read (`warm`); the two ways are run in turn, and the
median is kept, because other work on the machine comes and goes.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import ingest_unconfined
import nibabel
import numpy as np
import pages
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

END = """
import json, resource
# Not ru_maxrss, which a process inherits from the one that started it.
status = open("/proc/self/status").read()
own = int(status.partition("VmHWM:")[2].split()[0])
child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps({"files": files, "bytes": size, "warm": warm, "own": own, "child": child}))
"""
OURS = """
import sys, time
from pathlib import Path
from medvae.ingest import Ingested, read
files = size = 0
for result in read([Path(sys.argv[1])], modality=sys.argv[2], workers=int(sys.argv[3])):
    assert isinstance(result, Ingested), result
    if not files:
        start = time.perf_counter()
    files += 1
    size += result.volume.voxels.nbytes
warm = time.perf_counter() - start
"""
NIBABEL = """
import sys, time
from pathlib import Path
import nibabel, numpy as np
files = size = 0
root = Path(sys.argv[1])
for path in sorted((root / "images").iterdir()):
    for file in (path, root / "labels" / path.name):
        if file.exists():
            voxels = np.asanyarray(nibabel.as_closest_canonical(nibabel.load(file)).dataobj)
            size += voxels.nbytes if file is path else 0
    if not files:
        start = time.perf_counter()
    files += 1
warm = time.perf_counter() - start
"""
PYDICOM = """
import sys, time
from pathlib import Path
import numpy as np, pydicom
files = size = 0
for folder in sorted({p.parent for p in Path(sys.argv[1]).rglob("*.dcm")}):
    slices = [pydicom.dcmread(p) for p in sorted(folder.iterdir())]
    slices.sort(key=lambda s: s.ImagePositionPatient[2])
    voxels = np.stack([s.pixel_array for s in slices]) + slices[0].get("RescaleIntercept", 0)
    size += voxels.astype(np.int16).nbytes
    if not files:
        start = time.perf_counter()
    files += 1
warm = time.perf_counter() - start
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of its own."""
    parser.add_argument(
        "--against", choices=["dcm2niix"], help="compare voxels, places and processor time instead"
    )
    parser.add_argument("--sandbox", action="store_true", help="what the sandbox costs, alone")
    parser.add_argument(
        "--cases", action="store_true", help="how odd data beside the real scans come out, alone"
    )


def main(
    quick: bool, against: str | None = None, sandbox: bool = False, cases: bool = False
) -> dict[str, Any]:
    """Run all; see the module's text for what is measured."""
    if against:
        return compared(quick)
    if cases:
        import ingest_cases

        found = ingest_cases.summary()
        return {"machine": machine(), "results": found, "targets": ingest_cases.targets(found)}
    rounds = 3 if quick else 7
    real = os.environ.get("MEDVAE_REAL_DATA")
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        if sandbox:
            results = confinement(root, quick, rounds)
            report(results)
            return {"machine": machine(), "results": results, "targets": within(results)}
        small = Path(real) / "mri_hippocampus" if real else many(root / "small", 183)
        results["small NIfTI with masks"] = versus(NIBABEL, small, "mri", rounds)
        large = one_large(root / "large", 40 if quick else 200)
        results["large NIfTI"] = versus(NIBABEL, large, "ct", rounds)
        series = Path(real) / "dicom_sarcoma" if real else dicom(root / "dicom")
        kind = "" if real else "ct"
        results["DICOM series"] = versus(PYDICOM, series, kind, rounds)
        results |= confinement(root, quick, rounds)
        few, lots = (300, 1200) if quick else (500, 5000)
        results["memory"] = memory(root, few, lots)
    report(results)
    return {"machine": machine(), "results": results, "targets": targets(results)}


def confinement(root: Path, quick: bool, rounds: int) -> dict[str, Any]:
    """What ingest costs in its sandbox, beside the same jobs without one."""
    return {
        f"confinement, {name}": ingest_unconfined.cost(folder, modality, rounds)
        for name, folder, modality in (
            ("small NIfTI", many(root / "whole", 183), "mri"),
            # The start of the first process is a sixth of the time of the small ones.
            ("CT series of 60 slices", dicom(root / "small", 4 if quick else 12), "ct"),
            ("CT series of 400 slices", dicom(root / "long", 2 if quick else 12, 400), "ct"),
        )
    }


def machine() -> dict[str, str]:
    """What was measured on."""
    data = "real" if os.environ.get("MEDVAE_REAL_DATA") else "synthetic"
    system = {"system": pages.system(), "python": platform.python_version()}
    return system | {"cores": str(os.cpu_count()), "data": data}


def compared(quick: bool) -> dict[str, Any]:
    """Against dcm2niix (see `ingest_against`), and the memory of one long series."""
    import ingest_against

    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        if ingest_against.has_dcm2niix():
            results["agreement"] = ingest_against.compared(root)
            few, many, slices = (1, 3, 100) if quick else (1, 20, 400)
            results["processor time"] = ingest_against.speed(root, dicom, few, many, slices)
            series = (6, 20) if quick else (100, 60)
            results["reading processes"] = ingest_against.workers(root, dicom, *series)
        else:
            print("dcm2niix is not installed: nothing to compare with")
        long = dicom(root / "long", 1, 300 if quick else 1500, size=512)
        run = timed(OURS, long, "ct", 1)
        results["one long series"] = {
            "slices": 300 if quick else 1500,
            "peak_mb": (run["own"] + run["child"]) / 1024,
        }
    report(results)
    return {"machine": machine(), "results": results, "targets": against_targets(results)}


def against_targets(results: dict[str, Any]) -> list[dict[str, Any]]:
    """What a hospital would ask for; what was not run is not met."""
    agreement, times = results.get("agreement", {}), results.get("processor time", {})
    apart = agreement["series"] - agreement["agree"] if agreement else None
    wanted = [
        ("series that differ from dcm2niix", apart, 0),
        ("processor time a series against dcm2niix", times.get("slope_ratio"), 3.0),
        ("processor seconds of a start", times.get("start_s"), 0.5),
        ("memory of one long series, MB", results["one long series"]["peak_mb"], 3072.0),
    ]
    rows = [
        {"name": n, "value": v, "target": f"<= {most}", "met": v is not None and v <= most}
        for n, v, most in wanted
    ]
    gain = results.get("reading processes", {}).get("gain")
    name = "two reading processes against one, times as fast"
    met = gain is not None and gain >= 1.8
    return [*rows, {"name": name, "value": gain, "target": ">= 1.8", "met": met}]


def versus(plain: str, folder: Path, modality: str, rounds: int) -> dict[str, float]:
    """Medians of our reading and the plain one, run in turn."""
    runs: dict[str, list[dict[str, float]]] = {"ours": [], "two": [], "plain": []}
    for _ in range(rounds):
        runs["plain"].append(timed(plain, folder, modality, 1))
        runs["ours"].append(timed(OURS, folder, modality, 1))
        runs["two"].append(timed(OURS, folder, modality, 2))

    def median(way: str, key: str) -> float:
        return statistics.median(run[key] for run in runs[way])

    files, size = runs["ours"][0]["files"], runs["ours"][0]["bytes"]
    figures = {
        "volumes": files,
        "volumes_per_s": files / median("ours", "cold"),
        "mb_per_s": size / 1e6 / median("ours", "cold"),
        "plain_volumes_per_s": files / median("plain", "cold"),
        "cold_ratio": median("ours", "cold") / median("plain", "cold"),
        "two_workers_ratio": median("two", "cold") / median("plain", "cold"),
        "reader_peak_mb": median("ours", "own") / 1024,
        "worker_peak_mb": median("ours", "child") / 1024,
        "plain_peak_mb": median("plain", "own") / 1024,
    }
    if files > 1:
        figures["warm_ratio"] = median("ours", "warm") / median("plain", "warm")
    return figures


def timed(code: str, folder: Path, modality: str, workers: int) -> dict[str, float]:
    """One fresh process; its own figures and the time of all of it."""
    if not modality:
        code = code.replace("modality=sys.argv[2], ", "")
    import time

    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code + END, folder, modality, str(workers)],
        check=True,
        capture_output=True,
        text=True,
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures | {"cold": time.perf_counter() - start}


def memory(root: Path, few: int, lots: int) -> dict[str, float]:
    """Peak memory of reader and worker for few and for many files."""
    sizes = {}
    for count in (few, lots):
        run = timed(OURS, many(root / f"many{count}", count), "mri", 1)
        sizes[count] = (run["own"] + run["child"]) / 1024
    return {
        "few": few,
        "many": lots,
        "few_peak_mb": sizes[few],
        "many_peak_mb": sizes[lots],
        "growth_mb": sizes[lots] - sizes[few],
    }


def targets(results: dict[str, Any]) -> list[dict[str, Any]]:
    """What a user would set: reading safely must not be what one waits for."""
    wanted = [
        ("small NIfTI: time against nibabel", results["small NIfTI with masks"]["cold_ratio"], 1.3),
        ("large NIfTI: time against nibabel", results["large NIfTI"]["cold_ratio"], 1.3),
        ("DICOM: time against pydicom", results["DICOM series"]["cold_ratio"], 2.0),
        ("memory: growth from few to many files, MB", results["memory"]["growth_mb"], 8.0),
    ]
    return [_target(*row) for row in wanted] + within(results)


def within(results: dict[str, Any]) -> list[dict[str, Any]]:
    """The sandbox may cost a tenth by the clock."""
    return [
        _target(f"{name}: time against unconfined", figures["clock_ratio"], 1.1)
        for name, figures in results.items()
        if name.startswith("confinement")
    ]


def _target(name: str, value: float, most: float) -> dict[str, Any]:
    return {"name": name, "value": value, "target": f"<= {most}", "met": value <= most}


def report(results: dict[str, Any]) -> None:
    for name, figures in results.items():
        print(name)
        for key, value in figures.items():
            shown = f"{value:10.2f}" if isinstance(value, int | float) else value
            print(f"  {key:22} {shown}")


def many(root: Path, count: int) -> Path:
    """Small scans with masks, as the hippocampus crops are."""
    draw = np.random.default_rng(0)
    for number in range(count):
        values = draw.integers(0, 1000, (35, 51, 35)).astype(np.float32) / 7
        for folder, data in (("images", values), ("labels", (values > 70).astype(np.uint8))):
            path = root / folder / f"{number:05d}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            raw = nibabel.Nifti1Image(data, np.eye(4)).to_bytes()
            path.write_bytes(gzip.compress(raw, 1))
    return root


def one_large(root: Path, slices: int) -> Path:
    """One CT-like scan of 512 x 512."""
    (root / "images").mkdir(parents=True)
    noise = np.random.default_rng(0).normal(0, 60, (512, 512, slices))
    image = nibabel.Nifti1Image((noise - 200).astype(np.int16), np.diag([-0.8, -0.8, 1.5, 1]))
    nibabel.save(image, root / "images/large.nii.gz")
    return root


def dicom(root: Path, count: int = 4, slices: int = 60, size: int = 256) -> Path:
    """CT series of so many slices of size x size pixels."""
    draw = np.random.default_rng(0)
    for series in range(count):
        folder = root / str(series)
        folder.mkdir(parents=True)
        uid = generate_uid()
        for index in range(slices):
            data = Dataset()
            data.file_meta = FileMetaDataset()
            data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
            data.PatientID, data.StudyInstanceUID, data.SeriesInstanceUID = f"P{series}", uid, uid
            data.Rows = data.Columns = size
            data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
            data.BitsAllocated = data.BitsStored = 16
            data.HighBit, data.PixelRepresentation = 15, 1
            data.PixelSpacing, data.SliceThickness = [0.8, 0.8], 2.0
            data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            data.ImagePositionPatient = [0, 0, 2.0 * index]
            data.RescaleSlope, data.RescaleIntercept = 1, -1024
            data.PixelData = draw.integers(0, 2000, (size, size)).astype("<i2").tobytes()
            data.save_as(folder / f"{index:03d}.dcm", enforce_file_format=True)
    return root
