"""A public template as the initial template, located by what was released of the cohort.

Inputs are released numbers and public anatomy, so it costs no privacy. If a public template shows
the cohort's region, it has the fine structure that a noisy mean lacks, and the mean shows which
region it is. A public template with labels also has their shape, of which little is measurable
where epsilon x patients is small.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medvae.atlas import nifti, template_alignment
from medvae.atlas.basis import Array
from medvae.atlas.displacement import warp
from medvae.atlas.features import standardise
from medvae.atlas.registration import IMAGE_WEIGHT, MovingImage, Registrar
from medvae.config import RunConfig
from medvae.errors import IntegrityError, UsageError

# Public: smallest correlation with the mean at which a window counts as the same region.
MIN_CORRELATION = 0.4
# Blur, in voxels, at which the contrast of a mean is compared.
CONTRAST_BLUR = 1.0
# Resolutions, in voxels, that a released mean may have.
RESOLUTIONS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8)


@dataclass(frozen=True)
class PublicTemplate:
    """A public volume [A, B, C], and its labels on the same grid (0: none), or None."""

    image: Array
    labels: Array | None = None


@dataclass(frozen=True)
class InitialTemplate:
    """A public volume in the frame of the cohort's mean.

    Attributes:
        image: [X, Y, Z] standardised like an individual's.
        contrast: factor that gives it the contrast of the mean, which noise and misalignment
            have reduced.
        labels: [X, Y, Z] its labels, or None.
    """

    image: Array
    contrast: float
    labels: Array | None


def load(cfg: RunConfig) -> PublicTemplate | None:
    """The configured public volume, resampled to voxels of `data.spacing`; None if there is none.

    Raises:
        UsageError: a file is missing or no NIfTI volume, image and labels differ in shape, or
            the labels are empty on these voxels.
        IntegrityError: the files are not those that the plan was made with.
    """
    atlas, spacing = cfg.atlas, cfg.data.spacing
    if atlas.public == "none":
        return None
    if atlas.public == "mni152":
        return PublicTemplate(mni152(spacing or (1.0, 1.0, 1.0)))
    # Read once, so that the hashed bytes are the parsed ones.
    files = _contents(cfg)
    if atlas.public_digest and _sha256(files) != atlas.public_digest:
        raise IntegrityError(
            f"the public template {atlas.public} or its labels changed after the plan was made; "
            "put the files back"
        )
    image, zooms = nifti.parse(files[0], f"atlas.public {atlas.public}")
    factor = np.ones(3) if spacing is None else zooms / np.array(spacing)
    # In units of its own std, so that no similarity measure depends on the unit of grey values.
    scaled = np.asarray(ndimage.zoom(image / max(float(image.std()), 1e-300), factor, order=1))
    if atlas.public_labels is None:
        return PublicTemplate(scaled)
    labels, _ = nifti.parse(files[1], f"atlas.public_labels {atlas.public_labels}")
    if labels.shape != image.shape:
        raise UsageError(
            f"atlas.public_labels {atlas.public_labels} is {labels.shape}, but its image is "
            f"{image.shape}: labels must be on the image's own grid"
        )
    marked = np.asarray(ndimage.zoom(np.rint(labels), factor, order=0))
    if not (marked > 0).any():
        raise UsageError(
            f"atlas.public_labels {atlas.public_labels} has no label above 0 on voxels of the "
            "configuration's size"
        )
    return PublicTemplate(scaled, marked)


def digest(cfg: RunConfig) -> str:
    """SHA-256 of the configured public files; "" if there are none.

    The digest is part of the plan: a resumed run must use the template that it began with.
    Another one would answer a second question with the same noise.

    Raises:
        UsageError: a file cannot be read.
    """
    return "" if cfg.atlas.public in ("none", "mni152") else _sha256(_contents(cfg))


def _contents(cfg: RunConfig) -> list[bytes]:
    contents = []
    for key in ("public", "public_labels"):
        name = getattr(cfg.atlas, key)
        if name is None:
            continue
        try:
            if not Path(name).is_file():
                raise UsageError(
                    f"atlas.{key} names no file: {name}; it is the path of a NIfTI file"
                    + (", none or mni152" if key == "public" else "")
                )
            contents.append(Path(name).read_bytes())
        except OSError as error:
            raise UsageError(f"cannot read atlas.{key} {name}: {error.strerror}") from error
    return contents


def _sha256(files: list[bytes]) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(data).digest() for data in files)).hexdigest()


@lru_cache(maxsize=2)
def mni152(spacing: tuple[float, float, float]) -> Array:
    """[A, B, C] the MNI152 T1 template (ICBM 2009a, ships with nilearn), on voxels in mm."""
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=1)
    values = np.asarray(image.get_fdata(), dtype=np.float64)
    return np.asarray(ndimage.zoom(values, 1.0 / np.array(spacing), order=1))


def initial_template(
    mean: Array,
    public: PublicTemplate,
    registrar: Registrar,
    labels: npt.NDArray[np.uint8] | None = None,
) -> InitialTemplate | None:
    """The public volume aligned with a released, standardised mean image [X, Y, Z].

    Args:
        mean: [X, Y, Z] released.
        public: the public volume.
        registrar: of the grid.
        labels: [X, Y, Z] labels of the released moments. If the public volume has labels too, a
            similarity aligns both; that they are of the same anatomy is the user's claim.
            Otherwise a window is located by its image alone and deformed onto the mean.

    Returns:
        None if no part of the public volume resembles the mean, or it is smaller than the grid.
    """
    if public.labels is not None and labels is not None and (labels > 0).any():
        aligned = template_alignment.align_by_labels(mean, labels > 0, public.image, public.labels)
        if aligned is None:
            return None
        return _with_contrast(mean, standardise(aligned[0]), aligned[1])
    if any(side < needed for side, needed in zip(public.image.shape, mean.shape, strict=True)):
        return None
    window, correlation = template_alignment.best_window(mean, public.image)
    if correlation < MIN_CORRELATION:
        return None
    crop = standardise(public.image[window])
    deformed = warp(crop, _displacement(mean, crop, registrar), order=3)
    return _with_contrast(mean, standardise(deformed), None)


def _with_contrast(mean: Array, image: Array, labels: Array | None) -> InitialTemplate:
    smooth = ndimage.gaussian_filter(image, CONTRAST_BLUR)
    contrast = max(0.0, float((mean * smooth).mean() / max((smooth**2).mean(), 1e-9)))
    return InitialTemplate(image, contrast, labels)


def fine_structure(mean: Array, public: PublicTemplate, registrar: Registrar) -> Array:
    """[X, Y, Z] the public volume's structure below the resolution of the mean, in its frame.

    The resolution is the blur at which the deformed crop correlates best with the mean. 0 if no
    part of the public volume resembles the mean.
    """
    initial = initial_template(mean, public, registrar)
    if initial is None:
        return np.zeros(mean.shape)
    crop = initial.image
    blurred = {sigma: ndimage.gaussian_filter(crop, sigma) for sigma in RESOLUTIONS}
    correlation = {
        sigma: float(np.corrcoef(mean.ravel(), image.ravel())[0, 1])
        for sigma, image in blurred.items()
    }
    best = max(correlation, key=lambda sigma: correlation[sigma])
    return np.asarray(correlation[best] * (crop - blurred[best]))


def _displacement(mean: Array, crop: Array, registrar: Registrar) -> Array:
    """[3, X, Y, Z] the field that pulls a crop onto the mean."""
    # A mean that was shrunk for its noise is weak evidence: its power scales the weight.
    weight = np.array([IMAGE_WEIGHT * min(1.0, float((mean**2).mean()))])
    zero = np.zeros((3, len(registrar.basis)))
    coefficients = registrar.register(
        mean[None], MovingImage(crop[None]), weight, start=zero, centre=zero
    )
    return registrar.basis.synthesise(coefficients)
