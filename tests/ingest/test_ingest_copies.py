"""Copies of a scan are found, scans of different people are not taken for copies."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from medvae import ingest
from medvae.ingest import likeness
from medvae.ingest.likeness import (
    COARSE,
    EXTREME,
    FINE,
    IS_COPY,
    MAY_BE_COPY,
    blocks,
    correlation,
    invariants,
    orientations,
    packed,
    sizes,
    unpacked,
)

SHAPES = st.tuples(*[st.integers(1, 20)] * 3)


def scan(seed: int, shape: tuple[int, int, int] = (40, 48, 36)) -> np.ndarray:
    """Smooth anatomy with fine noise."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), 4)
    return np.rint(500 + 200 * smooth / smooth.std() + rng.normal(0, 20, shape)).astype(np.int16)


def is_copy(image: np.ndarray, other: np.ndarray) -> bool:
    first, second = (unpacked(packed(blocks(v, COARSE))) for v in (image, other))
    if correlation(first, second) <= MAY_BE_COPY:
        return False
    return correlation(blocks(image, FINE), blocks(other, FINE)) > IS_COPY


def bright_voxel(voxels: np.ndarray) -> np.ndarray:
    changed = voxels.astype(np.float32)
    changed[5, 6, 7] = 1e9
    return changed


def other_voxel(voxels: np.ndarray) -> np.ndarray:
    changed = voxels.copy()
    changed[5, 6, 7] += 1
    return changed


@pytest.mark.parametrize(
    "change",
    [
        other_voxel,
        bright_voxel,
        lambda v: 2 * v + 1,
        lambda v: -v,
        lambda v: v.astype(np.float32) * 0.01,
        lambda v: v[::-1],
        lambda v: np.transpose(v[:, ::-1], (2, 0, 1)),
        lambda v: v.astype(np.float32) + np.random.default_rng(0).normal(0, 5, v.shape),
        lambda v: np.repeat(v, 2, axis=0),
        lambda v: np.where(np.arange(v.size).reshape(v.shape) == 7, np.nan, v.astype(np.float32)),
    ],
    ids=[
        "voxel",
        "bright",
        "linear",
        "negative",
        "float",
        "flip",
        "axes",
        "noise",
        "resampled",
        "nan",
    ],
)
def test_a_copy_is_found(change) -> None:
    voxels = scan(1)
    assert is_copy(voxels, change(voxels))
    assert not is_copy(scan(2), change(voxels))


def test_blocks_are_the_means_of_blocks() -> None:
    voxels = scan(1, (16, 24, 40))
    usual = np.clip(voxels, *np.quantile(voxels, [EXTREME, 1 - EXTREME]))
    means = usual.reshape(8, 2, 8, 3, 8, 5).mean(axis=(1, 3, 5))
    expected = (means - means.mean()) / np.linalg.norm(means - means.mean())
    assert np.allclose(blocks(voxels, 8), expected, atol=1e-6)


@given(
    hnp.arrays(
        np.float32,
        SHAPES,
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    )
)
def test_any_voxels_have_finite_blocks(voxels: np.ndarray) -> None:
    for edge in (COARSE, FINE):
        cube = blocks(voxels, edge)
        assert np.isfinite(cube).all()
        assert float(np.linalg.norm(cube)) in (0.0, pytest.approx(1.0, abs=1e-4))
        assert np.isfinite(unpacked(packed(blocks(voxels, COARSE)))).all()


def test_flat_scans_are_copies_of_nothing() -> None:
    flat = np.full((4, 5, 6), 7, np.int16)
    assert not is_copy(flat, flat)


def test_orientations_are_all_that_a_cube_has() -> None:
    cube = np.arange(27, dtype=np.float32).reshape(3, 3, 3)
    assert len(np.unique(orientations(cube), axis=0)) == 48


@pytest.mark.parametrize("edge", [3, COARSE])
def test_invariants_are_the_same_in_every_orientation_and_near_where_copies_are(edge: int) -> None:
    rng = np.random.default_rng(edge)
    for share in (0.0, 0.02, 0.1, 1.0, 10.0):
        one = rng.normal(size=(edge,) * 3)
        other = one + share * rng.normal(size=one.shape)
        first, second = (v - v.mean() for v in (one, other))
        first, second = first / np.linalg.norm(first), second / np.linalg.norm(second)
        mine = invariants(first)
        assert np.linalg.norm(mine) == pytest.approx(1.0, abs=1e-5)
        for turned in orientations(second.astype(np.float32)):
            cube = turned.reshape(second.shape)
            for sign in (1, -1):
                found = invariants(sign * cube)
                assert np.allclose(found, invariants(second), atol=1e-5)
                assert float(mine @ found) >= correlation(first, cube) - 1e-5
                assert sizes(mine) @ sizes(found) >= mine @ found - 1e-5
    if edge == COARSE:  # those of unlike cubes are unlike: few of them are looked at again
        assert float(mine @ found) < MAY_BE_COPY - 0.05
        assert float(sizes(mine) @ sizes(found)) < MAY_BE_COPY


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mri_hippocampus", "ct_lung_nodule", "mri_cardiac_acdc"])
def test_no_two_people_are_taken_for_one(real_data: Path, name: str) -> None:
    folder = real_data / name
    cubes: dict[str, list[np.ndarray]] = {}
    for item in ingest.read([folder], modality="ct" if name.startswith("ct") else "mri"):
        if isinstance(item, ingest.Ingested):
            cubes.setdefault(item.subject, []).append(blocks(item.volume.voxels, COARSE))
        if len(cubes) == 60:
            break
    largest = max(
        correlation(one, other)
        for first, second in itertools.combinations(cubes.values(), 2)
        for one in first
        for other in second
    )
    assert largest < MAY_BE_COPY


@pytest.mark.parametrize("edge", [COARSE, FINE])
@pytest.mark.parametrize("shape", [(35, 51, 33), (9, 8, 40), (64, 32, 70)])
def test_blocks_of_whole_numbers_are_those_of_the_same_fractions(
    shape: tuple[int, int, int], edge: int
) -> None:
    draw = np.random.default_rng(0)
    for voxels in (
        draw.integers(-32768, 32768, shape).astype(np.int16),
        draw.gamma(2, 50, shape).astype(np.int16),
        draw.integers(0, 256, shape).astype(np.uint8),
    ):
        fractions = blocks(voxels.astype(np.float64), edge)
        np.testing.assert_allclose(blocks(voxels, edge), fractions, rtol=0, atol=1e-7)
        assert np.abs(fractions).max() > 0


@pytest.mark.parametrize("count", [1, 2, 3, 250, 251, 1001])
def test_ends_of_whole_numbers_are_the_quantiles(count: int) -> None:
    values = np.random.default_rng(count).integers(-9, 9, count).astype(np.int16) ** 3
    ends = (EXTREME, 1 - EXTREME)
    np.testing.assert_allclose(likeness._quantiles(values), np.quantile(values, ends), rtol=1e-12)
