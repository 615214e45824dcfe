"""What estimates are worth: factors the right way round, noise in the right units, sizes compared
with the template that draws are made from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from medvae.atlas import intensity
from medvae.atlas.basis import pack
from medvae.atlas.classes import ClassCode, Classes
from medvae.atlas.features import channels
from medvae.atlas.fit import _scales
from medvae.atlas.motion import Covariance
from medvae.atlas.refinement import Refinement
from medvae.atlas.study import Study, registrar
from medvae.grid import Gridded
from medvae.progress import SILENT
from tests.atlas.cohorts import SIZE, Recorder, anatomy, cohort, config


def test_a_covariance_factor_times_its_transpose_is_the_covariance() -> None:
    """Draws are F z, whose covariance is F F', not F' F."""
    code = Covariance(2)
    rng = np.random.default_rng(0)
    mixed = np.eye(code.size) + 0.4 * rng.normal(size=(code.size, code.size))
    scale = np.sqrt(np.diag(mixed @ mixed.T))
    true = mixed @ mixed.T / np.outer(scale, scale)
    factor = code.decode(pack(true) / code.size, 0.0)
    assert np.abs(factor.T @ factor - true).max() > 0.1
    np.testing.assert_allclose(factor @ factor.T, true, atol=1e-9)


def test_the_image_of_a_refinement_is_shrunk_in_its_own_unit() -> None:
    """What the image is multiplied by in the vector changes neither signal nor noise."""
    template = channels(anatomy(np.random.default_rng(0), shift=0.0), 2)
    noise = 0.02
    weighed = Refinement.plan(template, noise, 0.12, sharp=False)
    assert weighed.root != pytest.approx(1.0)
    plain = replace(weighed, root=1.0)
    vector = 0.05 * np.random.default_rng(1).standard_normal(weighed.dimension)
    scaled = vector.copy()
    scaled[: weighed.image.dimension] *= weighed.root
    wanted = plain.decode(vector, noise)[0]
    assert np.abs(wanted).max() > 0
    np.testing.assert_allclose(weighed.decode(scaled, noise * weighed.root)[0], wanted, atol=1e-12)


def test_a_class_is_shrunk_by_the_noise_of_all_classes() -> None:
    """Its mean less everybody's carries the noise of its own row and of all the others."""
    share, noise = np.array([0.6, 0.25, 0.15]), 0.01
    code = ClassCode.plan(SIZE, registrar(SIZE).basis, 3, noise)
    count, root = np.sqrt(code.parts[0]), np.sqrt(code.parts[3])
    unit = 0.25 / root
    rng = np.random.default_rng(0)
    rows = noise * rng.standard_normal((40_000, 3))
    apart = (rows / share - rows.sum(axis=1, keepdims=True)) * unit
    expected = intensity.BETWEEN**2 / (intensity.BETWEEN**2 + apart.var(axis=0)[:, None])
    released = np.zeros((3, code.dimension // 3))
    released[:, 0] = count * share
    released[:, -intensity.COUNT :] = signal = 0.02 * rng.standard_normal((3, intensity.COUNT))
    plain = (signal / share[:, None] - signal.sum(axis=0)) * unit
    found = code.decode(released.ravel(), noise).grey / plain
    assert expected.min() < 0.9
    np.testing.assert_allclose(found, expected, rtol=0.02)


def test_sizes_are_compared_with_the_template_at_the_released_centre() -> None:
    """A template whose labels are too small says so, although registration makes up for it."""
    patients = cohort(4)
    middle = anatomy(np.random.default_rng(0), shift=0.0)
    assert middle.mask is not None
    small = np.where(ndimage.binary_erosion(middle.mask > 0), middle.mask, 0).astype(np.uint8)
    template = channels(Gridded(middle.image, small), 2)
    study = Study(patients, config(), SILENT)
    basis = study.registrar.basis
    found = _scales(
        study,
        Recorder(divisor=4),
        template,
        np.zeros((3, len(basis))),
        np.zeros(intensity.COUNT),
        Classes.none(SIZE, len(basis)),
    )
    # The clip takes some of so large a difference.
    assert found.size > 1.08
