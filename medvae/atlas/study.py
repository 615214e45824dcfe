"""The patients as the atlas sees them while it is fitted: channels, fields, per-patient means."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from medvae import modality as modalities
from medvae.atlas import hounsfield
from medvae.atlas.basis import Array, Basis
from medvae.atlas.displacement import invert, prior_deviation, warp
from medvae.atlas.features import channels, standardise
from medvae.atlas.registration import AFRESH, AGAIN, Moving, Registrar
from medvae.config import RunConfig
from medvae.grid import Gridded
from medvae.progress import Progress

# Public: displacements are described up to this frequency (waves of 16 voxels).
FIELD_FREQUENCY = 0.06
# Public inverse variances of a channel's disagreement after registration.
IMAGE_WEIGHT, SHAPE_WEIGHT = 2.0, 60.0


class Patients(Protocol):
    """A cohort: patient i's volumes on the model's grid."""

    def __len__(self) -> int: ...

    def volumes(self, index: int) -> list[Gridded]:
        """All volumes of one patient; none where none could be brought to the grid."""


def registrar(shape: tuple[int, int, int]) -> Registrar:
    """The registrar of a grid: public constants alone."""
    basis = Basis.below(shape, FIELD_FREQUENCY)
    return Registrar.on(shape, basis, prior_deviation(basis))


def channel_weights(labels: int) -> Array:
    """[1 + labels] inverse variances used by registration."""
    return np.array([IMAGE_WEIGHT] + [SHAPE_WEIGHT / max(labels, 1)] * labels)


class Study:
    """One pass after another over the patients, keeping their fields in memory between.

    What is kept is private (coefficients of each patient's registration) and dies with
    the object; only what goes through a release leaves it.
    """

    def __init__(self, patients: Patients, cfg: RunConfig, progress: Progress) -> None:
        self.patients = patients
        self.shape = cfg.data.size
        self.labels = cfg.data.labels
        self.classes = cfg.data.classes
        absolute = modalities.get(cfg.data.modality).intensity == "distribution"
        self.middle = hounsfield.centre(cfg.data) if absolute else None
        self.registrar = registrar(self.shape)
        self.progress = progress
        self.fields: dict[tuple[int, int], Array] = {}

    def vectors(
        self, name: str, measure: Callable[[Gridded, tuple[int, int]], Array]
    ) -> Iterator[Array]:
        """Per patient, the mean over volumes of `measure`; lazily, one patient in memory."""
        self.progress.start(name, len(self.patients))
        for patient in range(len(self.patients)):
            measured = [
                measure(volume, (patient, number))
                for number, volume in enumerate(self.patients.volumes(patient))
            ]
            if measured:
                yield np.mean(measured, axis=0)
            self.progress.advance(patient + 1)
        self.progress.finish()

    def register(
        self,
        seen: Array,
        key: tuple[int, int],
        moving: Moving,
        centre: Array,
        weights: Array | None = None,
    ) -> Array:
        """Coefficients [3, K] of the field that pulls the template onto channels `seen`."""
        self.fields[key] = self.registrar.register(
            seen,
            moving,
            channel_weights(self.labels) if weights is None else weights,
            start=self.fields.get(key, centre),
            centre=centre,
            blurs=AGAIN if key in self.fields else AFRESH,
        )
        return self.fields[key]

    def channels(self, volume: Gridded) -> Array:
        return channels(volume, self.labels, self.middle)

    def mask(self, volume: Gridded) -> npt.NDArray[np.uint8]:
        """[X, Y, Z] the labels that the configuration has; of a volume without a mask, none."""
        if volume.mask is None:
            return np.zeros(self.shape, np.uint8)
        return np.where(volume.mask <= self.labels, volume.mask, 0).astype(np.uint8)

    def standardise(self, volume: Gridded) -> Array:
        return standardise(volume.image, self.middle)

    def to_template(self, seen: Array, coefficients: Array) -> Array:
        """Channels [C, X, Y, Z] brought into the template's frame."""
        return warp(seen, invert(self.registrar.basis.synthesise(coefficients)))
