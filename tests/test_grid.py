"""The model's grid: scaling, cropping, resampling, geometry and units."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medvae.config import DataConfig
from medvae.errors import InputError
from medvae.grid import (
    crop_or_pad,
    denormalise,
    from_grid,
    grid_affine,
    normalise,
    to_grid,
    to_indices,
    to_numbers,
)
from medvae.volume import Volume

SHAPES = st.tuples(*[st.integers(1, 20)] * 3)


def _volume(shape: tuple[int, int, int], modality: str = "mri", mask: bool = False) -> Volume:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, shape).astype(np.uint8) if mask else None
    return Volume(rng.normal(500, 200, shape).astype(np.float32), np.eye(4), modality, labels)


@given(
    hnp.arrays(
        np.float32,
        SHAPES,
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    )
)
def test_any_voxels_scale_into_the_unit_range(voxels: np.ndarray) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        for modality in ("mri", "ct"):
            scaled, (low, high) = normalise(voxels, DataConfig(modality=modality))
            assert scaled.shape == voxels.shape
            assert np.isfinite(scaled).all()
            assert np.abs(scaled).max() <= 1
            assert low < high


@given(st.floats(1e-3, 1e6), st.floats(-1e5, 1e5))
def test_mri_scaling_ignores_gain_and_offset(gain: float, offset: float) -> None:
    """A scanner's arbitrary units must not reach the model."""
    voxels = _volume((8, 9, 10)).voxels.astype(np.float64)
    first, _ = normalise(voxels, DataConfig())
    second, _ = normalise(voxels * gain + offset, DataConfig())
    assert np.abs(first - second).max() < 1e-3


def test_hounsfield_units_survive_the_round_trip() -> None:
    voxels = np.linspace(-1000, 1000, 1000, dtype=np.float32).reshape(10, 10, 10)
    scaled, limits = normalise(voxels, DataConfig(modality="ct"))
    assert np.abs(denormalise(scaled, limits) - voxels).max() < 0.01


def test_hounsfield_window_is_fixed_not_measured() -> None:
    air = np.full((4, 4, 4), -1000, np.int16)
    assert (normalise(air, DataConfig(modality="ct"))[0] == -1).all()
    water = np.zeros((4, 4, 4), np.int16)
    assert (normalise(water, DataConfig(modality="ct"))[0] == 0).all()


