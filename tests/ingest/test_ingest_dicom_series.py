"""DICOM: one scan is one volume, whatever differs in spelling; what is split or single is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from ingest_makers import refusal, series, slice_of, voxels, write
from pydicom.dataset import Dataset

from medvae.ingest import Ingested, Quarantined, read
from medvae.ingest.groups import Found, series_tasks
from medvae.ingest.notices import Notices
from medvae.ingest.records import DEFAULT_LIMITS
from medvae.ingest.slices import TRAITS
from medvae.ingest.stacks import clashes, median, most_at_one_place, problem
from medvae.ingest.steps import ReadRequest, Task
from medvae.ingest.trees import SingleFile

HALF = np.sqrt(0.5)


def results(*sources: Path) -> tuple[list[Ingested], list[Quarantined], list[str]]:
    notes: list[str] = []
    found = list(read(list(sources), notes=notes.append))
    volumes = [one for one in found if isinstance(one, Ingested)]
    return volumes, [one for one in found if isinstance(one, Quarantined)], notes


def one_volume(*sources: Path) -> np.ndarray:
    """The one volume of sources that nothing is said of."""
    volumes, refused, notes = results(*sources)
    assert (len(volumes), refused, notes) == (1, [], [])
    return volumes[0].volume.voxels


def changed(slices: list[Dataset], name: str, values: Any) -> list[Dataset]:
    for index, data in enumerate(slices):
        setattr(data, name, values(index))
    return slices


def jitter(index: int) -> list[str]:
    """A plane at 45 degrees, where the largest part of the normal changes with rounding."""
    off = 1e-6 * (-1) ** index
    return ["1", "0", "0", "0", f"{HALF + off:.7f}", f"{HALF - off:.7f}"]


def oblique(index: int) -> list[float]:
    return [10, 20 - 2.5 * index * HALF, 30 + 2.5 * index * HALF]


PLAIN = series(modality="MR")
ONE_SCAN: dict[str, Any] = {
    "echo time spelled two ways": ("EchoTime", lambda i: ["4.6", "4.60"][i % 2]),
    "echo time that drifts": ("EchoTime", lambda i: 4.6 + i / 100),
    "echo numbers in the order of slices": ("EchoNumbers", lambda i: i + 1),
    "acquisition number a slice": ("AcquisitionNumber", lambda i: i + 1),
    "acquisition number a block": ("AcquisitionNumber", lambda i: i // 3),
    "image type": ("ImageType", lambda i: ["ORIGINAL", "PRIMARY", "M", "NORM"][: 3 + i % 2]),
    "temporal position a slice": ("TemporalPositionIdentifier", lambda i: i + 1),
    "pixel spacing rounded": ("PixelSpacing", lambda i: [[0.75, 0.5], [0.7500001, 0.5]][i % 2]),
    "direction rounded": ("ImageOrientationPatient", lambda i: [1, 1e-4 * (i % 2), 0, 0, 1, 0]),
}


@pytest.mark.parametrize("name", list(ONE_SCAN))
def test_what_varies_within_one_scan_does_not_split_it(tmp_path: Path, name: str) -> None:
    slices = changed(series(modality="MR"), *ONE_SCAN[name])
    expected = voxels((5, 6, 4)).transpose(2, 1, 0)[::-1, ::-1]
    assert np.array_equal(one_volume(write(tmp_path / "mr", slices)), expected)


def test_a_plane_at_45_degrees_is_one_plane(tmp_path: Path) -> None:
    slices = changed(series(12, modality="MR"), "ImageOrientationPatient", jitter)
    changed(slices, "ImagePositionPatient", oblique)
    assert one_volume(write(tmp_path / "mr", slices)).size == 12 * 24


def test_a_series_on_two_discs_is_one_volume(tmp_path: Path) -> None:
    slices = series(9, modality="MR")
    first, second = write(tmp_path / "cd1", slices[::2]), write(tmp_path / "cd2", slices[1::2])
    assert one_volume(first, second).shape[2] == 9


def at_one_place(**second: Any) -> list[Dataset]:
    """Two stacks at the same places, the second one's headers changed."""
    other = series(5, modality="MR", **second)
    for index, data in enumerate(other):
        data.SOPInstanceUID = f"1.2.888.{index}"
        data.PixelData = voxels((6, 4), seed=index + 5).astype("<i2").tobytes()
    return series(5, modality="MR") + other


