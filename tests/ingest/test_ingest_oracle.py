"""The ten real DICOM series against nibabel's reading of what dcm2niix makes of them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medvae.ingest import Ingested, read

REAL = os.environ.get("MEDVAE_REAL_DATA")
pytestmark = [
    pytest.mark.skipif(not REAL, reason="MEDVAE_REAL_DATA is not set"),
    pytest.mark.skipif(not shutil.which("dcm2niix"), reason="dcm2niix is not installed"),
]


def test_ten_series_agree_with_dcm2niix_in_geometry_and_voxels(tmp_path: Path) -> None:
    root = Path(REAL or "") / "dicom_sarcoma"
    results = list(read([root]))
    assert len(results) == 10
    for number, result in enumerate(results):
        assert isinstance(result, Ingested), result
        out = tmp_path / str(number)
        out.mkdir()
        subprocess.run(
            ["dcm2niix", "-b", "n", "-z", "n", "-f", "v", "-o", out, result.source],
            check=True,
            capture_output=True,
        )
        (made,) = out.glob("*.nii")
        other = nibabel.as_closest_canonical(nibabel.load(made))
        volume = result.volume
        assert volume.shape == other.shape
        assert np.abs(volume.affine - other.affine).max() < 1e-3
        assert np.array_equal(volume.voxels, np.asanyarray(other.dataobj))
