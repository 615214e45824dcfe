"""A tilted gantry and uneven distances are resampled: anatomy stays where it is in the patient."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pytest
from ingest_makers import one, refusal, slice_of, write
from pydicom.dataset import Dataset
from test_ingest_dicom_marks import as_stored, item, segmentation, structures

from medvae.ingest import Ingested, read
from medvae.ingest.upright import can_be_evened

ROWS, COLUMNS = 20, 16
# Intensities rise evenly along each axis of the patient (LPS), so that linear interpolation of
# them is exact: what a voxel holds says where it is.
RISE = np.array([4.0, 8.0, 12.0])


def at(place: np.ndarray) -> np.ndarray:
    """The intensity at places [..., 3] in millimetres, LPS."""
    return np.asarray(place @ RISE)


def scanned(positions: list[tuple[float, float, float]], **more: object) -> list[Dataset]:
    """Slices of 16 x 20 pixels (0.5 x 0.75 mm) whose first pixels are at these places."""
    slices = []
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    for index, position in enumerate(positions):
        offsets = np.stack([columns * 0.5, rows * 0.75, np.zeros_like(rows)], axis=-1)
        pixels = np.rint(at(np.array(position) + offsets)).astype(int) + 1024
        slices.append(slice_of(index, pixels, position=position, **more))
    return slices


def errors(result: Ingested, empty: float = -1024.0) -> np.ndarray:
    """How far intensities are from those of their places, outside of what was added."""
    volume = result.volume
    index = np.stack(np.indices(volume.shape), axis=-1)
    ras = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    # A plane moved by a part of a voxel has a border that is mixed with the empty outside.
    inside = volume.voxels > 0
    for axis in range(2):
        for step in (1, -1):
            inside &= np.roll(volume.voxels, step, axis) > 0
    assert inside.sum() > 0.5 * ROWS * COLUMNS * 4
    assert (volume.voxels[~inside] >= empty).all()
    return np.asarray(volume.voxels - at(ras * [-1, -1, 1]))[inside]


def is_orthogonal(affine: np.ndarray) -> bool:
    product = affine[:3, :3].T @ affine[:3, :3]
    return bool(np.abs(product - np.diag(np.diag(product))).max() < 1e-6)


@pytest.mark.parametrize("lean", [(0.0, 0.9), (0.0, -0.9), (0.35, 0.5), (-1.0, 0.75)])
def test_a_tilted_stack_is_put_upright(tmp_path: Path, lean: tuple[float, float]) -> None:
    slices = scanned([(20 + lean[0] * i, 40 + lean[1] * i, 30 + 2.5 * i) for i in range(8)])
    notes: list[str] = []
    (result,) = read([write(tmp_path, slices)], notes=notes.append)
    assert isinstance(result, Ingested)
    assert is_orthogonal(result.volume.affine)
    assert result.volume.spacing == pytest.approx((0.5, 0.75, 2.5))
    assert np.abs(errors(result)).max() <= 1.0
    assert any("tilted gantry" in note for note in notes)


def test_no_voxel_of_a_tilted_stack_is_lost(tmp_path: Path) -> None:
    """Moved by whole voxels, each slice is all there and the rest is air."""
    slices = scanned([(20, 40 + 0.75 * i, 30 + 2.5 * i) for i in range(5)])
    voxels = one(write(tmp_path, slices)).volume.voxels
    assert voxels.shape == (COLUMNS, ROWS + 4, 5)
    for z, data in enumerate(slices):
        pixels = np.frombuffer(data.PixelData, "<i2").reshape(ROWS, COLUMNS) - 1024
        plane = voxels[::-1, ::-1, z].T
        assert np.array_equal(plane[z : z + ROWS], pixels)
        assert (np.delete(plane, slice(z, z + ROWS), axis=0) == -1024).all()


def test_uneven_slices_are_resampled_to_the_narrowest_distance(tmp_path: Path) -> None:
    slices = scanned([(20, 40, 30 + z) for z in (0, 4, 8, 12, 19, 26)])
    notes: list[str] = []
    (result,) = read([write(tmp_path, slices)], notes=notes.append)
    assert isinstance(result, Ingested)
    assert result.volume.shape == (COLUMNS, ROWS, 7)
    assert result.volume.spacing == pytest.approx((0.5, 0.75, 4.0))
    assert np.abs(errors(result)).max() <= 1.0
    assert any("uneven distances" in note for note in notes)


def test_a_tilted_head_of_two_thicknesses_is_both(tmp_path: Path) -> None:
    z = np.cumsum([0, *[4] * 6, *[7] * 6])
    slices = scanned([(20, 40 + a / 3, 30 + a) for a in z])
    for index, data in enumerate(slices):
        data.SliceThickness = 4 if index < 6 else 7
    result = one(write(tmp_path, slices))
    assert is_orthogonal(result.volume.affine)
    assert result.volume.spacing[2] == pytest.approx(4.0)
    assert result.volume.shape[2] == 1 + (6 * 4 + 6 * 7) // 4
    assert np.abs(errors(result)).max() <= 1.0


def test_distances_beyond_the_bound_are_refused(tmp_path: Path) -> None:
    assert can_be_evened(np.array([0.0, 3, 6, 18]))
    assert not can_be_evened(np.array([0.0, 3, 6, 18.1]))
    assert not can_be_evened(np.array([0.0, 5, 10, 23]))
    slices = scanned([(20, 40, 30 + z) for z in (0, 1, 3, 8, 10)])
    assert "not evenly spaced" in refusal(write(tmp_path, slices))


def test_a_segmentation_of_a_tilted_series_is_moved_with_it(tmp_path: Path) -> None:
    slices = scanned([(20, 40 + 0.75 * i, 30 + 2.5 * i) for i in range(5)])
    mask = np.zeros((5, ROWS, COLUMNS), bool)
    mask[1:4, 3:9, 2:7] = True
    made = segmentation(slices[0], {1: ("x", mask)})
    for frame, number in zip(made.PerFrameFunctionalGroupsSequence, (1, 2, 3), strict=True):
        place = [20, 40 + 0.75 * number, 30 + 2.5 * number]
        frame.PlanePositionSequence = [item(ImagePositionPatient=place)]
    write(tmp_path, slices)
    made.save_as(tmp_path / "mark.dcm", enforce_file_format=True)
    expected = np.zeros((5, ROWS + 4, COLUMNS), bool)
    for z in range(5):
        expected[z, z : z + ROWS] = mask[z]
    assert np.array_equal(one(tmp_path).volume.mask, as_stored(expected))


UNEVEN = (0.0, 3.0, 6.0, 12.0, 18.5)


@pytest.mark.parametrize("lean", [0.0, 0.25])
def test_a_segmentation_of_uneven_slices_is_evened_with_them(tmp_path: Path, lean: float) -> None:
    """A label is that of the scanner's slice which is nearest to a slice of the volume."""
    positions = [(20.0, 40 + lean * z, 30 + z) for z in UNEVEN]
    slices = scanned(positions)
    mask = np.zeros((5, ROWS, COLUMNS), bool)
    for z in range(1, 5):
        mask[z, 3 : 5 + z, z : 7 + z] = True
    made = segmentation(slices[0], {1: ("x", mask)})
    for frame, position in zip(made.PerFrameFunctionalGroupsSequence, positions[1:], strict=True):
        frame.PlanePositionSequence = [item(ImagePositionPatient=list(position))]
    write(tmp_path, slices)
    made.save_as(tmp_path / "mark.dcm", enforce_file_format=True)
    volume = one(tmp_path).volume
    shown = volume.mask[::-1, ::-1].T
    assert shown.shape[0] == 7
    for z, plane in enumerate(shown):
        nearest = int(np.argmin(np.abs(np.array(UNEVEN) - 3.0 * z)))
        if abs(UNEVEN[nearest] - 3.0 * z) < 2.9:
            low = round(lean * 3.0 * z / 0.75)
            assert np.array_equal(plane[low : low + ROWS], mask[nearest]), z
            assert plane.sum() == mask[nearest].sum()
    frame = made.PerFrameFunctionalGroupsSequence[1]
    # Where an even stack would have a slice, this one has none.
    frame.PlanePositionSequence[0].ImagePositionPatient = [20, 40 + lean * 9.25, 30 + 9.25]
    made.save_as(tmp_path / "mark.dcm", enforce_file_format=True)
    scan, refused = read([tmp_path])
    assert isinstance(scan, Ingested)
    assert scan.volume.mask is None
    assert "where no image of its series is" in refused.reason


