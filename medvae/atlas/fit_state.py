"""State of a fit: the cohort, and each patient's registration between passes over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from medvae import modality as modalities
from medvae.atlas import hounsfield
from medvae.atlas.basis import Array
from medvae.atlas.displacement import invert, warp
from medvae.atlas.features import channels, standardise
from medvae.atlas.registration import (
    BLURS_FROM_FIELD,
    BLURS_FROM_ZERO,
    MovingImage,
    channel_weights,
    registrar,
)
from medvae.config import RunConfig
from medvae.grid import Gridded
from medvae.progress import Progress

# A volume's key: index of the patient, and of the volume among the patient's.
Key = tuple[int, int]


class Patients(Protocol):
    """A cohort whose volumes are on the model's grid."""

    def __len__(self) -> int: ...

    def volumes(self, index: int) -> list[Gridded]:
        """All volumes of one patient; empty where none could be resampled to the grid."""


class FitState:
    """Passes over the patients, and displacement coefficients kept in memory between passes.

    The coefficients are private and are discarded with the object; only outputs of mechanisms
    leave it.
    """

    def __init__(self, patients: Patients, cfg: RunConfig, progress: Progress) -> None:
        self.patients = patients
        self.shape = cfg.data.size
        self.labels = cfg.data.labels
        self.classes = cfg.data.classes
        absolute = modalities.get(cfg.data.modality).intensity == "distribution"
        self.grey_centre = hounsfield.grey_centre(cfg.data) if absolute else None
        self.registrar = registrar(self.shape)
        self.progress = progress
        self.coefficients: dict[Key, Array] = {}

    def patient_means(self, name: str, measure: Callable[[Gridded, Key], Array]) -> Iterator[Array]:
        """Yield, for each patient with volumes, the mean of `measure` over these volumes.

        Lazy: one patient's volumes are in memory at a time. `name` is shown as progress.
        """
        self.progress.start(name, len(self.patients))
        for patient in range(len(self.patients)):
            vectors = [
                measure(volume, (patient, number))
                for number, volume in enumerate(self.patients.volumes(patient))
            ]
            if vectors:
                yield np.mean(vectors, axis=0)
            self.progress.advance(patient + 1)
        self.progress.finish()

    def register(
        self,
        fixed: Array,
        key: Key,
        moving: MovingImage,
        centre: Array,
        weights: Array | None = None,
    ) -> Array:
        """Coefficients [3, K] of the displacement that pulls the template onto `fixed`.

        Starts from the volume's coefficients of the pass before, and replaces them.
        """
        self.coefficients[key] = self.registrar.register(
            fixed,
            moving,
            channel_weights(self.labels) if weights is None else weights,
            start=self.coefficients.get(key, centre),
            centre=centre,
            blurs=BLURS_FROM_FIELD if key in self.coefficients else BLURS_FROM_ZERO,
        )
        return self.coefficients[key]

    def channels(self, volume: Gridded) -> Array:
        """[1 + L, X, Y, Z] image and shape channels (see `features.channels`)."""
        return channels(volume, self.labels, self.grey_centre)

    def mask(self, volume: Gridded) -> npt.NDArray[np.uint8]:
        """[X, Y, Z] the configured labels; others, and those of no mask, are background."""
        if volume.mask is None:
            return np.zeros(self.shape, np.uint8)
        return np.where(volume.mask <= self.labels, volume.mask, 0).astype(np.uint8)

    def standardise(self, volume: Gridded) -> Array:
        """[X, Y, Z] the standardised image (see `features.standardise`)."""
        return standardise(volume.image, self.grey_centre)

    def to_template(self, values: Array, coefficients: Array) -> Array:
        """Channels [C, X, Y, Z] resampled in the template's frame."""
        return warp(values, invert(self.registrar.basis.synthesise(coefficients)))
