"""A public template as a start: found by what was released, laid where the cohort lies.

Only released numbers and public anatomy meet here, so it costs no privacy. Where a cohort
is of a region that a public template shows, the template knows the fine structure that a
noisy mean cannot, and the mean knows which region it is. A public template with labels
also knows their shape, of which noise leaves little where epsilon x patients is small.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medvae.atlas import placing
from medvae.atlas.basis import Array
from medvae.atlas.displacement import warp
from medvae.atlas.features import standardise
from medvae.atlas.registration import Moving, Registrar
from medvae.atlas.study import IMAGE_WEIGHT
from medvae.config import RunConfig
from medvae.errors import IntegrityError, UsageError

# Public: a window that correlates less with the mean is not believed to show its region.
BELIEVED = 0.4
# Blur, in voxels, of what the strength of a mean is compared at.
BLUR = 1.0
# Resolutions, in voxels, that a released mean may have.
FILL_BLURS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8)


@dataclass(frozen=True)
class Known:
    """A public volume [A, B, C], and its labels there (0 is none), or None."""

    image: Array
    labels: Array | None = None


@dataclass(frozen=True)
class Start:
    """What a public volume shows where a mean was taken, in the mean's frame.

    Attributes:
        image: [X, Y, Z] standardised, as an individual's is.
        factor: times this, it has the strength of the mean, which noise and misalignment
            have weakened.
        labels: [X, Y, Z] its labels, or None.
    """

    image: Array
    factor: float
    labels: Array | None


def known(cfg: RunConfig) -> Known | None:
    """The public volume that the configuration names, on voxels of `data.spacing`.

    Raises:
        UsageError: a file is missing, no NIfTI volume, or image and labels differ in shape.
        IntegrityError: the files are not those that the plan was made with.
    """
    atlas, spacing = cfg.atlas, cfg.data.spacing
    if atlas.public == "none":
        return None
    if atlas.public == "mni152":
        return Known(mni152(spacing or (1.0, 1.0, 1.0)))
    if atlas.public_digest and digest(cfg) != atlas.public_digest:
        raise IntegrityError(
            f"the public template {atlas.public} or its labels changed after the plan was made; "
            "put the files back, or begin another run"
        )
    image, zooms = _read(atlas.public, "public")
    factor = np.ones(3) if spacing is None else zooms / np.array(spacing)
    scaled = np.asarray(ndimage.zoom(image, factor, order=1))
    if atlas.public_labels is None:
        return Known(scaled)
    labels, _ = _read(atlas.public_labels, "public_labels")
    if labels.shape != image.shape:
        raise UsageError(
            f"atlas.public_labels {atlas.public_labels} is {labels.shape}, but its image is "
            f"{image.shape}: labels must lie on the image's own grid"
        )
    if not (labels > 0).any():
        raise UsageError(f"atlas.public_labels {atlas.public_labels} has no label above 0")
    return Known(scaled, np.asarray(ndimage.zoom(np.round(labels), factor, order=0)))


def digest(cfg: RunConfig) -> str:
    """SHA-256 of the public files that the configuration names; "" where it names none.

    It goes into the plan: a run that goes on must see the template that it began with, or the
    noise of a release would be used for two questions.
    """
    found = hashlib.sha256()
    if cfg.atlas.public in ("none", "mni152"):
        return ""
    for name in (cfg.atlas.public, cfg.atlas.public_labels):
        if name is not None:
            try:
                found.update(hashlib.sha256(Path(name).read_bytes()).digest())
            except OSError as error:
                raise UsageError(
                    f"cannot read the public template {name}: {error.strerror}; atlas.public is "
                    "none, mni152 or the path of a NIfTI file"
                ) from error
    return found.hexdigest()


def _read(name: str, key: str) -> tuple[Array, Array]:
    """Voxels of a NIfTI file, axes turned to R, A, S, and their size in mm."""
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    try:
        image = nib.as_closest_canonical(nib.load(name))
        voxels = np.asarray(image.dataobj, dtype=np.float64)
        zooms = np.asarray(image.header.get_zooms()[:3], dtype=np.float64)
    except (OSError, ValueError, EOFError, ImageFileError) as error:
        raise UsageError(f"atlas.{key} {name} cannot be read as NIfTI: {error}") from error
    if voxels.ndim != 3 or not np.isfinite(voxels).all():
        raise UsageError(f"atlas.{key} {name} must be one volume of finite numbers")
    return voxels, zooms


@lru_cache(maxsize=2)
def mni152(spacing: tuple[float, float, float]) -> Array:
    """[A, B, C] the MNI152 T1 template (ICBM 2009a, ships with nilearn) at a voxel size in mm."""
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=1)
    values = np.asarray(image.get_fdata(), dtype=np.float64)
    return np.asarray(ndimage.zoom(values, 1.0 / np.array(spacing), order=1))


def start(
    mean: Array, public: Known, registrar: Registrar, labels: npt.NDArray[np.uint8] | None = None
) -> Start | None:
    """What of a public volume explains a released, standardised mean image [X, Y, Z] best.

    Args:
        labels: [X, Y, Z] where labels lie on the grid, by what was released of them. With
            labels in the public volume too, a similarity lays these on those; without, a window
            is found by its image alone and deformed onto the mean.

    None where nothing of the public volume resembles the mean, or it is smaller than the grid.
    """
    if public.labels is not None and labels is not None and (labels > 0).any():
        laid = placing.by_labels(mean, labels > 0, public.image, public.labels)
        return None if laid is None else _started(mean, standardise(laid[0]), laid[1])
    if any(have < want for have, want in zip(public.image.shape, mean.shape, strict=True)):
        return None
    place, likeness = placing.window(mean, public.image)
    if likeness < BELIEVED:
        return None
    crop = standardise(public.image[place])
    return _started(mean, standardise(warp(crop, _field(mean, crop, registrar), order=3)), None)


def _started(mean: Array, image: Array, labels: Array | None) -> Start:
    smooth = ndimage.gaussian_filter(image, BLUR)
    factor = max(0.0, float((mean * smooth).mean() / max((smooth**2).mean(), 1e-9)))
    return Start(image, factor, labels)


def fine(mean: Array, public: Known, registrar: Registrar) -> Array:
    """[X, Y, Z] the fine structure that the public volume has where the mean was taken.

    Of the deformed crop, only what is finer than the blur at which it is most like the mean;
    0 where nothing of the public volume resembles it.
    """
    started = start(mean, public, registrar)
    if started is None:
        return np.zeros(mean.shape)
    crop = started.image
    blurred = {sigma: ndimage.gaussian_filter(crop, sigma) for sigma in FILL_BLURS}
    likeness = {s: float(np.corrcoef(mean.ravel(), b.ravel())[0, 1]) for s, b in blurred.items()}
    best = max(likeness, key=lambda sigma: likeness[sigma])
    return np.asarray(likeness[best] * (crop - blurred[best]))


def _field(mean: Array, crop: Array, registrar: Registrar) -> Array:
    # A mean that noise has shrunk is little evidence: its power says how much.
    weight = np.array([IMAGE_WEIGHT * min(1.0, float((mean**2).mean()))])
    still = np.zeros((3, len(registrar.basis)))
    coefficients = registrar.register(
        mean[None], Moving(crop[None]), weight, start=still, centre=still
    )
    return registrar.basis.synthesise(coefficients)
