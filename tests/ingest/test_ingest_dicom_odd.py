"""Odd DICOM series that hospitals have: each is told or refused, none is read wrongly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ingest_makers import is_sentence, slice_of, write
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from medvae.ingest import Ingested, Quarantined, read

COUNT, SIZE = 10, (24, 20)
GRID = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in (COUNT, *SIZE)], indexing="ij"))
RADIUS = np.sqrt((GRID**2).sum(axis=0))


def body(seed: int = 0) -> np.ndarray:
    """[10, 24, 20] stored numbers of a CT: air, and a ball of soft tissue."""
    noise = np.random.default_rng(seed).normal(0, 10, RADIUS.shape)
    return np.rint(np.where(RADIUS < 0.8, 1064 + 30 * GRID[0], 24) + noise).astype(np.int16)


def scan(seed: int = 0, stack: np.ndarray | None = None, **more: Any) -> list[Dataset]:
    """A CT series; values that are functions get the number of the slice."""
    pixels = body(seed) if stack is None else stack
    return [
        slice_of(
            i,
            pixels[i],
            **{key: value(i) if callable(value) else value for key, value in more.items()},
        )
        for i in range(COUNT)
    ]


def without(name: str) -> list[Dataset]:
    slices = scan()
    for data in slices:
        delattr(data, name)
    return slices


def again(**more: Any) -> list[Dataset]:
    """The same images once more, as other objects of the same series."""
    return scan() + [_renamed(data) for data in scan(**more)]


def _renamed(data: Dataset) -> Dataset:
    data.SOPInstanceUID = generate_uid(entropy_srcs=["again", data.SOPInstanceUID])
    return data


def of_class(uid: str, **more: Any) -> list[Dataset]:
    return scan(SOPClassUID=uid, **more)


def blocks(i: int) -> tuple[float, float, float]:
    return (0.0, 0.0, 2.5 * i + (0 if i < COUNT // 2 else 80))


STORAGE = "1.2.840.10008.5.1.4.1.1."
LABELS = (RADIUS < 0.6).astype(np.int16) * 1024 + (RADIUS < 0.3) * np.int16(1)
REFUSED: dict[str, tuple[Callable[[], list[Dataset]], str]] = {
    "spacing below 0": (lambda: scan(PixelSpacing=[-0.75, 0.5]), "PixelSpacing is not positive"),
    "unknown sign": (
        lambda: [_without_sign(data) for data in scan(stack=body() - 1024, RescaleIntercept=0)],
        "lacks PixelRepresentation",
    ),
    "slope of 0": (lambda: scan(RescaleSlope=0), "scale is 0 or not a finite number"),
    "two scales of one image": (lambda: again(RescaleIntercept=-1000), "where another one is"),
    "MR of the class of CT": (lambda: scan(Modality="MR"), "its Modality MR"),
    "label map as CT": (lambda: scan(stack=LABELS), "it is a label map"),
    "nothing but air": (lambda: scan(stack=body() * 0), "the same value"),
    "two blocks": (lambda: scan(position=blocks), "about 32 slices are missing"),
    "no position": (lambda: without("ImagePositionPatient"), "lacks ImagePositionPatient"),
    "angiography": (lambda: of_class(STORAGE + "12.1", Modality="XA"), "a projection by X-rays"),
    "cone beam": (lambda: of_class(STORAGE + "13.1.1"), "a volume of X-ray angiography"),
    "ultrasound": (lambda: of_class(STORAGE + "3.1", Modality="US"), "an ultrasound image"),
    "spectroscopy": (lambda: of_class(STORAGE + "4.2", Modality="MR"), "it is spectroscopy"),
    "parametric map": (lambda: of_class(STORAGE + "30", Modality="MR"), "a parametric map"),
    "dose": (lambda: of_class(STORAGE + "481.2", Modality="RTDOSE"), "a radiotherapy object"),
    "screen copy": (lambda: of_class(STORAGE + "7"), "a secondary capture"),
    "numbers below 0 called unsigned": (
        lambda: scan(
            stack=np.abs(body()) - 40,
            modality="MR",
            PixelRepresentation=0,
            ImageType=["ORIGINAL"] * 3,
        ),
        "where numbers below 0 are called unsigned",
    ),
    "out of range": (lambda: scan(RescaleSlope=100), "cannot be Hounsfield units"),
}
TOLD: dict[str, tuple[Callable[[], list[Dataset]], int, str]] = {
    "half a series": (lambda: scan(ImagesInAcquisition=2 * COUNT), 1, "fewer slices than"),
    "every second number": (
        lambda: scan(InstanceNumber=lambda i: 2 * i + 1),
        1,
        "fewer slices than",
    ),
    "centimetres": (
        lambda: scan(
            PixelSpacing=[0.08, 0.08],
            SliceThickness=0.25,
            position=lambda i: (0.0, 0.0, 0.25 * i),
        ),
        1,
        "of another size than those of people",
    ),
    "no air": (lambda: scan(stack=body() + 1024), 1, "without a voxel below -200 HU"),
    "flipped in turn": (
        lambda: scan(orientation=lambda i: (1, 0, 0, 0, 1, 0) if i % 2 else (-1, 0, 0, 0, 1, 0)),
        2,
        "distinguished by direction",
    ),
    "over time": (
        lambda: [
            _renamed(data) if seed else data
            for seed in (0, 1)
            for data in scan(seed, AcquisitionTime=f"12000{seed}")
        ],
        2,
        "distinguished by acquisition time",
    ),
}


def _without_sign(data: Dataset) -> Dataset:
    del data.PixelRepresentation
    return data


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_scan_is_refused(tmp_path: Path, name: str) -> None:
    make, reason = REFUSED[name]
    write(tmp_path / "d", make())
    results = list(read([tmp_path]))
    assert results
    assert all(isinstance(one, Quarantined) for one in results), results
    assert reason in is_sentence(getattr(results[0], "reason", ""))


@pytest.mark.parametrize("name", TOLD)
def test_what_may_be_a_scan_is_told(tmp_path: Path, name: str) -> None:
    make, count, note = TOLD[name]
    write(tmp_path / "d", make())
    notes: list[str] = []
    results = list(read([tmp_path], notes=notes.append))
    assert [type(one) for one in results] == [Ingested] * count
    assert [one for one in notes if note in one], notes


def test_the_same_images_under_other_names_are_one_volume(tmp_path: Path) -> None:
    write(tmp_path / "d", again())
    (result,) = read([tmp_path])
    assert isinstance(result, Ingested)
    assert result.volume.shape == (*SIZE[::-1], COUNT)


def test_numbers_without_a_sign_that_need_none_are_read(tmp_path: Path) -> None:
    stored = np.abs(body())
    write(tmp_path / "d", [_without_sign(data) for data in scan(stack=stored)])
    (result,) = read([tmp_path])
    assert isinstance(result, Ingested)
    assert np.array_equal(result.volume.voxels, (stored - 1024).transpose(2, 1, 0)[::-1, ::-1])
