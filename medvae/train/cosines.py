"""The private statistics of the cosine model: joint mechanisms over the cohort's patients.

Formal guarantee: the numbers are a function of public constants and of the outputs of the
mechanisms of `medvae.cosines.planned`. Each patient's vector, the mean over his or her images, is
clipped whatever was measured; an image that cannot be brought to the grid adds zeros. Each
mechanism uses what those before it released (adaptive composition, accounted for in the plan).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch

from medvae.config import DataConfig, RunConfig
from medvae.cosines.basis import Array, Basis
from medvae.cosines.borders import ROUNDS, ROUNDS_OF_CONTRASTS
from medvae.cosines.model import CosineModel
from medvae.cosines.numbers import Numbers
from medvae.cosines.parts import Part
from medvae.cosines.planned import means_count, mechanisms, parts_of, seconds_count
from medvae.grid import Gridded
from medvae.privacy import NoiseSource, Plan, joint
from medvae.privacy.accounting import title_of
from medvae.privacy.recentre import sigma_of
from medvae.progress import Progress
from medvae.train.release import PlannedRelease
from medvae.train.stages import Stages

STAGE = "cosines"


class Images(Protocol):
    """The cohort, decrypted in memory only."""

    def __len__(self) -> int: ...

    def volumes(self, index: int) -> list[Gridded]: ...


def requests(cfg: RunConfig) -> list[tuple[str, float, float, int]]:
    """What the model asks of the budget: (name, share, sample rate, steps)."""
    return [
        (name, cfg.cosines.share * part, 1.0, 1) for name, part in mechanisms(basis_of(cfg.data))
    ]


def basis_of(data: DataConfig) -> Basis:
    """The coefficients of a configuration's grid."""
    return Basis.of(data)


def counts(cfg: RunConfig, plan: Plan) -> tuple[int, int, int]:
    """Coefficients there are, and of how many means and covariances will be released.

    A function of the plan and of public constants alone; `cfg` is resolved.
    """
    basis, sigma, classes = basis_of(cfg.data), partial(sigma_of, plan), max(cfg.data.classes, 1)
    return len(basis), means_count(basis, classes, sigma), seconds_count(basis, classes, sigma)


def released(
    cfg: RunConfig,
    plan: Plan,
    patients: Images,
    noise: NoiseSource,
    stages: Stages,
    progress: Progress,
) -> CosineModel:
    """The cosine model of the plan; kept, so that a resumed run does not measure again."""
    done = stages.result(STAGE)
    if done is None:
        model = fit(cfg, patients, PlannedRelease(plan, noise, stages.ranks), progress=progress)
        done = stages.finish(STAGE, _tensors(model))
    # Read back also when just made: a resumed run must see the same numbers.
    return CosineModel.read(basis_of(cfg.data), {k: v.numpy() for k, v in done.items()})


def tensors(model: CosineModel) -> dict[str, torch.Tensor]:
    """The model as a model file holds it."""
    return {f"{STAGE}.{name}": values for name, values in _tensors(model).items()}


def _tensors(model: CosineModel) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(values.copy()) for name, values in model.to_arrays().items()}


def facts(model: CosineModel) -> dict[str, Any]:
    """What a model's card says of it."""
    return {
        "statistics": "cosines",
        "coefficients": len(model.basis),
        "with_covariance": len(model.numbers.kept),
        "histogram": len(model.numbers.marginals) > 0,
        "borders": len(model.numbers.borders) > 0,
        "classes": model.classes,
    }


def fit(
    cfg: RunConfig, patients: Images, release: PlannedRelease, *, progress: Progress
) -> CosineModel:
    """Measure every patient once a mechanism, and release the cohort's numbers."""
    basis = basis_of(cfg.data)
    rounds = ROUNDS_OF_CONTRASTS if basis.related else ROUNDS
    state = replace(Numbers.public(basis, cfg.data.classes), borders=np.array([float(rounds)]))
    model = CosineModel(basis, state)
    planned = {mechanism.name for mechanism in release.plan.mechanisms}
    # A run that an earlier version began has no shares of grey values in its plan.
    for name in (own for own, _ in mechanisms(basis) if own in planned):
        parts = parts_of(name, basis, model.numbers, release.sigma)
        progress.start(title_of(name), len(release.mine()))
        model = _release(name, parts, patients, release, model, progress)
        progress.finish()
    return model


def _release(
    name: str,
    parts: Sequence[Part],
    patients: Images,
    release: PlannedRelease,
    model: CosineModel,
    progress: Progress,
) -> CosineModel:
    """Runs one joint mechanism over all patients; returns `model` with its estimates."""
    joined = joint.joined(parts)

    def vectors() -> Iterator[Array]:
        for done, index in enumerate(release.mine(), 1):
            yield patient_vector(parts, joined, model, patients.volumes(index))
            progress.advance(done)
            release.ranks.check()

    noisy = release(name, vectors(), clip=joined.clip, dimension=joined.dimension)
    sigma = release.sigma(name, joined.clip)
    numbers, pieces = model.numbers, joined.split(noisy)
    for part in parts:
        numbers = part.estimate(pieces[part.name], joined.sigma(part.name, sigma), numbers)
    return CosineModel(model.basis, numbers, {**model.released, name: noisy})


def patient_vector(
    parts: Sequence[Part], joined: joint.Joint, model: CosineModel, images: Sequence[Gridded]
) -> Array:
    """[dimension] of one patient: the mean over the images, zeros where there are none."""
    if not images:
        return np.zeros(joined.dimension)
    analysed = [(model.analyse(image.image, image.mask), image.category) for image in images]
    return joined.join(
        {
            part.name: np.mean([part.measure(values, own) for values, own in analysed], axis=0)
            for part in parts
        }
    )
