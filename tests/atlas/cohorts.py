"""A procedural cohort with two labels, and mechanisms that record their results."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy import ndimage

from medvae.atlas import mechanisms
from medvae.config import RunConfig
from medvae.grid import Gridded

SIZE = (20, 24, 20)


def config(labels: int = 2, epsilon: float = 40.0) -> RunConfig:
    return RunConfig.model_validate(
        {
            "data": {"size": SIZE, "labels": labels},
            "privacy": {"epsilon": epsilon},
            "atlas": {"share": 1.0},
            "finetune": {"share": 0.0},
            "prior": {"share": 0.0},
        }
    )


def anatomy(rng: np.random.Generator, shift: float = 1.0, masked: bool = True) -> Gridded:
    """Two touching ellipsoids, bright and dark, over a slope, moved and stretched."""
    points = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SIZE), indexing="ij"))
    move = shift * rng.normal(0, 0.08, 3)
    stretch = np.exp(shift * rng.normal(0, 0.08, 3))
    x, y, z = (points - move[:, None, None, None]) / stretch[:, None, None, None]
    front = (x / 0.5) ** 2 + ((y - 0.35) / 0.4) ** 2 + (z / 0.45) ** 2 < 1
    back = (x / 0.45) ** 2 + ((y + 0.35) / 0.45) ** 2 + (z / 0.4) ** 2 < 1
    mask = np.where(front, 1, np.where(back, 2, 0)).astype(np.uint8)
    image = np.choose(mask, [-0.4, 0.6, -0.9]) + 0.2 * z
    image = ndimage.gaussian_filter(image, 0.6) + rng.normal(0, 0.05, SIZE)
    return Gridded(np.clip(image, -1, 1).astype(np.float32), mask if masked else None)


class Cohort:
    """Patients in memory."""

    def __init__(self, patients: list[list[Gridded]]) -> None:
        self.patients = patients

    def __len__(self) -> int:
        return len(self.patients)

    def volumes(self, index: int) -> list[Gridded]:
        return self.patients[index]


def cohort(n: int = 6, seed: int = 0, masked: bool = True) -> Cohort:
    """n patients; the third has two volumes."""
    rng = np.random.default_rng(seed)
    return Cohort(
        [[anatomy(rng, masked=masked) for _ in range(2 if i == 2 else 1)] for i in range(n)]
    )


class Recorder:
    """Gaussian mechanisms as a plan binds them; records calls and results.

    Args:
        divisor: the public number of patients.
        noise: std of the sum's noise, in units of the clip.
    """

    def __init__(self, divisor: int, noise: float = 0.0, seed: int = 0) -> None:
        self.divisor, self.noise = divisor, noise
        self.rng = np.random.default_rng(seed)
        self.calls: list[tuple[str, float, int]] = []
        self.results: dict[str, np.ndarray] = {}
        self.frozen: dict[str, np.ndarray] = {}

    def sigma(self, name: str, clip: float) -> float:
        return self.noise * clip / self.divisor

    def __call__(
        self, name: str, vectors: Iterable[np.ndarray], *, clip: float, dimension: int
    ) -> np.ndarray:
        total = np.zeros(dimension)
        for vector in vectors:
            assert vector.shape == (dimension,)
            if np.isfinite(vector).all():
                total += vector * min(1.0, clip / max(float(np.linalg.norm(vector)), 1e-300))
        noise = self.rng.standard_normal(dimension) * self.sigma(name, clip)
        self.calls.append((name, clip, dimension))
        self.results[name] = total / self.divisor + noise
        # A frozen result replaces the measured one: adaptive composition compares neighbours
        # that see the same earlier outputs.
        return self.frozen.get(name, self.results[name])


def planned(labels: int = 2, patients: int = 6) -> list[str]:
    return [name for name, _ in mechanisms(config(labels), labels > 0, patients)]


def jacobian(field: np.ndarray) -> np.ndarray:
    """[X, Y, Z] determinant of d(x + u) / dx; positive where the map does not fold."""
    gradient = np.stack([np.stack(np.gradient(component)) for component in field])
    matrix = np.moveaxis(gradient, (0, 1), (-2, -1)) + np.eye(3)
    return np.asarray(np.linalg.det(matrix))
