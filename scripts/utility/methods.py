"""Ways to synthetic volumes: real ones as the yardstick, nothing, the atlas, the pipeline."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import numpy as np

from medvae.atlas import Atlas, fit, mechanisms
from medvae.config import RunConfig
from medvae.generate import generate
from medvae.grid import Gridded, to_grid
from medvae.privacy import NoiseSource, Plan, StageRequest, gaussian_release, make_plan
from medvae.train.run import stage_requests, train
from utility.cohorts import Cohort, Memory

DELTA = 1e-4
# A plan for "no privacy" needs some epsilon to be made with; its noise is then taken out.
UNBOUNDED = 50.0


def configuration(cohort: Cohort, epsilon: float, **sections: dict[str, object]) -> RunConfig:
    """The shipped constants on the cohort's grid; `sections` say what a method changes."""
    base: dict[str, dict[str, object]] = {
        "data": cohort.data.model_dump(),
        "privacy": {"epsilon": min(epsilon, UNBOUNDED), "delta": DELTA},
        "atlas": {"public": cohort.public},
    }
    for name, values in sections.items():
        base[name] = {**base.get(name, {}), **values}
    return RunConfig.model_validate(base)


class PlannedRelease:
    """The plan's Gaussian mechanisms for the atlas alone; without noise at epsilon infinity."""

    def __init__(self, plan: Plan, noise: NoiseSource, exact: bool) -> None:
        self.plan, self.noise, self.exact = plan, noise, exact

    def sigma(self, name: str, clip: float) -> float:
        if self.exact:
            return 0.0
        return self.plan.mechanism(name).noise_multiplier * clip / self.plan.patients

    def __call__(
        self, name: str, vectors: Iterable[np.ndarray], *, clip: float, dimension: int
    ) -> np.ndarray:
        if self.exact:
            lengths = [(v, max(1.0, float(np.linalg.norm(v)) / clip)) for v in vectors]
            return np.sum([v / length for v, length in lengths], axis=0) / self.plan.patients
        return gaussian_release(
            vectors,
            clip=clip,
            mechanism=self.plan.mechanism(name),
            divisor=float(self.plan.patients),
            noise=self.noise,
            dimension=dimension,
        )


class Silence:
    """A release that says nothing: what an atlas is without any patient."""

    def sigma(self, name: str, clip: float) -> float:
        return 1e6

    def __call__(
        self, name: str, vectors: Iterable[np.ndarray], *, clip: float, dimension: int
    ) -> np.ndarray:
        return np.zeros(dimension)


def release_for(
    names: list[tuple[str, float]], patients: int, epsilon: float, seed: int
) -> PlannedRelease:
    """A plan of one-shot Gaussians with these shares, and the noise of a seed."""
    requests = [StageRequest(name, share, 1.0, 1) for name, share in names]
    exact = math.isinf(epsilon)
    target = UNBOUNDED if exact else epsilon
    plan = make_plan(requests, patients=patients, epsilon=target, delta=DELTA)
    return PlannedRelease(plan, NoiseSource(_key(seed)), exact)


def _key(seed: int) -> bytes:
    """A benchmark's noise must repeat; a run's key comes from its secret."""
    return seed.to_bytes(32, "little")


def real(cohort: Cohort, patients: int) -> list[Gridded]:
    return cohort.first(patients)


def nothing(cohort: Cohort, count: int, seed: int) -> list[Gridded]:
    """The atlas of no patients: public expectations alone."""
    cfg = _alone(cohort, 8.0)
    return _drawn(fit(Memory({}), Silence(), cfg), count, seed)


def _drawn(atlas: Atlas, count: int, seed: int) -> list[Gridded]:
    """Samples with their classes, where the cohort has any."""
    made = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        category = atlas.classes.pick(rng)
        image, mask, _ = atlas.draw(rng, category)
        made.append(Gridded(image, mask, category))
    return made


def _alone(cohort: Cohort, epsilon: float, public: str | None = None) -> RunConfig:
    return configuration(
        cohort,
        epsilon,
        atlas={"share": 1.0, "public": cohort.public if public is None else public},
        finetune={"share": 0.0},
        prior={"share": 0.0},
    )


def atlas_alone(
    cohort: Cohort, epsilon: float, count: int, seed: int, public: str | None = None
) -> list[Gridded]:
    """The whole budget for the atlas; samples straight from its renderer."""
    cfg = _alone(cohort, epsilon, public)
    patients = Memory(cohort.train)
    names = mechanisms(cfg, cohort.data.labels > 0, len(patients))
    atlas = fit(patients, release_for(names, len(patients), epsilon, seed), cfg)
    return _drawn(atlas, count, seed)


def pipeline(cohort: Cohort, epsilon: float, count: int, seed: int) -> list[Gridded]:
    """Atlas, VAE on its samples, DP-SGD and latent prior, by the configuration's own shares."""
    cfg = configuration(cohort, epsilon)
    patients = Memory(cohort.train)
    requests = [StageRequest(*one) for one in stage_requests(cfg, len(patients))]
    target = min(epsilon, UNBOUNDED)
    plan = make_plan(requests, patients=len(patients), epsilon=target, delta=DELTA)
    if math.isinf(epsilon):
        # The least noise that the engine accepts: a twentieth of the clip norm.
        silent = [dataclasses.replace(one, noise_multiplier=0.05) for one in plan.mechanisms]
        plan = dataclasses.replace(plan, mechanisms=tuple(silent))
    artifact = train(cfg, plan, patients, key=_key(seed))
    return [to_grid(volume, cohort.data) for volume in generate(artifact, count, seed)]
