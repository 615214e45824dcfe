"""Orientation of label boundaries: measured in patients, and samples rotated to it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medvae.atlas import Atlas, fit, intensity, scales, spectrum
from medvae.atlas.boundary_orientation import (
    MIN_ALIGNMENT,
    STATISTICS,
    boundary_count,
    estimate,
    mean_normal,
    mean_normals,
    rotate_to,
    statistics,
)
from medvae.atlas.displacement import warp
from medvae.atlas.features import label_map, shape_channels
from medvae.atlas.registration import registrar
from medvae.atlas.shrinkage import shells
from medvae.grid import Gridded
from tests.atlas.cohorts import SIZE, Cohort, Recorder, config

POINTS = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in SIZE), indexing="ij"))
BODY = (POINTS[0] / 6) ** 2 + (POINTS[1] / 10) ** 2 + (POINTS[2] / 7) ** 2 < 1


def cut(
    normal: tuple[float, float, float], body: np.ndarray = BODY, offset: float = 0.2
) -> np.ndarray:
    """A body that a plane with this normal divides into labels 1 and 2."""
    beyond = np.tensordot(np.array(normal), POINTS, axes=1) > offset
    return np.where(body, np.where(beyond, 2, 1), 0).astype(np.uint8)


@given(x=st.floats(-0.4, 0.4), z=st.floats(-0.4, 0.4), order=st.permutations([0, 1, 2]))
def test_a_plane_has_its_own_normal_on_any_axis(x, z, order):
    normal = np.array([x, 1.0, z]) / np.linalg.norm([x, 1.0, z])
    measured = mean_normal(cut(tuple(normal)), 1)
    assert np.linalg.norm(measured.vector) == pytest.approx(1.0, abs=0.05)
    assert np.abs(measured.vector - normal).max() < 0.12
    assert np.abs(measured.centre - (np.array(SIZE) - 1) / 2).max() < 1.0
    # The other label has the opposite normal, and all axes are treated alike.
    assert np.allclose(mean_normal(cut(tuple(normal)), 2).vector, -measured.vector)
    transposed = mean_normal(cut(tuple(normal)).transpose(order), 1)
    assert np.allclose(transposed.vector, measured.vector[order])
    assert np.allclose(transposed.centre, measured.centre[order])


def test_a_closed_or_missing_boundary_has_no_normal():
    core = ((POINTS / 3) ** 2).sum(axis=0) < 1
    shell = np.where(BODY, np.where(core, 1, 2), 0).astype(np.uint8)
    assert not mean_normal(shell, 1).vector.any()
    # A boundary that is open on one side has a short normal, and is not rotated either.
    core = (POINTS[0] / 5) ** 2 + (POINTS[1] / 6) ** 2 + ((POINTS[2] - 3) / 4.5) ** 2 < 1
    open_shell = np.where(BODY, np.where(core, 1, 2), 0).astype(np.uint8)
    assert 0 < np.linalg.norm(mean_normal(open_shell, 1).vector) < MIN_ALIGNMENT
    for mask in (np.zeros(SIZE, np.uint8), BODY.astype(np.uint8)):
        assert not mean_normal(mask, 1).vector.any()
        assert not statistics(mask, np.array([[0.0, 1.0, 0.0]])).any()
    target = np.array([[0.0, 0.6, -0.8, 0.0]])
    for closed in (shell, open_shell):
        unchanged = rotate_to(shape_channels(closed, 2), closed, target, np.zeros((1, 4)))
        assert np.array_equal(unchanged, closed)


def test_mean_and_std_of_patients_follow_from_their_statistics():
    reference = np.array([[0.3, 0.9, 0.2]])
    masks = [cut((x, 1.0, 0.0)) for x in (-0.3, 0.0, 0.3, 0.1)]
    normals = np.array([mean_normal(mask, 1).vector for mask in masks])
    row = estimate(reference, np.mean([statistics(mask, reference) for mask in masks], axis=0))[0]
    assert np.allclose(row[:3], normals.mean(axis=0))
    assert row[3] == pytest.approx(np.sqrt(normals.var(axis=0).sum()))


@pytest.mark.parametrize("tilt", [(0.3, 0.9, 0.2), (-0.5, 0.8, 0.0), (0.0, 0.9, -0.4)])
def test_a_boundary_is_rotated_about_its_centre_and_the_union_stays(tilt):
    mask = cut(tilt)
    before = mean_normal(mask, 1)
    target, sampled = np.array([[0.0, 1.0, 0.0, 0.0]]), np.array([[*before.vector, 0.1]])
    rotated = rotate_to(shape_channels(mask, 2), mask, target, sampled)
    after = mean_normal(rotated, 1)
    assert np.array_equal(rotated > 0, mask > 0)
    assert np.abs(after.vector / np.linalg.norm(after.vector) - [0.0, 1.0, 0.0]).max() < 0.06
    assert np.abs(after.centre - before.centre).max() < 0.6
    assert abs(int((rotated == 1).sum()) - int((mask == 1).sum())) < 0.03 * BODY.sum()


def test_samples_keep_the_variation_that_patients_have():
    mask = cut((0.3, 1.0, 0.0))
    own = mean_normal(mask, 1).vector
    sampled = np.array([[0.0, 1.0, 0.0, 0.2]])
    for std, fraction in ((0.0, 0.0), (0.1, 0.5), (0.4, 1.0)):
        target = np.array([[0.0, 1.0, 0.0, std]])
        rotated = rotate_to(shape_channels(mask, 2), mask, target, sampled)
        assert mean_normal(rotated, 1).vector[0] == pytest.approx(fraction * own[0], abs=0.09)


def patient(rng: np.random.Generator) -> Gridded:
    """A body in a random pose, cut in the plane of the protocol."""
    angle = rng.normal(0, 0.3)
    x = np.cos(angle) * POINTS[0] - np.sin(angle) * POINTS[1]
    y = np.sin(angle) * POINTS[0] + np.cos(angle) * POINTS[1]
    body = (x / 5) ** 2 + (y / 9) ** 2 + (POINTS[2] / 6) ** 2 < 1
    image = np.where(body, 0.6, -0.4) + 0.02 * POINTS[2] + rng.normal(0, 0.05, SIZE)
    return Gridded(np.clip(image, -1, 1).astype(np.float32), cut((0.0, 1.0, 0.0), body))


PATIENTS = Cohort([[patient(np.random.default_rng([5, i]))] for i in range(12)])


@pytest.fixture(scope="module")
def tilted() -> Atlas:
    """An atlas with a template that is tilted, as by noise, and correct statistics."""
    atlas = fit(PATIENTS, Recorder(len(PATIENTS)), config())
    template = atlas.template.copy()
    template[2] += 0.05 * POINTS[0]
    return dataclasses.replace(atlas, template=template)


def tilts(atlas: Atlas) -> np.ndarray:
    """[20, 2] components of samples' normals across that of the protocol."""
    masks = [atlas.sample(np.random.default_rng(i)).mask for i in range(20)]
    return np.array([mean_normal(mask, 1).vector for mask in masks])[:, [0, 2]]


