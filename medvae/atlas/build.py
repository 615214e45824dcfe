"""Build the template: an initial one from label moments or a public volume, then refined.

Each mechanism below is Gaussian on per-patient vectors, whose sensitivity is argued where the
vector is made (`template`, `refinement`, `moments`). The rest is post-processing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from medvae.atlas import budget, moments, public, refinement
from medvae.atlas.basis import Array, Basis
from medvae.atlas.budget import NoisyMean
from medvae.atlas.displacement import invert, warp
from medvae.atlas.features import shape_channels
from medvae.atlas.fit_state import FitState, Key
from medvae.atlas.public import InitialTemplate, PublicTemplate
from medvae.atlas.refinement import Refinement
from medvae.atlas.registration import IMAGE_WEIGHT, MovingImage
from medvae.atlas.template import CLIP, COARSE_REACH, REACH, REFINE_REACH, Layout
from medvae.config import RunConfig
from medvae.grid import Gridded

Mask = npt.NDArray[np.uint8]


class Template(NamedTuple):
    """A released template.

    Attributes:
        channels: [1 + L, X, Y, Z] standardised image and shape channels.
        fine_structure: [X, Y, Z] a public template's structure below its resolution.
    """

    channels: Array
    fine_structure: Array


def build_template(
    state: FitState, noisy_mean: NoisyMean, cfg: RunConfig, planned: set[str]
) -> Template:
    """Measure the template of a cohort with the mechanisms that are in `planned`."""
    public_template, fine = public.load(cfg), np.zeros(state.shape)
    coarse = budget.REFINE in planned
    if public_template is not None and public_template.labels is not None and state.labels:
        cohort_moments = _moments(state, noisy_mean, None)
        mask = moments.render(cohort_moments, state.shape)
        image, initial = _image(state, noisy_mean, public_template, mask)
        if initial is not None and initial.labels is not None:
            mask = _cohort_labels(initial.labels, cohort_moments, state.labels)
        channels = np.concatenate([image, shape_channels(mask, state.labels)])
    else:
        image, initial = _image(state, noisy_mean, None if coarse else public_template)
        shapes = _shapes(state, noisy_mean, image if initial else None)
        channels = np.concatenate([image, shapes])
    sharp = initial is not None
    if coarse:
        channels = _refine(state, noisy_mean, channels, budget.REFINE, sharp)
    if budget.REFINE_AGAIN in planned:
        channels = _refine(state, noisy_mean, channels, budget.REFINE_AGAIN, sharp)
    if coarse and public_template is not None and initial is None:
        fine = public.fine_structure(channels[0], public_template, state.registrar)
    if public_template is not None:
        _report_use(state, sharp or bool(fine.any()))
    return Template(channels, fine)


def _report_use(state: FitState, used: bool) -> None:
    """Show whether the public template was used, in one word: a terminal line is short."""
    state.progress.start("public template", 1)
    state.progress.finish("aligned" if used else "unused")


def _shapes(state: FitState, noisy_mean: NoisyMean, image: Array | None) -> Array:
    """[L, X, Y, Z] shape channels of ellipsoids with the patients' mean moments."""
    if state.labels == 0:
        return np.zeros((0, *state.shape))
    mask = moments.render(_moments(state, noisy_mean, image), state.shape)
    return shape_channels(mask, state.labels)


def _cohort_labels(public_labels: Array, cohort_moments: Array, labels: int) -> Mask:
    """[X, Y, Z] a public template's labels as the cohort's.

    They are used as they are if they have the cohort's numbers; otherwise their union is split.
    """
    marked = np.rint(public_labels).astype(np.int64)
    if set(np.unique(marked)) - {0} == set(range(1, labels + 1)):
        return marked.astype(np.uint8)
    return moments.split_union(marked > 0, cohort_moments)


