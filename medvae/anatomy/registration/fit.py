"""Maximum a posteriori registration, coarse to fine (see `descent` for the objective)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from medvae.anatomy.registration.cosines import CosineBasis
from medvae.anatomy.registration.descent import Descent, Level, Result, State
from medvae.anatomy.registration.geometry import Array, Box
from medvae.anatomy.registration.start import starts
from medvae.anatomy.registration.subject import Subject
from medvae.anatomy.registration.template import Template
from medvae.threads import one_thread

# Most Gauss-Newton steps of the deformation: finer levels start almost right, and cost the most.
COARSE_STEPS, FINE_STEPS = 5, 3


@dataclass(frozen=True)
class Settings:
    """How finely to register.

    Attributes:
        spacing: voxel size of the finest level, in mm; None: 1/56 of the box's edge.
        max_frequency: fastest cosine, in cycles per mm; 0 for an affine map alone.
        angles: starting rotations about the third axis that are tried, in rad.
    """

    spacing: float | None = None
    max_frequency: float = 1 / 40
    angles: Sequence[float] = (0.0, -0.6, 0.6, -1.2, 1.2)

    def levels(self, box: Box) -> list[Level]:
        """Affine at 1/28 of the box's edge, then cosines from there to the finest spacing."""
        coarse = box.edge / 28.0
        finest = box.edge / 56.0 if self.spacing is None else self.spacing
        levels = [Level(coarse, coarse, 6, 0.0), Level(coarse, 0.0, 6, 0.0)]
        if self.max_frequency > 0:
            spacings = [coarse]
            while spacings[-1] / 2.0 > finest * 0.99:
                spacings.append(spacings[-1] / 2.0)
            if finest < spacings[-1] * 0.8:
                spacings.append(finest)
            levels += [
                Level(
                    s,
                    0.0,
                    COARSE_STEPS if s == coarse else FINE_STEPS,
                    self.max_frequency,
                    move_affine=s == coarse,
                )
                for s in spacings
            ]
        return levels


@dataclass(frozen=True)
class Alignment:
    """Pose of a subject in the template's frame.

    Attributes:
        box: the template's frame.
        max_frequency: of the cosines, per mm.
        affine: [4, 4] scanner mm to the template's frame, before the deformation.
        coefficients: [3, K] whitened cosines (see `CosineBasis`), K = 0 for an affine map alone.
        cost: half the weighted square of what is left, in independent residuals.
        overlap: part of the box's volume that the subject shows, 0 to 1.
        means: [K] fitted class means, or None.
    """

    box: Box
    max_frequency: float
    affine: Array
    coefficients: Array
    cost: float
    overlap: float
    means: npt.NDArray[np.float64] | None = None

    @property
    def basis(self) -> CosineBasis:
        """The functions that `coefficients` weigh."""
        return CosineBasis(self.box, self.max_frequency)

    def field(self, spacing: float, device: torch.device) -> torch.Tensor:
        """[3, X, Y, Z] displacement u in mm on the box's grid of `spacing` mm."""
        with one_thread():
            synthesis = self.basis.on(self.box.grid(spacing), device)
            cosines = torch.from_numpy(self.coefficients).to(device)
            return synthesis.field(torch.cat([cosines.new_zeros((3, 4)), cosines], dim=1))


def register(
    subject: Subject,
    template: Template,
    settings: Settings | None = None,
    *,
    start: Alignment | None = None,
    device: torch.device | None = None,
) -> Alignment:
    """Register a template to a subject.

    start: an alignment that is nearly right (of an earlier template on the same box); its affine
        map and its cosines are taken up, and no other start is tried.

    Raises:
        ValueError: subject and template do not have the same channels, or nothing to compare.
    """
    settings = settings or Settings()
    images = subject.image is not None and template.appearance is not None
    if len(subject.channels) != len(template.channels):
        raise ValueError(f"{len(subject.channels)} channels, {len(template.channels)} expected")
    if not len(template.channels) and not images:
        raise ValueError("there is neither a channel nor an image to compare")
    where = device or torch.device("cpu")
    with one_thread():
        return _register(subject, template, settings, start, where)


def _register(
    subject: Subject,
    template: Template,
    settings: Settings,
    start: Alignment | None,
    device: torch.device,
) -> Alignment:
    levels = settings.levels(template.box)
    person = subject.prepared(device)
    if start is None:
        rough = Level(2.0 * levels[0].spacing, levels[0].spacing, 2, 0.0)
        maps = template.at(rough.spacing, rough.blur, device)
        scan = person.at(rough.spacing, rough.blur)
        results = [
            Descent(maps, scan, template, rough, State.of(affine)).run()
            for affine in starts(scan, maps, template, settings.angles)
        ]
        state = min(results, key=lambda fit: fit.cost).state
    else:
        state = State.of(start.affine, start.coefficients)
        levels = [level for level in levels if level.max_frequency > 0] or levels[-1:]
    done: Result | None = None
    for level in levels:
        maps = template.at(level.spacing, level.blur, device)
        scan = person.at(level.spacing, level.blur)
        done = Descent(maps, scan, template, level, state).run()
        state = done.state
    assert done is not None
    means = None if done.classes is None else done.classes.means.cpu().numpy()
    cosines = state.coefficients[:, 4:].cpu().numpy()
    return Alignment(
        template.box, settings.max_frequency, state.affine, cosines, done.cost, done.overlap, means
    )
