"""A released atlas: its statistics, sampling, and storage.

All inputs are released numbers, so any number of samples costs no privacy (post-processing;
Dwork and Roth 2014, proposition 2.1).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from medvae.atlas import (
    boundary_orientation,
    boundary_profile,
    formats,
    hounsfield,
    intensity,
    spectrum,
)
from medvae.atlas.basis import Array, Basis, Shape
from medvae.atlas.boundary_profile import Boundary
from medvae.atlas.classes import Classes, class_mean
from medvae.atlas.displacement import invert, prior_std, warp
from medvae.atlas.features import channels, label_map
from medvae.atlas.registration import MovingImage, Registrar, channel_weights, registrar
from medvae.atlas.render import TEXTURE_FRACTION, resize_labels, sharpen
from medvae.errors import IntegrityError
from medvae.grid import Gridded
from medvae.threads import one_blas_thread

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]
# Public: highest frequency of a sampled displacement, in cycles per voxel, and the factor of the
# public prior's std at unmeasured frequencies. Chosen on mri_hippocampus.
FINER_FREQUENCY, FINER_FACTOR = 0.12, 0.5
# Number of samples that represent all, and of quantiles of their grey values.
POOL, QUANTILES = 24, 256


@dataclass(frozen=True)
class AtlasSample:
    """One synthetic patient.

    Attributes:
        image: [X, Y, Z] in [-1, 1].
        mask: [X, Y, Z] labels, or None.
        field: [3, X, Y, Z] displacement in voxels that pulls the template onto the sample.
        boundary: of the mask (see `Atlas.boundary`).
    """

    image: Image
    mask: Mask | None
    field: Array
    boundary: Boundary | None


@dataclass(frozen=True)
class Atlas:
    """A deformable template and statistics of the patients' differences from it.

    Attributes:
        template: [1 + L, X, Y, Z] standardised mean image and mean shape channels.
        fine_structure: [X, Y, Z] a public template's structure below the resolution of the mean
            (0 without one). A sample gets a random fraction of it.
        centre: [3, K] mean displacement coefficients, in voxels.
        displacement_std: [3, K] their standard deviation between patients.
        correlation_factor: [R, R] Cholesky factor of the correlation of the first R whitened
            coefficients (R = 3 r: r lowest functions of each component).
        residual: [SHELLS] power that the template leaves unexplained.
        grey: [COUNT] mean quantile coefficients; for absolute grey values (CT, PET)
            [hounsfield.COUNT], of the mean distribution.
        grey_std: [COUNT] standard deviation of quantile coefficients between patients.
        size: [1] cube root of the labels' volume over that of the template at the centre.
        boundary_normals: [B, STATISTICS] orientation of label boundaries (see
            `boundary_orientation.estimate`); B = 0 if none is measured.
        profile: [2, DIMENSION] boundary profile and its posterior weight; [2, 0] without labels.
        classes: shares and shifts of the classes; other fields then describe variation within a
            class.
        grey_centre: for absolute grey values, the one that the template maps to 0; None if images
            are standardised one by one.
        texture_std: [X, Y, Z] factor of the texture's std, for absolute grey values; else [0].
    """

    template: Array
    fine_structure: Array
    centre: Array
    displacement_std: Array
    correlation_factor: Array
    residual: Array
    grey: Array
    grey_std: Array
    size: Array
    boundary_normals: Array
    profile: Array
    classes: Classes
    grey_centre: float | None
    texture_std: Array

    @property
    def shape(self) -> Shape:
        _, x, y, z = self.template.shape
        return x, y, z

    @property
    def labels(self) -> int:
        return len(self.template) - 1

    @cached_property
    def _registrar(self) -> Registrar:
        return registrar(self.shape)

    @cached_property
    def _moving(self) -> MovingImage:
        return MovingImage(self.template)

    @property
    def basis(self) -> Basis:
        """Basis of one displacement component, K functions."""
        return self._registrar.basis

    def _sharp_template(self, fraction: float, class_id: int | None = None) -> Array:
        """[X, Y, Z] image with a fraction of the fine structure, as sharp as an individual's."""
        if self._has_fine_structure or class_id not in self._sharp_templates:
            template = class_mean(self.template[0], self.classes.image, class_id)
            image = template + fraction * self.fine_structure
            # For absolute grey values, the quantile map restores the contrast.
            image = sharpen(image, self.residual) if self.grey_centre is None else image
            if self._has_fine_structure:
                return image
            self._sharp_templates[class_id] = image
        return self._sharp_templates[class_id]

    @cached_property
    def _has_fine_structure(self) -> bool:
        return bool(self.fine_structure.any())

    @cached_property
    def _sharp_templates(self) -> dict[int | None, Array]:
        """Cache by class, for a template without fine structure: all samples share the image."""
        return {}

    @cached_property
    def _shapes(self) -> Array:
        """[L, X, Y, Z] shape channels with the released size."""
        shapes = self.template[1:]
        if not self.labels:
            return shapes
        deformed = warp(shapes, self.basis.synthesise(self.centre))
        return resize_labels(shapes, float(self.size[0]), deformed)

    def mean_image(self, class_id: int | None = None) -> Image:
        """[X, Y, Z] in [-1, 1]: the template with the mean histogram, of one class or of all."""
        sharp = self._sharp_template(1.0, class_id)
        if self.grey_centre is not None:
            return self._to_window(sharp)
        grey = class_mean(self.grey, self.classes.grey, class_id)
        return intensity.impose(sharp, intensity.curve(grey)).astype(np.float32)

    def _to_window(self, rendered: Array) -> Image:
        """Rendered fields [..., X, Y, Z] of CT on the scale of the window, by one map for all."""
        return np.interp(rendered, *self._pool_quantile_map).astype(np.float32)

    @property
    def _texture_power(self) -> Array:
        """[SHELLS] power of a sample's texture."""
        if self.grey_centre is None:
            return TEXTURE_FRACTION * self.residual
        coarse = np.arange(spectrum.SHELLS) < hounsfield.COARSE_SHELLS
        return np.where(coarse, self.residual, 0.0)

    @cached_property
    def _pool_quantile_map(self) -> tuple[Array, Array]:
        """`quantile_map` of rendered fields that represent all, with classes by their shares."""
        picks = [self.classes.pick(np.random.default_rng([number])) for number in range(POOL)]
        rendered = [
            self._render(np.random.default_rng([n, 1]), pick)[0] for n, pick in enumerate(picks)
        ]
        return self.quantile_map(np.stack(rendered))

    def quantile_map(self, pool: npt.NDArray[np.floating]) -> tuple[Array, Array]:
        """[QUANTILES] of CT fields that represent all, and of the released distribution."""
        ranks = (np.arange(QUANTILES) + 0.5) / QUANTILES
        return np.quantile(pool, ranks), hounsfield.curve(self.grey, ranks)

    def class_contrast(self, class_id: int | None) -> Image:
        """[X, Y, Z] a class's mean image less that of all; 0 without a class."""
        if class_id is None or not 0 <= class_id < len(self.classes):
            return np.zeros(self.shape, np.float32)
        return self._class_contrasts[class_id]

    @cached_property
    def _class_contrasts(self) -> list[Image]:
        mean = self.mean_image()
        return [self.mean_image(class_id) - mean for class_id in range(len(self.classes))]

    def sample_field(self, rng: np.random.Generator, class_id: int | None = None) -> Array:
        """[3, X, Y, Z] a displacement in voxels that pulls the template onto a new patient."""
        centre = class_mean(self.centre, self.classes.deformation, class_id)
        whitened = rng.standard_normal(self.centre.shape)
        low = len(self.correlation_factor) // 3
        whitened[:, :low] = (self.correlation_factor @ whitened[:, :low].ravel()).reshape(3, low)
        basis, std = self._finer_prior
        coefficients = std * rng.standard_normal((3, len(basis)))
        coefficients[:, : len(self.basis)] = centre + self.displacement_std * whitened
        with one_blas_thread():
            return basis.synthesise(coefficients)

    @cached_property
    def _finer_prior(self) -> tuple[Basis, Array]:
        """Basis of a sampled displacement, K' functions, and their std [K']; 0 for the first K.

        Frequencies that were not measured follow the public prior, scaled to the highest measured
        one. As a displacement this variation moves edges; as texture it would look like noise.
        """
        basis, measured = Basis.below(self.shape, FINER_FREQUENCY), len(self.basis)
        std = prior_std(basis, measured)
        ratio = float(self.displacement_std[0, -1] / std[measured - 1])
        std[:measured] = 0.0
        return basis, FINER_FACTOR * ratio * std

    def from_template(self, image: npt.NDArray[np.floating], field: Array) -> Image:
        """An image [X, Y, Z] of the template's frame, deformed by a field."""
        return warp(image, field, order=3).astype(np.float32)

    def mask_from_template(self, field: Array) -> Mask | None:
        """The template's labels deformed by a field, with the patients' boundary orientation."""
        if not self.labels:
            return None
        shapes = warp(self._shapes, field)
        mask = label_map(shapes)
        if not len(self.boundary_normals):
            return mask
        normals = self.boundary_normals, self._sampled_normals
        return boundary_orientation.rotate_to(shapes, mask, *normals)

    @cached_property
    def _sampled_normals(self) -> Array:
        """[B, STATISTICS] orientation of label boundaries of samples before rotation."""
        normals = []
        for number in range(POOL):
            rng = np.random.default_rng([number, 3])
            field = self.sample_field(rng, self.classes.pick(rng))
            mask = label_map(warp(self._shapes, field))
            normals.append(boundary_orientation.mean_normals(mask, len(self.boundary_normals)))
        mean = np.mean(normals, axis=0)
        std = np.sqrt(((normals - mean) ** 2).mean(axis=0).sum(axis=1))
        return np.column_stack([mean, std])

    def register(self, volume: Gridded) -> Array:
        """[3, X, Y, Z] the displacement that pulls the template onto a volume."""
        coefficients = self._registrar.register(
            channels(volume, self.labels, self.grey_centre),
            self._moving,
            channel_weights(self.labels),
            start=self.centre,
            centre=self.centre,
        )
        return self.basis.synthesise(coefficients)

    def to_template(self, volume: Gridded) -> tuple[Image, Array]:
        """The volume's image [X, Y, Z] in the template's frame, and its displacement.

        `from_template(image, field)` restores the volume, except for interpolation.
        """
        field = self.register(volume)
        values = np.nan_to_num(volume.image, nan=-1.0, posinf=1.0, neginf=-1.0)
        return warp(values, invert(field), order=3).astype(np.float32), field

    def sample(
        self, rng: np.random.Generator, class_id: int | None = None, *, with_profile: bool = True
    ) -> AtlasSample:
        """One synthetic patient.

        Args:
            rng: source of all randomness.
            class_id: the sample's class; None: a random one, by the released shares.
            with_profile: False: the caller imposes the boundary profile, once (`impose_profile`).
        """
        class_id = self.classes.pick(rng) if class_id is None else class_id
        rendered, field = self._render(rng, class_id)
        mask = self.mask_from_template(field)
        boundary = self.boundary(mask)
        if self.grey_centre is not None:
            image: npt.NDArray[np.floating] = self._to_window(rendered)
        else:
            grey = class_mean(self.grey, self.classes.grey, class_id)
            grey = grey + self.grey_std * rng.standard_normal(len(grey))
            image = intensity.impose(rendered, intensity.curve(grey))
        image = self.impose_profile(image, boundary if with_profile else None)
        return AtlasSample(image, mask, field, boundary)

    def boundary(self, mask: Mask | None) -> Boundary | None:
        """The boundary of a mask [X, Y, Z]; None without a boundary or without a profile."""
        if mask is None or not self.profile.size:
            return None
        with one_blas_thread():
            return boundary_profile.boundary_of(mask)

    def impose_profile(self, image: npt.NDArray[np.floating], boundary: Boundary | None) -> Image:
        """An image [X, Y, Z] with the released profile across the boundary of its labels."""
        if boundary is not None:
            with one_blas_thread():
                values = boundary_profile.impose(image, boundary, self.profile)
            image = np.clip(values, -1.0, 1.0, out=values)
        return image.astype(np.float32)

    def _render(self, rng: np.random.Generator, class_id: int | None = None) -> tuple[Array, Array]:
        """A standardised image [X, Y, Z] with texture, and its displacement."""
        field = self.sample_field(rng, class_id)
        texture = spectrum.texture(self.shape, self._texture_power, rng)
        if len(self.texture_std):
            texture = texture * warp(self.texture_std, field)
        # The public structure may be misaligned with the released labels. Samples have a random
        # fraction of it, so that a network does not learn to rely on it.
        fraction = float(rng.uniform()) if self._has_fine_structure else 0.0
        return warp(self._sharp_template(fraction, class_id), field, order=3) + texture, field

    def pairs(self, n: int, seed: int) -> Iterator[tuple[Image, Mask | None]]:
        """n pairs of image and mask, lazily; pair i depends on (seed, i) alone."""
        for number in range(n):
            sample = self.sample(np.random.default_rng([seed, number]))
            yield sample.image, sample.mask

    def to_tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Flat float32 arrays, and the format version as JSON bytes under "facts"."""
        arrays: dict[str, Any] = {key: getattr(self, name) for name, key in formats.KEYS.items()}
        if self.grey_centre is not None:
            arrays[formats.GREY_CENTRE] = [self.grey_centre]
            arrays[formats.TEXTURE_STD] = self.texture_std
        if len(self.classes):
            names = formats.CLASS_KEYS.items()
            arrays |= {key: getattr(self.classes, name) for name, key in names}
        tensors = {key: np.ascontiguousarray(v, dtype=np.float32) for key, v in arrays.items()}
        facts = json.dumps({"format": formats.CURRENT}).encode()
        return {**tensors, "facts": np.frombuffer(facts, dtype=np.uint8).copy()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, npt.NDArray[Any]]) -> Atlas:
        """Read `to_tensors` of this version or an earlier one.

        Raises:
            IntegrityError: an array is missing, of a wrong size, or not finite.
        """
        try:
            arrays = formats.arrays_of(formats.migrate(tensors))
        except KeyError as error:
            raise IntegrityError(f"stored atlas lacks its array {error}") from error
        fields = {name: arrays[key] for name, key in formats.KEYS.items()}
        shape, functions = fields["template"].shape[1:], fields["centre"].shape[-1]
        classes = Classes.none(shape, functions)
        if formats.CLASS_KEYS["share"] in arrays:
            classes = Classes(**{name: arrays[key] for name, key in formats.CLASS_KEYS.items()})
        centre = arrays.get(formats.GREY_CENTRE)
        atlas = cls(
            **fields,
            classes=classes,
            grey_centre=None if centre is None else float(centre[0]),
            texture_std=arrays.get(formats.TEXTURE_STD, np.zeros(0)),
        )
        if not atlas._is_consistent():
            raise IntegrityError("stored atlas has arrays that do not fit one another")
        return atlas

    def _is_consistent(self) -> bool:
        """Whether the shapes of all arrays agree."""
        boundaries = (0, boundary_orientation.boundary_count(self.labels))
        return (
            self.template.ndim == 4
            and self.fine_structure.shape == self.shape
            and self.centre.shape == (3, len(self.basis))
            and self.profile.shape in ((2, 0), (2, boundary_profile.DIMENSION))
            and self.boundary_normals.shape
            in [(n, boundary_orientation.STATISTICS) for n in boundaries]
            and self.texture_std.shape == ((0,) if self.grey_centre is None else self.shape)
            and self.classes.fits(self.shape, len(self.basis))
        )
