"""DICOM segmentations and structure sets become the label map of the series they refer to."""

from __future__ import annotations

from collections.abc import Sequence as Items
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ingest_makers import is_sentence, one, series, slice_of, voxels, write
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medvae.ingest import Ingested, Quarantined, read
from medvae.ingest.dicom.contours import filled

SEG, LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"
STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"
SHAPE = (5, 6, 4)  # slices, rows, columns, as `series` makes them
SCHEME = {"1": "liver", "2": "kidney"}


def item(**values: Any) -> Dataset:
    data = Dataset()
    for name, value in values.items():
        setattr(
            data, name, Sequence(value) if isinstance(value, list) and _are_items(value) else value
        )
    return data


def _are_items(value: list[Any]) -> bool:
    return all(isinstance(one, Dataset) for one in value)


def marks(storage: str, image: Dataset, **more: Any) -> Dataset:
    """What all objects that mark a series have."""
    data = item(
        SOPClassUID=storage,
        SOPInstanceUID=generate_uid(),
        PatientID=image.PatientID,
        PatientName="Doe^Jane",
        StudyInstanceUID=image.StudyInstanceUID,
        SeriesInstanceUID=generate_uid(),
        **more,
    )
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = storage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    return data


def segmentation(
    image: Dataset,
    parts: dict[int, tuple[str, np.ndarray]],
    *,
    reference: str | None = None,
    flipped: bool = False,
    first: tuple[int, int] = (0, 0),
    shift: float = 0.0,
    kind: str = "BINARY",
) -> Dataset:
    """A binary SEG: number -> name and mask [slice, row, column]; empty frames are left out."""
    frames, pixels = [], []
    for number, (_, mask) in parts.items():
        for at in np.flatnonzero(mask.any(axis=(1, 2))):
            row, column = first
            place = [10.0 + 0.5 * column + shift, 20.0 + 0.75 * row, 30.0 + 2.5 * at]
            plane = mask[at]
            if flipped:
                plane, place[1] = plane[::-1], place[1] + 0.75 * (plane.shape[0] - 1)
            pixels.append(plane)
            frames.append(
                item(
                    PlanePositionSequence=[item(ImagePositionPatient=place)],
                    SegmentIdentificationSequence=[item(ReferencedSegmentNumber=number)],
                )
            )
    rows, columns = pixels[0].shape
    data = marks(
        SEG,
        image,
        SegmentationType=kind,
        Rows=rows,
        Columns=columns,
        NumberOfFrames=len(frames),
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        BitsAllocated=1,
        BitsStored=1,
        HighBit=0,
        PixelRepresentation=0,
        ReferencedSeriesSequence=[item(SeriesInstanceUID=reference or image.SeriesInstanceUID)],
        SegmentSequence=[
            item(
                SegmentNumber=number,
                SegmentLabel=name,
                SegmentedPropertyTypeCodeSequence=[item(CodeMeaning="Organ")],
            )
            for number, (name, _) in parts.items()
        ],
        SharedFunctionalGroupsSequence=[
            item(
                PlaneOrientationSequence=[
                    item(ImageOrientationPatient=[1, 0, 0, 0, -1 if flipped else 1, 0])
                ],
                PixelMeasuresSequence=[item(PixelSpacing=[0.75, 0.5], SliceThickness=2.5)],
            )
        ],
        PerFrameFunctionalGroupsSequence=frames,
    )
    data.PixelData = np.packbits(
        np.concatenate([p.ravel() for p in pixels]), bitorder="little"
    ).tobytes()
    data.PixelData += b"\0" * (len(data.PixelData) % 2)
    return data


def parts() -> tuple[np.ndarray, np.ndarray]:
    """Two masks that share no voxel; neither is symmetrical."""
    one, two = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    one[1:3, 0:2, 1:3] = one[2, 2, 1] = True
    two[3:, 4:, 0] = True
    return one, two


def as_stored(mask: np.ndarray) -> np.ndarray:
    """[slice, row, column] as a volume has it."""
    return mask.transpose(2, 1, 0)[::-1, ::-1]


def save(folder: Path, objects: Items[Dataset]) -> Path:
    write(folder, series())
    for number, data in enumerate(objects):
        data.save_as(folder / f"mark{number}.dcm", enforce_file_format=True)
    return folder


