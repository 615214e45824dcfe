"""Fit an atlas: one noisy release after another, registration in between.

Formal guarantee: the result depends on the patients through `release` alone, one Gaussian
mechanism per name of `mechanisms`, each on per-patient vectors whose sensitivity is argued
where the vector is made (`template`, `motion` below, `scales`, `intensity`).
"""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from medvae.atlas import (
    hounsfield,
    intensity,
    moments,
    profile,
    public,
    scales,
    shares,
    spectrum,
    spread,
)
from medvae.atlas.atlas import Atlas
from medvae.atlas.basis import Array
from medvae.atlas.classes import CLIP as CLASSES_CLIP
from medvae.atlas.classes import ClassCode, Classes, shifted
from medvae.atlas.displacement import invert, prior_deviation, warp
from medvae.atlas.features import shape_channels
from medvae.atlas.motion import Covariance, MotionCode
from medvae.atlas.registration import Moving
from medvae.atlas.scales import ScaleCode, Scales
from medvae.atlas.shares import Release
from medvae.atlas.statistics import shells
from medvae.atlas.study import IMAGE_WEIGHT, Patients, Study
from medvae.atlas.template import (
    CLIP,
    COARSE_REACH,
    IMAGE_PART,
    REACH,
    REFINE_CLIP,
    REFINE_REACH,
    Layout,
)
from medvae.config import RunConfig
from medvae.grid import Gridded
from medvae.progress import SILENT, Progress

Key = tuple[int, int]


def fit(
    patients: Patients, release: Release, cfg: RunConfig, *, progress: Progress = SILENT
) -> Atlas:
    """Release an atlas of the patients.

    Args:
        patients: the cohort on the grid `cfg.data.size`; labels above `cfg.data.labels`
            are background.
        release: Gaussian mechanisms by the names of `mechanisms(cfg, ...)`.
    """
    # Matrices are small: more threads only wait for one another, and one thread always adds
    # in the same order, so a run repeats bit for bit.
    with threadpool_limits(limits=1, user_api="blas"):
        return _fit(patients, release, cfg, progress)


def _fit(patients: Patients, release: Release, cfg: RunConfig, progress: Progress) -> Atlas:
    planned = {name for name, _ in shares.mechanisms(cfg, cfg.data.labels > 0, len(patients))}
    study = Study(patients, cfg, progress)
    known, fine = _known(cfg), np.zeros(study.shape)
    if shares.REFINE in planned:
        image, _ = _image(study, release, None)
        template = np.concatenate([image, _shapes(study, release, None)])
        template = _refine(study, release, template, shares.REFINE, COARSE_REACH)
        template = _refine(study, release, template, shares.AGAIN, REFINE_REACH)
        if known is not None:
            fine = public.fine(template[0], known, study.registrar)
    else:
        image, sharp = _image(study, release, known)
        template = np.concatenate([image, _shapes(study, release, image if sharp else None)])
    centre = _motion(study, release, template)
    grey = _grey(study, release)
    groups = Classes.none(study.shape, len(study.registrar.basis))
    if shares.CLASSES in planned:
        groups = _classes(study, release, template, centre, grey)
    variety = np.zeros(0)
    if shares.SPREAD in planned:
        variety = _spread(study, release, template, groups)
    found = _scales(study, release, template, centre, grey, groups)
    strength = np.ones(len(study.registrar.basis))
    for shell, power in zip(shells(study.registrar.basis.frequency), found.motion, strict=True):
        strength[shell] = np.sqrt(power)
    deviation = np.tile(strength * prior_deviation(study.registrar.basis), (3, 1))
    factor = np.eye(3)
    if shares.COVARIANCE in planned:
        factor = _covariance(study, release, centre, deviation, groups)
    return Atlas(
        template=template,
        fine=fine,
        centre=centre,
        deviation=deviation,
        factor=factor,
        residual=found.residual,
        grey=grey,
        grey_deviation=np.sqrt(found.intensity),
        middle=np.zeros(0) if study.middle is None else np.array([study.middle]),
        size=np.array([found.size]),
        profile=_profile(study, release) if shares.PROFILE in planned else np.zeros((2, 0)),
        classes=groups,
        spread=variety,
    )


