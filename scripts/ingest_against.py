"""Ingest against dcm2niix: the same voxels at the same places, and processor time.

Voxels and affine are compared over the real series of MEDVAE_REAL_DATA and over made-up ones of
every kind that both read. Processor time (user and system, children included) is that of whole
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


def compared(root: Path) -> dict[str, Any]:
    """How many series agree, and what the others differ in."""
    sys.path.insert(0, str(TESTS))
    folders = {f"made-up {name}": folder for name, folder in _made_up(root / "made").items()}
    real = os.environ.get("MEDVAE_REAL_DATA")
    if real:
        base = Path(real) / "dicom_sarcoma"
        found = sorted({path.parent for path in base.rglob("*") if path.is_file()})
        folders |= {f"real {folder.relative_to(base)}": folder for folder in found}
    outcome = {
        name: _difference(folder, root / f"out{n}")
        for n, (name, folder) in enumerate(folders.items())
    }
    return {
        "series": len(outcome),
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
    return f"voxels by {differ.max():g}" if differ.max() > 0 else ""


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
            seconds[name, count] = statistics.median(_processor(run, folder) for _ in range(3))
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


def _processor(run: Callable[[Path, Path], None], folder: Path) -> float:
    with tempfile.TemporaryDirectory() as out:
        if run is _ingest:
            create = ["tenant", "create", "bench", "--recovery-out", f"{out}/r"]
            subprocess.run([*_medvae(Path(out)), *create], check=True, capture_output=True)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run(folder, Path(out))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _ingest(folder: Path, out: Path) -> None:
    words = [*_medvae(out), "ingest", str(folder), "-d", "d"]
    subprocess.run(words, check=True, capture_output=True)


def _medvae(out: Path) -> list[str]:
    places = ["--vault", str(out / "v"), "--identity", str(out / "k")]
    return [sys.executable, "-m", "medvae", *places]


def _convert(folder: Path, out: Path) -> None:
    _dcm2niix(folder, out)


def has_dcm2niix() -> bool:
    """Whether there is something to compare with."""
    return shutil.which("dcm2niix") is not None
