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

from medvae.atlas import nifti, placing
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
    """The public volume that the configuration names, on voxels of `data.spacing`, if it has one.

    Raises:
        UsageError: a file is missing or no NIfTI volume, image and labels differ in shape, or
            the labels are empty on these voxels.
        IntegrityError: the files are not those that the plan was made with.
    """
    atlas, spacing = cfg.atlas, cfg.data.spacing
    if atlas.public == "none":
        return None
    if atlas.public == "mni152":
        return Known(mni152(spacing or (1.0, 1.0, 1.0)))
    # Read once: what is hashed is what is used.
    files = _contents(cfg)
    if atlas.public_digest and _hashed(files) != atlas.public_digest:
        raise IntegrityError(
            f"the public template {atlas.public} or its labels changed after the plan was made; "
            "put the files back"
        )
    image, zooms = nifti.parse(files[0], f"atlas.public {atlas.public}")
    factor = np.ones(3) if spacing is None else zooms / np.array(spacing)
    # In its own deviation: no measure of likeness may hang on a unit.
    scaled = np.asarray(ndimage.zoom(image / max(float(image.std()), 1e-300), factor, order=1))
    if atlas.public_labels is None:
        return Known(scaled)
    labels, _ = nifti.parse(files[1], f"atlas.public_labels {atlas.public_labels}")
    if labels.shape != image.shape:
        raise UsageError(
            f"atlas.public_labels {atlas.public_labels} is {labels.shape}, but its image is "
            f"{image.shape}: labels must lie on the image's own grid"
        )
    marked = np.asarray(ndimage.zoom(np.rint(labels), factor, order=0))
    if not (marked > 0).any():
        raise UsageError(
            f"atlas.public_labels {atlas.public_labels} has no label above 0 on voxels of the "
            "configuration's size"
        )
    return Known(scaled, marked)


def digest(cfg: RunConfig) -> str:
    """SHA-256 of the public files that the configuration names; "" where it names none.

    It goes into the plan: a run that goes on must see the template that it began with, or the
    noise of a release would be used for two questions.

    Raises:
        UsageError: a file cannot be read.
    """
    return "" if cfg.atlas.public in ("none", "mni152") else _hashed(_contents(cfg))


def _contents(cfg: RunConfig) -> list[bytes]:
    found = []
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
            found.append(Path(name).read_bytes())
        except OSError as error:
            raise UsageError(f"cannot read atlas.{key} {name}: {error.strerror}") from error
    return found


def _hashed(files: list[bytes]) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(one).digest() for one in files)).hexdigest()


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
            labels in the public volume too, a similarity lays these on those, and that they are
            of the same anatomy is for the user to say; without, a window is found by its image
            alone and deformed onto the mean.

    None where nothing of the public volume resembles the mean or it is smaller than the grid.
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
