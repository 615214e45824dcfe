"""NIfTI headers as hospitals have them: read as the standard says, or refused by name."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from ingest_makers import AFFINE, nifti, one, patched, refusal, save, taken, voxels

SHAPE = (9, 10, 11)


def header(path: Path, change: Any, affine: np.ndarray = AFFINE) -> Path:
    return save(path, nifti(voxels(SHAPE), affine, change=change))


def coded(sform: int, qform: int, pixdim: dict[int, float]) -> bytes:
    """An image whose sform and qform are `AFFINE`, with other codes and voxel sizes."""

    def change(head: Any) -> None:
        head.set_sform(AFFINE, sform)
        head.set_qform(AFFINE, qform)

    codes = np.array([qform, sform], "<i2").tobytes()
    data = patched(nifti(voxels(SHAPE), change=change), 252, codes)
    for place, value in pixdim.items():
        data = patched(data, 76 + 4 * place, np.float32(value).tobytes())
    return data


@pytest.mark.parametrize("qfac", [0.0, 1.0, -1.0, 3.0, np.nan])
def test_qfac_that_is_not_set_counts_as_one(tmp_path: Path, qfac: float) -> None:
    volume = one(save(tmp_path / "x.nii", coded(0, 1, {0: qfac})), modality="mri").volume
    # -1 alone turns the third axis, which the canonical order turns back.
    turned = -1 if qfac == -1 else 1
    assert np.array_equal(volume.voxels, voxels(SHAPE)[:, :, ::turned])
    assert volume.spacing == pytest.approx((1.5, 2.0, 2.5))


@pytest.mark.parametrize(("factor", "good"), [(1 + 4e-7, True), (1 - 4e-7, True), (1.01, False)])
def test_a_quaternion_may_be_rounded(tmp_path: Path, factor: float, good: bool) -> None:
    turned = AFFINE.copy()
    turned[:3, :3] = np.diag([-1.0, 1.0, -1.0]) @ turned[:3, :3]
    image = nibabel.Nifti1Image(voxels(SHAPE), turned)
    image.set_sform(None, 0)
    image.set_qform(turned, 1)
    parts = np.array([image.header[f"quatern_{part}"] for part in "bcd"]) * factor
    path = save(tmp_path / "x.nii", patched(image.to_bytes(), 256, parts.astype("<f4").tobytes()))
    if good:
        assert np.allclose(
            one(path, modality="mri").volume.affine[:3, :3], AFFINE[:3, :3], atol=5e-3
        )
    else:
        assert "orientation cannot be computed" in refusal(path, modality="mri")


@pytest.mark.parametrize("axes", [(1,), (2, 3), (1, 2, 3)])
def test_negative_voxel_sizes_count_by_their_size_beside_an_sform(
    tmp_path: Path, axes: tuple[int, ...]
) -> None:
    sizes = {axis: -AFFINE[axis - 1, axis - 1] for axis in axes}
    volume = one(save(tmp_path / "x.nii", coded(1, 1, sizes)), modality="mri").volume
    assert np.allclose(volume.affine, AFFINE)
    assert np.array_equal(volume.voxels, voxels(SHAPE))
    for codes in ((0, 1), (0, 0)):
        path = save(tmp_path / "y.nii", coded(*codes, sizes))
        assert "negative" in refusal(path, modality="mri")


@pytest.mark.parametrize(
    ("unit", "step", "good"),
    [
        ("meter", 0.001, True),
        ("meter", 0.7, False),
        ("meter", 0.1, False),
        ("micron", 700.0, True),
        ("micron", 15.0, True),
        ("micron", 0.7, False),
        ("micron", 5.0, False),
        ("unknown", 0.7, True),
        ("mm", 0.7, True),
    ],
)
def test_the_unit_of_length_must_fit_the_numbers(
    tmp_path: Path, unit: str, step: float, good: bool
) -> None:
    path = header(
        tmp_path / "x.nii",
        lambda head: head.set_xyzt_units(unit, "sec"),
        np.diag([step, step, step, 1.0]),
    )
    scale = {"meter": 1000.0, "micron": 0.001}.get(unit, 1.0)
    if good:
        assert one(path, modality="mri").volume.spacing == pytest.approx((step * scale,) * 3)
    else:
        reason = refusal(path, modality="mri")
        assert "xyzt_units" in reason
        assert {"meter": "metre", "micron": "micrometre"}[unit] in reason


def test_one_bit_voxels_are_named(tmp_path: Path) -> None:
    data = patched(nifti(voxels(SHAPE)), 70, (1).to_bytes(2, "little") * 2)
    assert "single bits" in refusal(save(tmp_path / "x.nii", data), modality="mri")


def flip(path: Path, data: np.ndarray, affine: np.ndarray, order: Any, signs: Any) -> None:
    """The same image with its axes in another order and direction."""
    orientation = np.stack([order, signs], axis=1)
    image = nibabel.Nifti1Image(data, affine).as_reoriented(orientation)
    save(path, image.to_bytes())


@pytest.mark.parametrize("tilt", [0.0, 0.3, np.pi / 4])
def test_a_mask_is_compared_in_space_whichever_way_its_axes_run(
    tmp_path: Path, tilt: float
) -> None:
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]
    affine = turn @ AFFINE
    image = voxels(SHAPE)
    mask = (image > 700).astype(np.uint8) * 2
    places = itertools.product(
        itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)
    )
    for number, (order, signs) in enumerate(places):
        save(tmp_path / f"images/{number}.nii", nifti(image, affine))
        flip(tmp_path / f"labels/{number}.nii", mask, affine, order, signs)
    found = taken(tmp_path, modality="mri")
    assert len(found) == 48
    for item in found:
        assert np.array_equal(item.volume.mask == 2, item.volume.voxels > 700)


@pytest.mark.parametrize("place", [(2, 2), (0, 3)])
def test_a_mask_elsewhere_is_still_refused(tmp_path: Path, place: tuple[int, int]) -> None:
    save(tmp_path / "images/x.nii", nifti(voxels(SHAPE)))
    affine = AFFINE.copy()
    affine[place] += 0.2
    save(tmp_path / "labels/x.nii", nifti((voxels(SHAPE) > 9).astype(np.uint8), affine))
    assert "not that of the image in space" in refusal(tmp_path, modality="mri")


def test_a_mask_of_another_size_is_told_by_its_size(tmp_path: Path) -> None:
    save(tmp_path / "images/x.nii", nifti(voxels(SHAPE)))
    save(tmp_path / "labels/x.nii", nifti(np.ones((9, 10, 12), np.uint8)))
    assert "9 x 10 x 12" in refusal(tmp_path, modality="mri")
