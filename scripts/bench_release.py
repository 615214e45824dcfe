"""Releases: time and memory of making and verifying one, and what tampering verify finds."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from release_share import anatomy, share
from scipy import ndimage

from medvae.config import DataConfig
from medvae.grid import from_grid
from medvae.release import PrivacyFacts, ReleaseFacts, create, verify
from medvae.volume import Volume

# Of the time of a release of volumes that the anatomy model draws.
MOST_OUTSIDE = 0.15
# Megabytes of its report.
MOST_REPORT = 15.0


def volumes(n: int, data: DataConfig) -> Iterator[Volume]:
    """Blurred noise: compresses about as real volumes do."""
    random = np.random.default_rng(0)
    base = ndimage.gaussian_filter(random.normal(size=data.size), 1.0).astype(np.float32)
    for index in range(n):
        image = np.roll(base, index + 1, axis=0) * 2 + np.float32(0.001 * index)
        mask = (image > 0.5).astype(np.uint8)
        yield from_grid(np.clip(image, -1, 1), data, mask)


def release(n: int, data: DataConfig, out: Path, fmt: str) -> tuple[float, int]:
    """Seconds and bytes of one release by a key made for it."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    facts = ReleaseFacts("Benchmark", data, PrivacyFacts("public"), volumes=n)
    start = time.perf_counter()
    made = create(volumes(n, data), out, facts=facts, sign=key.sign, public_key=public, fmt=fmt)
    return time.perf_counter() - start, made.bytes


def peak_mib() -> float:
    """Peak resident memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def tampered(folder: Path, changes: int) -> float:
    """Share of random one-bit changes, over all files, that `verify` finds."""
    random = np.random.default_rng(1)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    found = 0
    for _ in range(changes):
        path = files[int(random.integers(len(files)))]
        data = bytearray(path.read_bytes())
        whole = bytes(data)
        data[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
        path.write_bytes(data)
        found += verify(folder).valid is False
        path.write_bytes(whole)
    assert verify(folder).unchanged
    return found / changes


@dataclass(frozen=True)
class Figures:
    """What is held against a target.

    Attributes:
        found: share of one-bit changes that `verify` finds.
        each: seconds that one more small volume takes.
        growth: MiB of memory that a larger number of volumes takes.
        rate: MB/s of `verify`.
        report: megabytes of the report of a large grid.
        shares: format -> figures of a release of drawn volumes.
    """

    found: float
    each: float
    growth: float
    rate: float
    report: float
    shares: Mapping[str, Mapping[str, float]]

    def targets(self) -> list[tuple[str, float, str, bool]]:
        """Name, value, what is wanted, and whether it is met."""
        drawn_report = self.shares["bids"]["report_mb"]
        return [
            ("one-bit changes found", self.found, ">= 1", self.found >= 1),
            ("seconds a small volume", self.each, "<= 0.05", self.each <= 0.05),
            ("memory growth with n, MiB", self.growth, "<= 32", self.growth <= 32),
            ("verify, MB/s", self.rate, ">= 200", self.rate >= 200),
            *(
                (
                    f"time of {fmt} that is not drawing",
                    one["share"],
                    "<= 0.15",
                    one["share"] <= MOST_OUTSIDE,
                )
                for fmt, one in self.shares.items()
            ),
            ("report of a large grid, MB", self.report, "<= 8", self.report <= 8),
            (
                "report of the drawn volumes, MB",
                drawn_report,
                "<= 15",
                drawn_report <= MOST_REPORT,
            ),
        ]


def measured(quick: bool, root: Path) -> tuple[dict[str, Any], Figures]:
    """All results, and those of them that have a target; files in `root`."""
    few, many, changes = (10, 40, 100) if quick else (50, 500, 2000)
    drawn = {"bids": 10 if quick else 100, "dicom": 3 if quick else 20}
    crop = DataConfig(size=(32, 48, 32), labels=1)
    large = DataConfig(size=(96, 96, 96) if quick else (256, 256, 128), labels=1)
    results: dict[str, Any] = {}
    release(2, crop, root / "warm", "bids")
    seconds, _ = release(few, crop, root / "few", "bids")
    before = peak_mib()
    seconds_many, size_many = release(many, crop, root / "many", "bids")
    growth = peak_mib() - before
    results["bids"] = {"volumes": many, "seconds": seconds_many, "bytes": size_many}
    each = (seconds_many - seconds) / (many - few)
    start = time.perf_counter()
    assert verify(root / "many").unchanged
    results["verify"] = {"files": many * 4, "seconds": time.perf_counter() - start}
    seconds_dicom, size_dicom = release(few, crop, root / "dicom", "dicom")
    results["dicom"] = {"volumes": few, "seconds": seconds_dicom, "bytes": size_dicom}
    seconds_large, size_large = release(2, large, root / "large", "bids")
    results["large"] = {"grid": large.size, "seconds": seconds_large, "bytes": size_large}
    start = time.perf_counter()
    assert verify(root / "large").unchanged
    rate = size_large / (time.perf_counter() - start) / 1e6
    report = (root / "large" / "report.html").stat().st_size / 1e6
    found = tampered(root / "warm", changes)
    people = anatomy(root / "anatomy")
    shares = {fmt: share(people, n, fmt) for fmt, n in drawn.items()}
    results |= {f"drawn {fmt}": one for fmt, one in shares.items()}
    results["fixed_seconds"] = seconds - few * each
    return results, Figures(found, each, growth, rate, report, shares)


def main(quick: bool) -> dict[str, Any]:
    """Run; sizes are those of the demo and of a whole CT."""
    root = Path(tempfile.mkdtemp(prefix="medvae-bench-"))
    try:
        results, figures = measured(quick, root)
    finally:
        shutil.rmtree(root)
    results["peak_mib"] = peak_mib()
    for name, value in results.items():
        print(f"{name:16} {value}")
    return {
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "results": results,
        "targets": [
            {"name": name, "value": float(value), "target": target, "met": bool(met)}
            for name, value, target, met in figures.targets()
        ],
    }
