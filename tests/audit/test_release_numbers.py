"""Leave each of forty patients out against a signed release folder: format 1 loses, today not.

The attacker has the folder and everybody's scans, but no model. Sorted voxels of a volume are the
quantile curve that was drawn for it; the card names the seed, so the draws are known; each grey
level that a sorted volume crosses is a linear constraint on the released numbers. Together they
leave a box so small that the noise's lattice would show in it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy.optimize import linprog

from medvae import release
from medvae.atlas import budget, intensity, spectrum
from medvae.atlas.atlas import FINER_FREQUENCY
from medvae.atlas.basis import Basis
from medvae.atlas.registration import registrar
from medvae.config import RunConfig
from medvae.generate import generate
from medvae.grid import Gridded, denormalise, public_limits, to_grid
from medvae.privacy import StageRequest, make_plan
from medvae.train import stage_requests, train
from medvae.volume import Volume
from tests.audit.test_exported_numbers import format_1
from tests.conftest import phantom
from tests.release.made import Key

PATIENTS, VOLUMES, EPSILON = 40, 150, 1.09
SIZE = (28, 36, 28)
COUNT = intensity.COUNT
# How far from an estimate constraints are looked for: the first, and the one that it leads to.
FAR, NEAR = 1e-5, 3e-7


def scan(rng: np.random.Generator) -> np.ndarray:
    """A phantom under a slope of brightness, so that all grey levels occur."""
    image, _ = phantom(rng, SIZE)
    slope = np.linspace(0, 900 * rng.uniform(0.8, 1.2), SIZE[1])[None, :, None]
    return (image + slope).astype(np.float32)


CFG = RunConfig.model_validate(
    {
        "data": {"size": SIZE, "labels": 0, "classes": 0, "label_scheme": {}},
        "model": {"preset": "tiny"},
        "pretrain": {"steps": 0, "init": None},
        "privacy": {"epsilon": EPSILON, "unit": "patient"},
        "atlas": {"share": 1.0, "samples": 0, "steps": 0},
        "finetune": {"share": 0.0},
        "prior": {"share": 0.0},
    }
)


class Cohort:
    """Forty patients with a scan each."""

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        self.subjects = [f"p{i}" for i in range(PATIENTS)]
        volumes = [Volume(scan(rng), np.eye(4), "mri") for _ in self.subjects]
        self._volumes = [to_grid(volume, CFG.data) for volume in volumes]

    def __len__(self) -> int:
        return PATIENTS

    def volumes(self, index: int) -> list[Gridded]:
        return [self._volumes[index]]


@dataclass(frozen=True)
class Released:
    """What an attacker reads in a release folder."""

    folder: Path

    @cached_property
    def card(self) -> dict[str, Any]:
        return json.loads((self.folder / "card.json").read_bytes())

    @property
    def sigma(self) -> float:
        """Noise of the mean quantile coefficients, as the card states it."""
        found = {one["name"]: one for one in self.card["privacy"]["mechanisms"]}
        assert f"{budget.INTENSITY}.centre" not in found
        multiplier = found[budget.INTENSITY]["noise_multiplier"]
        return multiplier * intensity.CLIP / self.card["privacy"]["patients"]

    @property
    def shape(self) -> tuple[int, int, int]:
        x, y, z = self.card["data"]["grid"]
        return x, y, z

    @cached_property
    def counts(self) -> np.ndarray:
        """[volumes, 1001] voxels at each grey level."""
        paths = sorted(self.folder.glob("sub-*/anat/*_T1w.nii.gz"))
        levels = [np.asarray(nib.load(path).dataobj, dtype=np.int64).ravel() for path in paths]
        return np.stack([np.bincount(one, minlength=1001) for one in levels])

    def draws(self, fine: bool) -> np.ndarray:
        """[volumes, COUNT] the normals that each volume's histogram was drawn with.

        fine: whether the public template was found where the patients lie; one of two guesses.
        """
        few = len(registrar(self.shape).basis)
        many = len(Basis.below(self.shape, FINER_FREQUENCY))
        found = []
        for index in range(len(self.counts)):
            random = np.random.Generator(np.random.Philox(key=[self.card["data"]["seed"], index]))
            random.standard_normal((3, few))
            random.standard_normal((3, many))
            if fine:
                random.uniform()
            spectrum.texture(self.shape, np.zeros(spectrum.SHELLS), random)
            found.append(random.standard_normal(COUNT))
        return np.stack(found)

    def thresholds(self) -> np.ndarray:
        """[1000] the exact value from which a voxel is written as level 1, 2, ... 1000."""
        data = RunConfig.model_validate(self.card["configuration"]).data
        high = public_limits(data)

        def level(x: np.ndarray) -> np.ndarray:
            return np.rint(denormalise(x, high))

        wanted = np.arange(1, 1001)
        x = ((wanted - 0.5) / 500 - 1).astype(np.float32)
        for _ in range(200):
            low = level(x) < wanted
            x = np.where(low, np.nextafter(x, np.float32(2)), x)
            before = np.nextafter(x, np.float32(-2))
            x = np.where(~low & (level(before) >= wanted), before, x)
        before = np.nextafter(x, np.float32(-2))
        assert (level(x) >= wanted).all()
        assert (level(before) < wanted).all()
        # Float64 values from the middle of two float32 numbers on are rounded to the upper one.
        return (x.astype(np.float64) + before) / 2


def crossings(released: Released, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Constraints `rows @ [grey, deviation] < limits` and the estimate that they are met around.

    Returns:
        rows [M, 2 COUNT] and limits [M], of the crossings that are certain to be linear.
    """
    size = int(np.prod(released.shape))
    below = np.cumsum(released.counts, axis=1)[:, :-1]
    values = released.thresholds()
    rows, limits, volumes, knots = [], [], [], []
    for volume, ranks in enumerate(below):
        crossed = np.flatnonzero((ranks > 0) & (ranks < size) & (released.counts[volume, :-1] > 0))
        # The last voxel below a level, and the first one at it.
        for sign, rank in ((1.0, ranks[crossed] - 1), (-1.0, ranks[crossed])):
            place = (rank + 0.5) / size * intensity.LEVELS - 0.5
            inside = (place > 0) & (place < intensity.LEVELS - 1)
            place, level = place[inside], values[crossed[inside]]
            knot = place.astype(int)
            part = (place - knot)[:, None]
            waves = intensity.WAVES[knot] * (1 - part) + intensity.WAVES[knot + 1] * part
            base = intensity.BASE[knot] * (1 - part[:, 0]) + intensity.BASE[knot + 1] * part[:, 0]
            rows.append(sign * np.concatenate([waves, waves * normals[volume]], axis=1))
            limits.append(sign * (level - base))
            volumes.append(np.full(len(knot), volume))
            knots.append(knot)
    matrix, bounds = np.concatenate(rows), np.concatenate(limits)
    where = np.concatenate(volumes), np.concatenate(knots)
    kept = np.ones(len(matrix), dtype=bool)
    for _ in range(6):
        estimate = np.linalg.lstsq(matrix[kept], bounds[kept], rcond=None)[0]
        kept = _linear(estimate, normals)[where]
    return matrix[kept], bounds[kept]