def test_a_contour_on_uneven_slices_is_on_its_own_slice(tmp_path: Path) -> None:
    slices = scanned([(20, 40, 30 + z) for z in UNEVEN])
    corners = [(20.9, 40.5), (23.1, 40.5), (23.1, 44.0), (20.9, 44.0)]
    points = [v for x, y in corners for v in (x, y, 30 + UNEVEN[3])]
    write(tmp_path, slices)
    made = structures(slices[0], {1: ("x", [points])})
    made.save_as(tmp_path / "mark.dcm", enforce_file_format=True)
    shown = one(tmp_path).volume.mask[::-1, ::-1].T
    expected = np.zeros((ROWS, COLUMNS), np.uint8)
    expected[1:6, 2:7] = 1
    assert np.array_equal(shown[4], expected)  # 12 mm from the first slice.
    assert not shown[[0, 1, 2, 6]].any()


@pytest.mark.skipif(not shutil.which("dcm2niix"), reason="dcm2niix is not installed")
def test_a_tilted_stack_agrees_with_dcm2niix(tmp_path: Path) -> None:
    lean = 2.5 * np.tan(np.radians(15))
    slices = scanned([(20, 40 - lean * i, 30 + 2.5 * i) for i in range(8)])
    for data in slices:
        data.GantryDetectorTilt = 15.0
        data.Manufacturer = "GE MEDICAL SYSTEMS"
    source = write(tmp_path / "in", slices)
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(
        ["dcm2niix", "-b", "n", "-z", "n", "-f", "v", "-o", out, source],
        check=True,
        capture_output=True,
    )
    (made,) = out.glob("*Tilt*.nii")
    theirs = nibabel.as_closest_canonical(nibabel.load(made))
    volume = one(source).volume
    assert theirs.shape == volume.shape
    assert np.abs(theirs.affine - volume.affine).max() < 1e-3
    inside = (volume.voxels > 0) & (np.asarray(theirs.dataobj) > 0)
    assert inside.mean() > 0.6
    # At the border they repeat the last row, and we mix it with air.
    inside &= np.roll(inside, 1, 1) & np.roll(inside, -1, 1)
    assert np.abs(volume.voxels - np.asarray(theirs.dataobj))[inside].max() <= 1