def _shapes(study: Study, release: Release, image: Array | None) -> Array:
    """[L, X, Y, Z] shape channels of ellipsoids with the patients' mean moments.

    With an image [1, X, Y, Z] worth registering to, the moments are taken in its frame:
    the labels come to lie on the anatomy that it shows.
    """
    labels = study.labels
    if labels == 0:
        return np.zeros((0, *study.shape))
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
    found = moments.shrink(released, release.sigma(shares.MOMENTS, clip))
    return shape_channels(moments.draw(found, study.shape), labels)


def _known(cfg: RunConfig) -> Array | None:
    """The public volume that the configuration names."""
    if cfg.atlas.public == "none":
        return None
    return public.mni152(cfg.data.spacing or (1.0, 1.0, 1.0))


def _image(study: Study, release: Release, known: Array | None) -> tuple[Array, bool]:
    """[1, X, Y, Z] the mean image over patients as they lie on the grid; whether it is sharp.

    With a public volume, it is what that shows there, corrected by what the released mean
    says beyond doubt.
    """
    noise = release.sigma(shares.MEAN, CLIP)
    layout = Layout.plan(study.shape, 0, noise, REACH, 1.0)

    def measure(volume: Gridded, _: Key) -> Array:
        return layout.encode(study.standardise(volume)[None])

    vectors = study.vectors(shares.MEAN, measure)
    released = release(shares.MEAN, vectors, clip=CLIP, dimension=layout.dimension)
    mean = layout.decode(released, noise)
    if known is not None:
        start = public.start(mean[0], known, study.registrar)
        if start is not None:
            crop, factor = start
            surprise = released - layout.encode(factor * crop[None])
            return crop[None] + layout.decode(surprise, noise), True
    return mean, False


def _refine(study: Study, release: Release, template: Array, name: str, reach: float) -> Array:
    """The template plus the mean of what patients, registered to it, still differ by."""
    noise = release.sigma(name, REFINE_CLIP)
    layout = Layout.plan(study.shape, study.labels, noise, reach, IMAGE_PART)
    moving = Moving(template)
    still = np.zeros((3, len(study.registrar.basis)))

    def measure(volume: Gridded, key: Key) -> Array:
        seen = study.channels(volume)
        field = study.register(seen, key, moving, still)
        return layout.encode(study.to_template(seen, field) - template)

    vectors = study.vectors(name, measure)
    released = release(name, vectors, clip=REFINE_CLIP, dimension=layout.dimension)
    return template + layout.decode(released, noise)


def _motion(study: Study, release: Release, template: Array) -> Array:
    """[3, K] the mean displacement."""
    code = MotionCode(study.registrar.basis)
    start = np.zeros((3, len(code.basis)))
    moving = Moving(template)

    def measure(volume: Gridded, key: Key) -> Array:
        return code.encode(study.register(study.channels(volume), key, moving, start))

    vectors = study.vectors(shares.MOTION, measure)
    noise = release.sigma(shares.MOTION, code.clip)
    released = release(shares.MOTION, vectors, clip=code.clip, dimension=code.dimension)
    return code.decode(released, noise)


def _grey(study: Study, release: Release) -> Array:
    """[COUNT] mean quantile coefficients; of CT, those of the mean distribution."""
    if study.middle is None:
        tell, draw, clip, count = (
            intensity.describe,
            intensity.shrink,
            intensity.CLIP,
            intensity.COUNT,
        )
    else:
        tell, draw, clip, count = (
            hounsfield.describe,
            hounsfield.shrink,
            hounsfield.CLIP,
            hounsfield.COUNT,
        )

    def measure(volume: Gridded, _: Key) -> Array:
        return tell(volume.image.astype(np.float64))

    vectors = study.vectors(shares.INTENSITY, measure)
    released = release(shares.INTENSITY, vectors, clip=clip, dimension=count)
    return draw(released, release.sigma(shares.INTENSITY, clip))


