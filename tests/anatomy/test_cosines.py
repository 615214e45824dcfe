"""The displacement's functions: separable, whitened by one law, without an affine part."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medvae.anatomy.registration import Box, CosineBasis
from medvae.anatomy.registration.cosines import CORNER_MM, RMS_MM
from tests.anatomy.phantoms import BOX, CPU


def test_the_count_depends_on_the_box_and_not_on_voxels():
    head = Box((-92.0, -124.0, -128.0), (184.0, 248.0, 256.0))
    assert len(CosineBasis(head, 1 / 50)) == 499
    assert len(CosineBasis(BOX, 0.0)) == 0


@pytest.mark.parametrize("spacing", [4.0, 7.0])
def test_transpose_is_the_adjoint(spacing):
    basis, rng = CosineBasis(BOX, 1 / 40), np.random.default_rng(0)
    synthesis = basis.on(BOX.grid(spacing), CPU)
    z = torch.from_numpy(rng.standard_normal((3, synthesis.count)))
    field = torch.from_numpy(rng.standard_normal((3, *BOX.grid(spacing).shape))).float()
    one = float((synthesis.field(z).double() * field.double()).sum())
    other = float((z * synthesis.transpose(field)).sum())
    assert one == pytest.approx(other, rel=1e-4)


def test_cosines_have_no_affine_part():
    basis = CosineBasis(BOX, 1 / 40)
    grid = BOX.grid(2.0)
    synthesis = basis.on(grid, CPU)
    rng = np.random.default_rng(1)
    z = torch.from_numpy(rng.standard_normal((3, synthesis.count)))
    z[:, :4] = 0.0
    field = synthesis.field(z).reshape(3, -1).double().numpy()
    points = grid.centres(CPU).reshape(3, -1).double().numpy()
    design = np.vstack([np.ones(points.shape[1]), points]).T
    affine, *_ = np.linalg.lstsq(design, field.T, rcond=None)
    assert np.abs(design @ affine).max() < 0.02 * np.abs(field).max()


def test_affine_modes_are_affine_of_mean_square_one():
    grid = BOX.grid(2.0)
    synthesis = CosineBasis(BOX, 1 / 40).on(grid, CPU)
    for mode in range(4):
        z = torch.zeros((3, synthesis.count), dtype=torch.float64)
        z[0, mode] = 1.0
        field = synthesis.field(z)[0].double()
        assert float((field**2).mean()) == pytest.approx(1.0, abs=1e-3)
        if mode:
            steps = torch.diff(field, dim=mode - 1)
            assert float(steps.std()) < 1e-5


def test_one_law_holds_in_every_box():
    # Rms displacement within a band of frequencies is the law's, whatever box carries it.
    def rms(edge: float, low: float, high: float) -> float:
        basis = CosineBasis(Box((0.0, 0.0, 0.0), (edge, edge, edge)), high)
        return float(np.sqrt((basis.std[basis.frequencies > low] ** 2).sum()))

    def law(low: float, high: float) -> float:
        t = np.array([low, high]) * CORNER_MM
        part = np.diff((t / np.sqrt(1.0 + t**2)) ** 3)[0]
        return float(RMS_MM * np.sqrt(part))

    for edge in (150.0, 300.0):
        assert rms(edge, 1 / 80, 1 / 30) == pytest.approx(law(1 / 80, 1 / 30), rel=0.15)


def test_a_grid_of_another_box_is_refused():
    with pytest.raises(ValueError, match="same box"):
        CosineBasis(BOX, 1 / 40).on(Box((0.0, 0.0, 0.0), (9.0, 9.0, 9.0)).grid(1.0), CPU)
