"""Fit an atlas: one noisy release after another, registration in between.

Formal guarantee: the result depends on the patients through `release` alone, one Gaussian
mechanism per name of `mechanisms`, each on per-patient vectors whose sensitivity is argued
where the vector is made (`template`, `refinement`, `outline`, `motion`, `scales`, `intensity`).
"""

from __future__ import annotations

import numpy as np

from medvae.atlas import (
    facing,
    hounsfield,
    intensity,
    profile,
    scales,
    shares,
    spectrum,
    spread,
)
from medvae.atlas.atlas import Atlas
from medvae.atlas.basis import Array
from medvae.atlas.build import build
from medvae.atlas.classes import CLIP as CLASSES_CLIP
from medvae.atlas.classes import ClassCode, Classes, shifted
from medvae.atlas.displacement import prior_deviation, warp
from medvae.atlas.features import label_map
from medvae.atlas.motion import Covariance, MotionCode
from medvae.atlas.registration import Moving
from medvae.atlas.scales import ScaleCode, Scales
from medvae.atlas.shares import Release
from medvae.atlas.statistics import shells
from medvae.atlas.study import Patients, Study
from medvae.config import RunConfig
from medvae.grid import Gridded
from medvae.progress import SILENT, Progress
from medvae.threads import one_blas_thread

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
    with one_blas_thread():
        return _fit(patients, release, cfg, progress)


def _fit(patients: Patients, release: Release, cfg: RunConfig, progress: Progress) -> Atlas:
    planned = {name for name, _ in shares.mechanisms(cfg, cfg.data.labels > 0, len(patients))}
    study = Study(patients, cfg, progress)
    template, fine = build(study, release, cfg, planned)
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
        facing=facing.told(_faced(study, template, centre), found.facing),
        profile=_profile(study, release) if shares.PROFILE in planned else np.zeros((2, 0)),
        classes=groups,
        spread=variety,
    )


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
        return profile.describe(volume.image, study.mask(volume))

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
    absolute = study.middle is not None
    code = ClassCode.plan(study.shape, study.registrar.basis, study.classes, noise, absolute)

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


def _faced(study: Study, template: Array, centre: Array) -> Array:
    """[B, 3] what borders between the template's labels face where patients usually lie."""
    count = facing.borders(study.labels)
    if not count:
        return np.zeros((0, 3))
    usual = warp(template[1:], study.registrar.basis.synthesise(centre))
    return facing.directions(label_map(usual), count)


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
    faced = _faced(study, template, centre)
    code = ScaleCode(basis, study.shape, len(faced))
    moving = Moving(template)
    # What is drawn lies around the released centre, so sizes are compared there: with the
    # patient's own field, a label that the centre makes too small would seem right.
    usual = warp(template[1:], basis.synthesise(centre))

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
            scales.relative_size(seen[1:], usual),
            facing.figures(study.mask(volume), faced),
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
    # A grid of few voxels has fewer displacement functions.
    code = Covariance(min(Covariance.functions, len(study.registrar.basis)))

    def measure(volume: Gridded, key: Key) -> Array:
        own = shifted(centre, groups.motion, volume.category)
        return code.encode((study.fields[key] - own) / deviation)

    vectors = study.vectors(shares.COVARIANCE, measure)
    noise = release.sigma(shares.COVARIANCE, code.clip)
    released = release(shares.COVARIANCE, vectors, clip=code.clip, dimension=code.dimension)
    return code.decode(released, noise)
