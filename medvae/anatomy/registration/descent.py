"""Gauss-Newton steps at one level of resolution.

Minimised over affine and cosine coefficients:
    1/2 sum_channels sum_voxels w (subject - template at y)^2 + 1/2 |whitened coefficients|^2.
The first sum counts one independent residual in `CORRELATED_MM3`, over what is known; a channel
that the subject shows nothing of (an empty mask) is unknown too. Where nothing is known the
deformation is zero. Every accepted step lowers the objective, so no input diverges.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from medvae.anatomy.registration import equations, sampling
from medvae.anatomy.registration.appearance import ClassFit, fit_classes
from medvae.anatomy.registration.cosines import CosineBasis
from medvae.anatomy.registration.equations import System
from medvae.anatomy.registration.geometry import Array
from medvae.anatomy.registration.start import affine_of_modes, linear_sizes
from medvae.anatomy.registration.subject import SubjectLevel
from medvae.anatomy.registration.template import Template, TemplateLevel

# Public constants. Residuals of neighbouring voxels agree: one independent residual a volume.
CORRELATED_MM3 = 512.0
# Prior standard deviations of the affine part: translation in mm, relative strain and rotation.
TRANSLATION_MM = 40.0
STRAIN = 0.15
# Largest and smallest stretch of an affine map that is tried at all.
STRETCH = 2.0
# A step moves no point farther than this many voxels of the level.
MAX_STEP_VOXELS = 3.0
# Least part of the known voxels that must stay in the box.
LEAST_OVERLAP = 0.5
CG_STEPS = 12
HALVINGS = 4
# A level ends when a step lowers the objective by less than this part of it.
ENOUGH = 1e-3


@dataclass(frozen=True)
class Level:
    """Attributes: spacing and blur in mm; most Gauss-Newton steps; fastest cosine per mm; whether
    the affine map moves too."""

    spacing: float
    blur: float
    steps: int
    max_frequency: float
    move_affine: bool = True


@dataclass(frozen=True)
class State:
    """Where a subject is thought to lie.

    Attributes:
        affine: [4, 4] scanner mm to template mm.
        coefficients: [3, 4 + K]: the sum of the affine steps since the start, in mm (their prior
            needs it), and whitened cosines.
    """

    affine: Array
    coefficients: torch.Tensor

    @classmethod
    def of(cls, affine: Array, cosines: Array | None = None) -> State:
        """An affine map that no step has led to yet, and [3, K] cosines."""
        coefficients = np.zeros((3, 0)) if cosines is None else cosines
        modes = np.concatenate([np.zeros((3, 4)), coefficients], axis=1)
        return cls(affine, torch.from_numpy(modes))

    def resized(self, count: int, device: torch.device) -> State:
        """With 4 + K = `count` coefficients a component: zeros added, or the fastest dropped."""
        own = self.coefficients.to(device)
        more = max(0, count - own.shape[1])
        padded = torch.nn.functional.pad(own, (0, more))[:, :count]
        return replace(self, coefficients=padded)


@dataclass(frozen=True)
class _Fit:
    """A state, and everything that its cost is computed from.

    Attributes:
        values: [C (+ 1), X, Y, Z] the subject's channels and image in the template's frame.
        known: [X, Y, Z] part of each voxel that the subject shows.
        field: [3, X, Y, Z] displacement in mm, or None without cosines.
        maps: [C, X, Y, Z] the template's channels, pulled.
        memberships: [K, X, Y, Z] the template's classes, pulled, or None.
    """

    state: State
    values: torch.Tensor
    known: torch.Tensor
    field: torch.Tensor | None
    maps: torch.Tensor
    memberships: torch.Tensor | None


@dataclass(frozen=True)
class _Image:
    """Class means of one Gauss-Newton step, and the image's inverse variance [X, Y, Z]."""

    classes: ClassFit
    precision: torch.Tensor


