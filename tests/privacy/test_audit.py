"""The audit finds nothing in the engine, and finds every mutant of it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from medvae.privacy import DPTrainer, PoissonSampler, gaussian_release
from medvae.privacy import clipping as clipping_module
from medvae.privacy.audit import AuditReport, audit_engine
from medvae.privacy.clipping import PatientOptimizer
from medvae.privacy.lattice import Lattice


def audit(build=DPTrainer, one_shot=gaussian_release, trials: int = 300) -> AuditReport:
    return audit_engine(build, one_shot, coordinates=10_000, steps=5, trials=trials, seed=1)


@cache
def faultless() -> AuditReport:
    return audit()


def test_the_engine_passes_and_the_bounds_are_tight() -> None:
    report = faultless()
    assert report.passed, report.findings
    for name in ("one-shot mechanism", "DP-SGD"):
        assert 0.6 * report[name].claimed < report[name].epsilon_at_least < report[name].claimed
    assert report["DP-SGD, against others"].epsilon_at_least > 0
    assert report["DP-SGD, not a number"].epsilon_at_least == 0


def mutant(method: str, replacement) -> type[DPTrainer]:
    """A trainer whose optimizer has one method replaced."""
    broken = type("Broken", (PatientOptimizer,), {method: replacement})

    class Mutant(DPTrainer):
        def __init__(self, *args, **kwargs) -> None:
            super().__init__(*args, **kwargs)
            self._optimizer.__class__ = broken

    return Mutant


def no_noise(self) -> None:
    for parameter, total in zip(self.params, self.sums(), strict=True):
        parameter.grad = (total.double() * self._lattice.grid).to(parameter.dtype)


def half_noise(self) -> None:
    whole = self._lattice
    self._lattice = replace(whole, sigma=whole.sigma / 2)
    PatientOptimizer.add_noise(self)
    self._lattice = whole


def no_clipping(self) -> None:
    for parameter, total in zip(self.params, self.sums(), strict=True):
        steps = parameter.grad_sample.nan_to_num().sum(0).double() / self._lattice.grid
        total += steps.clamp(-(2.0**61), 2.0**61).long()


def realised_divisor(self) -> None:
    count = max(getattr(self, "patients_seen", 0), 1)
    self.patients_seen = 0
    for parameter in self.params:
        parameter.grad /= count


def counting(self) -> None:
    self.patients_seen = getattr(self, "patients_seen", 0) + len(self.params[0].grad_sample)
    PatientOptimizer.clip_and_accumulate(self)


def spoilt_by_nan(self) -> None:
    for parameter, total in zip(self.params, self.sums(), strict=True):
        for one in parameter.grad_sample:
            scaled = one / max(1.0, float(one.norm()) / self.max_grad_norm)
            total += (scaled.double() / self._lattice.grid).long()


class MeanOfTheBatch(DPTrainer):
    """Averages patients before clipping, as a batch-mean loss does."""

    def _collect(self, patients, loss, threads):
        given = list(patients)
        if given:
            mean = torch.stack(given).nan_to_num().mean(0)
            self._optimizer.accumulate(self._gradients(self.model, [mean], loss))
        return len(given), 0


class SkipsEmptyBatches(DPTrainer):
    def step(self, step, patients, loss):
        given = list(patients)
        if not given:
            self.steps_done += 1
            return None
        return super().step(step, given, loss)


MUTANTS = {
    "no noise": mutant("add_noise", no_noise),
    "half the noise": mutant("add_noise", half_noise),
    "no clipping": mutant("clip_and_accumulate", no_clipping),
    "not-a-numbers pass": mutant("clip_and_accumulate", spoilt_by_nan),
    "mean of the batch": MeanOfTheBatch,
    "empty batches skipped": SkipsEmptyBatches,
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_engine_is_found(name: str) -> None:
    report = audit(MUTANTS[name], trials=1600 if name == "mean of the batch" else 300)
    assert not report.passed
    # The one-shot mechanism is not to blame.
    assert report["one-shot mechanism"].passed


def silent(vectors, *, clip, mechanism, divisor, noise, dimension, step=0) -> np.ndarray:
    """A one-shot mechanism that adds no noise."""
    return sum(np.clip(v, -clip, clip) for v in vectors) / divisor


def coarse(vectors, *, clip, mechanism, divisor, noise, dimension, step=0) -> np.ndarray:
    """Format 1: normals on a lattice of their own, added to sums on a finer grid."""
    std = mechanism.noise_multiplier * clip
    normal = np.random.default_rng(step).standard_normal(dimension)
    normal = np.rint(normal * 2.0**20) * 2.0**-20
    grid = Lattice.of(mechanism.noise_multiplier, clip).grid
    total = sum((np.clip(v, -clip, clip) for v in vectors), np.zeros(dimension))
    return np.rint((total + std * normal) / grid) * grid / divisor


def weak(vectors, **arguments) -> np.ndarray:
    """Half of the noise."""
    planned = arguments["mechanism"]
    arguments["mechanism"] = replace(planned, noise_multiplier=planned.noise_multiplier / 2)
    return gaussian_release(vectors, **arguments)


@pytest.mark.parametrize("one_shot", [silent, coarse, weak])
def test_a_broken_one_shot_mechanism_is_found(one_shot) -> None:
    report = audit(one_shot=one_shot)
    assert not report.passed
    assert not (
        report["one-shot mechanism"].passed and report["lattice of one-shot mechanism"].passed
    )
    assert report["DP-SGD"].passed
    assert report["lattice of DP-SGD"].passed


def test_noise_of_dp_sgd_on_a_coarser_lattice_is_found() -> None:
    def coarse_noise(self) -> None:
        whole = self._lattice
        steps = self._noise.discrete_gaussian(
            self.sums()[0].numel(), whole.sigma / 64, stream="coarse", step=self.noise_step
        )
        for parameter, total in zip(self.params, self.sums(), strict=True):
            noisy = total + 64 * torch.from_numpy(steps).view(parameter.shape)
            parameter.grad = (noisy.double() * whole.grid).to(parameter.dtype)

    report = audit(mutant("add_noise", coarse_noise))
    assert report["DP-SGD"].passed
    assert not report["lattice of DP-SGD"].passed


def test_a_sampler_that_takes_more_than_it_says_is_found(monkeypatch) -> None:
    true = PoissonSampler.batch

    def generous(self, step: int) -> list[int]:
        # Seven patients of 500 more in every batch: a rate of .31 in the place of .3.
        return sorted({*true(self, step), *((7 * step + k) % self.patients for k in range(7))})

    monkeypatch.setattr(PoissonSampler, "batch", generous)
    assert not audit(trials=8)["Poisson sampling"].passed


def test_a_divisor_taken_from_the_batch_is_found() -> None:
    broken = type(
        "Broken",
        (PatientOptimizer,),
        {"clip_and_accumulate": counting, "scale_grad": realised_divisor},
    )

    class Mutant(DPTrainer):
        def __init__(self, *args, **kwargs) -> None:
            super().__init__(*args, **kwargs)
            self._optimizer.__class__ = broken

    assert not audit(Mutant, trials=1400)["DP-SGD, against others"].passed


def test_a_clip_norm_that_is_not_kept_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    true = clipping_module.clip_factors
    monkeypatch.setattr(
        clipping_module, "clip_factors", lambda norms, clip, kind: true(norms, 2 * clip, kind)
    )
    assert not audit().passed
