"""RTSTRUCT of a release: held against dciodvfy and our own reading of such objects."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medvae import ingest
from medvae.errors import UsageError
from medvae.release import ReleaseResult, verify
from medvae.release.dicom import Series, series_slices
from medvae.release.dicom_files import write_slices
from medvae.release.structures import write_structures
from medvae.volume import Volume
from tests.release.made import CT, MRI, facts, synthetic
from tests.release.test_segmentation import SCHEME, fresh, gapped

Make = Callable[..., ReleaseResult]


def holed(n: int) -> list[Volume]:
    """Label maps with a hole, a voxel in it, corners that touch, and the edge of the grid."""
    made = []
    for volume in gapped(n):
        assert volume.mask is not None
        mask = volume.mask.copy()
        x, y = mask.shape[0] // 2, mask.shape[1] // 2
        mask[x - 4 : x + 4, y - 4 : y + 4, 1] = 3
        mask[x - 2 : x + 2, y - 2 : y + 2, 1] = 0
        mask[x, y, 1] = 3
        mask[:2, :2, 2] = 7
        mask[2, 2, 2] = 7
        mask[-1, :, 3] = 3
        made.append(replace(volume, mask=mask))
    return made


@pytest.fixture
def release(make: Make) -> Path:
    said = facts(SCHEME, body_part="brain", structures=True)
    return make(SCHEME, volumes=holed(2), facts=said, fmt="dicom").path


@pytest.mark.parametrize("turned", [False, True], ids=["straight", "oblique"])
def test_our_own_reading_gives_the_masks_back(tmp_path: Path, turned: bool) -> None:
    for index, volume in enumerate(holed(2)):
        affine = volume.affine
        if turned:
            c, s = np.cos(0.3), np.sin(0.3)
            affine = np.array([[c, -s, 0, 1], [s, c, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]) @ affine
        source = replace(volume, affine=affine)
        slices = series_slices(source, Series("SYNTH0001", "2026-01-02", "brain", (0.0, 1000.0)))
        folder = tmp_path / f"{index}"
        folder.mkdir()
        write_slices([folder / f"{at}.dcm" for at in range(len(slices.own))], slices)
        assert slices.mask is not None
        names = {"3": "left hippocampus", "7": "odd thing"}
        write_structures(folder / "structures.dcm", slices, slices.mask, names)
        (item,) = ingest.read([folder], modality="mri")
        assert isinstance(item, ingest.Ingested), item
        assert item.volume.mask is not None
        np.testing.assert_allclose(item.volume.affine, source.affine, atol=1e-3)
        np.testing.assert_array_equal(np.array([0, 3, 7], np.uint8)[item.volume.mask], source.mask)


def test_a_contour_that_is_too_long_for_its_element_is_several(tmp_path: Path) -> None:
    """A comb whose outline would be of more than 65,534 bytes."""
    mask = np.zeros((300, 200, 2), np.uint8)
    mask[10:290, 10:190:2, 1] = 1
    mask[10, 10:190, 1] = 1
    voxels = np.random.default_rng(0).integers(0, 100, mask.shape, np.int16)
    volume = Volume(voxels, np.diag([0.7, 0.7, 2.0, 1.0]), "ct", mask)
    slices = series_slices(volume, Series("SYNTH0001", "2026-01-02", "chest", (0.0, 1.0)))
    write_slices([tmp_path / "0.dcm", tmp_path / "1.dcm"], slices)
    assert slices.mask is not None
    write_structures(tmp_path / "structures.dcm", slices, slices.mask, {"1": "comb"})
    (structure,) = pydicom.dcmread(tmp_path / "structures.dcm").ROIContourSequence
    assert len(structure.ContourSequence) > 1
    (item,) = ingest.read([tmp_path])
    assert isinstance(item, ingest.Ingested), item
    np.testing.assert_array_equal(item.volume.mask, mask)


def test_it_is_written_as_pydicom_writes_it_and_is_of_its_series(
    release: Path, tmp_path: Path
) -> None:
    for stem in ("SYNTH0001", "SYNTH0002"):
        path = release / f"structures/{stem}_RTSTRUCT.dcm"
        read = pydicom.dcmread(path)
        images = [pydicom.dcmread(file) for file in (release / stem).iterdir()]
        assert read.PatientID == images[0].PatientID
        assert {read.StudyInstanceUID} == {image.StudyInstanceUID for image in images}
        assert [roi.ROIName for roi in read.StructureSetROISequence] == [
            "left hippocampus",
            "odd thing",
        ]
        (study,) = read.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence
        (series,) = study.RTReferencedSeriesSequence
        named = {image.ReferencedSOPInstanceUID for image in series.ContourImageSequence}
        assert named == {image.SOPInstanceUID for image in images}
        whole = fresh(read)
        whole.file_meta = read.file_meta
        pydicom.dcmwrite(tmp_path / path.name, whole, enforce_file_format=True)
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_the_card_says_where_structures_are_and_they_are_signed(release: Path) -> None:
    data = json.loads((release / "card.json").read_text())["data"]
    assert len(list(release.glob(data["structures"]))) == 2
    parts = json.loads((release / "croissant.json").read_text())["distribution"]
    assert {"structures"} <= {part["@id"] for part in parts}
    assert verify(release).unchanged
    path = release / "structures/SYNTH0001_RTSTRUCT.dcm"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert verify(release).valid is False


def test_structures_need_dicom_and_labels(make: Make) -> None:
    with pytest.raises(UsageError, match="add --format dicom"):
        make(SCHEME, volumes=holed(1), facts=facts(SCHEME, structures=True), fmt="bids")
    none = MRI.model_copy(update={"labels": 0, "label_scheme": {}})
    with pytest.raises(UsageError, match="contours of labels"):
        make(none, volumes=synthetic(1, none), facts=facts(none, structures=True), fmt="dicom")


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
def test_dciodvfy_finds_no_error(release: Path, make: Make, tmp_path: Path) -> None:
    labelled = CT.model_copy(update={"label_scheme": {"1": "liver", "2": "spleen"}, "labels": 2})
    said = facts(labelled, structures=True)
    ct = make(labelled, facts=said, fmt="dicom", out=tmp_path / "ct").path
    for root in (release, ct):
        path = root / "structures/SYNTH0001_RTSTRUCT.dcm"
        done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        said_of_it = done.stdout + done.stderr
        assert "RTStructureSet" in said_of_it
        assert "Error" not in said_of_it, said_of_it
