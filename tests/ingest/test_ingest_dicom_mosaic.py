"""Siemens mosaics become the volume that they hold, or are refused by name."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from ingest_makers import one, refusal, slice_of, voxels, write
from pydicom.dataset import Dataset

from medvae.ingest import read

STEP = 3.6
OBLIQUE = (1, 0, 0, 0, 0.8, -0.6)


def csa(**values: list[str]) -> bytes:
    """A header of Siemens' own, second format (as nibabel and dcm2niix read it)."""
    data = b"SV10\x04\x03\x02\x01" + struct.pack("<2I", len(values), 77)
    for name, items in values.items():
        data += struct.pack(
            "<64si4s3i", name.encode(), len(items), b"FD\0\0", 4, max(6, len(items)), 77
        )
        for index in range(max(6, len(items))):
            text = items[index].encode() + b"\0" if index < len(items) else b""
            data += struct.pack("<4i", len(text), len(text), 77, len(text))
            data += text + b"\0" * (-len(text) % 4)
    return data


def mosaic(
    stack: np.ndarray, *, sign: int = 1, orientation: tuple[float, ...] = OBLIQUE
) -> Dataset:
    """One file of all slices [N, rows, columns]; the first one's corner is at (10, 20, 30)."""
    count, rows, columns = stack.shape
    across = int(np.ceil(np.sqrt(count)))
    image = np.zeros((across * rows, across * columns), np.int16)
    for index, pixels in enumerate(stack):
        y, x = divmod(index, across)
        image[y * rows : (y + 1) * rows, x * columns : (x + 1) * columns] = pixels
    along, down = np.array(orientation[:3]), np.array(orientation[3:])
    normal = np.cross(along, down) * sign
    corner = np.array([10.0, 20, 30])
    corner -= along * 0.5 * (across - 1) * columns / 2 + down * 0.75 * (across - 1) * rows / 2
    data = slice_of(
        0, image, modality="MR", position=corner.round(6), orientation=orientation,
        ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"], Manufacturer="SIEMENS",
        SpacingBetweenSlices=STEP, SliceThickness=3,
    )  # fmt: skip
    data.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", count)
    header = csa(
        NumberOfImagesInMosaic=[str(count)],
        SliceNormalVector=[f"{value:.8f}" for value in normal],
    )
    data.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", header)
    return data


@pytest.mark.parametrize("count", [1, 4, 5, 9, 10])
@pytest.mark.parametrize("sign", [1, -1])
def test_every_tile_is_a_slice_at_its_place(tmp_path: Path, count: int, sign: int) -> None:
    stack = voxels((count, 6, 4))
    stack[-1, 2, 3] = 2000
    volume = one(write(tmp_path / "mr", [mosaic(stack, sign=sign)])).volume
    assert sorted(volume.shape) == sorted((4, 6, count))
    assert np.array_equal(np.sort(volume.voxels, axis=None), np.sort(stack, axis=None))
    normal = np.cross(OBLIQUE[:3], OBLIQUE[3:]) * sign
    where = np.array([10, 20, 30]) + 3 * 0.5 * np.array(OBLIQUE[:3])
    where = where + 2 * 0.75 * np.array(OBLIQUE[3:]) + (count - 1) * STEP * normal
    found = np.argwhere(volume.voxels == 2000)[0]
    assert np.allclose((volume.affine @ [*found, 1])[:3], where * [-1, -1, 1], atol=1e-4)


def test_a_mosaic_is_told(tmp_path: Path) -> None:
    notes: list[str] = []
    list(read([write(tmp_path / "mr", [mosaic(voxels((5, 6, 4)))])], notes=notes.append))
    assert [note.partition(":")[0] for note in notes] == ["volumes taken out of Siemens mosaics"]


@pytest.mark.skipif(not shutil.which("dcm2niix"), reason="dcm2niix is not installed")
@pytest.mark.parametrize("sign", [1, -1])
def test_a_mosaic_is_what_dcm2niix_makes_of_it(tmp_path: Path, sign: int) -> None:
    folder = write(tmp_path / "mr", [mosaic(voxels((7, 16, 12)), sign=sign)])
    out = tmp_path / "out"
    out.mkdir()
    command = ["dcm2niix", "-b", "n", "-z", "n", "-f", "v", "-o", str(out), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    (made,) = out.glob("*.nii")
    other = nibabel.as_closest_canonical(nibabel.load(made))
    volume = one(folder).volume
    assert np.abs(volume.affine - other.affine).max() < 1e-3
    assert np.array_equal(volume.voxels, np.asanyarray(other.dataobj))


def without_csa(data: Dataset) -> None:
    del data[0x0029, 0x1010]


def damaged_csa(data: Dataset) -> None:
    data[0x0029, 0x1010].value = data[0x0029, 0x1010].value[:60]


def other_normal(data: Dataset) -> None:
    data[0x0029, 0x1010].value = csa(SliceNormalVector=["1", "0", "0"])


def other_owner(data: Dataset) -> None:
    data[0x0029, 0x0010].value = "SOMEONE ELSE"


def without_step(data: Dataset) -> None:
    del data.SpacingBetweenSlices


@pytest.mark.parametrize(
    "change", [without_csa, damaged_csa, other_normal, other_owner, without_step]
)
def test_a_mosaic_that_does_not_say_its_order_is_refused(
    tmp_path: Path, change: Callable[[Dataset], None]
) -> None:
    data = mosaic(voxels((5, 6, 4)))
    change(data)
    assert refusal(write(tmp_path / "mr", [data])).startswith(
        "it is a Siemens mosaic whose private"
    )


@pytest.mark.parametrize("count", [17, 26, 0, 2000])
def test_a_mosaic_whose_count_cannot_be_is_refused(tmp_path: Path, count: int) -> None:
    data = mosaic(voxels((9, 5, 4)))
    data[0x0019, 0x100A].value = count
    data[0x0029, 0x1010].value = csa(SliceNormalVector=["0", "0.6", "0.8"])
    assert "it is a Siemens mosaic" in refusal(write(tmp_path / "mr", [data]))


def test_mosaics_of_several_times_are_refused(tmp_path: Path) -> None:
    slices = [mosaic(voxels((5, 6, 4), seed=seed)) for seed in range(3)]
    for index, data in enumerate(slices):
        data.SOPInstanceUID = f"1.2.777.{index}"
    assert "several time points" in refusal(write(tmp_path / "mr", slices))
