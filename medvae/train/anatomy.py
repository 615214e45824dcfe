"""The private statistics of the anatomy model: joint mechanisms over the cohort's patients.

Formal guarantee: the numbers are a function of public people and of the outputs of the mechanisms
`MEANS`, `SPREADS` and, where there are classes or sites, `CLASSES` and `BY_SITE`. Each patient's
vector, the mean over his or her volumes, is clipped whatever was measured; a volume that cannot be
read or registered adds zeros. Each mechanism uses what those before it have released (adaptive
composition, accounted for in the plan).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from medvae.anatomy.bands import Bands
from medvae.anatomy.cohort import CohortAnatomy, cohort_labels
from medvae.anatomy.continued import Continued
from medvae.anatomy.model import AnatomyModel
from medvae.anatomy.numbers import Numbers
from medvae.anatomy.parts import (
    BY_SITE,
    CLASSES,
    MEANS,
    SPREADS,
    Measured,
    Part,
    class_parts,
    mean_parts,
    site_parts,
    spread_parts,
)
from medvae.anatomy.patients import has_wide_view
from medvae.anatomy.registration.geometry import Array
from medvae.anatomy.templates import (
    COARSE_MAPS,
    FINE_MAPS,
    LAYOUT_MAPS,
    LIBRARY,
    PLACES_MAPS,
    SITES_MAPS,
)
from medvae.config import RunConfig
from medvae.grid import crop_or_pad
from medvae.privacy import NoiseSource, Plan, joint, recentre
from medvae.progress import Progress
from medvae.train.maps import release_maps
from medvae.train.measuring import measured
from medvae.train.release import PlannedRelease
from medvae.train.scans import Scans
from medvae.train.stages import Stages

# Mechanisms whose mean is known before their release: spreads are those of public people, and
# classes and sites are as all patients.
KNOWN_MEAN: Final = (SPREADS, CLASSES, BY_SITE)
# Parts of the budget that separate classes and sites, where there are any.
CLASSES_SHARE: Final = 0.2
SITES_SHARE: Final = 0.2
# Coefficients of the shape whose noise is above this part of what people differ by are left out.
MOST_NOISE: Final = 0.5
# Edge of the windows, in voxels, that the network learns on where the grid is larger, and the most
# of them that one drawn volume gives: on a whole CT of 512 x 512 x 300 it would take 16 GiB.
LARGEST_WINDOW: Final = 96
MOST_WINDOWS: Final = 8


def mechanisms(cfg: RunConfig) -> list[tuple[str, float]]:
    """(name, share of the anatomy model's budget) in order of release; the shares sum to 1."""
    shares = {MEANS: 0.80, SPREADS: 0.20}
    if cfg.anatomy.library == LIBRARY:
        shares = {COARSE_MAPS: 0.12, FINE_MAPS: 0.40, MEANS: 0.28, SPREADS: 0.20}
        if has_wide_view(cfg.data):
            shares = {LAYOUT_MAPS: 0.04, PLACES_MAPS: 0.05, SITES_MAPS: 0.06} | {
                name: 0.85 * share for name, share in shares.items()
            }
    if cfg.data.classes > 0:
        shares = {name: (1.0 - CLASSES_SHARE) * share for name, share in shares.items()}
        shares[CLASSES] = CLASSES_SHARE
    if cfg.data.sites:
        shares = {name: (1.0 - SITES_SHARE) * share for name, share in shares.items()}
        shares[BY_SITE] = SITES_SHARE
    return list(shares.items())


def requests(
    name: str, share: float, cfg: RunConfig, patients: int
) -> list[tuple[str, float, float, int]]:
    """What one mechanism asks of the budget: around a centre where its mean is not known."""
    parts = [(name, share)]
    if name not in KNOWN_MEAN:
        parts = recentre.requests(name, share, cfg.privacy.epsilon, patients)
    return [(mechanism, part, 1.0, 1) for mechanism, part in parts]


def released(
    cohort: CohortAnatomy,
    plan: Plan,
    patients: Scans,
    noise: NoiseSource,
    stages: Stages,
    progress: Progress,
    earlier: Continued | None = None,
    threads: int | None = None,
) -> AnatomyModel:
    """The anatomy model of the plan; kept, so that a resumed run does not measure again.

    threads: patients that are measured at a time; None: as many as there are cores for each rank.
    """
    done = stages.result("anatomy")
    if done is None:
        release = PlannedRelease(plan, noise, stages.ranks)
        threads = threads or max(1, (os.cpu_count() or 1) // stages.ranks.count)
        model = fit_anatomy(
            cohort, patients, release, workers=threads, progress=progress, earlier=earlier
        )
        done = stages.finish("anatomy", _tensors(model))
    # Read back also when just made: a resumed run must see the same numbers.
    return AnatomyModel.read(cohort, {k: v.numpy() for k, v in done.items()})


def patches(model: AnatomyModel, cfg: RunConfig) -> list[npt.NDArray[np.float32]]:
    """Parts of drawn volumes at random places: of the network's size, or of a large grid windows.

    Post-processing. Several windows of one large volume: to draw it takes a minute. Of volumes with
    channels one after the other, for the network's code is that of one image.
    """
    x, y, z = (min(edge, LARGEST_WINDOW) for edge in cfg.data.size)
    window = (x, y, z)
    each = min(MOST_WINDOWS, max(1, round(math.prod(cfg.data.size) / math.prod(window))))
    parts: list[npt.NDArray[np.float32]] = []
    for number in range(-(-cfg.atlas.samples // each)):
        random = np.random.Generator(np.random.Philox(key=[cfg.seed, number]))
        category, site = model.numbers.pick(random), model.numbers.pick_site(random)
        image, _, _ = model.draw_volume(random, category=category, site=site)
        if image.ndim > 3:
            image = image[number % len(image)]
        image = padded(image, window)
        for _ in range(min(each, cfg.atlas.samples - len(parts))):
            corner = [
                int(random.integers(have - want + 1))
                for have, want in zip(image.shape, window, strict=True)
            ]
            place = tuple(slice(a, a + n) for a, n in zip(corner, window, strict=True))
            parts.append(np.ascontiguousarray(image[place]))
    return parts


def padded(image: npt.NDArray[np.float32], least: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    """[X, Y, Z] image of at least that size; its border repeats."""
    size = [max(have, want) for have, want in zip(image.shape, least, strict=True)]
    return np.asarray(crop_or_pad(image, (size[0], size[1], size[2]), "edge"))


def tensors(model: AnatomyModel) -> dict[str, torch.Tensor]:
    """The model as a model file holds it."""
    return {f"anatomy.{name}": values for name, values in _tensors(model).items()}


def _tensors(model: AnatomyModel) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(values.copy()) for name, values in model.to_arrays().items()}


def provenance(cohort: CohortAnatomy) -> dict[str, Any]:
    """What a model's card says of the public people that it draws."""
    entry, grid = cohort.entry, cohort.grid()
    if entry is None:
        return {
            "size": list(grid.shape),
            "spacing": [float(side) for side in grid.spacing],
            "library": LIBRARY,
            "digest": cohort.digest,
            "kind": "maps" if cohort_labels(cohort.data) else "tissues",
            "people": 0,
        }
    return {
        "size": list(grid.shape),
        "spacing": [float(side) for side in grid.spacing],
        "library": entry.name,
        "digest": entry.digest,
        "kind": entry.kind,
        "people": len(entry.people),
        "source": entry.source,
        "licence": entry.licence,
        "consent": entry.consent,
    }


def fit_anatomy(
    cohort: CohortAnatomy,
    patients: Scans,
    release: PlannedRelease,
    *,
    workers: int = 1,
    progress: Progress,
    earlier: Continued | None = None,
) -> AnatomyModel:
    """Measure every patient and release the cohort's numbers.

    workers: threads of this process; the numbers are the same for any, and for any ranks.
    earlier: the model that the training goes on from; of an entry with people alone.
    """
    maps: dict[str, Array] = {}
    if cohort.entry is None:
        cohort, maps = release_maps(cohort, patients, release, workers=workers, progress=progress)
    measurements = list(_measured(cohort, patients, release, workers, progress))
    centre, bands = cohort.numbers if earlier is None else earlier.known, cohort.bands
    before = None if earlier is None else earlier.numbers
    apart = cohort.renderer.greys_apart
    model = AnatomyModel(cohort, centre, maps, earlier=before, greys_apart=apart)
    count = None if cohort.entry is None else _coefficients(centre, bands, release, apart)
    classes, sites = cohort.data.classes, len(cohort.data.sites or ())
    # Of a model that is trained on, what goes together is how its patients differ: not known.
    related = cohort.renderer.related if earlier is None else None
    means = mean_parts(centre, bands, count, related=related, greys=apart)
    planned = [(MEANS, means), (SPREADS, spread_parts(centre, bands))]
    if classes > 0:
        planned.append((CLASSES, class_parts(centre, bands, classes)))
    if sites:
        planned.append((BY_SITE, site_parts(centre, sites)))
    for name, parts in planned:
        fitted = _release(name, parts, measurements, release, model)
        if earlier is not None:
            fitted = replace(fitted, numbers=earlier.joined(name, model.numbers, fitted.numbers))
        model = fitted
    return model


def _measured(
    cohort: CohortAnatomy,
    patients: Scans,
    release: PlannedRelease,
    workers: int,
    progress: Progress,
) -> Iterator[list[Measured]]:
    """What the volumes of each patient of this process show, without those that show nothing."""

    def measure_patient(index: int) -> list[Measured]:
        shown = (cohort.measure(scan) for scan in patients.scans(index))
        return [volume for volume in shown if volume is not None]

    progress.start("prepare the library", 1)
    # Built once, and not by every thread of the pool.
    _ = cohort.template
    progress.finish()
    return measured(measure_patient, release, workers, progress, "measure anatomy")


def _release(
    name: str,
    parts: Sequence[Part],
    measurements: Sequence[Sequence[Measured]],
    release: PlannedRelease,
    model: AnatomyModel,
) -> AnatomyModel:
    """`model` with what one joint mechanism over all patients adds."""
    joined, state = joint.joined(parts), model.numbers
    vectors = (_vector(parts, joined, volumes, state) for volumes in measurements)
    released = release(name, vectors, clip=joined.clip, dimension=joined.dimension)
    sigma = release.sigma(name, joined.clip)
    numbers = state
    for part, own in joined.split(released).items():
        statistic = next(candidate for candidate in parts if candidate.name == part)
        numbers = statistic.estimate(own, joined.sigma(part, sigma), numbers)
    return replace(model, numbers=numbers, released={**model.released, name: released})


def _vector(
    parts: Sequence[Part], joined: joint.Joint, volumes: Sequence[Measured], state: Numbers
) -> Array:
    """[dimension] of one patient: the mean over the volumes, zeros where there are none."""
    if not volumes:
        return np.zeros(joined.dimension)
    return joined.join(
        {
            part.name: np.mean([part.measure(volume, state) for volume in volumes], axis=0)
            for part in parts
        }
    )


def _coefficients(public: Numbers, bands: Bands, release: PlannedRelease, greys: int) -> int:
    """How many coefficients an axis are released: as many as noise leaves something of.

    Public: N, the plan's noise and the dimension decide.
    """
    ends = np.cumsum(np.bincount(bands.of, minlength=bands.count))
    largest = int(ends[0])
    for count in (int(end) for end in ends[1:]):
        joined = joint.joined(mean_parts(public, bands, count, greys=greys))
        sigma = joined.sigma("shape", release.sigma(MEANS, joined.clip))
        if sigma <= MOST_NOISE:
            largest = count
    return largest