def _moments(state: FitState, noisy_mean: NoisyMean, image: Array | None) -> Array:
    """[9 L] the patients' mean label moments.

    image: [1, X, Y, Z] sharp enough for registration: moments are then measured in its frame, so
        that labels match its anatomy. None: in each patient's own frame.
    """
    labels = state.labels
    clip = moments.clip(labels)
    zero = np.zeros((3, len(state.registrar.basis)))
    moving = None if image is None else MovingImage(image)
    weight = np.array([IMAGE_WEIGHT])

    def measure(volume: Gridded, key: Key) -> Array:
        mask = volume.mask if volume.mask is not None else np.zeros(state.shape, np.uint8)
        if moving is not None:
            fixed = state.standardise(volume)[None]
            coefficients = state.register(fixed, key, moving, zero, weight)
            inverse = invert(state.registrar.basis.synthesise(coefficients))
            mask = warp(mask.astype(np.float64), inverse, order=0).astype(np.uint8)
        return moments.label_moments(mask, labels)

    vectors = state.patient_means(budget.MOMENTS, measure)
    noisy = noisy_mean(budget.MOMENTS, vectors, clip=clip, dimension=moments.SIZE * labels)
    return moments.shrink(noisy, noisy_mean.sigma(budget.MOMENTS, clip))


def _image(
    state: FitState,
    noisy_mean: NoisyMean,
    public_template: PublicTemplate | None,
    labels: Mask | None = None,
) -> tuple[Array, InitialTemplate | None]:
    """[1, X, Y, Z] mean image of unregistered patients, and the initial template if one is used.

    With a public volume, the image is the aligned public one plus the part of its difference from
    the noisy mean that noise does not explain.
    """
    noise_std = noisy_mean.sigma(budget.MEAN, CLIP)
    layout = Layout.plan(state.shape, noise_std, REACH)

    def measure(volume: Gridded, _: Key) -> Array:
        return layout.encode(state.standardise(volume))

    vectors = state.patient_means(budget.MEAN, measure)
    noisy = noisy_mean(budget.MEAN, vectors, clip=CLIP, dimension=layout.dimension)
    mean, initial = layout.decode(noisy, noise_std), None
    if public_template is not None:
        initial = public.initial_template(mean, public_template, state.registrar, labels)
    if initial is None:
        return mean[None], None
    innovation = noisy - layout.encode(initial.contrast * initial.image)
    return (initial.image + layout.decode(innovation, noise_std))[None], initial


def _refine(
    state: FitState, noisy_mean: NoisyMean, template: Array, name: str, sharp: bool
) -> Array:
    """The template [1 + L, X, Y, Z] plus the mean difference of registered patients from it.

    sharp: the template's image is a public one, whose edges are not the patients': the last
        refinement deforms it onto the mean first.
    """
    last = name == budget.REFINE_AGAIN
    clip = refinement.clip(state.labels, sharp=sharp)
    noise_std = noisy_mean.sigma(name, clip)
    code = Refinement.plan(template, noise_std, REFINE_REACH if last else COARSE_REACH, sharp=sharp)
    moving = MovingImage(template)
    zero = np.zeros((3, len(state.registrar.basis)))

    def measure(volume: Gridded, key: Key) -> Array:
        fixed = state.channels(volume)
        coefficients = state.register(fixed, key, moving, zero)
        return code.encode(state.to_template(fixed, coefficients) - template)

    vectors = state.patient_means(name, measure)
    noisy = noisy_mean(name, vectors, clip=clip, dimension=code.dimension)
    refined = template + code.decode(noisy, noise_std)
    if not (sharp and last):
        return refined
    image = _deformed_onto(state, code.image.basis, template[0], refined[0])
    deformed = np.concatenate([image[None], template[1:]])
    return deformed + code.decode(noisy + code.encode(template - deformed), noise_std)


def _deformed_onto(state: FitState, basis: Basis, image: Array, mean: Array) -> Array:
    """[X, Y, Z] an image deformed onto a mean, registered at the resolution of a basis."""

    def smooth(values: Array) -> Array:
        return basis.synthesise(basis.analyse(values))

    zero = np.zeros((3, len(state.registrar.basis)))
    coefficients = state.registrar.register(
        smooth(mean)[None],
        MovingImage(smooth(image)[None]),
        np.array([IMAGE_WEIGHT]),
        start=zero,
        centre=zero,
    )
    return warp(image, state.registrar.basis.synthesise(coefficients), order=3)