@given(SHAPES, SHAPES)
def test_crop_and_pad_keep_the_centre(have: tuple, want: tuple) -> None:
    voxels = np.arange(np.prod(have)).reshape(have)
    got = crop_or_pad(voxels, want, "edge")
    assert got.shape == want
    middle = tuple(
        slice((w - min(h, w)) // 2, (w - min(h, w)) // 2 + min(h, w))
        for h, w in zip(have, want, strict=True)
    )
    inner = tuple(
        slice((h - min(h, w)) // 2, (h - min(h, w)) // 2 + min(h, w))
        for h, w in zip(have, want, strict=True)
    )
    assert np.array_equal(got[middle], voxels[inner])


def test_resampling_keeps_the_physical_extent_and_image_with_mask() -> None:
    data = DataConfig(size=(16, 16, 16), spacing=(2.0, 2.0, 2.0))
    voxels = np.zeros((32, 32, 32), np.float32)
    voxels[8:24, 8:24, 8:24] = 100
    mask = (voxels > 0).astype(np.uint8)
    gridded = to_grid(Volume(voxels, np.eye(4), "mri", mask), data)
    assert gridded.mask is not None
    assert gridded.mask.sum() == 8**3
    inside, outside = gridded.image[gridded.mask == 1], gridded.image[gridded.mask == 0]
    assert inside.mean() > 0.8
    assert outside.mean() < -0.8


@settings(deadline=None)
@given(
    st.tuples(*[st.integers(1, 8)] * 3),
    st.tuples(*[st.floats(1e-3, 100)] * 3),
    st.booleans(),
)
def test_a_volume_of_any_size_is_brought_to_the_grid(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], masked: bool
) -> None:
    data = DataConfig(size=(8, 4, 1), spacing=(4.0, 4.0, 4.0), labels=2)
    plain = _volume(shape, mask=masked)
    volume = replace(plain, affine=np.diag([*spacing, 1.0]))
    gridded = to_grid(volume, data)
    assert gridded.image.shape == data.size
    assert np.isfinite(gridded.image).all()
    assert (gridded.mask is not None) == masked


def test_what_cannot_be_brought_to_the_grid_is_a_sentence() -> None:
    data = DataConfig(size=(8, 8, 8), spacing=(0.5, 0.5, 0.5))
    nothing = replace(_volume((4, 4, 4)), voxels=np.full((4, 4, 4), np.nan, np.float32))
    huge = replace(_volume((9, 9, 9)), affine=np.diag([100.0, 100.0, 100.0, 1.0]))
    flat = replace(_volume((4, 4, 4)), affine=np.diag([0.0, 1.0, 1.0, 1.0]))
    for volume, says in ((nothing, "finite"), (huge, "more than"), (flat, "no size")):
        with pytest.raises(InputError, match=says):
            to_grid(volume, data)


@given(hnp.arrays(np.uint8, (3, 4, 5)), st.sets(st.integers(1, 255), max_size=32))
def test_numbers_of_a_scheme_become_labels_and_back(mask: np.ndarray, numbers: set[int]) -> None:
    scheme = {str(n): f"organ {n}" for n in numbers}
    data = DataConfig(size=(3, 4, 5), label_scheme=scheme, labels=len(scheme))
    indices = to_indices(mask, data)
    assert indices.max() <= len(scheme)
    known = np.isin(mask, list(numbers))
    assert np.array_equal(to_numbers(indices, data), np.where(known, mask, 0))
    assert list(data.label_numbers) == sorted(numbers)


def test_synthetic_volumes_have_the_public_geometry_and_units() -> None:
    data = DataConfig(modality="ct", size=(4, 6, 8), spacing=(0.5, 0.5, 2.0))
    image = np.linspace(-1, 1, 4 * 6 * 8, dtype=np.float32).reshape(4, 6, 8)
    volume = from_grid(image, data)
    assert volume.voxels.dtype == np.int16
    assert (volume.voxels.min(), volume.voxels.max()) == (-1000, 1000)
    assert volume.spacing == (0.5, 0.5, 2.0)
    centre = grid_affine(data) @ [1.5, 2.5, 3.5, 1]
    assert np.allclose(centre, [0, 0, 0, 1])


@pytest.mark.parametrize("mask", [True, False])
def test_a_volume_survives_its_bytes(mask: bool) -> None:
    volume = _volume((5, 6, 7), mask=mask)
    again = Volume.from_bytes(volume.to_bytes())
    assert np.array_equal(again.voxels, volume.voxels)
    assert np.array_equal(again.affine, volume.affine)
    assert (again.mask is None) == (volume.mask is None)
    assert again.modality == volume.modality


def test_equal_volumes_give_equal_bytes() -> None:
    volume = Volume(np.ones((3, 4, 5), np.int16), np.eye(4), "ct", meta={"sex": "F", "kvp": 120})
    assert len({bytes(volume.to_bytes()) for _ in range(30)}) == 1


def test_a_volume_keeps_no_key_that_is_not_allowed() -> None:
    with pytest.raises(ValueError, match="patient_name"):
        Volume(np.zeros((2, 2, 2), np.int16), np.eye(4), "ct", meta={"patient_name": "A"})


def _with_organ(at: tuple[int, int, int], shape: tuple[int, int, int] = (40, 30, 20)) -> Volume:
    """A bright box of 4 x 4 x 4 voxels, labelled 2, whose first voxel is at `at`."""
    voxels, mask = np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
    where = tuple(slice(a, a + 4) for a in at)
    voxels[where], mask[where] = 1000.0, 2
    return Volume(voxels, np.diag([1.0, 1.0, 1.0, 1.0]), "ct", mask)


@pytest.mark.parametrize("crop", ["labels", "body"])
@pytest.mark.parametrize("at", [(0, 0, 0), (5, 6, 7), (18, 13, 8), (36, 26, 16)])
def test_the_organ_is_in_the_middle_or_as_near_as_the_image_reaches(
    crop: str, at: tuple[int, int, int]
) -> None:
    data = DataConfig(modality="ct", size=(8, 8, 8), label_scheme={"2": "organ"}, crop=crop,
                      window=(0, 1000))  # fmt: skip
    gridded = to_grid(_with_organ(at), data)
    expected = [
        2 if 2 <= first <= n - 6 else (first if first < 2 else first - (n - 8))
        for first, n in zip(at, (40, 30, 20), strict=True)
    ]
    assert gridded.mask is not None
    found = np.argwhere(gridded.mask == 1)
    assert len(found) == 64
    assert found.min(axis=0).tolist() == expected
    assert (gridded.image[gridded.mask == 1] == 1.0).all()


def test_only_labels_of_the_scheme_are_cropped_to() -> None:
    volume = _with_organ((5, 6, 7))
    assert volume.mask is not None
    volume.mask[39, 29, 19] = 7
    data = DataConfig(modality="ct", size=(8, 8, 8), label_scheme={"2": "organ"}, crop="labels")
    gridded = to_grid(volume, data)
    assert gridded.mask is not None
    assert np.argwhere(gridded.mask == 1).min(axis=0).tolist() == [2, 2, 2]
    other = DataConfig(modality="ct", size=(8, 8, 8), label_scheme={"9": "x"}, crop="labels")
    with pytest.raises(InputError, match="none of the labels"):
        to_grid(volume, other)


def test_a_crop_depends_on_nothing_but_its_scan() -> None:
    data = DataConfig(modality="ct", size=(8, 8, 8), label_scheme={"2": "organ"}, crop="labels")
    alone = to_grid(_with_organ((5, 6, 7)), data).image
    to_grid(_with_organ((30, 20, 10)), data)
    assert np.array_equal(to_grid(_with_organ((5, 6, 7)), data).image, alone)


def test_a_crop_needs_its_fit_and_its_labels() -> None:
    with pytest.raises(ValueError, match=r"data\.fit"):
        DataConfig(crop="body", fit="pad")
    with pytest.raises(ValueError, match=r"data\.labels"):
        DataConfig(crop="labels", labels=0)