class Descent:
    """Gauss-Newton steps at one level."""

    def __init__(
        self,
        maps: TemplateLevel,
        scan: SubjectLevel,
        template: Template,
        level: Level,
        state: State,
    ) -> None:
        self._maps, self._scan, self._level = maps, scan, level
        self._box, self._grid = template.box, maps.grid
        device = scan.values.device
        basis = CosineBasis(template.box, level.max_frequency)
        self._synthesis = basis.on(maps.grid, device)
        self._start = state.resized(self._synthesis.count, device)
        prior = [TRANSLATION_MM, *(STRAIN * linear_sizes(template.box)), *np.ones(len(basis))]
        self._scale = torch.tensor(prior, dtype=torch.float64, device=device)
        self._moving = self._scale.clone()
        if not level.move_affine:
            self._moving[:4] = 0.0
        per_voxel = maps.grid.voxel_volume / CORRELATED_MM3
        precision = torch.from_numpy(per_voxel / np.asarray(template.stds, np.float64) ** 2)
        self._per_voxel = per_voxel
        precision = precision.float().to(device) * scan.shown(template.kind)
        self._precision = precision.reshape(-1, 1, 1, 1)
        self._public: torch.Tensor | None = None
        if template.appearance is not None and scan.has_image:
            self._public = torch.from_numpy(template.appearance.means).double().to(device)
        self._points = maps.grid.centres(device)
        self._reference = 0.0

    def run(self) -> Result:
        """Step until little is gained."""
        fit = self._fit(self._start, None)
        self._reference = float(fit.known.sum(dtype=torch.float64))
        image = self._image(fit)
        before = self._objective(fit, image)
        for _ in range(self._level.steps):
            better = self._step(fit, image, before)
            if better is None:
                break
            fit, after = better
            gain = before - after
            image = self._image(fit)
            before = self._objective(fit, image)
            if gain < ENOUGH * after:
                break
        overlap = float(fit.known.mean(dtype=torch.float64))
        return Result(fit.state, before, overlap, None if image is None else image.classes)

    def _fit(self, state: State, like: _Fit | None) -> _Fit:
        """Pull subject and template; the subject as in `like` where the affine map is the same."""
        if like is not None and like.state.affine is state.affine:
            values, is_inside = like.values, like.known
        else:
            values, is_inside = self._scan.pull(state.affine, self._grid)
        field, moved = None, self._points
        if state.coefficients.shape[1] > 4:
            cosines = state.coefficients.clone()
            cosines[:, :4] = 0.0
            field = self._synthesis.field(cosines)
            moved = moved + field
        where = sampling.box_coordinates(moved, self._box)
        maps = sampling.sample(self._maps.channels, where)
        memberships = None
        if self._public is not None and self._maps.memberships is not None:
            memberships = sampling.sample(self._maps.memberships, where)
        return _Fit(state, values, is_inside, field, maps, memberships)

    def _image(self, fit: _Fit) -> _Image | None:
        if self._public is None or fit.memberships is None:
            return None
        volume = self._grid.voxel_volume
        classes = fit_classes(fit.values[-1], fit.memberships, fit.known, self._public, volume)
        return None if classes is None else _Image(classes, classes.precision(fit.memberships))

    def _compared(
        self, fit: _Fit, image: _Image | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Residuals, pulled maps and weights, all [C (+ 1), X, Y, Z]."""
        maps, weights = fit.maps, self._precision * fit.known
        values = fit.values[: len(maps)]
        if image is not None and fit.memberships is not None:
            maps = torch.cat([maps, image.classes.render(fit.memberships)[None]])
            noise = image.precision * fit.known * self._per_voxel
            weights, values = torch.cat([weights, noise[None]]), fit.values
        return values - maps, maps, weights

    def _objective(self, fit: _Fit, image: _Image | None) -> float:
        """The objective; infinite where too much of what is known has left the box.

        The data's part is a mean over what is known: leaving the box must not pay.
        """
        prior = 0.5 * float(((fit.state.coefficients / self._scale) ** 2).sum())
        if self._reference <= 0:
            return prior
        left = float(fit.known.sum(dtype=torch.float64))
        if left < LEAST_OVERLAP * self._reference:
            return float("inf")
        residuals, _, weights = self._compared(fit, image)
        return equations.half_square(residuals, weights) * self._reference / left + prior

    def _step(self, fit: _Fit, image: _Image | None, before: float) -> tuple[_Fit, float] | None:
        """The longest halved step that lowers the objective, and the objective there."""
        residuals, maps, weights = self._compared(fit, image)
        system = System.of(residuals, maps, weights, fit.field, self._grid.spacing)
        whitened = fit.state.coefficients / self._scale
        step = equations.solve(system, self._synthesis, whitened, self._moving, CG_STEPS)
        longest = float(self._synthesis.field(step).abs().max())
        limit = MAX_STEP_VOXELS * max(self._grid.spacing)
        factor = min(1.0, limit / max(longest, 1e-9))
        for _ in range(HALVINGS):
            state = self._moved(fit.state, factor * step)
            if state is not None:
                trial = self._fit(state, fit)
                after = self._objective(trial, image)
                if after < before:
                    return trial, after
            factor /= 2.0
        return None

    def _moved(self, state: State, step: torch.Tensor) -> State | None:
        """The state after a step; None where its affine map stretches too much."""
        coefficients = state.coefficients + step
        if not self._level.move_affine:
            return State(state.affine, coefficients)
        change = affine_of_modes(step[:, :4].cpu().numpy(), self._box)
        affine = np.asarray((np.eye(4) + change) @ state.affine)
        stretch = np.linalg.svd(affine[:3, :3], compute_uv=False)
        if not 1.0 / STRETCH <= stretch.min() <= stretch.max() <= STRETCH:
            return None
        return State(affine, coefficients)


@dataclass(frozen=True)
class Result:
    """Where a descent ended: state, objective, known part of the box, class means."""

    state: State
    cost: float
    overlap: float
    classes: ClassFit | None
