"""Fit an atlas: one noisy statistic after another, with registration in between.

Formal guarantee: the result depends on the patients through `noisy_mean` alone: one Gaussian
mechanism for each name of `mechanisms`, on per-patient vectors whose sensitivity is argued where
the vector is made (`template`, `moments`, `refinement`, `deformation`, `scales`, `intensity`,
`hounsfield`, `boundary_profile`, `classes`, `texture_variance`).
"""

from __future__ import annotations

import numpy as np

from medvae.atlas import (
    boundary_orientation,
    boundary_profile,
    budget,
    hounsfield,
    intensity,
    scales,
    spectrum,
    texture_variance,
)
from medvae.atlas.atlas import Atlas
from medvae.atlas.basis import Array
from medvae.atlas.budget import NoisyMean
from medvae.atlas.build import build_template
from medvae.atlas.classes import CLIP as CLASSES_CLIP
from medvae.atlas.classes import ClassCode, Classes, class_mean
from medvae.atlas.deformation import CorrelationCode, DeformationCode
from medvae.atlas.displacement import prior_std, warp
from medvae.atlas.features import label_map
from medvae.atlas.fit_state import FitState, Key, Patients
from medvae.atlas.registration import MovingImage
from medvae.atlas.scales import ScaleCode, Scales
from medvae.atlas.shrinkage import shells
from medvae.config import RunConfig
from medvae.grid import Gridded
from medvae.progress import SILENT, Progress
from medvae.threads import one_blas_thread


def fit(
    patients: Patients, noisy_mean: NoisyMean, cfg: RunConfig, *, progress: Progress = SILENT
) -> Atlas:
    """Fit an atlas to the patients.

    Args:
        patients: the cohort on the grid `cfg.data.size`; labels above `cfg.data.labels` count as
            background.
        noisy_mean: Gaussian mechanisms by the names of `mechanisms(cfg, ...)`.
        cfg: the run's configuration.
        progress: gets the name of each pass over the patients.
    """
    # Small matrices gain nothing from more threads, and one thread adds in one order, so a run
    # repeats bit for bit.
    with one_blas_thread():
        return _fit(patients, noisy_mean, cfg, progress)


def _fit(patients: Patients, noisy_mean: NoisyMean, cfg: RunConfig, progress: Progress) -> Atlas:
    planned = {name for name, _ in budget.mechanisms(cfg, cfg.data.labels > 0, len(patients))}
    state = FitState(patients, cfg, progress)
    template, fine_structure = build_template(state, noisy_mean, cfg, planned)
    centre = _mean_displacement(state, noisy_mean, template)
    grey = _grey(state, noisy_mean)
    classes = Classes.none(state.shape, len(state.registrar.basis))
    if budget.CLASSES in planned:
        classes = _classes(state, noisy_mean, template, centre, grey)
    texture_std = np.zeros(0)
    if budget.TEXTURE_VARIANCE in planned:
        texture_std = _texture_std(state, noisy_mean, template, classes)
    mean_scales = _scales(state, noisy_mean, template, centre, grey, classes)
    displacement_std = _displacement_std(state, mean_scales.deformation)
    factor = np.eye(3)
    if budget.CORRELATION in planned:
        factor = _correlation_factor(state, noisy_mean, centre, displacement_std, classes)
    normals = boundary_orientation.estimate(
        _template_normals(state, template, centre), mean_scales.orientation
    )
    return Atlas(
        template=template,
        fine_structure=fine_structure,
        centre=centre,
        displacement_std=displacement_std,
        correlation_factor=factor,
        residual=mean_scales.residual,
        grey=grey,
        grey_std=np.sqrt(mean_scales.intensity),
        size=np.array([mean_scales.size]),
        boundary_normals=normals,
        profile=_profile(state, noisy_mean) if budget.PROFILE in planned else np.zeros((2, 0)),
        classes=classes,
        grey_centre=state.grey_centre,
        texture_std=texture_std,
    )


