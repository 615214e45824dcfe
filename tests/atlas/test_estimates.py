"""Estimates: orientation of factors, units of noise, and the template that sizes refer to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from medvae.atlas import intensity
from medvae.atlas.basis import pack
from medvae.atlas.classes import ClassCode, Classes
from medvae.atlas.deformation import CorrelationCode
from medvae.atlas.features import channels
from medvae.atlas.fit import _scales
from medvae.atlas.fit_state import FitState
from medvae.atlas.refinement import Refinement
from medvae.atlas.registration import registrar
from medvae.grid import Gridded
from medvae.progress import SILENT
from tests.atlas.cohorts import SIZE, Recorder, anatomy, cohort, config


def test_a_covariance_factor_times_its_transpose_is_the_covariance() -> None:
    """Samples are F z, whose covariance is F F', not F' F."""
    code = CorrelationCode(2)
    rng = np.random.default_rng(0)
    mixed = np.eye(code.size) + 0.4 * rng.normal(size=(code.size, code.size))
    scale = np.sqrt(np.diag(mixed @ mixed.T))
    true = mixed @ mixed.T / np.outer(scale, scale)
    factor = code.decode(pack(true) / code.size, 0.0)
    assert np.abs(factor.T @ factor - true).max() > 0.1
    np.testing.assert_allclose(factor @ factor.T, true, atol=1e-9)


def test_the_image_of_a_refinement_is_shrunk_in_its_own_unit() -> None:
    """The scale of the image in the vector changes neither signal nor noise."""
    template = channels(anatomy(np.random.default_rng(0), shift=0.0), 2)
    noise = 0.02
    code = Refinement.plan(template, noise, 0.12, sharp=False)
    assert code.image_scale != pytest.approx(1.0)
    vector = 0.05 * np.random.default_rng(1).standard_normal(code.dimension)
    expected = replace(code, image_scale=1.0).decode(vector, noise)[0]
    scaled = vector.copy()
    scaled[: code.image.dimension] *= code.image_scale
    image = code.decode(scaled, noise * code.image_scale)[0]
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(image, expected, atol=1e-12)


def test_a_class_is_shrunk_by_the_noise_of_all_classes() -> None:
    """Its mean less the sum over classes has the noise of its own row and of all others."""
    share, noise = np.array([0.6, 0.25, 0.15]), 0.01
    code = ClassCode.plan(SIZE, registrar(SIZE).basis, 3, noise)
    count, root = np.sqrt(code.parts[0]), np.sqrt(code.parts[3])
    unit = 0.25 / root
    rng = np.random.default_rng(0)
    rows = noise * rng.standard_normal((40_000, 3))
    differences = (rows / share - rows.sum(axis=1, keepdims=True)) * unit
    noise_var = differences.var(axis=0)[:, None]
    expected = intensity.VOLUME_STD**2 / (intensity.VOLUME_STD**2 + noise_var)
    noisy = np.zeros((3, code.dimension // 3))
    noisy[:, 0] = count * share
    noisy[:, -intensity.COUNT :] = signal = 0.02 * rng.standard_normal((3, intensity.COUNT))
    unshrunk = (signal / share[:, None] - signal.sum(axis=0)) * unit
    shrinkage = code.decode(noisy.ravel(), noise).grey / unshrunk
    assert expected.min() < 0.9
    np.testing.assert_allclose(shrinkage, expected, rtol=0.02)


def test_sizes_are_compared_with_the_template_at_the_released_centre() -> None:
    """Labels that are too small show in the size, although registration compensates for them."""
    patients = cohort(4)
    typical = anatomy(np.random.default_rng(0), shift=0.0)
    assert typical.mask is not None
    small = np.where(ndimage.binary_erosion(typical.mask > 0), typical.mask, 0).astype(np.uint8)
    template = channels(Gridded(typical.image, small), 2)
    state = FitState(patients, config(), SILENT)
    basis = state.registrar.basis
    mean_scales = _scales(
        state,
        Recorder(divisor=4),
        template,
        np.zeros((3, len(basis))),
        np.zeros(intensity.COUNT),
        Classes.none(SIZE, len(basis)),
    )
    # The clip shortens so large a difference.
    assert mean_scales.size > 1.08
