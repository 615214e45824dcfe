"""Leave each of forty patients out against an exported model: format 1 loses to it, today not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medvae.audit.means import Means
from medvae.config import RunConfig
from medvae.grid import Gridded, to_grid
from medvae.model import Artifact
from medvae.model.export import export_model
from medvae.privacy import StageRequest, make_plan
from medvae.train import stage_requests, train
from medvae.volume import Volume
from tests.conftest import phantom

PATIENTS = 40
CFG = RunConfig.model_validate(
    {
        "data": {"size": (12, 16, 12), "labels": 2},
        "model": {"preset": "tiny"},
        "pretrain": {"steps": 0, "init": None},
        "atlas": {"share": 1.0, "samples": 0, "steps": 0},
        "finetune": {"share": 0.0},
        "prior": {"share": 0.0},
    }
)
PLAN = make_plan(
    [StageRequest(*one) for one in stage_requests(CFG, PATIENTS)], patients=PATIENTS, epsilon=8.0
)


class Cohort:
    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        drawn = [phantom(rng) for _ in range(PATIENTS)]
        self.subjects = [f"p{i}" for i in range(PATIENTS)]
        self._volumes = [
            to_grid(Volume(image.astype(np.float32), np.eye(4), "mri", mask=mask), CFG.data)
            for image, mask in drawn
        ]

    def __len__(self) -> int:
        return PATIENTS

    def volumes(self, index: int) -> list[Gridded]:
        return [self._volumes[index]]


COHORT = Cohort()


def format_1(vectors, *, clip, mechanism, divisor, noise, dimension, step=0, **_) -> np.ndarray:
    """The first version's release: normals that are multiples of 2^-20, on a finer grid."""
    std = mechanism.noise_multiplier * clip
    seed = sum(mechanism.name.encode())
    normal = np.random.default_rng(seed).standard_normal(dimension)
    normal = np.rint(normal * 2.0**20) * 2.0**-20
    total = np.zeros(dimension)
    for vector in vectors:
        total += vector * min(1.0, clip / max(float(np.linalg.norm(vector)), 1e-300))
    grid = 2.0 ** (np.floor(np.log2(std)) - 20)
    return np.rint((total + std * normal) / grid) * grid / divisor


def explained(folder: Path) -> tuple[float, list[float]]:
    """Part of the exported numbers that format 1 could have given: all there, and each left out.

    The attacker holds `model.safetensors` and every patient's scan.
    """
    artifact = Artifact.from_bytes((folder / "model.safetensors").read_bytes())
    means = Means(artifact, PLAN)
    vectors = [means.vectors(COHORT.volumes(i)[0]) for i in range(PATIENTS)]
    exact = {name: mean for name, mean in means.by_name.items() if mean.exact}
    assert sum(len(mean.released) for mean in exact.values()) > 50

    def fits(left_out: int | None) -> float:
        found: list[bool] = []
        for name, mean in exact.items():
            std = mean.sigma * PATIENTS
            grid, lattice = 2.0 ** (np.floor(np.log2(std)) - 20), std * 2.0**-20
            total = np.zeros(len(mean.released))
            for index in range(PATIENTS):
                if index != left_out:
                    own = vectors[index][name]
                    total += own * min(1.0, mean.clip / float(np.linalg.norm(own)))
            rest = mean.released * PATIENTS - total
            # The model is stored in float32.
            rounding = np.abs(mean.released) * PATIENTS * 2.0**-24
            miss = np.abs(rest - np.rint(rest / lattice) * lattice)
            found += list(miss <= grid / 2 + rounding)
        return float(np.mean(found))

    return fits(None), [fits(index) for index in range(PATIENTS)]


@pytest.fixture
def exported(tmp_path: Path):
    def make() -> Path:
        artifact = train(CFG, PLAN, COHORT, key=bytes(32))
        export_model(artifact, tmp_path, "safetensors")
        return tmp_path

    return make


def test_an_export_of_format_1_proved_that_each_patient_took_part(exported, monkeypatch) -> None:
    monkeypatch.setattr("medvae.train.release.gaussian_release", format_1)
    monkeypatch.setattr("medvae.privacy.recentre.gaussian_release", format_1)
    truth, others = explained(exported())
    assert truth > 0.99
    assert max(others) < 0.97


def test_an_export_of_today_says_nothing_of_who_was_left_out(exported) -> None:
    truth, others = explained(exported())
    # The truth is explained no better than chance, and no better than the median absence.
    assert abs(truth - np.median(others)) < 0.1
    assert sum(one >= truth for one in others) >= PATIENTS // 20
