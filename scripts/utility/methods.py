"""Ways to synthetic volumes: real ones as the yardstick, nothing, the atlas, the pipeline."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from medvae.atlas import Atlas, fit, mechanisms
from medvae.atlas.budget import KNOWN_MEAN
from medvae.config import RunConfig
from medvae.config_files import load_config
from medvae.generate import fine, generate
from medvae.grid import Gridded, to_grid
from medvae.model import Artifact, load_model
from medvae.privacy import DEFAULT_DELTA, NoiseSource, StageRequest, make_plan
from medvae.privacy.recentre import requests as centred
from medvae.train import stage_requests, train
from medvae.train.release import PlannedRelease
from utility.cohorts import Cohort, Memory

CONFIGS = Path(__file__).parents[2] / "configs"
DELTA = DEFAULT_DELTA
# The whole pipeline on a public template, where the shipped configuration has stages off that do
# not pay: rows of stages say so.
WHOLE = {"atlas": 0.85, "finetune": 0.05, "prior": 0.1}
# A plan for "no privacy" needs some epsilon to be made with; its noise is then taken out.
UNBOUNDED = 50.0


def configuration(cohort: Cohort, epsilon: float, **sections: dict[str, object]) -> RunConfig:
    """The shipped configuration on the cohort's grid; `sections` say what a method changes."""
    name = cohort.data.modality if cohort.public[0] == "none" else "mri-template"
    shipped = load_config(CONFIGS / f"{name}.yaml").model_dump()
    base: dict[str, dict[str, object]] = {
        **shipped,
        "data": cohort.data.model_dump(),
        "privacy": {"epsilon": min(epsilon, UNBOUNDED), "delta": DELTA},
        "atlas": {**shipped["atlas"], **template(*cohort.public)},
    }
    for name, values in sections.items():
        base[name] = {**base.get(name, {}), **values}
    return RunConfig.model_validate(base)


def whole(cohort: Cohort, epsilon: float) -> RunConfig:
    """`configuration` with every stage on."""
    if cohort.public[0] == "none":
        return configuration(cohort, epsilon)
    shares: dict[str, dict[str, object]] = {name: {"share": part} for name, part in WHOLE.items()}
    shares["atlas"] |= template(*cohort.public)
    return configuration(cohort, epsilon, **shares)


def template(public: str, labels: str | None) -> dict[str, object]:
    """The section atlas's keys for a public template."""
    return {"public": public, "public_labels": labels}


class ExactRelease(PlannedRelease):
    """Clipped means without noise: what epsilon infinity stands for."""

    def sigma(self, name: str, clip: float) -> float:
        return 0.0

    def __call__(
        self, name: str, vectors: Iterable[np.ndarray], *, clip: float, dimension: int
    ) -> np.ndarray:
        clipped = [v / max(1.0, float(np.linalg.norm(v)) / clip) for v in vectors]
        return np.sum(clipped, axis=0) / self.plan.patients


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
    """A plan of one-shot statistics with these shares, as in a training, and a seed's noise."""
    target = min(epsilon, UNBOUNDED)
    parts = [
        part
        for name, share in names
        for part in (
            [(name, share)] if name in KNOWN_MEAN else centred(name, share, target, patients)
        )
    ]
    requests = [StageRequest(name, share, 1.0, 1) for name, share in parts]
    kind = ExactRelease if math.isinf(epsilon) else PlannedRelease
    plan = make_plan(requests, patients=patients, epsilon=target, delta=DELTA)
    return kind(plan, NoiseSource(_key(seed)))


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
    volumes = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        class_id = atlas.classes.pick(rng)
        sample = atlas.sample(rng, class_id)
        volumes.append(Gridded(sample.image, sample.mask, class_id))
    return volumes


def _alone(
    cohort: Cohort, epsilon: float, public: tuple[str, str | None] | None = None
) -> RunConfig:
    return configuration(
        cohort,
        epsilon,
        atlas={"share": 1.0, **template(*(public or cohort.public))},
        finetune={"share": 0.0},
        prior={"share": 0.0},
    )