def both(folder: Path, **options: Any) -> tuple[Ingested, str]:
    """The scan, which is kept without a mask, and why its object was refused."""
    results = list(read([folder], **options))
    (scan,) = [one for one in results if isinstance(one, Ingested)]
    (refused,) = [one for one in results if isinstance(one, Quarantined)]
    assert scan.volume.mask is None
    assert refused.source.endswith("mark0.dcm")
    return scan, is_sentence(refused.reason)


@pytest.mark.parametrize("flipped", [False, True])
def test_segments_are_labelled_by_their_numbers(tmp_path: Path, flipped: bool) -> None:
    liver, kidney = parts()
    image = series()[0]
    made = segmentation(image, {1: ("Liver", liver), 7: ("Kidney", kidney)}, flipped=flipped)
    notes: list[str] = []
    (result,) = read([save(tmp_path, [made])], notes=notes.append)
    assert isinstance(result, Ingested)
    assert np.array_equal(result.volume.mask, as_stored(liver * 1 + kidney * 7))
    assert any("--label-scheme" in note for note in notes)
    assert b"Liver" not in bytes(result.volume.to_bytes())


def test_a_scheme_numbers_segments_by_name(tmp_path: Path) -> None:
    liver, kidney = parts()
    image = series()[0]
    made = segmentation(image, {1: ("KIDNEY", kidney), 2: ("Tumour", liver), 3: ("liver", liver)})
    mask = one(save(tmp_path, [made]), scheme=SCHEME).volume.mask
    assert np.array_equal(mask, as_stored(liver * 1 + kidney * 2))


def test_several_objects_of_one_series_need_a_scheme(tmp_path: Path) -> None:
    liver, kidney = parts()
    image = series()[0]
    objects = [
        segmentation(image, {1: ("liver", liver)}),
        segmentation(image, {1: ("kidney", kidney)}),
    ]
    folder = save(tmp_path, objects)
    mask = one(folder, scheme=SCHEME).volume.mask
    assert np.array_equal(mask, as_stored(liver * 1 + kidney * 2))
    refused = [r for r in read([folder]) if isinstance(r, Quarantined)]
    assert len(refused) == 2
    assert all("one of 2 objects" in r.reason for r in refused)


def test_a_part_of_the_grid_is_put_where_it_is(tmp_path: Path) -> None:
    liver, _ = parts()
    made = segmentation(series()[0], {1: ("x", liver[:, 0:3, 1:3])}, first=(0, 1))
    assert np.array_equal(one(save(tmp_path, [made])).volume.mask, as_stored(liver))


def test_a_label_map_of_segments(tmp_path: Path) -> None:
    liver, kidney = parts()
    image = series()[0]
    whole = liver * 1 + kidney * 7
    made = segmentation(image, {7: ("x", np.ones(SHAPE, bool))}, kind="LABELMAP")
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = LABEL_MAP
    made.SegmentSequence = Sequence([item(SegmentNumber=n, SegmentLabel="x") for n in (0, 1, 7)])
    made.BitsAllocated, made.BitsStored, made.HighBit = 8, 8, 7
    made.PixelData = whole.astype(np.uint8).tobytes()
    assert np.array_equal(one(save(tmp_path, [made])).volume.mask, as_stored(whole))


def fractional(image: Dataset, masks: dict[int, np.ndarray], most: int | None) -> Dataset:
    """A SEG of values 0 to `most`: number -> values [slice, row, column], a frame each."""
    whole = np.ones(SHAPE, bool)
    made = segmentation(image, {n: (f"part {n}", whole) for n in masks}, kind="FRACTIONAL")
    made.BitsAllocated, made.BitsStored, made.HighBit = 8, 8, 7
    made.SegmentationFractionalType = "PROBABILITY"
    if most is not None:
        made.MaximumFractionalValue = most
    made.PixelData = np.concatenate(list(masks.values())).astype(np.uint8).tobytes()
    return made


@pytest.mark.parametrize("most", [1, 100, 255])
def test_fractions_are_labels_where_they_are_more_than_half(tmp_path: Path, most: int) -> None:
    draw = np.random.default_rng(most)
    first = draw.integers(0, most, SHAPE, endpoint=True)
    second = most - first
    made = fractional(series()[0], {3: first, 8: second}, most)
    notes: list[str] = []
    (result,) = read([save(tmp_path, [made])], notes=notes.append)
    assert isinstance(result, Ingested)
    # Exactly half is no segment's, so that two of them never claim one voxel.
    expected = np.where(first / most > 0.5, 3, np.where(second / most > 0.5, 8, 0))
    assert {3, 8} <= set(np.unique(expected).tolist())
    assert np.array_equal(result.volume.mask, as_stored(expected))
    assert any("holds fractions" in note for note in notes)


