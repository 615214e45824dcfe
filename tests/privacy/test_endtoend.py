"""The end-to-end attack of the benchmark: at chance against the product, certain of its mutants."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from medvae.privacy import gaussian_release
from medvae.privacy.clipping import PatientOptimizer

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import privacy_endtoend as endtoend


def silent(vectors, *, clip, mechanism, divisor, noise, dimension, step=0, **_) -> np.ndarray:
    norms = [(v, max(float(np.linalg.norm(np.nan_to_num(v))) / clip, 1.0)) for v in vectors]
    return sum((np.nan_to_num(v) / n for v, n in norms), np.zeros(dimension)) / divisor


def silent_in_one(vectors, **arguments) -> np.ndarray:
    one = silent if arguments["mechanism"].name == "atlas-intensity" else gaussian_release
    return one(vectors, **arguments)


def test_the_product_passes_and_every_mechanism_is_attacked() -> None:
    found = endtoend.attack(8)
    names = {one.name for one in endtoend.plan_of(endtoend.configuration()).mechanisms}
    assert {name.split(" ")[0] for name in found["sizes"]} == names
    assert found["same_public_facts"]
    assert found["passed"], found
    # The patient tells in each mechanism, is as large as the clip allows in most, never larger.
    sizes = np.array(list(found["sizes"].values()))
    assert (sizes > 0.1).all(), found["sizes"]
    assert (sizes <= 1).all()
    assert np.median(sizes) > 0.8


def test_a_training_without_noise_is_found() -> None:
    mechanisms = set(endtoend.run(False, 0).rest) - {"finetune 0", "finetune 1"}
    assert set(endtoend.too_quiet([endtoend.run(False, 0, silent)])) == mechanisms


def test_one_mechanism_without_noise_is_found() -> None:
    assert endtoend.too_quiet([endtoend.run(False, 0, silent_in_one)]) == ["atlas-intensity"]


def test_dp_sgd_without_noise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(self) -> None:
        for parameter, total in zip(self.params, self.sums(), strict=True):
            parameter.grad = (total.double() * self._lattice.grid).to(parameter.dtype)

    monkeypatch.setattr(PatientOptimizer, "add_noise", without)
    assert endtoend.too_quiet([endtoend.run(False, 0)]) == ["finetune 0", "finetune 1"]


def test_a_measured_label_count_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    true = endtoend._public

    def with_count(artifact) -> str:
        return true(artifact) + str(counted[-1])

    counted: list[int] = []
    volumes = endtoend.Cohort.volumes

    def counting(self, index: int):
        found = volumes(self, index)
        if index == 0:
            counted.append(0)
        counted[-1] = max([counted[-1], *(int(one.mask.max()) for one in found)])
        return found

    monkeypatch.setattr(endtoend, "_public", with_count)
    monkeypatch.setattr(endtoend.Cohort, "volumes", counting)
    assert endtoend.run(False, 0).public != endtoend.run(True, 0).public