def test_sampled_boundaries_have_the_patients_orientation(tilted):
    normals = [mean_normal(PATIENTS.volumes(i)[0].mask, 1).vector for i in range(12)]
    assert np.abs(tilted.boundary_normals[0, :3] - np.mean(normals, axis=0)).max() < 0.05
    assert tilted.boundary_normals[0, 3] < 0.15
    unrotated = dataclasses.replace(tilted, boundary_normals=np.zeros((0, STATISTICS)))
    before, after = (np.sqrt((tilts(atlas) ** 2).mean()) for atlas in (unrotated, tilted))
    assert before > 0.15
    assert after < 0.4 * before


def test_the_measured_std_is_that_of_the_patients():
    normals = [(x, 1.0, 0.0) for x in (-0.35, -0.2, 0.0, 0.2, 0.35, -0.3, 0.3)]
    varied = [dataclasses.replace(bodies(1)[0], mask=cut(normal)) for normal in normals]
    measured = np.array([mean_normal(volume.mask, 1).vector for volume in varied])
    atlas = fit(Cohort([[volume] for volume in varied]), Recorder(len(varied)), config())
    assert np.abs(atlas.boundary_normals[0, :3] - measured.mean(axis=0)).max() < 0.05
    std = np.sqrt(measured.var(axis=0).sum())
    assert atlas.boundary_normals[0, 3] == pytest.approx(std, rel=0.1)


