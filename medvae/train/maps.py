"""The patients' own mean maps: the mechanisms `steps` before those of the anatomy model.

Formal guarantee: the maps are a function of the outputs of the mechanisms. Each patient's vector,
the mean over his or her volumes, is clipped whatever was measured; a volume that cannot be read or
registered adds zeros. Each mechanism uses what the one before it has released (adaptive
composition, accounted for in the plan).
"""

from __future__ import annotations

import numpy as np

from medvae.anatomy.cohort import CohortAnatomy
from medvae.anatomy.patients import anatomy_of_patients, public_maps
from medvae.anatomy.registration.geometry import Array
from medvae.anatomy.templates import MapMechanism, ReleasedMaps, Templates, steps
from medvae.privacy import joint
from medvae.progress import Progress
from medvae.train.measuring import measured
from medvae.train.release import PlannedRelease
from medvae.train.scans import Scans


def release_maps(
    cohort: CohortAnatomy,
    patients: Scans,
    release: PlannedRelease,
    *,
    workers: int,
    progress: Progress,
) -> tuple[CohortAnatomy, dict[str, Array]]:
    """The cohort with its released maps, and what each mechanism released."""
    released: dict[str, Array] = {}

    def step(mechanism: MapMechanism, title: str) -> Templates:
        parts = mechanism.parts
        joined = joint.joined(parts)
        vectors = _vectors(mechanism, joined, patients, release, workers, progress, title)
        name = mechanism.name
        released[name] = release(name, vectors, clip=joined.clip, dimension=joined.dimension)
        sigma, own = release.sigma(name, joined.clip), joined.split(released[name])
        maps = mechanism.state
        for part in parts:
            maps = part.estimate(own[part.name], joined.sigma(part.name, sigma), maps)
        return maps

    templates, state = {}, public_maps(cohort.data)
    names = steps(state.layout)
    for number, name in enumerate(names, 1):
        title = f"measure maps ({number} of {len(names)})"
        state = templates[name] = step(MapMechanism.of(name, state), title)
    maps = ReleasedMaps(templates)
    return anatomy_of_patients(cohort.data, cohort.drawn_spacing, maps), released


def _vectors(
    mechanism: MapMechanism,
    joined: joint.Joint,
    patients: Scans,
    release: PlannedRelease,
    workers: int,
    progress: Progress,
    title: str,
) -> list[Array]:
    """A vector [dimension] for each patient of this process: the mean over the volumes, zeros
    without any.
    """
    mechanism.prepare()

    def patient_vector(index: int) -> Array:
        by_part = [mechanism.vectors(scan) for scan in patients.scans(index)]
        joined_vectors = [joined.join(vectors) for vectors in by_part if vectors is not None]
        return np.mean(joined_vectors, axis=0) if joined_vectors else np.zeros(joined.dimension)

    return list(measured(patient_vector, release, workers, progress, title))