def _profile(study: Study, release: Release) -> Array:
    """[2, profile.DIMENSION] what images do across the border of their labels."""

    def measure(volume: Gridded, _: Key) -> Array:
        if volume.mask is None:
            return np.zeros(profile.DIMENSION)
        mask = np.where(volume.mask <= study.labels, volume.mask, 0)
        return profile.describe(volume.image, mask)

    vectors = study.vectors(shares.PROFILE, measure)
    clip = profile.CLIP
    released = release(shares.PROFILE, vectors, clip=clip, dimension=profile.DIMENSION)
    return profile.believe(released, release.sigma(shares.PROFILE, clip))


def _level(study: Study, volume: Gridded, grey: Array) -> Array:
    """[COUNT] how a volume's quantile coefficients differ from the mean; 0 of CT."""
    if study.middle is not None:
        return np.zeros(intensity.COUNT)
    return intensity.describe(volume.image.astype(np.float64)) - grey


def _classes(
    study: Study, release: Release, template: Array, centre: Array, grey: Array
) -> Classes:
    """How classes differ, with the patients registered as for the mean displacement."""
    noise = release.sigma(shares.CLASSES, CLASSES_CLIP)
    code = ClassCode.plan(study.shape, study.registrar.basis, study.classes, noise)

    def measure(volume: Gridded, key: Key) -> Array:
        field = study.fields[key]
        seen = study.to_template(study.standardise(volume)[None], field)[0]
        return code.encode(
            volume.category,
            seen - template[0],
            field - centre,
            _level(study, volume, grey),
        )

    vectors = study.vectors(shares.CLASSES, measure)
    released = release(shares.CLASSES, vectors, clip=CLASSES_CLIP, dimension=code.dimension)
    return code.decode(released, noise)


def _spread(study: Study, release: Release, template: Array, groups: Classes) -> Array:
    """[X, Y, Z] how texture's strength differs from place to place of the template."""
    noise = release.sigma(shares.SPREAD, spread.CLIP)
    plan = spread.layout(study.shape, noise)

    def measure(volume: Gridded, key: Key) -> Array:
        seen = study.to_template(study.standardise(volume)[None], study.fields[key])[0]
        return spread.encode(plan, seen - shifted(template[0], groups.image, volume.category))

    vectors = study.vectors(shares.SPREAD, measure)
    released = release(shares.SPREAD, vectors, clip=spread.CLIP, dimension=plan.dimension)
    return spread.decode(plan, released, noise)


def _scales(
    study: Study,
    release: Release,
    template: Array,
    centre: Array,
    grey: Array,
    groups: Classes,
) -> Scales:
    """Powers, spreads and sizes, with the patients registered around the mean field.

    Where there are classes, all of it is around what is released of the volume's own.
    """
    basis = study.registrar.basis
    code = ScaleCode(basis, study.shape)
    moving = Moving(template)

    def measure(volume: Gridded, key: Key) -> Array:
        seen = study.channels(volume)
        field = study.register(seen, key, moving, centre)
        own = volume.category
        level = shifted(np.zeros(intensity.COUNT), groups.grey, own)
        image = shifted(template[0], groups.image, own)
        moved = warp(np.concatenate([image[None], template[1:]]), basis.synthesise(field))
        found = Scales(
            scales.motion_power(field - shifted(centre, groups.motion, own), basis),
            spectrum.shell_power(seen[0] - moved[0]),
            (_level(study, volume, grey) - level) ** 2,
            scales.relative_size(seen[1:], moved[1:]),
        )
        return code.encode(found)

    vectors = study.vectors(shares.SCALES, measure)
    noise = release.sigma(shares.SCALES, scales.CLIP)
    released = release(shares.SCALES, vectors, clip=scales.CLIP, dimension=code.dimension)
    return code.decode(released, noise)


def _covariance(
    study: Study, release: Release, centre: Array, deviation: Array, groups: Classes
) -> Array:
    """[R, R] factor of the correlation of the lowest whitened displacement coefficients."""
    code = Covariance()

    def measure(volume: Gridded, key: Key) -> Array:
        own = shifted(centre, groups.motion, volume.category)
        return code.encode((study.fields[key] - own) / deviation)

    vectors = study.vectors(shares.COVARIANCE, measure)
    noise = release.sigma(shares.COVARIANCE, code.clip)
    released = release(shares.COVARIANCE, vectors, clip=code.clip, dimension=code.dimension)
    return code.decode(released, noise)
