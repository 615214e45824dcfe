"""PET: uptake values are read where the header says that they are, and never made up."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from ingest_makers import one, refusal, series, taken, voxels, write
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from test_ingest_dicom import enhanced

STORAGE = "1.2.840.10008.5.1.4.1.1."
PLAIN, CONVERTED, ENHANCED = (STORAGE + end for end in ("128", "128.1", "130"))
STACK = voxels((6, 20, 18))
SLOPES = [0.001 * (n + 1) for n in range(6)]


def item(**values: Any) -> Sequence:
    data = Dataset()
    for name, value in values.items():
        setattr(data, name, value)
    return Sequence([data])


def mapping(code: str, slope: float = 0.004, intercept: float = 0.5) -> Sequence:
    return item(
        RealWorldValueSlope=slope,
        RealWorldValueIntercept=intercept,
        MeasurementUnitsCodeSequence=item(
            CodeValue=code, CodingSchemeDesignator="UCUM", CodeMeaning="x"
        ),
    )


def scan(storage: str = ENHANCED, **more: Any) -> Dataset:
    """A PET image of several frames, each with a slope of its own; `more` is of the image."""
    data = enhanced(STACK)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = storage
    data.Modality, data.PatientID = "PT", "P1"
    for frame, slope in zip(data.PerFrameFunctionalGroupsSequence, SLOPES, strict=True):
        frame.PixelValueTransformationSequence = item(
            RescaleSlope=slope, RescaleIntercept=0, RescaleType="US"
        )
    for name, value in more.items():
        setattr(data, name, value)
    return data


def uptake() -> np.ndarray:
    """The values of `scan`, as they are stored: frames are in reverse order."""
    scaled = STACK[::-1] * np.array(SLOPES)[:, None, None]
    return scaled[::-1].transpose(2, 1, 0)[::-1, ::-1]


@pytest.mark.parametrize(
    ("corrections", "told"),
    [(["DECY", "ATTN", "SCAT"], False), (["DECY", "NORM"], True), ("DECY", True), ("", False)],
)
def test_pet_without_correction_for_attenuation_is_told(
    tmp_path: Path, corrections: list[str] | str, told: bool
) -> None:
    slices = series(modality="MR", Units="GML", RescaleSlope=0.01, RescaleIntercept=0)
    for data in slices:
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = PLAIN
        data.Modality, data.CorrectedImage = "PT", corrections
    notes: list[str] = []
    one(write(tmp_path / "pet", slices), notes=notes.append)
    assert any("correction for attenuation" in note for note in notes) == told


@pytest.mark.parametrize("storage", [ENHANCED, CONVERTED])
@pytest.mark.parametrize("place", ["top", "shared", "frame"])
def test_an_enhanced_image_of_uptake_values_is_read(
    tmp_path: Path, storage: str, place: str
) -> None:
    data = scan(storage)
    if place == "top":
        data.Units = "GML"
    elif place == "shared":
        shared = data.SharedFunctionalGroupsSequence[0]
        shared.UnassignedSharedConvertedAttributesSequence = item(Units="GML", SUVType="BW")
    else:
        for frame in data.PerFrameFunctionalGroupsSequence:
            frame.UnassignedPerFrameConvertedAttributesSequence = item(Units="GML")
    found = one(write(tmp_path, [data])).volume
    assert found.modality == "pet"
    assert np.allclose(found.voxels, uptake(), rtol=1e-6)


def test_a_mapping_to_uptake_values_is_used(tmp_path: Path) -> None:
    data = scan(Units="BQML")
    both = [*mapping("Bq/ml", 9.0), *mapping("{SUVbw}g/ml")]
    data.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence = Sequence(both)
    found = one(write(tmp_path / "enhanced", [data])).volume
    assert np.allclose(found.voxels, (STACK * 0.004 + 0.5).transpose(2, 1, 0)[::-1, ::-1])
    plain = series(6, (20, 18), SOPClassUID=PLAIN, Units="BQML", RescaleSlope=3, RescaleIntercept=0)
    for data in plain:
        data.Modality, data.RealWorldValueMappingSequence = "PT", mapping("{SUVbw}g/ml")
    found = one(write(tmp_path / "plain", plain)).volume
    assert found.modality == "pet"
    assert found.voxels.min() >= 0.5
    assert found.voxels.max() < 4.6


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"Units": "BQML"},
        {"Units": "CNTS"},
        {"Units": "GML", "SUVType": "LBM"},
        {"RealWorldValueMappingSequence": mapping("Bq/ml")},
        {"RealWorldValueMappingSequence": mapping("{SUVlbm}g/ml")},
        {"RealWorldValueMappingSequence": mapping("{SUVbw}g/ml", float("nan"))},
    ],
)
def test_what_is_in_another_unit_is_refused_by_that(tmp_path: Path, said: dict[str, Any]) -> None:
    unit = said.get("Units", "GML")
    named = "" if unit == "GML" else f" ({unit})"
    wanted = f"its intensities are in another unit than SUV (g/ml){named}: convert it first"
    assert refusal(write(tmp_path / "enhanced", [scan(**said)])) == wanted
    plain = series(6, SOPClassUID=PLAIN, RescaleSlope=3, RescaleIntercept=0, **said)
    for data in plain:
        data.Modality = "PT"
    assert refusal(write(tmp_path / "plain", plain)) == wanted


def test_gates_of_one_image_are_volumes_of_their_own(tmp_path: Path) -> None:
    data = scan(Units="GML")
    for at, frame in enumerate(data.PerFrameFunctionalGroupsSequence):
        kind = ["ORIGINAL", "PRIMARY", "GATED", "AB"[at // 3]]
        frame.PETFrameTypeSequence = item(FrameType=kind)
        frame.PlanePositionSequence = item(ImagePositionPatient=[0, 0, 2.5 * (at % 3)])
    assert [r.volume.shape for r in taken(write(tmp_path, [data]))] == [(18, 20, 3)] * 2


@pytest.mark.skipif(shutil.which("dcm2niix") is None, reason="dcm2niix is not installed")
def test_an_enhanced_image_is_as_dcm2niix_has_it(tmp_path: Path) -> None:
    data = scan(Units="GML", Manufacturer="SIEMENS")
    # Of several slopes it takes one for all frames, unless they are of Philips.
    for frame in data.PerFrameFunctionalGroupsSequence:
        frame.PixelValueTransformationSequence[0].RescaleSlope = 0.002
    ours = one(write(tmp_path / "in", [data])).volume
    (tmp_path / "out").mkdir()
    command = ["dcm2niix", "-b", "n", "-z", "n", "-o", tmp_path / "out", tmp_path / "in"]
    subprocess.run(command, check=True, capture_output=True)
    (made,) = (tmp_path / "out").glob("*.nii")
    theirs = nibabel.as_closest_canonical(nibabel.load(made))
    assert np.abs(ours.affine - theirs.affine).max() < 1e-3
    assert np.allclose(ours.voxels, theirs.get_fdata(), rtol=1e-5)


FOREIGN = {
    "12.1.1": "a projection by X-rays (angiography or fluoroscopy)",
    "13.1.1": "a volume of X-ray angiography or tomosynthesis",
    "6.2": "an ultrasound image",
    "77.1.5.4": "optical coherence tomography",
    "77.1.6": "a microscope slide",
    "66": "raw data",
    "4.3": "of the class Enhanced MR Color Image Storage",
}


def test_other_enhanced_images_are_refused_by_what_they_are(tmp_path: Path) -> None:
    for end, what in FOREIGN.items():
        folder = write(tmp_path / end, [scan(STORAGE + end)])
        assert refusal(folder) == f"it is {what}: expected MR, CT, PT or DX image storage"
    own = write(tmp_path / "own", [scan("1.3.46.670589.11.0.0.12.1")])
    assert "of a class that DICOM does not know, such as a vendor's own" in refusal(own)