SPLIT: dict[str, dict[str, Any]] = {
    "echo time": {"EchoTime": 9.2},
    "echo number": {"EchoNumbers": 2},
    "b-value": {"DiffusionBValue": 1000},
    "time point": {"TemporalPositionIdentifier": 2},
    "inversion time": {"InversionTime": 900},
    "flip angle": {"FlipAngle": 20},
    "acquisition number": {"AcquisitionNumber": 2},
    "image type": {"ImageType": ["ORIGINAL", "PRIMARY", "W"]},
}


@pytest.mark.parametrize("trait", list(SPLIT))
def test_images_of_one_place_are_split_by_what_tells_them_apart(tmp_path: Path, trait: str) -> None:
    slices = at_one_place(**SPLIT[trait])
    first = voxels((5, 6, 4)).transpose(2, 1, 0)[::-1, ::-1]
    volumes, refused, notes = results(write(tmp_path / "mr", slices))
    assert refused == []
    assert [v.volume.shape[2] for v in volumes] == [5, 5]
    assert any(np.array_equal(v.volume.voxels, first) for v in volumes)
    (note,) = notes
    assert f"distinguished by {trait}: 2, such as {tmp_path}" in note


def test_echoes_and_time_points_come_apart_together(tmp_path: Path) -> None:
    slices = []
    for number, (echo, time) in enumerate(((1, 1), (1, 2), (2, 1), (2, 2))):
        for data in at_one_place(EchoNumbers=echo, TemporalPositionIdentifier=time)[5:]:
            data.SOPInstanceUID = f"{data.SOPInstanceUID}.{number}"
            data.PixelData = voxels((6, 4), seed=number).astype("<i2").tobytes()
            slices.append(data)
    volumes, refused, _ = results(write(tmp_path / "mr", slices))
    assert ([v.volume.shape[2] for v in volumes], refused) == ([5] * 4, [])


def interleaved(shift: float, thickness: float | None, **second: Any) -> list[Dataset]:
    slices = series(12, modality="MR", AcquisitionNumber=1)
    later = series(12, modality="MR", **second)
    for index, data in enumerate(later):
        data.SOPInstanceUID = f"1.2.999.{index}"
        data.ImagePositionPatient = [10, 20, 30 + 2.5 * (index + shift)]
    for data in slices + later:
        data.SliceThickness = thickness
    return slices + later


@pytest.mark.parametrize("shift", [0.5, 0.3, 0.04, 0.9])
@pytest.mark.parametrize("thickness", [2.5, None])
def test_two_acquisitions_between_one_another_are_two(
    tmp_path: Path, shift: float, thickness: float | None
) -> None:
    slices = interleaved(shift, thickness, AcquisitionNumber=2)
    volumes, refused, notes = results(write(tmp_path / "mr", slices))
    assert refused == []
    assert [v.volume.shape[2] for v in volumes] == [12, 12]
    assert [v.volume.spacing[2] for v in volumes] == pytest.approx([2.5, 2.5])
    assert "acquisition number" in notes[0]


def test_one_scan_in_two_passes_is_one_volume_and_told(tmp_path: Path) -> None:
    slices = changed(series(8, modality="MR"), "AcquisitionNumber", lambda index: index % 2)
    volumes, refused, notes = results(write(tmp_path / "mr", slices))
    assert ([v.volume.shape[2] for v in volumes], refused) == ([8], [])
    assert notes[0].startswith("volumes in which slices of several acquisitions or runs")


@pytest.mark.parametrize("shift", [0.04, 0.1])
def test_two_acquisitions_that_nothing_tells_apart_are_refused_truly(
    tmp_path: Path, shift: float
) -> None:
    slices = interleaved(shift, 2.5, AcquisitionNumber=1)
    assert "12 of its slices are within" in refusal(write(tmp_path / "mr", slices))


def test_overlapping_slices_of_one_acquisition_are_one_volume(tmp_path: Path) -> None:
    slices = interleaved(0.5, 2.5, AcquisitionNumber=1)
    assert one_volume(write(tmp_path / "mr", slices)).shape[2] == 24


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("size", {"pixels": voxels((3, 2))}),
        ("direction", {"orientation": (0, 1, 0, 0, 0, -1)}),
        ("pixel spacing", {"PixelSpacing": [1, 1]}),
    ],
)
def test_a_stray_slice_is_refused_and_the_scan_is_read(
    tmp_path: Path, what: str, change: dict[str, Any]
) -> None:
    pixels = change.pop("pixels", voxels((6, 4)))
    stray = slice_of(77, pixels, modality="MR", **change)
    volumes, refused, notes = results(write(tmp_path / "mr", [*series(modality="MR"), stray]))
    assert [v.volume.shape for v in volumes] == [(4, 6, 5)]
    assert [r.reason for r in refused] == [
        f"it is a single slice of another {what} than the 5 slices of its series"
    ]
    assert notes == []