def test_fractions_of_nothing_that_is_said_are_refused(tmp_path: Path) -> None:
    image, values = series()[0], np.full(SHAPE, 7)
    for number, (most, words) in enumerate(
        [(None, "does not say of what"), (0, "does not say of what"), (6, "above the largest")]
    ):
        made = fractional(image, {1: values}, most)
        assert words in both(save(tmp_path / str(number), [made]))[1]


@pytest.mark.parametrize(("own", "told"), [("1.2.77", False), ("1.2.78", True), ("", False)])
@pytest.mark.parametrize("kind", ["segments", "contours"])
def test_another_frame_of_reference_is_told(
    tmp_path: Path, kind: str, own: str, told: bool
) -> None:
    images = series(FrameOfReferenceUID="1.2.77")
    if kind == "segments":
        made = segmentation(images[0], {1: ("a", parts()[0])})
        made.FrameOfReferenceUID = own
    else:
        made = structures(images[0], {1: ("a", [rectangle((-0.4, -0.4), (3.4, 4.4), 2)])})
        made.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = own
    notes: list[str] = []
    write(tmp_path / "ct", images)
    made.save_as(tmp_path / "mark.dcm", enforce_file_format=True)
    (result,) = read([tmp_path], notes=notes.append)
    assert isinstance(result, Ingested)
    assert result.volume.mask is not None
    assert any("another frame of reference" in note for note in notes) == told


def test_what_cannot_be_a_label_map_is_refused_and_the_scan_is_kept(tmp_path: Path) -> None:
    liver, _ = parts()
    image = series()[0]
    overlapping = segmentation(image, {1: ("a", liver), 2: ("b", liver)})
    off = segmentation(image, {1: ("a", liver)}, shift=0.2)
    far = segmentation(image, {1: ("a", liver)}, shift=0.0)
    for frame in far.PerFrameFunctionalGroupsSequence:
        frame.PlanePositionSequence[0].ImagePositionPatient[2] += 50
    cut = segmentation(image, {1: ("a", liver)})
    cut.PixelData = cut.PixelData[:2]
    fractions = segmentation(image, {1: ("a", liver)}, kind="FRACTIONAL")
    coarse = segmentation(image, {1: ("a", liver)})
    coarse.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [1.5, 1.0]
    between = segmentation(image, {1: ("a", liver)})
    between.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient[
        2
    ] += 1
    cases = {
        "share voxels": overlapping,
        "not on the grid": off,
        "where no image of its series is": far,
        "truncated": cut,
        "fractions": fractions,
        "another plane or resolution": coarse,
    }
    for number, (words, made) in enumerate([*cases.items(), ("where no image", between)]):
        _, reason = both(save(tmp_path / str(number), [made]))
        assert words in reason
    _, reason = both(save(tmp_path / "scheme", [overlapping]), scheme=SCHEME)
    assert "names none of its segments" in reason


def test_an_object_marks_only_the_series_that_it_refers_to(tmp_path: Path) -> None:
    liver, _ = parts()
    scans = {}
    for patient, uid in (("A", "1.2.3.1"), ("B", "1.2.3.2")):
        scans[patient] = [
            slice_of(i, voxels(SHAPE)[i] + ord(patient), series=uid, patient=patient)
            for i in range(5)
        ]
        write(tmp_path / patient, scans[patient])
    made = segmentation(scans["B"][0], {1: ("x", liver)})
    made.save_as(tmp_path / "A/mark.dcm", enforce_file_format=True)
    results = list(read([tmp_path]))
    masks = {r.subject: r.volume.mask is not None for r in results if isinstance(r, Ingested)}
    assert masks == {"A": False, "B": True}


def test_an_object_without_its_series_or_of_another_patient_is_refused(tmp_path: Path) -> None:
    liver, _ = parts()
    image = series()[0]
    made = segmentation(image, {1: ("x", liver)}, reference="1.2.9.9")
    assert "not among what was given" in both(save(tmp_path / "a", [made]))[1]
    made = segmentation(image, {1: ("x", liver)})
    made.PatientID = "SOMEBODY ELSE"
    assert "another patient" in both(save(tmp_path / "b", [made]))[1]


