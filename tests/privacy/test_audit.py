"""The audit finds nothing in the engine, and finds every mutant of it."""

from __future__ import annotations

import math

import pytest
import torch

from medvae.privacy import DPTrainer
from medvae.privacy import clipping as clipping_module
from medvae.privacy.audit import AuditReport, audit_engine, one_run_bound
from medvae.privacy.clipping import PatientOptimizer


def audit(build=DPTrainer, trials: int = 600) -> AuditReport:
    return audit_engine(build, trials=trials, canaries=600, seed=1)


def test_the_engine_passes_and_the_bounds_say_something() -> None:
    report = audit()
    assert report.passed, report.findings
    assert 0 < report.canaries["alone"] < report.claimed
    assert 0 < report.canaries["against the others"] < report.claimed
    assert report.canaries["not a number"] == 0
    assert 0 <= report.one_run < report.claimed_run
    assert report.to_dict()["passed"] is True


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
        parameter.grad = total.to(parameter.dtype)


def half_noise(self) -> None:
    self.noise_multiplier /= 2
    PatientOptimizer.add_noise(self)
    self.noise_multiplier *= 2


def no_clipping(self) -> None:
    for parameter, total in zip(self.params, self.sums(), strict=True):
        total += parameter.grad_sample.nan_to_num().sum(0)


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
            total += one / max(1.0, float(one.norm()) / self.max_grad_norm)


class MeanOfTheBatch(DPTrainer):
    """Averages patients before clipping, as a batch-mean loss does."""

    def _collect(self, patients, loss):
        given = list(patients)
        if given:
            self._accumulate([torch.stack(given).nan_to_num().mean(0)], loss)
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
    report = audit(MUTANTS[name])
    assert not report.passed
    assert report.findings


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

    assert any("against the others" in finding for finding in audit(Mutant, 1400).findings)


def test_a_clip_norm_that_is_not_kept_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    true = clipping_module.clip_factors
    monkeypatch.setattr(
        clipping_module, "clip_factors", lambda norms, clip, kind: true(norms, 2 * clip, kind)
    )
    assert not audit().passed


@pytest.mark.parametrize("accuracy", [0.5, 0.6, 0.73, 0.9, 1.0])
def test_the_one_run_bound_is_below_what_guessing_that_well_takes(accuracy: float) -> None:
    # Guessing right at rate p takes epsilon log(p / (1 - p)) under pure DP.
    bound = one_run_bound(2000, 1000, int(1000 * accuracy), 1e-9)
    truth = math.log(accuracy / (1 - accuracy)) if accuracy < 1 else math.inf
    assert 0 <= bound <= truth
    assert bound > 0.6 * truth - 0.35 or accuracy in (0.5, 1.0)
    if accuracy == 1.0:
        assert bound > 3
