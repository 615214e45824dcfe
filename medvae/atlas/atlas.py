"""A released atlas: what it holds, what can be drawn from it, how it is stored.

Everything here is computed from released numbers: drawing any number of samples costs no
privacy (post-processing, Dwork and Roth 2014, proposition 2.1).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from medvae.atlas import facing, formats, hounsfield, intensity, profile, spectrum
from medvae.atlas.basis import Array, Basis, Shape
from medvae.atlas.classes import Classes, shifted
from medvae.atlas.displacement import invert, prior_deviation, warp
from medvae.atlas.features import channels, label_map
from medvae.atlas.profile import Border
from medvae.atlas.registration import Moving, Registrar
from medvae.atlas.render import TO_TEXTURE, resize_labels, sharpen
from medvae.atlas.study import channel_weights, registrar
from medvae.errors import IntegrityError
from medvae.grid import Gridded
from medvae.threads import one_blas_thread

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]
# Public: up to which frequency (cycles per voxel) displacements are drawn, and the part of the
# public law's deviation that those have which no release tells (the part: while looking at
# mri_hippocampus).
FINER_FREQUENCY, FINER = 0.12, 0.5
# Rendered fields that stand for all of them, and quantiles taken of their values.
POOL, LEVELS = 24, 256


@dataclass(frozen=True)
class Drawn:
    """One synthetic patient.

    Attributes:
        image: [X, Y, Z] in [-1, 1].
        mask: [X, Y, Z] labels, or None.
        field: [3, X, Y, Z] voxels, pulls the template onto it.
        border: the mask's (see `Atlas.border`).
    """

    image: Image
    mask: Mask | None
    field: Array
    border: Border | None


@dataclass(frozen=True)
class Atlas:
    """A deformable template and the statistics of how patients differ from it.

    Attributes:
        template: [1 + L, X, Y, Z] standardised mean image and mean shape channels.
        fine: [X, Y, Z] what a public template adds below the released mean's resolution
            (0 without one); a sample takes a random part of it.
        centre: [3, K] mean displacement coefficients, voxels.
        deviation: [3, K] their standard deviation between patients.
        factor: [R, R] Cholesky factor of the correlation of the first R whitened
            coefficients (R = 3 r, component by component of the r lowest functions).
        residual: [SHELLS] power of what the template leaves unexplained.
        grey: [COUNT] mean quantile coefficients; grey_deviation: [COUNT] their spread.
        size: [1] cube root of the labels' volume over that of the template's own at the centre.
        facing: [B, facing.FIGURES] what borders between labels face, and how much that varies
            (see `facing.told`); none where none is told.
        profile: [2, profile.DIMENSION] what images do across the labels' border, and how far that
            is believed; [2, 0] without labels.
        classes: how often each class is and what is different about it; none of them for
            a cohort without. Everything else is then within a class.
        middle: [1] what is 0 in the template, for CT; [0] for images that were standardised
            one by one. `grey` is then [hounsfield.COUNT], of the mean distribution.
        spread: [X, Y, Z] what texture is multiplied by at each place, for CT; else [0].
    """

    template: Array
    fine: Array
    centre: Array
    deviation: Array
    factor: Array
    residual: Array
    grey: Array
    grey_deviation: Array
    size: Array
    facing: Array
    profile: Array
    classes: Classes
    middle: Array
    spread: Array

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
    def _moving(self) -> Moving:
        return Moving(self.template)

    @property
    def basis(self) -> Basis:
        """Of one component of a displacement."""
        return self._registrar.basis

    def _sharp(self, part: float, category: int | None = None) -> Array:
        """[X, Y, Z] the template with part of the fine structure, as crisp as an individual."""
        if self._has_fine or category not in self._sharpened:
            template = shifted(self.template[0], self.classes.image, category)
            found = template + part * self.fine
            # Of CT, the map to grey values restores the contrast.
            found = found if len(self.middle) else sharpen(found, self.residual)
            if self._has_fine:
                return found
            self._sharpened[category] = found
        return self._sharpened[category]

    @cached_property
    def _has_fine(self) -> bool:
        return bool(self.fine.any())

    @cached_property
    def _sharpened(self) -> dict[int | None, Array]:
        """By class, what is the same in each draw of a template without fine structure."""
        return {}

    @cached_property
    def _shapes(self) -> Array:
        shapes = self.template[1:]
        if not self.labels:
            return shapes
        usual = warp(shapes, self.basis.synthesise(self.centre))
        return resize_labels(shapes, float(self.size[0]), usual)

    def mean_image(self, category: int | None = None) -> Image:
        """[X, Y, Z] in [-1, 1]: the template with the mean histogram, in its own frame.

        Of one class, if asked for.
        """
        sharp = self._sharp(1.0, category)
        if len(self.middle):
            return self._carry(sharp)
        grey = shifted(self.grey, self.classes.grey, category)
        return intensity.impose(sharp, intensity.curve(grey)).astype(np.float32)

    def _carry(self, raw: Array) -> Image:
        """Rendered CT fields [..., X, Y, Z] on the scale of the window, by one map for all."""
        seen, wanted = self._map
        return np.interp(raw, seen, wanted).astype(np.float32)

    @property
    def _unexplained(self) -> Array:
        """[SHELLS] power of the texture that a field gets."""
        if not len(self.middle):
            return TO_TEXTURE * self.residual
        return np.where(np.arange(spectrum.SHELLS) < hounsfield.COARSE, self.residual, 0.0)

    @cached_property
    def _pool(self) -> Array:
        """[POOL, X, Y, Z] rendered fields that stand for all, classes as often as released."""
        picks = [self.classes.pick(np.random.default_rng([number])) for number in range(POOL)]
        return np.stack(
            [self._render(np.random.default_rng([n, 1]), pick)[0] for n, pick in enumerate(picks)]
        )

    @cached_property
    def _map(self) -> tuple[Array, Array]:
        return self.levels(self._pool)

    def levels(self, pool: npt.NDArray[np.floating]) -> tuple[Array, Array]:
        """Quantiles [LEVELS] of CT that stands for all, and of the released distribution."""
        ranks = (np.arange(LEVELS) + 0.5) / LEVELS
        return np.quantile(pool, ranks), hounsfield.curve(self.grey, ranks)

    def mean_mask(self) -> Mask | None:
        """[X, Y, Z] the template's labels, or None for an atlas without."""
        return label_map(self._shapes) if self.labels else None

    def contrast(self, category: int | None) -> Image:
        """[X, Y, Z] what a class's mean image differs by from that of all (0 without a class)."""
        if category is None or not 0 <= category < len(self.classes):
            return np.zeros(self.shape, np.float32)
        return self._contrasts[category]

    @cached_property
    def _contrasts(self) -> list[Image]:
        mean = self.mean_image()
        return [self.mean_image(category) - mean for category in range(len(self.classes))]

    def sample_field(self, rng: np.random.Generator, category: int | None = None) -> Array:
        """[3, X, Y, Z] a displacement in voxels that pulls the template onto a new patient."""
        centre = shifted(self.centre, self.classes.motion, category)
        whitened = rng.standard_normal(self.centre.shape)
        low = len(self.factor) // 3
        whitened[:, :low] = (self.factor @ whitened[:, :low].ravel()).reshape(3, low)
        basis, deviation = self._finer
        finer = deviation * rng.standard_normal((3, len(basis)))
        finer[:, : len(self.basis)] = centre + self.deviation * whitened
        with one_blas_thread():
            return basis.synthesise(finer)

    @cached_property
    def _finer(self) -> tuple[Basis, Array]:
        """Functions of a field [K'], beyond the released ones too, and the deviations of these.

        What no release tells is as the public law says, at the strength of the finest that one
        tells: drawn as displacement it moves edges, drawn as texture it would be noise.
        """
        basis, known = Basis.below(self.shape, FINER_FREQUENCY), len(self.basis)
        deviation = prior_deviation(basis, known)
        strength = float(self.deviation[0, -1] / deviation[known - 1])
        deviation[:known] = 0.0
        return basis, FINER * strength * deviation

    def from_template(self, image: npt.NDArray[np.floating], field: Array) -> Image:
        """An image [X, Y, Z] of the template's frame, deformed by a field."""
        return warp(image, field, order=3).astype(np.float32)

    def mask_from_template(self, field: Array) -> Mask | None:
        """The template's labels deformed by the same field, or None.

        The borders between them are turned to where patients' face.
        """
        if not self.labels:
            return None
        shapes = warp(self._shapes, field)
        mask = label_map(shapes)
        return facing.turned(shapes, mask, self.facing, self._faced) if len(self.facing) else mask

    @cached_property
    def _faced(self) -> Array:
        """[B, facing.FIGURES] what borders of draws face before they are turned."""
        found = []
        for number in range(POOL):
            rng = np.random.default_rng([number, 3])
            field = self.sample_field(rng, self.classes.pick(rng))
            mask = label_map(warp(self._shapes, field))
            found.append(facing.directions(mask, len(self.facing)))
        mean = np.mean(found, axis=0)
        return np.column_stack([mean, np.sqrt(((found - mean) ** 2).mean(axis=0).sum(axis=1))])

    def register(self, volume: Gridded) -> Array:
        """[3, X, Y, Z] the field that pulls the template onto a volume."""
        coefficients = self._registrar.register(
            channels(volume, self.labels, float(self.middle[0]) if len(self.middle) else None),
            self._moving,
            channel_weights(self.labels),
            start=self.centre,
            centre=self.centre,
        )
        return self.basis.synthesise(coefficients)

    def to_template(self, volume: Gridded) -> tuple[Image, Array]:
        """The volume's image brought into the template's frame, and its field.

        `from_template(image, field)` gives the volume back but for interpolation.
        """
        field = self.register(volume)
        values = np.nan_to_num(volume.image, nan=-1.0, posinf=1.0, neginf=-1.0)
        return warp(values, invert(field), order=3).astype(np.float32), field

    def draw(
        self, rng: np.random.Generator, category: int | None = None
    ) -> tuple[Image, Mask | None, Array]:
        """One synthetic (image, mask, field); image in [-1, 1].

        category: of this class; None: of one picked as often as released.
        """
        drawn = self.drawn(rng, category)
        return drawn.image, drawn.mask, drawn.field

    def drawn(
        self, rng: np.random.Generator, category: int | None = None, *, bordered: bool = True
    ) -> Drawn:
        """`draw` with the border of the mask, for those who need it again.

        bordered: the image has the released profile across it; False: `with_border` is still to
            be called, and once.
        """
        category = self.classes.pick(rng) if category is None else category
        raw, field = self._render(rng, category)
        mask = self.mask_from_template(field)
        border = self.border(mask)
        if len(self.middle):
            image: npt.NDArray[np.floating] = self._carry(raw)
        else:
            grey = shifted(self.grey, self.classes.grey, category)
            grey = grey + self.grey_deviation * rng.standard_normal(len(grey))
            image = intensity.impose(raw, intensity.curve(grey))
        shown = self.with_border(image, border if bordered else None)
        return Drawn(shown, mask, field, border)

    def border(self, mask: Mask | None) -> Border | None:
        """The border of a mask [X, Y, Z], or None where there is nothing to impose along it."""
        if mask is None or not self.profile.size:
            return None
        with one_blas_thread():
            return profile.border_of(mask)

    def with_border(self, image: npt.NDArray[np.floating], border: Border | None) -> Image:
        """An image [X, Y, Z] with the released profile across the border of its labels."""
        if border is not None:
            with one_blas_thread():
                imposed = profile.impose_along(image, border, self.profile)
            image = np.clip(imposed, -1.0, 1.0, out=imposed)
        return image.astype(np.float32)

    def _render(self, rng: np.random.Generator, category: int | None = None) -> tuple[Array, Array]:
        """One standardised image [X, Y, Z] with texture, and its field."""
        field = self.sample_field(rng, category)
        texture = spectrum.texture(self.shape, self._unexplained, rng)
        if len(self.spread):
            texture = texture * warp(self.spread, field)
        # The public structure may lie a little beside the released labels: what is learnt from
        # the samples must not hang on it, so they have all of it, none, or anything between.
        sharp = self._sharp(float(rng.uniform()) if self._has_fine else 0.0, category)
        return warp(sharp, field, order=3) + texture, field

    def sample(self, n: int, seed: int) -> Iterator[tuple[Image, Mask | None]]:
        """n pairs of image and mask, lazily; pair i depends on (seed, i) alone."""
        for number in range(n):
            image, mask, _ = self.draw(np.random.default_rng([seed, number]))
            yield image, mask

    def to_tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Flat float32 arrays, and the format as JSON bytes under "facts"."""
        facts = json.dumps({"format": formats.NOW}).encode()
        arrays: dict[str, npt.NDArray[Any]] = {
            name: np.ascontiguousarray(getattr(self, name), dtype=np.float32) for name in _ARRAYS
        }
        if len(self.middle):
            arrays |= {name: np.asarray(getattr(self, name), np.float32) for name in _OF_CT}
        if len(self.classes):
            arrays |= {
                f"classes.{one.name}": np.asarray(getattr(self.classes, one.name), np.float32)
                for one in fields(Classes)
            }
        return {**arrays, "facts": np.frombuffer(facts, dtype=np.uint8).copy()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, npt.NDArray[Any]]) -> Atlas:
        """Read back `to_tensors`.

        Raises:
            IntegrityError: an array is missing, of a wrong size, or not finite.
        """
        try:
            tensors = formats.current(tensors)
            arrays = {name: np.asarray(tensors[name], dtype=np.float64) for name in _ARRAYS}
            ct = {name: np.zeros(0) for name in _OF_CT}
            if any(name in tensors for name in ct):
                ct = {name: np.asarray(tensors[name], dtype=np.float64) for name in ct}
            named = [f"classes.{one.name}" for one in fields(Classes)]
            if any(name in tensors for name in named):
                arrays |= {name: np.asarray(tensors[name], dtype=np.float64) for name in named}
        except KeyError as error:
            raise IntegrityError(f"stored atlas lacks its array {error}") from error
        for name, values in arrays.items():
            if not np.isfinite(values).all():
                raise IntegrityError(f"stored atlas holds non-finite numbers in {name}")
        plain = {name: arrays.pop(name) for name in _ARRAYS}
        shape, functions = plain["template"].shape[1:], plain["centre"].shape[-1]
        groups = Classes(*arrays.values()) if arrays else Classes.none(shape, functions)
        atlas = cls(**plain, classes=groups, **ct)
        if (
            atlas.template.ndim != 4
            or atlas.fine.shape != atlas.shape
            or atlas.centre.shape != (3, len(atlas.basis))
            or atlas.profile.shape not in ((2, 0), (2, profile.DIMENSION))
            or atlas.facing.shape
            not in [(n, facing.FIGURES) for n in (0, facing.borders(atlas.labels))]
            or atlas.spread.shape != (atlas.shape if len(atlas.middle) else (0,))
            or not groups.fit(atlas.shape, len(atlas.basis))
        ):
            raise IntegrityError("stored atlas has arrays that do not fit one another")
        return atlas


# What is stored under its own name; classes are stored only where there are any.
_OF_CT = ("middle", "spread")
_ARRAYS = tuple(one.name for one in fields(Atlas) if one.name not in ("classes", *_OF_CT))