def _linear(estimate: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """[volumes, LEVELS - 1] where the drawn curve was neither sorted nor cut off."""
    greys = estimate[:COUNT] + estimate[COUNT:] * normals
    curves = intensity.BASE + greys @ intensity.WAVES.T
    before = np.maximum.accumulate(curves, axis=1)
    after = np.minimum.accumulate(curves[:, ::-1], axis=1)[:, ::-1]
    own = (np.abs(curves) < 0.999) & (before == curves) & (after == curves)
    steep = np.diff(curves, axis=1) > 1e-4
    return own[:, :-1] & own[:, 1:] & steep


def box(rows: np.ndarray, limits: np.ndarray) -> np.ndarray | None:
    """[COUNT, 2] the least and largest of each mean coefficient; None if nothing fits."""
    first = np.linalg.lstsq(rows, limits, rcond=None)[0]
    # The point furthest from a thirtieth of the constraints lies well within reach of the rest.
    few, slack = _close(rows, limits, first, FAR)
    norms = np.linalg.norm(few, axis=1, keepdims=True)
    furthest = -np.eye(2 * COUNT + 1)[-1]
    centred = _least(furthest, np.hstack([few, norms])[::30], slack[::30])
    if centred is None:
        return None
    centre = first + FAR * centred[:-1]
    few, slack = _close(rows, limits, centre, NEAR)
    found = np.zeros((COUNT, 2))
    for index, side in np.ndindex(COUNT, 2):
        corner = _least((1.0, -1.0)[side] * np.eye(2 * COUNT)[index], few, slack)
        # At the edge of where constraints were looked for, others might have cut the region.
        if corner is None or np.abs(corner).max() > 0.999:
            return None
        found[index, side] = centre[index] + NEAR * corner[index]
    return found


def _close(
    rows: np.ndarray, limits: np.ndarray, centre: np.ndarray, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """Rows that cut the cube of half side `reach` around `centre`, and their limits in its unit."""
    slack = limits - rows @ centre
    close = slack <= reach * np.abs(rows).sum(axis=1)
    return rows[close], slack[close] / reach


def _least(goal: np.ndarray, rows: np.ndarray, limits: np.ndarray) -> np.ndarray | None:
    solved = linprog(goal, rows, limits, bounds=(-1, 1))
    return solved.x if solved.success else None


@dataclass(frozen=True)
class Verdict:
    """What the attack says of 41 cohorts: all patients, and all but each one.

    Attributes:
        width: largest side of the box that the released numbers lie in.
        fits: [COUNT, 41] whether format 1 could have given each number.
        losses: [40] privacy loss of the Gaussian mechanism for each patient.
    """

    width: float
    fits: np.ndarray
    losses: np.ndarray


def attack(released: Released) -> Verdict:
    solved = None
    for fine in (False, True):
        if solved is None:
            solved = box(*crossings(released, released.draws(fine)))
    assert solved is not None
    cohort = Cohort()
    vectors = np.stack(
        [
            intensity.coefficients(cohort.volumes(i)[0].image.astype(np.float64))
            for i in range(PATIENTS)
        ]
    )
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors *= np.minimum(1.0, intensity.CLIP / norms)
    totals = vectors.sum(axis=0) - np.concatenate([np.zeros((1, COUNT)), vectors])
    # Models hold the shrunk numbers in float32; what was shrunk is multiplied back.
    ulp = np.spacing(np.abs(solved).max(axis=1).astype(np.float32)).astype(np.float64) / 2
    grow = PATIENTS / intensity.shrink(np.ones(COUNT), released.sigma)
    middle, half = solved.mean(axis=1) * grow, (np.diff(solved)[:, 0] / 2 + ulp) * grow
    std = released.sigma * PATIENTS
    grid, lattice = 2.0 ** (np.floor(np.log2(std)) - 20), std * 2.0**-20
    rest = middle - totals
    miss = np.abs(rest - np.rint(rest / lattice) * lattice)
    squares = (rest**2).sum(axis=1) / (2 * std**2)
    return Verdict(
        float(np.diff(solved).max()), (miss <= grid / 2 + half).T, squares[1:] - squares[0]
    )


@pytest.fixture
def released(tmp_path: Path):
    def make() -> Released:
        requests = [StageRequest(*one) for one in stage_requests(CFG, PATIENTS)]
        plan = make_plan(requests, patients=PATIENTS, epsilon=EPSILON)
        artifact = train(CFG, plan, Cohort(), key=bytes(32))
        facts = release.ReleaseFacts.from_model(
            artifact.facts,
            n=VOLUMES,
            seed=5,
            debited=True,
            tenant_limit=20.0,
            account=release.Account(EPSILON, plan.delta, 1),
            looks=release.Looks(0, 0),
        )
        key, out = Key(), tmp_path / "release"
        volumes = generate(artifact, VOLUMES, 5)
        release.create(volumes, out, facts=facts, sign=key.sign, public_key=key.public)
        return Released(out)

    return make


def test_a_release_of_format_1_proved_who_took_part(released, monkeypatch) -> None:
    monkeypatch.setattr("medvae.train.release.gaussian_release", format_1)
    monkeypatch.setattr("medvae.privacy.recentre.gaussian_release", format_1)
    verdict = attack(released())
    assert verdict.width < 5e-8
    explained = verdict.fits.all(axis=0)
    assert explained[0]
    # Without any of these patients, the volumes that were released are impossible.
    assert (~explained[1:]).sum() >= PATIENTS // 2


def test_a_release_of_today_says_no_more_than_its_mechanism(released) -> None:
    found = released()
    verdict = attack(found)
    # The numbers are recovered as exactly as then; only the lattice no longer shows.
    assert verdict.width < 5e-8
    truth, *others = verdict.fits.sum(axis=0)
    assert truth <= np.median(others)
    # What is left to an attacker is the likelihood, which the plan pays for.
    assert np.abs(verdict.losses).max() < found.card["privacy"]["epsilon"]