def atlas_alone(
    cohort: Cohort,
    epsilon: float,
    count: int,
    seed: int,
    public: tuple[str, str | None] | None = None,
) -> list[Gridded]:
    """The whole budget for the atlas; samples straight from its renderer."""
    cfg = _alone(cohort, epsilon, public)
    patients = Memory(cohort.train)
    names = mechanisms(cfg, cohort.data.labels > 0, len(patients))
    atlas = fit(patients, release_for(names, len(patients), epsilon, seed), cfg)
    return _drawn(atlas, count, seed)


# What is between the atlas alone and the full pipeline: which stages have a share of the budget.
# An off stage's share goes to the others in proportion.
STAGES: dict[str, tuple[str, ...]] = {
    "atlas + VAE": ("atlas",),
    "atlas + VAE + DP-SGD": ("atlas", "finetune"),
    "atlas + VAE + prior": ("atlas", "prior"),
}


def pipeline(
    cohort: Cohort,
    epsilon: float,
    count: int,
    seed: int,
    public: tuple[str, str | None] | None = None,
) -> list[Gridded]:
    """Atlas, VAE on its samples, DP-SGD and latent prior, all of them on."""
    cohort = dataclasses.replace(cohort, public=public or cohort.public)
    artifact = _train(whole(cohort, epsilon), cohort, epsilon, seed)
    return [to_grid(volume, cohort.data) for volume in generate(artifact, count, seed)]


def staged(
    cohort: Cohort, epsilon: float, count: int, seed: int, stages: tuple[str, ...]
) -> list[Gridded]:
    """The pipeline with some of its stages, at the same total.

    Without a latent prior the product draws from the atlas and leaves the VAE aside; so that
    the VAE (and DP-SGD on it) shows, each such draw goes through it here.
    """
    sections = shares_of(whole(cohort, epsilon), stages)
    artifact = _train(configuration(cohort, epsilon, **sections), cohort, epsilon, seed)
    if "prior" in stages:
        return [to_grid(volume, cohort.data) for volume in generate(artifact, count, seed)]
    return list(_through(artifact, count, seed))


def shares_of(whole: RunConfig, stages: tuple[str, ...]) -> dict[str, dict[str, object]]:
    """The sections that leave only these stages a part of the budget, in the same proportion."""
    shares = {name: getattr(whole, name).share for name in stages}
    total = sum(shares.values())
    off = {"atlas", "finetune", "prior"} - set(stages)
    sections: dict[str, dict[str, object]] = {name: {"share": 0.0} for name in off}
    return sections | {name: {"share": share / total} for name, share in shares.items()}


def _through(artifact: Artifact, count: int, seed: int) -> Iterator[Gridded]:
    """Draws of a model's atlas, each encoded and decoded by its VAE."""
    atlas = Atlas.from_tensors({k: v.numpy() for k, v in artifact.part("atlas").items()})
    model = load_model(artifact)
    for image, mask in atlas.pairs(count, seed):
        with torch.no_grad():
            made = model.decode(model.encode(torch.from_numpy(image)[None, None])[0])[0, 0].numpy()
        yield Gridded(np.clip(made + fine(image), -1, 1).astype(np.float32), mask)


def _train(cfg: RunConfig, cohort: Cohort, epsilon: float, seed: int) -> Artifact:
    patients = Memory(cohort.train)
    requests = [StageRequest(*one) for one in stage_requests(cfg, len(patients))]
    target = min(epsilon, UNBOUNDED)
    plan = make_plan(requests, patients=len(patients), epsilon=target, delta=DELTA)
    if math.isinf(epsilon):
        # The least noise that the engine accepts: a twentieth of the clip norm.
        silent = [dataclasses.replace(one, noise_multiplier=0.05) for one in plan.mechanisms]
        plan = dataclasses.replace(plan, mechanisms=tuple(silent))
    return train(cfg, plan, patients, key=_key(seed))