def test_statistics_survive_measurement_without_noise():
    basis = registrar(SIZE).basis
    code = scales.ScaleCode(basis, SIZE, boundaries=2)
    orientation = np.array([0.2, -0.1, 0.05, 0.06, -0.3, 0.0, 0.1, 0.11])
    deformation = np.ones(len(shells(basis.frequency)))
    residual = np.full(spectrum.SHELLS, 0.1)
    grey = np.full(intensity.COUNT, 1e-3)
    vector = code.encode(scales.Scales(deformation, residual, grey, 1.05, orientation))
    assert np.allclose(code.decode(vector, 0.0).orientation, orientation)
    under_noise = code.decode(vector, 1e6).orientation
    assert np.allclose(under_noise, np.tile([0.0, 0.0, 0.0, scales.NORMAL_SQUARE], 2), atol=1e-6)


def test_under_strong_noise_the_normals_are_the_templates():
    atlas = fit(PATIENTS, Recorder(len(PATIENTS), noise=500.0, seed=1), config())
    deformed = label_map(warp(atlas.template[1:], atlas.basis.synthesise(atlas.centre)))
    assert np.abs(atlas.boundary_normals[:, :3] - mean_normals(deformed, 1)).max() < 0.02
    assert atlas.boundary_normals[0, 3] == pytest.approx(np.sqrt(scales.NORMAL_SQUARE), abs=0.02)


def test_with_many_labels_no_boundary_is_measured_or_rotated():
    assert [boundary_count(labels) for labels in (0, 1, 2, 5, 6, 100)] == [0, 0, 1, 4, 0, 0]
    volumes = [dataclasses.replace(body, mask=many_labels(body.mask)) for body in bodies(3)]
    atlas = fit(Cohort([[volume] for volume in volumes]), Recorder(3), config(labels=8))
    assert atlas.boundary_normals.shape == (0, STATISTICS)
    field = atlas.sample_field(np.random.default_rng(3))
    unrotated = label_map(warp(atlas._shapes, field))
    assert np.array_equal(atlas.mask_from_template(field), unrotated)
    stored = Atlas.from_tensors(atlas.to_tensors())
    assert stored.boundary_normals.shape == atlas.boundary_normals.shape


def bodies(count: int) -> list[Gridded]:
    """Volumes of the first patients."""
    return [PATIENTS.volumes(i)[0] for i in range(count)]


def many_labels(mask: np.ndarray) -> np.ndarray:
    """The body in eight slices."""
    slices = np.clip((POINTS[1] + 8) // 2, 0, 7).astype(np.uint8) + 1
    return np.where(mask > 0, slices, 0).astype(np.uint8)


def test_an_atlas_of_format_2_rotates_nothing(tilted):
    stored = tilted.to_tensors()
    del stored["facing"]
    stored["facts"] = np.frombuffer(b'{"format": 2}', np.uint8)
    migrated = Atlas.from_tensors(stored)
    field = migrated.sample_field(np.random.default_rng(3))
    unrotated = label_map(warp(migrated._shapes, field))
    assert np.array_equal(migrated.mask_from_template(field), unrotated)
    assert not np.array_equal(tilted.mask_from_template(field), unrotated)