def _mean_displacement(state: FitState, noisy_mean: NoisyMean, template: Array) -> Array:
    """[3, K] mean displacement coefficients, in voxels."""
    code = DeformationCode(state.registrar.basis)
    zero = np.zeros((3, len(code.basis)))
    moving = MovingImage(template)

    def measure(volume: Gridded, key: Key) -> Array:
        return code.encode(state.register(state.channels(volume), key, moving, zero))

    vectors = state.patient_means(budget.DEFORMATION, measure)
    noisy = noisy_mean(budget.DEFORMATION, vectors, clip=code.clip, dimension=code.dimension)
    return code.decode(noisy, noisy_mean.sigma(budget.DEFORMATION, code.clip))


def _displacement_std(state: FitState, power: Array) -> Array:
    """[3, K] std of displacement coefficients, in voxels, from their power by shell [S]."""
    basis = state.registrar.basis
    ratio = np.ones(len(basis))
    for shell, value in zip(shells(basis.frequency), power, strict=True):
        ratio[shell] = np.sqrt(value)
    return np.tile(ratio * prior_std(basis), (3, 1))


def _grey(state: FitState, noisy_mean: NoisyMean) -> Array:
    """[COUNT] mean coefficients of quantile functions, or of the grey value distribution (CT)."""
    grey = intensity if state.grey_centre is None else hounsfield

    def measure(volume: Gridded, _: Key) -> Array:
        coefficients: Array = grey.coefficients(volume.image.astype(np.float64))
        return coefficients

    vectors = state.patient_means(budget.INTENSITY, measure)
    noisy = noisy_mean(budget.INTENSITY, vectors, clip=grey.CLIP, dimension=grey.COUNT)
    shrunk: Array = grey.shrink(noisy, noisy_mean.sigma(budget.INTENSITY, grey.CLIP))
    return shrunk


def _profile(state: FitState, noisy_mean: NoisyMean) -> Array:
    """[2, DIMENSION] mean boundary profile, and its posterior weight."""

    def measure(volume: Gridded, _: Key) -> Array:
        return boundary_profile.weighted_profile(volume.image, state.mask(volume))

    vectors = state.patient_means(budget.PROFILE, measure)
    clip, dimension = boundary_profile.CLIP, boundary_profile.DIMENSION
    noisy = noisy_mean(budget.PROFILE, vectors, clip=clip, dimension=dimension)
    return boundary_profile.estimate(noisy, noisy_mean.sigma(budget.PROFILE, clip))


def _grey_difference(state: FitState, volume: Gridded, grey: Array) -> Array:
    """[COUNT] a volume's quantile coefficients less the mean ones; 0 for absolute grey values."""
    if state.grey_centre is not None:
        return np.zeros(intensity.COUNT)
    return intensity.coefficients(volume.image.astype(np.float64)) - grey


def _classes(
    state: FitState, noisy_mean: NoisyMean, template: Array, centre: Array, grey: Array
) -> Classes:
    """Shares and shifts of the classes, with the registration of the mean displacement."""
    noise_std = noisy_mean.sigma(budget.CLASSES, CLASSES_CLIP)
    absolute = state.grey_centre is not None
    basis = state.registrar.basis
    code = ClassCode.plan(state.shape, basis, state.classes, noise_std, absolute)

    def measure(volume: Gridded, key: Key) -> Array:
        coefficients = state.coefficients[key]
        image = state.to_template(state.standardise(volume)[None], coefficients)[0]
        return code.encode(
            volume.category,
            image - template[0],
            coefficients - centre,
            _grey_difference(state, volume, grey),
        )

    vectors = state.patient_means(budget.CLASSES, measure)
    noisy = noisy_mean(budget.CLASSES, vectors, clip=CLASSES_CLIP, dimension=code.dimension)
    return code.decode(noisy, noise_std)


