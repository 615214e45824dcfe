"""Series as vendors and anonymisers leave them: the right volumes, told or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ingest_makers import is_sentence, refusal, write
from pydicom.dataset import Dataset
from test_ingest_dicom_odd import COUNT, GRID, RADIUS, body, scan
from test_ingest_dicom_series import each_a_series

from medvae.ingest import Ingested, Quarantined, read
from medvae.ingest.dicom.traits import traits_of

Make = Callable[[], list[Dataset]]


def found(folder: Path) -> tuple[list[Ingested], list[str], list[str]]:
    """Volumes, reasons of refusals, notes."""
    notes: list[str] = []
    results = list(read([folder], notes=notes.append))
    refused = [is_sentence(r.reason) for r in results if isinstance(r, Quarantined)]
    return [r for r in results if isinstance(r, Ingested)], refused, notes


def magnitudes(seed: int = 0) -> np.ndarray:
    """[10, 24, 20] of an MRI: a ball in noise above 0."""
    return np.abs(body(seed))


def twice(**more: Any) -> list[Dataset]:
    """Two scans of one place in one series; `more`: keyword -> (its value in each)."""
    slices = []
    for at in (0, 1):
        values = {key: pair[at] for key, pair in more.items()}
        slices += scan(at, InstanceNumber=lambda i, at=at: 1 + i + COUNT * at, **values)
        for data in slices[COUNT * at :]:
            data.SOPInstanceUID = f"1.2.3.{at}.{data.InstanceNumber}"
    return slices


def private(block: int, owner: str, at: int, kind: str, values: tuple[Any, Any]) -> list[Dataset]:
    """Two scans of one place that an element of a vendor's alone distinguishes."""
    slices = twice()
    for number, data in enumerate(slices):
        element = data.private_block(block, owner, create=True)
        element.add_new(at, kind, values[number // COUNT])
    return slices


# Two scans of one place in one series -> what distinguishes them.
SPLIT: dict[str, tuple[Make, str]] = {
    "kernel": (lambda: twice(ConvolutionKernel=("B30f", "B70f")), "kernel"),
    "kernels": (lambda: twice(ConvolutionKernel=(["Br36", "3"], ["Br36", "5"])), "kernel"),
    "voltage": (lambda: twice(KVP=(80, 140)), "tube voltage"),
    "number": (lambda: twice(SeriesNumber=(3, 4)), "series number"),
    "frame": (lambda: twice(FrameOfReferenceUID=("1.2.9", "1.2.8")), "frame of reference"),
    "direction": (
        lambda: twice(DiffusionGradientOrientation=([1.0, 0.0, 0.0], [0.0, 1.0, 0.0])),
        "direction of diffusion",
    ),
    "b-value of GE": (
        lambda: private(
            0x43, "GEMS_PARM_01", 0x39, "IS", ([1000000000, 8, 0, 0], [1000000800, 8, 0, 0])
        ),
        "b-value",
    ),
    "b-value of United Imaging": (
        lambda: private(0x65, "Image Private Header", 0x09, "FD", (0.0, 800.0)),
        "b-value",
    ),
    "direction of Siemens": (
        lambda: private(0x19, "SIEMENS MR HEADER", 0x0E, "FD", ([0.6, 0.8, 0.0], [0.0, 0.8, 0.6])),
        "direction of diffusion",
    ),
    "direction of GE": (
        lambda: private(0x19, "GEMS_ACQU_01", 0xBB, "DS", ("0.6", "0.8")),
        "direction of diffusion",
    ),
    "b-value of Philips": (
        lambda: private(0x2001, "Philips Imaging DD 001", 0x03, "FL", (0.0, 800.0)),
        "b-value",
    ),
    "direction of Philips": (
        lambda: private(0x2005, "Philips MR Imaging DD 001", 0xB1, "FL", (0.6, 0.8)),
        "direction of diffusion",
    ),
    "thickness": (lambda: twice(SliceThickness=(2.5, 5.0)), "slice thickness"),
}


@pytest.mark.parametrize("name", SPLIT)
def test_scans_of_one_place_come_apart_by_what_distinguishes_them(
    tmp_path: Path, name: str
) -> None:
    make, by = SPLIT[name]
    volumes, refused, notes = found(write(tmp_path / "d", make()))
    assert (len(volumes), refused) == (2, [])
    for seed in (0, 1):
        expected = (body(seed) - 1024).transpose(2, 1, 0)[::-1, ::-1]
        assert any(np.array_equal(one.volume.voxels, expected) for one in volumes)
    assert [one for one in notes if f"distinguished by {by}:" in one], notes


def test_thick_slices_between_thin_ones_are_a_scan_of_their_own(tmp_path: Path) -> None:
    thin, thick = scan(0), scan(1)[::3]
    for data in thick:
        data.SliceThickness, data.SOPInstanceUID = 7.5, data.SOPInstanceUID[:-2] + "99"
        data.ImagePositionPatient = [
            *data.ImagePositionPatient[:2],
            data.ImagePositionPatient[2] + 1,
        ]
    volumes, refused, notes = found(write(tmp_path / "d", thin + thick))
    assert refused == []
    assert sorted(one.volume.voxels.shape[2] for one in volumes) == [len(thick), len(thin)]
    assert [one for one in notes if "distinguished by slice thickness:" in one]


def test_a_value_of_another_owner_distinguishes_nothing(tmp_path: Path) -> None:
    slices = private(0x43, "ELSCINT1", 0x39, "IS", ([0, 8, 0, 0], [800, 8, 0, 0]))
    for data in slices:
        # The order in which they were made distinguishes passes, too.
        del data.InstanceNumber
    assert "where another one is" in refusal(write(tmp_path / "d", slices))


@pytest.mark.parametrize("value", [b"\xb2\\8", b"9" * 5000, b""])
def test_a_b_value_that_is_no_number_stops_nothing(value: bytes) -> None:
    data = Dataset()
    data.private_block(0x43, "GEMS_PARM_01", create=True).add_new(0x39, "UN", value)
    assert traits_of(data, b"s" * 32)


TYPES = {
    r"DERIVED\PRIMARY\MPR\MIP THIN": "it is a projection",
    r"DERIVED\SECONDARY\MPR\AXIAL MINIP": "it is a projection",
    r"DERIVED\SECONDARY\VRT\SSD": "it is a projection",
    r"DERIVED\PRIMARY\MNIP\ND": "it is a projection",
    r"DERIVED\PRIMARY\DIXON\FAT_FRACTION": "it is a map of fractions",
    r"DERIVED\PRIMARY\OTHER\PDFF": "it is a map of fractions",
    r"DERIVED\PRIMARY\STIFFNESS": "it is a map of stiffness",
    r"ORIGINAL\PRIMARY\M\B1": "it is a map of the transmitted field",
    r"ORIGINAL\PRIMARY\FLIP ANGLE MAP\ND": "it is a map of the transmitted field",
    r"DERIVED\PRIMARY\SUSCEPTIBILITY MAP": "it is a map of a computed quantity",
    r"ORIGINAL\PRIMARY\M\NONE\VFRAME": "its slices lie beside one another in one image",
}


@pytest.mark.parametrize("words", TYPES)
def test_what_is_no_slice_of_anatomy_is_refused_by_its_type(tmp_path: Path, words: str) -> None:
    slices = scan(stack=magnitudes(), modality="MR", ImageType=words.split("\\"))
    assert TYPES[words] in refusal(write(tmp_path / "d", slices))


@pytest.mark.parametrize(
    "words",
    [
        r"DERIVED\PRIMARY\DIXON\WATER",
        r"ORIGINAL\PRIMARY\M\NORM\DIS2D\FAT",
        r"ORIGINAL\PRIMARY\M_FFE\M\FFE",
        r"DERIVED\PRIMARY\DIFFUSION\TRACEW\ND",
        r"DERIVED\SECONDARY\MPR\CSA MPR",
    ],
)
def test_types_of_scans_are_taken(tmp_path: Path, words: str) -> None:
    slices = scan(stack=magnitudes(), modality="MR", ImageType=words.split("\\"))
    volumes, refused, _ = found(write(tmp_path / "d", slices))
    assert (len(volumes), refused) == (1, [])


def halves(order: Callable[[int], bool], **more: Any) -> list[Dataset]:
    """A scan whose slices are in two series; `more`: keyword -> (its value in each)."""
    slices = scan(FrameOfReferenceUID="1.2.9")
    for index, data in enumerate(slices):
        second = order(index)
        data.SeriesInstanceUID = f"1.2.3.{4 + second}"
        for key, pair in more.items():
            setattr(data, key, pair[second])
    return slices


@pytest.mark.parametrize("order", [lambda i: i >= 4, lambda i: i % 2 == 1], ids=["after", "turn"])
def test_parts_of_a_scan_in_two_series_are_put_together_and_told(
    tmp_path: Path, order: Callable[[int], bool]
) -> None:
    volumes, refused, notes = found(write(tmp_path / "d", halves(order)))
    assert refused == []
    (volume,) = volumes
    assert np.array_equal(volume.volume.voxels, (body() - 1024).transpose(2, 1, 0)[::-1, ::-1])
    assert [one for one in notes if one.startswith("volumes put together from several series")]


@pytest.mark.parametrize(
    "more",
    [
        {"SeriesDescription": ("abdomen", "pelvis")},
        {"SeriesNumber": (3, 4)},
        {"FrameOfReferenceUID": ("1.2.9", "1.2.8")},
        {"FrameOfReferenceUID": ("", "")},
        {"ConvolutionKernel": ("B30f", "B70f")},
        {"StudyInstanceUID": ("1.7.1", "1.7.2")},
    ],
    ids=str,
)
def test_series_that_differ_are_not_put_together(tmp_path: Path, more: dict[str, Any]) -> None:
    volumes, _, notes = found(write(tmp_path / "d", halves(lambda i: i >= 5, **more)))
    assert len(volumes) == 2
    assert not [one for one in notes if "put together" in one]


def test_single_slices_need_no_frame_of_reference(tmp_path: Path) -> None:
    volumes, _, _ = found(write(tmp_path / "d", each_a_series(scan())))
    assert [v.volume.shape for v in volumes] == [(20, 24, COUNT)]


@pytest.mark.parametrize(("thickness", "told"), [(2.5, False), (1.3, False), (1.25, True)])
def test_slices_far_apart_are_told(tmp_path: Path, thickness: float, told: bool) -> None:
    _, refused, notes = found(write(tmp_path / "d", scan(SliceThickness=thickness)))
    assert refused == []
    assert bool([one for one in notes if "twice as far apart" in one]) == told


def test_magnitudes_below_zero_are_told(tmp_path: Path) -> None:
    write(tmp_path / "d", scan(stack=magnitudes(), modality="MR", RescaleIntercept=-1024))
    volumes, _, notes = found(tmp_path / "d")
    assert len(volumes) == 1
    assert [one for one in notes if "many voxels below 0" in one]


def test_flat_regions_of_a_phantom_are_no_labels(tmp_path: Path) -> None:
    flat = np.where(RADIUS < 0.8, 1024 + np.rint(4 * (GRID[0] + GRID[1]) + 60 * (RADIUS < 0.4)), 24)
    assert np.unique(flat).size > 8
    volumes, refused, _ = found(write(tmp_path / "d", scan(stack=flat.astype(np.int16))))
    assert (len(volumes), refused) == (1, [])


def test_another_unit_is_named(tmp_path: Path) -> None:
    assert "than Hounsfield units (MGML): convert it first" in refusal(
        write(tmp_path / "d", scan(RescaleType="MGML"))
    )
    # Only words of the standard are repeated.
    reason = refusal(write(tmp_path / "e", scan(RescaleType="DOE^JANE")))
    assert "Hounsfield units: convert" in reason


def test_directions_that_have_no_length_of_one_are_named(tmp_path: Path) -> None:
    reason = refusal(write(tmp_path / "d", scan(orientation=(2, 0, 0, 0, 2, 0))))
    assert "two directions of length 1 at right angles" in reason
