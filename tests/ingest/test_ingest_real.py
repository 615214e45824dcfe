"""Ingest of the real volumes that MEDVAE_REAL_DATA names."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from medvae.ingest import Ingested, Quarantined, read

REAL = os.environ.get("MEDVAE_REAL_DATA")
pytestmark = pytest.mark.skipif(not REAL, reason="MEDVAE_REAL_DATA is not set")


@pytest.mark.parametrize(
    ("folder", "modality", "volumes", "patients"),
    [("mri_hippocampus", "mri", 183, 118), ("ct_lung_nodule", "ct", 674, 372)],
)
def test_a_folder_with_a_table_gives_every_volume_and_patient(
    folder: str, modality: str, volumes: int, patients: int
) -> None:
    results = list(read([Path(REAL or "") / folder]))
    assert [r for r in results if isinstance(r, Quarantined)] == []
    taken = [r for r in results if isinstance(r, Ingested)]
    assert len(taken) == volumes
    assert len({r.subject for r in taken}) == patients
    assert {r.volume.modality for r in taken} == {modality}
    if folder == "mri_hippocampus":
        masks = [r.volume.mask for r in taken]
        assert all(m is not None and set(np.unique(m)) <= {0, 1, 2} for m in masks)
