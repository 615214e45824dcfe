"""DICOM SEG of a release: held against dciodvfy, highdicom and our own reading of such objects."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from medvae import ingest
from medvae.release import ReleaseResult, write_dicom
from medvae.release.segment_codes import PRIVATE, coded
from medvae.volume import Volume
from tests.release.made import CT, MRI, facts, synthetic

Make = Callable[..., ReleaseResult]
SCHEME = MRI.model_copy(update={"label_scheme": {"3": "left hippocampus", "7": "odd thing"}})


def gapped(n: int) -> list[Volume]:
    numbers = np.zeros(256, np.uint8)
    numbers[[1, 2]] = 3, 7
    made = []
    for volume in synthetic(n, MRI):
        assert volume.mask is not None
        mask = numbers[volume.mask]
        mask[0, 1, 2] = 3  # nothing about it is symmetric
        made.append(replace(volume, mask=mask))
    return made


@pytest.fixture
def release(make: Make) -> Path:
    told = facts(SCHEME, body_part="brain")
    return make(SCHEME, volumes=gapped(2), facts=told, fmt="dicom").path


def test_a_segmentation_is_of_its_series_and_named_by_the_scheme(release: Path) -> None:
    for stem in ("SYNTH0001", "SYNTH0002"):
        head = pydicom.dcmread(release / f"segmentations/{stem}_SEG.dcm")
        images = [pydicom.dcmread(path) for path in (release / stem).iterdir()]
        assert head.Modality == "SEG"
        assert head.PatientID == images[0].PatientID
        for uid in ("StudyInstanceUID", "FrameOfReferenceUID"):
            assert {head[uid].value} == {one[uid].value for one in images}
        (series,) = head.ReferencedSeriesSequence
        assert series.SeriesInstanceUID == images[0].SeriesInstanceUID
        known = {one.SOPInstanceUID for one in images}
        assert {o.ReferencedSOPInstanceUID for o in series.ReferencedInstanceSequence} == known
        left, odd = head.SegmentSequence
        assert (left.SegmentNumber, left.SegmentLabel) == (1, "left hippocampus")
        (kind,) = left.SegmentedPropertyTypeCodeSequence
        assert (kind.CodingSchemeDesignator, kind.CodeMeaning) == ("SCT", "Hippocampus")
        assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
        (kind,) = odd.SegmentedPropertyTypeCodeSequence
        assert (kind.CodingSchemeDesignator, kind.CodeValue) == (PRIVATE, "LABEL7")
    data = json.loads((release / "card.json").read_text())["data"]
    assert data["segment_numbers"] == {"3": 1, "7": 2}
    found = json.loads((release / "croissant.json").read_text())["distribution"]
    (labels,) = [part for part in found if part["@id"] == "labels"]
    assert labels["encodingFormat"] == "application/dicom"
    assert len(list(release.glob(labels["includes"]))) == 2


def fresh(dataset: pydicom.Dataset) -> pydicom.Dataset:
    """The same values, of which pydicom has none as they were in the file."""
    copy = pydicom.Dataset()
    for element in dataset:
        value = element.value
        if element.VR == "SQ":
            value = [fresh(item) for item in value]
        copy.add(pydicom.DataElement(element.tag, element.VR, value))
    return copy


def test_a_segmentation_is_written_as_pydicom_writes_it(release: Path, tmp_path: Path) -> None:
    for path in release.glob("segmentations/*_SEG.dcm"):
        read = pydicom.dcmread(path)
        whole = fresh(read)
        whole.file_meta = read.file_meta
        pydicom.dcmwrite(tmp_path / path.name, whole, enforce_file_format=True)
        assert len(whole.PerFrameFunctionalGroupsSequence) > 2
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


@pytest.mark.parametrize("turned", [False, True], ids=["straight", "oblique"])
def test_our_own_reading_gives_the_masks_back(tmp_path: Path, turned: bool) -> None:
    for index, volume in enumerate(gapped(2)):
        affine = volume.affine
        if turned:
            turn = np.eye(4)
            turn[:2, :2] = [[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]
            affine = turn @ affine
        source = replace(volume, affine=affine)
        assert SCHEME.label_scheme is not None
        files = write_dicom(source, tmp_path / f"{index}", "a", SCHEME.label_scheme)
        assert files[-1].name == "a_SEG.dcm"
        (item,) = list(ingest.read([tmp_path / f"{index}"], modality="mri"))
        assert not isinstance(item, ingest.Quarantined), item
        back = item.volume
        assert back.mask is not None
        np.testing.assert_allclose(back.affine, source.affine, atol=1e-3)
        np.testing.assert_array_equal(back.voxels, source.voxels)
        np.testing.assert_array_equal(np.array([0, 3, 7], np.uint8)[back.mask], source.mask)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
def test_dciodvfy_finds_no_error(release: Path, make: Make, tmp_path: Path) -> None:
    labelled = CT.model_copy(update={"label_scheme": {"1": "liver", "2": "spleen"}, "labels": 2})
    ct = make(labelled, facts=facts(labelled), fmt="dicom", out=tmp_path / "ct").path
    for root in (release, ct):
        path = root / "segmentations/SYNTH0001_SEG.dcm"
        done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        assert "Segmentation" in said
        assert "Error" not in said, said


@pytest.mark.skipif(importlib.util.find_spec("highdicom") is None, reason="highdicom is not there")
def test_highdicom_reads_it(release: Path) -> None:
    import highdicom

    read = highdicom.seg.segread(release / "segmentations/SYNTH0002_SEG.dcm")
    assert [read.get_segment_description(n).segment_label for n in read.segment_numbers] == [
        "left hippocampus",
        "odd thing",
    ]
    source = gapped(2)[1]
    uids = [
        (one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID)
        for one in map(pydicom.dcmread, sorted((release / "SYNTH0002").iterdir()))
    ]
    pixels = read.get_pixels_by_source_instance(
        [instance for *_, instance in uids], combine_segments=True, skip_overlap_checks=True
    )
    numbers = np.array([0, 3, 7], np.uint8)[pixels]
    # Slices, rows to the back, columns to the left: the source runs to the right and the front.
    assert source.mask is not None
    np.testing.assert_array_equal(np.flip(numbers.transpose(2, 1, 0), (0, 1)), source.mask)


def test_an_empty_mask_and_one_without_a_scheme(tmp_path: Path) -> None:
    volume = gapped(1)[0]
    assert volume.mask is not None
    empty = replace(volume, mask=np.zeros_like(volume.mask))
    head = pydicom.dcmread(write_dicom(empty, tmp_path, "empty", {"1": "liver"})[-1])
    assert (head.NumberOfFrames, head.pixel_array.any()) == (1, False)
    named = pydicom.dcmread(write_dicom(volume, tmp_path, "plain")[-1])
    assert [one.SegmentLabel for one in named.SegmentSequence] == ["label 3", "label 7"]
    bare = write_dicom(replace(volume, mask=None), tmp_path, "bare")
    assert len(bare) == volume.shape[2]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Left-Hippocampus", ("SCT", "Hippocampus", "Left")),
        ("RV", ("SCT", "Right ventricle", None)),
        ("right kidney", ("SCT", "Kidney", "Right")),
        ("left", (PRIVATE, "left", None)),
        ("unicorn", (PRIVATE, "unicorn", None)),
    ],
)
def test_names_and_codes(name: str, told: tuple[Any, ...]) -> None:
    kind, side = coded("9", name)
    assert (kind.scheme, kind.meaning, None if side is None else side.meaning) == told


def test_every_listed_structure_has_a_code() -> None:
    from medvae.release import segment_codes

    for name in segment_codes._KEYWORDS:
        assert coded("1", name)[0].scheme == "SCT"
