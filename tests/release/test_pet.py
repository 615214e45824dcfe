"""PET the whole way: uptake values in and out of every format, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from medvae.config import DataConfig
from medvae.errors import InputError
from medvae.ingest import Ingested, Quarantined, read
from medvae.release import ReleaseResult
from medvae.release.gate import VoxelGate
from tests.release.made import CT, synthetic
from tests.release.test_bids import VALIDATOR, validate

Make = Callable[..., ReleaseResult]
PET = DataConfig(
    modality="pet",
    size=(12, 16, 10),
    spacing=(4.0, 4.0, 3.0),
    window=(0.0, 7.3),
    label_scheme={"1": "liver", "2": "lesion"},
    labels=2,
    classes=0,
)


def refusal(source: Path, modality: str | None = "pet") -> str:
    (found,) = read([source], modality=modality)
    assert isinstance(found, Quarantined)
    return found.reason


def volumes(source: Path, modality: str | None) -> list[Ingested]:
    found = [item for item in read([source], modality=modality) if isinstance(item, Ingested)]
    return sorted(found, key=lambda item: item.subject)


def test_a_bids_release_holds_the_uptake_values_and_can_be_read_again(make: Make) -> None:
    release = make(PET, n=2).path
    wanted = list(synthetic(2, PET))
    for index, volume in enumerate(wanted, 1):
        stem = release / f"sub-synth{index:04d}/pet/sub-synth{index:04d}_pet"
        image = nib.load(f"{stem}.nii.gz")
        assert image.get_data_dtype() == np.int16
        np.testing.assert_array_equal(image.get_fdata(), volume.voxels)
        assert 3 < image.get_fdata().max() <= 7.301
        sidecar = json.loads(Path(f"{stem}.json").read_text())
        assert (sidecar["Modality"], sidecar["Units"]) == ("PT", "g/mL")
    again = volumes(release, "pet")
    assert [item.volume.modality for item in again] == ["pet", "pet"]
    for item, volume in zip(again, wanted, strict=True):
        np.testing.assert_array_equal(item.volume.voxels, volume.voxels)
    card = json.loads((release / "card.json").read_text())
    assert card["data"]["units"].startswith("SUV")
    assert "MRI" not in (release / "CARD.md").read_text() + (release / "README.md").read_text()


@pytest.mark.skipif(not VALIDATOR.exists(), reason="bids-validator-deno is not installed")
def test_the_validator_finds_no_error_in_pet(make: Make) -> None:
    release = make(PET, n=1).path
    assert validate(release)[0] == []
    assert validate(release / "derivatives" / "labels")[0] == []


def test_a_dicom_release_says_that_it_is_pet_in_suv_and_can_be_read_again(make: Make) -> None:
    release = make(PET, n=1, fmt="dicom").path
    (volume,) = synthetic(1, PET)
    files = sorted((release / "SYNTH0001").iterdir())
    for number, path in enumerate(files, 1):
        head = pydicom.dcmread(path)
        assert head.SOPClassUID.name == "Positron Emission Tomography Image Storage"
        assert (head.Modality, head.Units, head.SUVType) == ("PT", "GML", "BW")
        assert list(head.ImageType) == ["DERIVED", "PRIMARY"]
        assert (head.ImageIndex, head.NumberOfSlices) == (number, len(files))
        assert (head.RescaleIntercept, head.RescaleSlope) == (0, 2**-10)
        assert (head.WindowCenter, head.WindowWidth) == (pytest.approx(3.65), pytest.approx(7.3))
    (item,) = volumes(release / "SYNTH0001", None)
    assert item.volume.modality == "pet"
    np.testing.assert_array_equal(item.volume.voxels, volume.voxels)
    np.testing.assert_allclose(item.volume.affine, volume.affine, atol=1e-6)


@pytest.mark.parametrize("unit", ["BQML", "CNTS", ""])
def test_dicom_in_another_unit_is_refused(make: Make, unit: str) -> None:
    series = make(PET, n=1, fmt="dicom").path / "SYNTH0001"
    for path in series.iterdir():
        head = pydicom.dcmread(path)
        head.Units = unit
        head.save_as(path)
    assert "another unit than SUV" in refusal(series)


def test_activity_concentrations_are_refused(tmp_path: Path) -> None:
    suv = np.linspace(0, 1000, 60, dtype=np.float32).reshape(3, 4, 5)
    nib.save(nib.Nifti1Image(suv, np.eye(4)), tmp_path / "suv.nii")
    nib.save(nib.Nifti1Image(suv * np.float32(1.01), np.eye(4)), tmp_path / "becquerel.nii")
    assert volumes(tmp_path / "suv.nii", "pet")
    assert "cannot be SUV" in refusal(tmp_path / "becquerel.nii")


def test_a_bids_folder_of_pet_must_be_declared_and_holds_no_mri(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.ones((3, 4, 5), np.float32), np.eye(4))
    for name in ("pet/sub-1_pet.nii", "anat/sub-1_T1w.nii"):
        (tmp_path / "sub-1" / name).parent.mkdir(parents=True)
        nib.save(image, tmp_path / "sub-1" / name)
    reasons = {
        modality: [
            i.reason for i in read([tmp_path], modality=modality) if isinstance(i, Quarantined)
        ]
        for modality in (None, "pet", "mri")
    }
    assert reasons[None] == ["say that its intensities are SUV (g/ml) with --modality pet"]
    assert reasons["pet"] == ["it is a T1w image, and pet was asked for"]
    assert reasons["mri"] == ["it is in a folder for pet, and mri was asked for"]


def test_the_gate_allows_for_half_a_step_and_no_more() -> None:
    for data in (PET, CT):
        step = 2**-10 if data is PET else 1.0
        (volume,) = synthetic(1, data)
        voxels = volume.voxels.astype(np.float64)
        voxels[0, 0, 0] = data.window[1] + 0.5 * step
        VoxelGate(data).look(replace(volume, voxels=voxels))
        voxels[0, 0, 0] = data.window[1] + 0.6 * step
        with pytest.raises(InputError, match="outside the public range"):
            VoxelGate(data).look(replace(volume, voxels=voxels))
