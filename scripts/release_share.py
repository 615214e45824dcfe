"""What part of a release's time is not drawing, with volumes that the anatomy model draws."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from medvae import api
from medvae.anatomy.cohort import CohortAnatomy
from medvae.anatomy.collection import Library
from medvae.api.baselines import drawn_people
from medvae.config import DataConfig
from medvae.demo import cohort
from medvae.progress import SILENT
from medvae.release import PrivacyFacts, ReleaseFacts, create
from medvae.volume import Volume

GRID = DataConfig(
    modality="mri",
    size=(96, 96, 96),
    spacing=(2.0, 2.0, 2.0),
    label_scheme={str(number): name for number, name in cohort.LABELS.items()},
    labels=len(cohort.LABELS),
    classes=0,
)


class Timed:
    """Volumes, and what drawing them took: seconds, and seconds of the processor."""

    def __init__(self, volumes: Iterator[Volume]) -> None:
        self._volumes = volumes
        self.seconds = self.processor = 0.0

    def __iter__(self) -> Iterator[Volume]:
        return self

    def __next__(self) -> Volume:
        seconds, processor = time.perf_counter(), time.process_time()
        try:
            return next(self._volumes)
        finally:
            self.seconds += time.perf_counter() - seconds
            self.processor += time.process_time() - processor


def anatomy(folder: Path) -> CohortAnatomy:
    """A library of few made-up brains of the demonstration, ready to be drawn on `GRID`."""
    cohort.write(folder / "people", cohort.brain(), 3, 0)
    scheme = dict(cohort.LABELS)
    vault = folder / "vault"
    api.add_anatomy(
        folder / "people", "brains", licence="CC0-1.0", source="bench", label_scheme=scheme,
        vault=vault,
    )  # fmt: skip
    library = Library(vault)
    return CohortAnatomy.open(library, library.entry("brains"), GRID)


def share(people: CohortAnatomy, n: int, fmt: str) -> dict[str, float]:
    """Seconds of a release of n volumes, and the parts of time and processor that are not drawing.

    The processor's part says the same on a machine that others use, too.
    """
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    facts = ReleaseFacts("Benchmark", GRID, PrivacyFacts("public"), volumes=n)
    volumes = Timed(drawn_people(people, n, SILENT))
    with tempfile.TemporaryDirectory(prefix="medvae-bench-") as folder:
        seconds, processor = time.perf_counter(), time.process_time()
        create(
            volumes, Path(folder) / "out", facts=facts, sign=key.sign, public_key=public, fmt=fmt
        )
        seconds, processor = time.perf_counter() - seconds, time.process_time() - processor
        report = (Path(folder) / "out" / "report.html").stat().st_size / 1e6
    return {
        "volumes": n,
        "seconds": seconds,
        "share": 1.0 - volumes.seconds / seconds,
        "processor_share": 1.0 - volumes.processor / processor,
        "report_mb": report,
    }