def planes(counts: tuple[int, ...]) -> list[Dataset]:
    directions = ((1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1))
    slices = []
    for number, (count, direction) in enumerate(zip(counts, directions, strict=False)):
        normal = np.cross(direction[:3], direction[3:])
        for index in range(count):
            where = 10 + 5.0 * index * normal
            slices.append(
                slice_of(
                    100 * number + index,
                    voxels((4, 4), seed=index),
                    modality="MR",
                    position=where,
                    orientation=direction,
                )
            )
    return slices


@pytest.mark.parametrize("counts", [(3, 3, 3), (1, 1, 1), (5, 9, 7), (19, 7), (11, 11)])
def test_a_localizer_is_known_by_its_planes(tmp_path: Path, counts: tuple[int, ...]) -> None:
    reason = refusal(write(tmp_path / "mr", planes(counts)))
    assert reason == f"its slices are in {len(counts)} planes, as those of a localizer are"


def test_a_series_of_two_whole_planes_is_two_volumes(tmp_path: Path) -> None:
    volumes, refused, notes = results(write(tmp_path / "mr", planes((20, 20))))
    assert ([sorted(v.volume.shape) for v in volumes], refused) == ([[4, 4, 20]] * 2, [])
    assert "distinguished by direction" in notes[0]


def each_a_series(slices: list[Dataset]) -> list[Dataset]:
    return changed(slices, "SeriesInstanceUID", lambda index: f"1.2.3.4.{index}")


def test_series_of_one_slice_each_are_put_together_and_told(tmp_path: Path) -> None:
    volumes, refused, notes = results(write(tmp_path / "mr", each_a_series(series(modality="MR"))))
    assert ([v.volume.shape for v in volumes], refused) == ([(4, 6, 5)], [])
    assert notes[0].startswith("volumes put together from several series")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("SeriesDescription", lambda i: f"T{i}"),
        ("StudyInstanceUID", lambda i: f"1.2.{i}"),
        ("EchoTime", lambda i: 5 + i),
        ("ImagePositionPatient", lambda i: [10, 20, 30 + i * i]),
        ("StudyInstanceUID", lambda i: None),
    ],
)
def test_series_of_one_slice_that_differ_stay_apart_and_are_told(
    tmp_path: Path, name: str, values: Any
) -> None:
    slices = changed(each_a_series(series(modality="MR")), name, values)
    volumes, _, notes = results(write(tmp_path / "mr", slices))
    assert len(volumes) == 5
    assert notes[0].startswith("volumes of a single slice: 5, such as")


def test_without_series_the_scan_is_what_its_folder_and_header_say(tmp_path: Path) -> None:
    slices = changed(series(modality="MR"), "SeriesInstanceUID", lambda index: "")
    other = changed(series(modality="MR"), "SeriesInstanceUID", lambda index: None)
    for data in other:
        data.SeriesDescription = "another"
    folder = write(tmp_path / "mr", slices)
    write(tmp_path / "mr/more", other)
    volumes, refused, _ = results(folder)
    assert ([v.volume.shape for v in volumes], refused) == ([(4, 6, 5)] * 2, [])


@pytest.mark.parametrize(
    ("along", "reason"),
    [
        ([0, 2, 4, 6], ""),
        ([0, 2, 4.1, 6], ""),
        ([0, 2], ""),
        ([0, 2, 4, 8, 10], "about 1 slice is missing between its 5 slices (after slice 3)"),
        ([0, 2, 4, 10, 12, 18, 20], "about 4 slices are missing"),
        ([0, 4, 8, 12, 19, 26], "not evenly spaced (4 to 7 mm apart)"),
        ([0, 2, 4.9, 6, 8], "not evenly spaced"),
        ([0, 0.1, 2, 2.1, 4, 4.1], "3 of its slices are within 0.1 mm"),
        ([0, 0.1, 0.2, 2, 2.1, 2.2], "4 of its slices are within 0.1 mm"),
        ([0, 2, 4, 6, 8, 60, 62, 64, 66, 68], "about 25 slices are missing between its 10 slices"),
        ([0, 2, 2.1, 4, 6, 8], "1 of its slices are within 0.1 mm"),
    ],
)
def test_a_stack_that_is_not_even_is_described_as_it_is(along: Any, reason: str) -> None:
    found = problem(np.array(along, float))
    assert found.find(reason) >= 0
    assert bool(found) == bool(reason)


