"""Build the template: a first one from moments or from a public volume, then refined.

Each release below is a Gaussian mechanism on per-patient vectors whose sensitivity is argued
where the vector is made (`template`, `refinement`, `moments`); the rest is post-processing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from medvae.atlas import moments, public, refinement, shares
from medvae.atlas.basis import Array, Basis
from medvae.atlas.displacement import invert, warp
from medvae.atlas.features import shape_channels
from medvae.atlas.refinement import Refinement
from medvae.atlas.registration import Moving
from medvae.atlas.shares import Release
from medvae.atlas.study import IMAGE_WEIGHT, Study
from medvae.atlas.template import (
    CLIP,
    COARSE_REACH,
    REACH,
    REFINE_REACH,
    Layout,
)
from medvae.config import RunConfig
from medvae.grid import Gridded

Key = tuple[int, int]
Mask = npt.NDArray[np.uint8]


class Built(NamedTuple):
    """A template.

    Attributes:
        template: [1 + L, X, Y, Z] standardised image and shape channels.
        fine: [X, Y, Z] what a public template adds below its resolution.
    """

    template: Array
    fine: Array


def build(study: Study, release: Release, cfg: RunConfig, planned: set[str]) -> Built:
    """Release the template of a cohort by the mechanisms `planned`."""
    known, fine = public.known(cfg), np.zeros(study.shape)
    coarse = shares.REFINE in planned
    if known is not None and known.labels is not None and study.labels:
        found = _moments(study, release, None)
        mask = moments.draw(found, study.shape)
        image, started = _image(study, release, known, mask)
        if started is not None and started.labels is not None:
            mask = _divided(started.labels, found, study.labels)
        template = np.concatenate([image, shape_channels(mask, study.labels)])
    else:
        image, started = _image(study, release, None if coarse else known)
        template = np.concatenate([image, _shapes(study, release, image if started else None)])
    sharp = started is not None
    if coarse:
        template = _refine(study, release, template, shares.REFINE, sharp)
    if shares.AGAIN in planned:
        template = _refine(study, release, template, shares.AGAIN, sharp)
    if coarse and known is not None and started is None:
        fine = public.fine(template[0], known, study.registrar)
    if known is not None:
        _tell(study, started is not None or bool(fine.any()))
    return Built(template, fine)


def _tell(study: Study, used: bool) -> None:
    """Say in a word (a terminal has no room for more) whether the public template was used."""
    study.progress.start("public template", 1)
    study.progress.finish("laid" if used else "left aside")


def _shapes(study: Study, release: Release, image: Array | None) -> Array:
    """[L, X, Y, Z] shape channels of ellipsoids with the patients' mean moments."""
    if study.labels == 0:
        return np.zeros((0, *study.shape))
    drawn = moments.draw(_moments(study, release, image), study.shape)
    return shape_channels(drawn, study.labels)


def _divided(given: Array, found: Array, labels: int) -> Mask:
    """[X, Y, Z] a public template's labels as the cohort's: by name, or all of them divided."""
    there = np.rint(given).astype(np.int64)
    if set(np.unique(there)) - {0} == set(range(1, labels + 1)):
        return there.astype(np.uint8)
    return moments.split(there > 0, found)


def _moments(study: Study, release: Release, image: Array | None) -> Array:
    """[9 L] the patients' mean moments of labels.

    With an image [1, X, Y, Z] worth registering to, the moments are taken in its frame:
    the labels come to lie on the anatomy that it shows.
    """
    labels = study.labels
    clip = moments.clip(labels)
    still = np.zeros((3, len(study.registrar.basis)))
    moving = None if image is None else Moving(image)
    weight = np.array([IMAGE_WEIGHT])

    def measure(volume: Gridded, key: Key) -> Array:
        mask = volume.mask if volume.mask is not None else np.zeros(study.shape, np.uint8)
        if moving is not None:
            seen = study.standardise(volume)[None]
            field = study.register(seen, key, moving, still, weight)
            back = invert(study.registrar.basis.synthesise(field))
            mask = warp(mask.astype(np.float64), back, order=0).astype(np.uint8)
        return moments.describe(mask, labels)

    vectors = study.vectors(shares.MOMENTS, measure)
    dimension = moments.SIZE * labels
    released = release(shares.MOMENTS, vectors, clip=clip, dimension=dimension)
    return moments.shrink(released, release.sigma(shares.MOMENTS, clip))


def _image(
    study: Study, release: Release, known: public.Known | None, labels: Mask | None = None
) -> tuple[Array, public.Start | None]:
    """[1, X, Y, Z] the mean image over patients as they lie on the grid; what it started from.

    With a public volume, it is what that shows there, corrected by what the released mean
    says beyond doubt.
    """
    noise = release.sigma(shares.MEAN, CLIP)
    layout = Layout.plan(study.shape, noise, REACH)

    def measure(volume: Gridded, _: Key) -> Array:
        return layout.encode(study.standardise(volume))

    vectors = study.vectors(shares.MEAN, measure)
    released = release(shares.MEAN, vectors, clip=CLIP, dimension=layout.dimension)
    mean = layout.decode(released, noise)
    started = None if known is None else public.start(mean, known, study.registrar, labels)
    if started is None:
        return mean[None], None
    surprise = released - layout.encode(started.factor * started.image)
    return (started.image + layout.decode(surprise, noise))[None], started


def _refine(study: Study, release: Release, template: Array, name: str, sharp: bool) -> Array:
    """The template plus the mean of what patients, registered to it, still differ by.

    sharp: the template's image is not the patients' own, and its edges lie beside theirs: the last
    time, they are moved there first.
    """
    again = name == shares.AGAIN
    clip = refinement.clip(study.labels, sharp=sharp)
    noise = release.sigma(name, clip)
    reach = REFINE_REACH if again else COARSE_REACH
    layout = Refinement.plan(template, noise, reach, sharp=sharp)
    moving = Moving(template)
    still = np.zeros((3, len(study.registrar.basis)))

    def measure(volume: Gridded, key: Key) -> Array:
        seen = study.channels(volume)
        field = study.register(seen, key, moving, still)
        return layout.encode(study.to_template(seen, field) - template)

    vectors = study.vectors(name, measure)
    released = release(name, vectors, clip=clip, dimension=layout.dimension)
    found = template + layout.decode(released, noise)
    if not (sharp and again):
        return found
    settled = _settled(study, layout.image.basis, template[0], found[0])
    moved = np.concatenate([settled[None], template[1:]])
    return moved + layout.decode(released + layout.encode(template - moved), noise)


def _settled(study: Study, shown: Basis, image: Array, mean: Array) -> Array:
    """[X, Y, Z] an image deformed onto a mean, as far as a basis shows them."""

    def seen(values: Array) -> Array:
        return shown.synthesise(shown.analyse(values))

    still = np.zeros((3, len(study.registrar.basis)))
    coefficients = study.registrar.register(
        seen(mean)[None],
        Moving(seen(image)[None]),
        np.array([IMAGE_WEIGHT]),
        start=still,
        centre=still,
    )
    return warp(image, study.registrar.basis.synthesise(coefficients), order=3)
