"""Ingest against dcm2niix: the same voxels at the same places, and processor time.

Voxels and affine are compared over the real series of MEDVAE_REAL_DATA as scanners wrote them, over
its volumes that are kept as NIfTI, written as slices for the purpose (real voxels at real places,
by turns signed and unsigned, scaled and not, last slice first), and over made-up series of every
kind that both read. Processor time (user and system, children included) is that of whole
processes: `medvae ingest` into a fresh vault, sealing included, and dcm2niix writing NIfTI.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from medvae.ingest import Ingested, read

TESTS = Path(__file__).resolve().parents[1] / "tests/ingest"
SAME_AFFINE = 1e-3
# Where both interpolate they may round the other way.
ROUNDING = 1
# Scaled voxels are of 32 bits in both: a part of the largest one, below a step of whole numbers.
SAME_VOXEL = 1e-6
# Volumes of each data set that is kept as NIfTI.
EACH = 38
# Medians are of so many runs.
RUNS = 5


def compared(root: Path) -> dict[str, Any]:
    """How many series agree, and what the others differ in."""
    sys.path.insert(0, str(TESTS))
    folders = {f"made-up {name}": folder for name, folder in _made_up(root / "made").items()}
    real = os.environ.get("MEDVAE_REAL_DATA")
    if real:
        base = Path(real) / "dicom_sarcoma"
        found = sorted({path.parent for path in base.rglob("*") if path.is_file()})
        folders |= {f"real {folder.relative_to(base)}": folder for folder in found}
        folders |= _written(Path(real), root / "written")
    outcome = {
        name: _difference(folder, root / f"out{n}")
        for n, (name, folder) in enumerate(folders.items())
    }
    return {
        "series": len(outcome),
        "of_real_voxels": sum(not name.startswith("made-up") for name in outcome),
        "agree": sum(not difference for difference in outcome.values()),
        "differ": {name: difference for name, difference in outcome.items() if difference},
    }


def _difference(folder: Path, out: Path) -> str:
    """What ingest and dcm2niix differ in; empty where in nothing."""
    results = list(read([folder]))
    if len(results) != 1 or not isinstance(results[0], Ingested):
        return f"ingest does not take it: {results[:1]}"
    out.mkdir(parents=True)
    _dcm2niix(folder, out)
    made = sorted(out.glob("*.nii"))
    # Beside a volume that it corrected, dcm2niix leaves the one as it was.
    best = (
        [path for path in made if "_Tilt" in path.name]
        or [p for p in made if "_Eq" in p.name]
        or made
    )
    if len(best) != 1:
        return f"dcm2niix makes {len(best)} volumes of it"
    theirs = nibabel.as_closest_canonical(nibabel.load(best[0]))
    ours = results[0].volume
    if ours.shape != theirs.shape:
        return f"size {ours.shape} and {theirs.shape}"
    if (apart := float(np.abs(ours.affine - theirs.affine).max())) > SAME_AFFINE:
        return f"affine by {apart:.3g} mm"
    voxels = np.asanyarray(theirs.dataobj)
    differ = np.abs(ours.voxels.astype(np.float64) - voxels)
    if best[0] in made and "_Tilt" in best[0].name:
        # They repeat the last row at the border, and we mix it with air.
        inside = (ours.voxels > 0) & (voxels > 0)
        differ = differ[inside & np.roll(inside, 1, 1) & np.roll(inside, -1, 1)] - ROUNDING
    apart = float(differ.max())
    return f"voxels by {apart:g}" if apart > SAME_VOXEL * np.abs(voxels).max() else ""


def _written(real: Path, root: Path) -> dict[str, Path]:
    """Real volumes that are kept as NIfTI, as slices: by name, their folders."""
    folders = {}
    for number, path in enumerate(_volumes(real)):
        name = f"written {path.relative_to(real)}"
        kind = path.relative_to(real).parts[0].partition("_")[0]
        folders[name] = root / f"{number}_{kind}"
        _write(nibabel.load(path), folders[name], number)
    return folders


def _volumes(real: Path) -> list[Path]:
    """So many images of each data set, as many of each kind of name."""
    chosen: list[Path] = []
    for data in sorted(path for path in real.iterdir() if path.is_dir()):
        images = [
            p for p in sorted(data.rglob("*.nii.gz")) if not p.parent.name.startswith("label")
        ]
        images = [path for path in images if "label" not in data.name]
        whole = [path for path in images[:: max(1, len(images) // EACH)] if _is_one(path)]
        chosen += whole[:EACH]
    return chosen


def _is_one(path: Path) -> bool:
    return len(nibabel.load(path).shape) == 3


def _write(image: Any, folder: Path, number: int) -> None:
    """One volume as slices of 16 bits, every second one unsigned, every third first slice last.

    Rows, columns and normal come from the affine; a left-handed one is read from its other end.
    """
    import ingest_makers as makers

    voxels, affine = np.asanyarray(image.dataobj), image.affine.copy()
    # NIfTI counts to the right and to the front, DICOM to the left and to the back.
    affine[:2] *= -1
    if np.linalg.det(affine[:3, :3]) < 0:
        affine[:3, 3] += affine[:3, 2] * (voxels.shape[2] - 1)
        affine[:3, 2] *= -1
        voxels = voxels[:, :, ::-1]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    low, high = float(voxels.min()), float(voxels.max())
    scale = 1.0 if 64 <= high - low < 2**15 else float(f"{(high - low) / 4000:.6g}")
    signed = number % 2 == 0
    offset = 0.0 if signed or low >= 0 else float(np.floor(low))
    stored = np.round((voxels - offset) / scale).astype("<i2" if signed else "<u2")
    header = {
        "modality": "CT" if folder.name.endswith("ct") else "MR",
        "orientation": tuple((affine[:3, :2] / spacing[:2]).T.ravel()),
        "PixelSpacing": [spacing[1], spacing[0]],
        "SliceThickness": spacing[2],
        "PixelRepresentation": int(signed),
        "RescaleSlope": scale,
        "RescaleIntercept": offset,
        "series": f"1.2.3.{number}",
    }
    slices = [
        makers.slice_of(
            index, stored[:, :, index].T, position=affine[:3, 2] * index + affine[:3, 3], **header
        )
        for index in range(voxels.shape[2])
    ]
    makers.write(folder, slices if number % 3 else slices[::-1])


def _dcm2niix(folder: Path, out: Path) -> None:
    subprocess.run(
        ["dcm2niix", "-b", "n", "-z", "n", "-f", "%s_%j", "-o", out, folder],
        check=True,
        capture_output=True,
    )


def _made_up(root: Path) -> dict[str, Path]:
    import ingest_makers as makers
    import test_ingest_dicom as enhanced_maker
    import test_ingest_dicom_upright as upright

    oblique = (0.8, 0.6, 0.0, -0.48, 0.64, 0.6)
    normal = np.cross(oblique[:3], oblique[3:])
    stack = makers.voxels((6, 7, 5))
    lean = 2.5 * np.tan(np.radians(15))
    tilted = upright.scanned([(20, 40 - lean * i, 30 + 2.5 * i) for i in range(8)])
    for data in tilted:
        data.GantryDetectorTilt, data.Manufacturer = 15.0, "GE MEDICAL SYSTEMS"
    kinds = {
        "axial CT": makers.series(8),
        "MRI": makers.series(8, modality="MR"),
        "oblique": [
            makers.slice_of(i, stack[i], orientation=oblique, position=normal * 3 * i)
            for i in range(6)
        ],
        "signed with slope": makers.series(6, RescaleSlope=2, RescaleIntercept=-100),
        "enhanced MR": [enhanced_maker.enhanced(makers.voxels((4, 6, 5)))],
        "tilted gantry": tilted,
    }
    return {
        name: makers.write(root / name.replace(" ", "_"), slices) for name, slices in kinds.items()
    }


def speed(
    root: Path, make: Callable[[Path, int, int], Path], few: int, many: int, slices: int
) -> dict[str, float]:
    """Processor seconds for few and many series: the start (at none) and the slope (each).

    Args:
        make: writes so many series of so many slices into a folder.
    """
    seconds: dict[tuple[str, int], float] = {}
    for count in (few, many):
        folder = make(root / f"s{count}", count, slices)
        for name, run in (("ours", _ingest), ("theirs", _convert)):
            seconds[name, count] = statistics.median(_processor(run, folder) for _ in range(RUNS))
    slope = {
        name: (seconds[name, many] - seconds[name, few]) / (many - few)
        for name in ("ours", "theirs")
    }
    return {
        "series": many,
        "slices_each": slices,
        "ours_s_a_series": slope["ours"],
        "dcm2niix_s_a_series": slope["theirs"],
        "slope_ratio": slope["ours"] / max(slope["theirs"], 1e-3),
        "start_s": seconds["ours", few] - few * slope["ours"],
    }


def workers(
    root: Path, make: Callable[[Path, int, int], Path], series: int, slices: int
) -> dict[str, float]:
    """Seconds by the clock that `medvae ingest` takes with one reading process and with two."""
    folder = make(root / "many", series, slices)
    took: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(RUNS):
        for count, seconds in took.items():
            with tempfile.TemporaryDirectory() as out:
                _create(Path(out))
                start = time.perf_counter()
                _ingest(folder, Path(out), "--workers", str(count))
                seconds.append(time.perf_counter() - start)
    one, two = (statistics.median(took[count]) for count in (1, 2))
    return {"series": series, "slices_each": slices, "one_s": one, "two_s": two, "gain": one / two}


def _processor(run: Callable[[Path, Path], None], folder: Path) -> float:
    with tempfile.TemporaryDirectory() as out:
        if run is _ingest:
            _create(Path(out))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run(folder, Path(out))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _create(out: Path) -> None:
    words = ["tenant", "create", "bench", "--recovery-out", str(out / "r")]
    subprocess.run([*_medvae(out), *words], check=True, capture_output=True)


def _ingest(folder: Path, out: Path, *more: str) -> None:
    words = [*_medvae(out), "ingest", str(folder), "-d", "d", *more]
    subprocess.run(words, check=True, capture_output=True)


def _medvae(out: Path) -> list[str]:
    places = ["--vault", str(out / "v"), "--identity", str(out / "k")]
    return [sys.executable, "-m", "medvae", *places]


def _convert(folder: Path, out: Path) -> None:
    _dcm2niix(folder, out)


def has_dcm2niix() -> bool:
    """Whether there is something to compare with."""
    return shutil.which("dcm2niix") is not None