def test_thicker_slices_leave_no_gap() -> None:
    along = np.array([0, 5, 10, 15, 20, 30, 40], float)
    assert "missing" in problem(along)
    assert "missing" in problem(along, np.full(7, 5.0))
    assert "not evenly spaced" in problem(along, np.array([5, 5, 5, 5, 5, 10, 10.0]))


def test_places_are_counted() -> None:
    along = np.array([0, 0.0005, 0.001, 2, 4, 4.01, 6])
    assert clashes(along) == 3
    assert most_at_one_place(along) == 3
    assert most_at_one_place(np.arange(4.0)) == 1


class Lying:
    """A pool whose worker answers what it likes."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def run(self, *_: Any, **__: Any) -> tuple[dict[str, Any], bytearray]:
        return {"ok": self.answer}, bytearray()

    def interrupt(self) -> None:
        """It has no process."""


HONEST: dict[str, Any] = {
    "subject": "A", "modality": "mri", "skip": "", "marks": "", "refers": [], "whole": False,
    "mosaic": False,
    "doubtful": False, "key": "k", "study": "s", "series": "r", "alike": "a", "size": [4, 4, 1],
    "spacing": [1, 1], "orientation": [1, 0, 0, 0, 1, 0], "position": [0, 0, 0],
    "thickness": [1], "traits": [""] * len(TRAITS), "person": [""] * 6, "space": "",
    "contrasts": [], "scans": [], "counted": 0, "moment": None,
}  # fmt: skip


LIES = [
    {name: value}
    for name, value in (
        ("size", [float("inf"), 1, 1]),
        ("size", None),
        ("position", [0, 0]),
        ("position", [1e300, 0, 0]),
        ("position", [float("nan"), 0, 0]),
        ("thickness", 3),
        ("traits", [""]),
        ("traits", None),
        ("person", None),
        ("contrasts", None),
        ("whole", True),
        ("moment", [float("nan")]),
    )
]


@pytest.mark.parametrize(
    "answer",
    [None, [], [None], ["text"], [{}], [{"foreign": 0}], [HONEST, HONEST]]
    + [[HONEST | lie] for lie in LIES],
)
def test_a_worker_that_was_taken_over_cannot_break_the_reader(tmp_path: Path, answer: Any) -> None:
    (tmp_path / "x").write_bytes(b"x")
    found = [Found(SingleFile(tmp_path / "x", DEFAULT_LIMITS).file, None)]
    options = ReadRequest()
    pool: Any = Lying(answer)
    (step,) = series_tasks(found, pool, options, Notices())
    assert isinstance(step, Quarantined)
    assert step.reason == "the reading process did not answer with a header"


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_behind_an_honest_answer_is_found(tmp_path: Path, lie: dict[str, Any]) -> None:
    (tmp_path / "x").write_bytes(b"x")
    found = [Found(SingleFile(tmp_path / "x", DEFAULT_LIMITS).file, None)] * 2
    pool: Any = Lying([HONEST, HONEST | lie])
    refused, step = series_tasks(found, pool, ReadRequest(), Notices())
    assert isinstance(refused, Quarantined)
    assert refused.reason == "the reading process did not answer with a header"
    assert isinstance(step, Task)


def test_an_honest_worker_is_believed(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    found = [Found(SingleFile(tmp_path / "x", DEFAULT_LIMITS).file, None)]
    pool: Any = Lying([HONEST])
    (step,) = series_tasks(found, pool, ReadRequest(), Notices())
    assert isinstance(step, Task)
    assert step.subject == "A"


@given(hnp.arrays(np.float64, st.integers(1, 9), elements=st.floats(-1e6, 1e6)))
def test_the_median_is_that_of_numpy(values: npt.NDArray[np.float64]) -> None:
    assert median(values) == np.median(values)
    assert np.isnan(median(values[:0]))
