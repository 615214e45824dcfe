"""`encode --features`: a table with one vector a scan, for classifiers and searches."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from medvae.api import models
from medvae.api.device import pick
from medvae.api.files import new_file
from medvae.api.results import FeatureTable, Refused
from medvae.errors import InputError, UsageError

if TYPE_CHECKING:
    from medvae.api.context import TenantContext


def table(context: TenantContext, name: str, source: Path, out: Path) -> FeatureTable:
    """Write the features of every scan of a source as a .csv or .npy file.

    The vectors are computed from patients without noise: they are as private as the scans, and
    the file, which only its owner may read, names the scans as the source does.

    Raises:
        UsageError: `out` exists or has another ending, or the model has no network.
        InputError: none of the scans can be read.
    """
    from medvae import ingest as stage
    from medvae.model.features import Extractor
    from medvae.vault import atomic_write

    if out.suffix not in (".csv", ".npy"):
        raise UsageError(f"-o {out} must end in .csv or .npy where --features is given")
    new_file(out)
    artifact = models.load(context.tenant, name)
    extractor = Extractor(artifact, str(pick(context.device)))
    sources: list[str] = []
    rows: list[npt.NDArray[np.float32]] = []
    refused: list[Refused] = []
    for scan in stage.read([source], modality=artifact.config().data.modality):
        try:
            if isinstance(scan, stage.Quarantined):
                raise InputError(scan.reason)
            rows.append(extractor.vector(scan.volume))
            sources.append(scan.source)
        except InputError as error:
            refused.append(Refused(scan.source, str(error)))
    if not rows:
        why = f": {refused[0].reason}" if refused else ""
        raise InputError(f"{source} holds no scan that the model can encode{why}")
    vectors = np.stack(rows)
    atomic_write(out, _bytes(out.suffix, sources, extractor.names, vectors))
    context.tenant.record("encode", model=name, features=len(rows))
    return FeatureTable(name, out, len(rows), extractor.names, tuple(sources), tuple(refused))


def _bytes(
    suffix: str, sources: Sequence[str], names: Sequence[str], vectors: npt.NDArray[np.float32]
) -> bytes:
    if suffix == ".npy":
        raw = io.BytesIO()
        np.save(raw, vectors, allow_pickle=False)
        return raw.getvalue()
    text = io.StringIO(newline="")
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["source", *names])
    # Nine digits are what a float32 needs to come back as it was.
    lines.writerows(
        [s, *(f"{v:.9g}" for v in row)] for s, row in zip(sources, vectors, strict=True)
    )
    return text.getvalue().encode("utf-8", "surrogateescape")
