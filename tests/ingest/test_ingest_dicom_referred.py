"""Segmentations and contours of a series that holds several volumes: the one they were drawn on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ingest_makers import is_sentence, series, write
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from test_ingest_dicom_enhanced import CONTENT, SLICES, STACK, STEP, Groups, image
from test_ingest_dicom_marks import item, segmentation, structures

from medvae.ingest import Ingested, Quarantined, read

PART = np.zeros((SLICES, 20, 18), bool)
PART[1:3, 4:9, 5:12] = True


def time_points(scan: int, place: int) -> Groups:
    return {CONTENT: {"TemporalPositionIndex": scan + 1}}


def drawn_on(source: Dataset, frames: list[list[int]] | None) -> Dataset:
    """A SEG of an enhanced image, each frame of it drawn on frames of the image, or on none."""
    made = segmentation(source, {1: ("liver", PART)})
    for index, group in enumerate(made.PerFrameFunctionalGroupsSequence):
        group.PlanePositionSequence = [item(ImagePositionPatient=[0, 0, STEP * (index + 1)])]
        if frames is None:
            continue
        named = item(ReferencedSOPInstanceUID=source.SOPInstanceUID)
        named.ReferencedFrameNumber = frames[index]
        group.DerivationImageSequence = [item(SourceImageSequence=[named])]
    return made


def results(folder: Path) -> tuple[list[Ingested], list[str]]:
    found = list(read([folder]))
    refused = [is_sentence(r.reason) for r in found if isinstance(r, Quarantined)]
    return [r for r in found if isinstance(r, Ingested)], refused


@pytest.mark.parametrize("scan", [0, 1])
def test_it_marks_the_scan_whose_frames_it_names(tmp_path: Path, scan: int) -> None:
    source = image("time", time_points)
    frames = [[1 + at + scan * SLICES] for at in (1, 2)]
    found, refused = results(write(tmp_path, [source, drawn_on(source, frames)]))
    assert refused == []
    assert [r.volume.mask is not None for r in found] == [scan == 0, scan == 1]
    mask = found[scan].volume.mask
    assert mask is not None
    assert np.array_equal(mask, PART.transpose(2, 1, 0)[::-1, ::-1])


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        ([[2, 2 + SLICES], [3, 3 + SLICES]], "drawn on images of 2 volumes of its series"),
        (None, "holds 2 volumes, and it does not name the images or frames"),
    ],
)
def test_it_marks_no_scan_where_that_is_not_known(tmp_path: Path, frames: Any, why: str) -> None:
    source = image("time", time_points)
    found, refused = results(write(tmp_path, [source, drawn_on(source, frames)]))
    assert [r.volume.mask for r in found] == [None, None]
    (reason,) = refused
    assert why in reason


def test_it_marks_no_other_scan_than_a_refused_one(tmp_path: Path) -> None:
    kinds = ["ORIGINAL", "PRIMARY", "OTHER", "MAGNITUDE"], ["ORIGINAL", "PRIMARY", "OTHER", "PHASE"]
    source = image(
        "phase", lambda scan, _: {"MRImageFrameTypeSequence": {"FrameType": kinds[scan]}}
    )
    phase = drawn_on(source, [[2 + SLICES], [3 + SLICES]])
    found, refused = results(write(tmp_path, [source, phase]))
    assert [r.volume.mask for r in found] == [None]
    assert any("the series that it marks was refused" in reason for reason in refused)


def echoes() -> list[list[Dataset]]:
    """Two echoes of one series of single slices."""
    found = []
    for echo in (1, 2):
        own = series(SLICES, (20, 18), modality="MR", EchoNumbers=echo, EchoTime=5.0 * echo)
        for at, data in enumerate(own):
            data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.9.{echo}.{at + 1}"
            data.PixelData = STACK[(echo - 1) * SLICES + at].astype("<i2").tobytes()
        found.append(own)
    return found


@pytest.mark.parametrize("whole", [False, True])
def test_it_marks_the_echo_whose_images_it_names(tmp_path: Path, whole: bool) -> None:
    both = echoes()
    named = [item(ReferencedSOPInstanceUID=one.SOPInstanceUID) for one in both[1]]
    made = segmentation(both[1][0], {1: ("liver", PART)})
    if whole:
        made.ReferencedSeriesSequence[0].ReferencedInstanceSequence = Sequence(named)
    else:
        for group, one in zip(made.PerFrameFunctionalGroupsSequence, named[1:3], strict=True):
            group.DerivationImageSequence = [item(SourceImageSequence=[one])]
    found, refused = results(write(tmp_path, [*both[0], *both[1], made]))
    assert refused == []
    marked = [r for r in found if r.volume.mask is not None]
    assert len(found) == 2
    assert [r.volume.meta["echo_time"] for r in marked] == [10.0]


def test_contours_mark_the_echo_whose_images_they_name(tmp_path: Path) -> None:
    both = echoes()
    square = [10.5, 23.0, 32.5, 12.5, 23.0, 32.5, 12.5, 27.0, 32.5, 10.5, 27.0, 32.5]
    made = structures(both[1][0], {1: ("liver", [square])})
    for structure in made.ROIContourSequence:
        for contour in structure.ContourSequence:
            named = item(ReferencedSOPInstanceUID=both[1][1].SOPInstanceUID)
            contour.ContourImageSequence = Sequence([named])
    found, refused = results(write(tmp_path, [*both[0], *both[1], made]))
    assert refused == []
    assert [(r.volume.meta["echo_time"], r.volume.mask is not None) for r in found] == [
        (5.0, False),
        (10.0, True),
    ]
