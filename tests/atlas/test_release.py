"""Every mechanism: its sensitivity to one patient, and that the atlas depends on nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from medvae.atlas import fit, mechanisms
from medvae.atlas.budget import CORRELATION
from medvae.atlas.deformation import CorrelationCode
from medvae.grid import Gridded
from tests.atlas.cohorts import Cohort, Recorder, anatomy, cohort, config, planned


class _Removed:
    """The cohort without one patient's vectors (zero-out adjacency)."""

    def __init__(self, whole: Cohort, without: int) -> None:
        self.whole, self.without = whole, without

    def __len__(self) -> int:
        return len(self.whole)

    def volumes(self, index: int) -> list[Gridded]:
        return [] if index == self.without else self.whole.volumes(index)


def test_shares_sum_to_one_and_are_public():
    for epsilon in (0.5, 3.0, 8.0):
        for patients in (1, 80, 5000):
            shares = mechanisms(config(2, epsilon), True, patients)
            assert sum(share for _, share in shares) == pytest.approx(1.0)
            assert len({name for name, _ in shares}) == len(shares)


def test_fit_uses_exactly_the_planned_mechanisms(fitted):
    _, recorder = fitted
    assert [name for name, _, _ in recorder.calls] == planned()


@pytest.mark.parametrize("without", [0, 2])
def test_removing_a_patient_changes_each_noisy_mean_by_at_most_the_clip_over_n(fitted, without):
    _, recorder = fitted
    neighbour = Recorder(divisor=6)
    neighbour.frozen = recorder.results
    fit(_Removed(cohort(), without), neighbour, config())
    for name, clip, _ in recorder.calls:
        change = np.linalg.norm(recorder.results[name] - neighbour.results[name])
        assert 0 < change <= clip / 6 * (1 + 1e-9), name


def test_an_outlier_changes_each_noisy_mean_by_at_most_twice_the_clip_over_n(fitted):
    _, recorder = fitted
    patients = cohort()
    patients.patients[0] = [anatomy(np.random.default_rng(9), shift=8.0)]
    neighbour = Recorder(divisor=6)
    neighbour.frozen = recorder.results
    fit(patients, neighbour, config())
    for name, clip, _ in recorder.calls:
        change = np.linalg.norm(recorder.results[name] - neighbour.results[name])
        assert change <= 2 * clip / 6 * (1 + 1e-9), name


def test_a_patients_volumes_count_as_one(fitted):
    _, recorder = fitted
    patients = cohort()
    patients.patients = [volumes * 3 for volumes in patients.patients]
    again = Recorder(divisor=6)
    fit(patients, again, config())
    for name in planned():
        assert np.allclose(recorder.results[name], again.results[name], atol=1e-9), name


def test_the_atlas_is_a_function_of_the_noisy_means_alone(fitted):
    atlas, recorder = fitted
    replay = Recorder(divisor=6)
    replay.frozen = recorder.results
    other = fit(cohort(seed=5), replay, config())
    for name, values in atlas.to_tensors().items():
        assert np.array_equal(values, other.to_tensors()[name]), name


def test_the_norm_of_a_correlation_vector_is_the_squared_norm():
    code = CorrelationCode()
    z = np.random.default_rng(0).standard_normal((3, 20))
    low = z[:, : code.functions]
    assert np.linalg.norm(code.encode(z)) * code.size == pytest.approx((low**2).sum())
    assert CORRELATION in planned(patients=200)