def _texture_std(
    state: FitState, noisy_mean: NoisyMean, template: Array, classes: Classes
) -> Array:
    """[X, Y, Z] factor of the texture's std at each voxel of the template."""
    clip = texture_variance.CLIP
    noise_std = noisy_mean.sigma(budget.TEXTURE_VARIANCE, clip)
    layout = texture_variance.layout(state.shape, noise_std)

    def measure(volume: Gridded, key: Key) -> Array:
        image = state.to_template(state.standardise(volume)[None], state.coefficients[key])[0]
        mean = class_mean(template[0], classes.image, volume.category)
        return texture_variance.encode(layout, image - mean)

    vectors = state.patient_means(budget.TEXTURE_VARIANCE, measure)
    noisy = noisy_mean(budget.TEXTURE_VARIANCE, vectors, clip=clip, dimension=layout.dimension)
    return texture_variance.decode(layout, noisy, noise_std)


def _template_normals(state: FitState, template: Array, centre: Array) -> Array:
    """[B, 3] mean normals of the template's label boundaries at the mean displacement."""
    count = boundary_orientation.boundary_count(state.labels)
    if not count:
        return np.zeros((0, 3))
    deformed = warp(template[1:], state.registrar.basis.synthesise(centre))
    return boundary_orientation.mean_normals(label_map(deformed), count)


def _scales(
    state: FitState,
    noisy_mean: NoisyMean,
    template: Array,
    centre: Array,
    grey: Array,
    classes: Classes,
) -> Scales:
    """Mean scales, with the patients registered around the mean displacement.

    With classes, differences are measured around the mean of the volume's own class.
    """
    basis = state.registrar.basis
    normals = _template_normals(state, template, centre)
    code = ScaleCode(basis, state.shape, len(normals))
    moving = MovingImage(template)
    # Samples vary around the released centre, so sizes are compared there: at the patient's own
    # displacement, a label that the centre makes too small would have the right size.
    template_at_centre = warp(template[1:], basis.synthesise(centre))

    def measure(volume: Gridded, key: Key) -> Array:
        fixed = state.channels(volume)
        coefficients = state.register(fixed, key, moving, centre)
        class_id = volume.category
        grey_shift = class_mean(np.zeros(intensity.COUNT), classes.grey, class_id)
        image = class_mean(template[0], classes.image, class_id)
        field = basis.synthesise(coefficients)
        deformed = warp(np.concatenate([image[None], template[1:]]), field)
        class_centre = class_mean(centre, classes.deformation, class_id)
        return code.encode(
            Scales(
                scales.displacement_power(coefficients - class_centre, basis),
                spectrum.shell_power(fixed[0] - deformed[0]),
                (_grey_difference(state, volume, grey) - grey_shift) ** 2,
                scales.relative_size(fixed[1:], template_at_centre),
                boundary_orientation.statistics(state.mask(volume), normals),
            )
        )

    vectors = state.patient_means(budget.SCALES, measure)
    noisy = noisy_mean(budget.SCALES, vectors, clip=scales.CLIP, dimension=code.dimension)
    return code.decode(noisy, noisy_mean.sigma(budget.SCALES, scales.CLIP))


def _correlation_factor(
    state: FitState,
    noisy_mean: NoisyMean,
    centre: Array,
    displacement_std: Array,
    classes: Classes,
) -> Array:
    """[R, R] Cholesky factor of the correlation of the lowest whitened coefficients."""
    # A small grid may have fewer displacement functions.
    code = CorrelationCode(min(CorrelationCode.functions, len(state.registrar.basis)))

    def measure(volume: Gridded, key: Key) -> Array:
        mean = class_mean(centre, classes.deformation, volume.category)
        return code.encode((state.coefficients[key] - mean) / displacement_std)

    vectors = state.patient_means(budget.CORRELATION, measure)
    noisy = noisy_mean(budget.CORRELATION, vectors, clip=code.clip, dimension=code.dimension)
    return code.decode(noisy, noisy_mean.sigma(budget.CORRELATION, code.clip))