def structures(image: Dataset, contours: dict[int, tuple[str, list[list[float]]]]) -> Dataset:
    """An RTSTRUCT: number -> name and contours [x, y, z, ...] in millimetres."""
    referred = item(SeriesInstanceUID=image.SeriesInstanceUID)
    study = item(
        ReferencedSOPInstanceUID=image.StudyInstanceUID, RTReferencedSeriesSequence=[referred]
    )
    return marks(
        STRUCTURES,
        image,
        ReferencedFrameOfReferenceSequence=[item(RTReferencedStudySequence=[study])],
        StructureSetROISequence=[
            item(ROINumber=number, ROIName=name) for number, (name, _) in contours.items()
        ],
        ROIContourSequence=[
            item(
                ReferencedROINumber=number,
                ContourSequence=[
                    item(ContourGeometricType="CLOSED_PLANAR", ContourData=points)
                    for points in several
                ],
            )
            for number, (_, several) in contours.items()
        ],
    )


def rectangle(low: tuple[float, float], high: tuple[float, float], at: int) -> list[float]:
    """A contour in voxels (column, row) of a slice, in millimetres."""
    (a, b), (c, d) = low, high
    corners = [(a, b), (c, b), (c, d), (a, d)]
    return [v for x, y in corners for v in (10 + 0.5 * x, 20 + 0.75 * y, 30 + 2.5 * at)]


def test_contours_are_filled_and_holes_are_cut(tmp_path: Path) -> None:
    image = series()[0]
    outer, hole = rectangle((-0.4, -0.4), (3.4, 4.4), 2), rectangle((0.6, 0.6), (2.4, 2.4), 2)
    made = structures(image, {4: ("Liver", [outer, hole]), 9: ("BODY", [outer])})
    expected = np.zeros(SHAPE, np.uint8)
    expected[2, :5] = 1
    expected[2, 1:3, 1:3] = 0
    mask = one(save(tmp_path, [made]), scheme=SCHEME).volume.mask
    assert np.array_equal(mask, as_stored(expected))
    assert "share voxels" in both(save(tmp_path, [made]))[1]


def test_points_beside_contours_mark_nothing(tmp_path: Path) -> None:
    image, liver = series()[0], rectangle((-0.4, -0.4), (3.4, 4.4), 2)
    made = structures(image, {1: ("Liver", [liver]), 2: ("ISO", [[11.0, 22.0, 35.0]])})
    plain = one(save(tmp_path / "plain", [structures(image, {1: ("Liver", [liver])})])).volume
    contour = made.ROIContourSequence[1].ContourSequence[0]
    contour.ContourGeometricType = "POINT"
    assert np.array_equal(one(save(tmp_path / "points", [made])).volume.mask, plain.mask)
    contour.ContourGeometricType = "OPEN_PLANAR"
    assert "not closed and planar" in both(save(tmp_path / "open", [made]))[1]


def test_contours_that_are_nowhere_or_damaged_are_refused(tmp_path: Path) -> None:
    image = series()[0]
    cases = {
        "no image of its series": rectangle((0, 0), (2, 2), 30),
        "reach beyond": rectangle((0, 0), (20, 2), 2),
        "cannot be read": [1.0, 2.0, 3.0, 4.0],
    }
    for number, (words, points) in enumerate(cases.items()):
        made = structures(image, {1: ("x", [points])})
        assert words in both(save(tmp_path / str(number), [made]))[1]


def test_a_polygon_holds_the_pixels_whose_middle_is_inside() -> None:
    """Against the winding of a point around each corner."""
    draw = np.random.default_rng(3)
    for _ in range(20):
        angles = np.sort(draw.uniform(0, 2 * np.pi, 9))
        radius = draw.uniform(2, 9, 9)
        points = np.stack([10 + radius * np.cos(angles), 10 + radius * np.sin(angles)], axis=1)
        found = filled(points, (20, 20))
        for x, y in np.ndindex(20, 20):
            turns = np.unwrap(np.arctan2(*(np.vstack([points, points[:1]]) - [x, y]).T))
            assert found[x, y] == (abs(turns[-1] - turns[0]) > np.pi)
