"""The anatomy of a cohort without public people: mean maps of its own patients, as released."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from medvae.anatomy import place
from medvae.anatomy.cohort import CohortAnatomy, cohort_labels
from medvae.anatomy.drawing.templates import TemplateRenderer
from medvae.anatomy.numbers import Numbers
from medvae.anatomy.public import public_numbers
from medvae.anatomy.registration import Alignment
from medvae.anatomy.registration.cosines import CosineBasis
from medvae.anatomy.templates import (
    AutomaticTissues,
    Layout,
    ReleasedMaps,
    Templates,
    Tissues,
    box_of,
)
from medvae.cine import is_cine
from medvae.config import DataConfig
from medvae.errors import UsageError

# Before anything is released, patients differ by so many times what public people typically do in
# rotation, and in size and position; and so much in shape, in standard deviations of the law.
ROTATION, SIZE, SHAPE = 2.0, 1.5, 0.45
# In a wide field of view patients lie as the scanner has them.
WIDE_ROTATION = 0.6
# Without labels, and where nobody says so, scans of this edge (mm) at least are drawn from maps, of
# modalities that it was measured on. Distances are measured up to 20 mm: a view that is not several
# times that shows a part of an organ, where tissues are no shapes.
LEAST_MM: Final = 80.0
# Fastest cosine of a deformation: of a large box not what its coefficients cannot be fitted for.
FASTEST_PER_MM, FASTEST_PER_EDGE = 1.0 / 40.0, 5.0


def refusal(data: DataConfig) -> str | None:
    """Why a cohort cannot be drawn from its own maps; None where it can."""
    if 1 in data.size:
        return "its images have two dimensions"
    if data.channels and (data.modalities or data.modality != "mri" or is_cine(data.channels)):
        return "its channels are no contrasts of MRI"
    if data.spacing is None:
        return "its grid has no size in millimetres (set data.spacing beside data.size)"
    if data.channels and not cohort_labels(data):
        return "its images have channels and no labels (declare them and ingest masks)"
    if not cohort_labels(data) and not AutomaticTissues.of(data).names:
        return (
            "it has no labels (declare them and ingest masks), and its window (data.window) "
            "separates no tissues"
        )
    return None


def is_default(data: DataConfig) -> bool:
    """Whether a cohort that no entry covers is drawn from its own maps unless somebody says none.

    By declared facts alone. Without labels: MRI of a field of view from `LEAST_MM`, and CT of a
    wide one, whose draws were nearer to people than the atlas's (docs/benchmarks/anatomy.md).
    """
    if refusal(data) is not None:
        return False
    if cohort_labels(data):
        return True
    if data.modality == "ct":
        return has_wide_view(data)
    return data.modality == "mri" and AutomaticTissues.of(data).edge >= LEAST_MM


def anatomy_of_patients(
    data: DataConfig,
    spacing: tuple[float, float, float] | None = None,
    maps: ReleasedMaps | None = None,
) -> CohortAnatomy:
    """A cohort that is drawn from its own maps.

    Args:
        data: with a spacing; without labels the maps are of automatic tissues.
        spacing: voxel size of drawn volumes, in mm; None: that of the data.
        maps: what was released; None: nothing yet, and labels are balls.

    Raises:
        UsageError: the cohort has no size in millimetres, or neither labels nor tissues.
    """
    why = refusal(data)
    if why is not None:
        raise UsageError(
            f"the cohort cannot be drawn from its own mean maps, for {why}; or set "
            "anatomy.library to none"
        )
    assert data.spacing is not None
    templates = public_maps(data) if maps is None else maps.fine
    drawn = len(cohort_labels(data))
    renderer = TemplateRenderer(templates, _names(data), drawn, data.channels)
    fastest = min(FASTEST_PER_MM, FASTEST_PER_EDGE / templates.box.edge)
    count = len(CosineBasis(templates.box, fastest))
    pose = Alignment(templates.box, fastest, np.eye(4), np.zeros((3, count)), 0.0, 1.0)
    return CohortAnatomy(
        None,
        data,
        (pose,),
        lambda: templates.template,
        renderer,
        _numbers(pose, renderer, wide=templates.layout.wide),
        np.eye(place.SIZE),
        data.spacing,
        drawn_spacing=spacing,
        maps=maps,
    )


def public_maps(data: DataConfig) -> Templates:
    """The maps before anything is released; data: with a spacing."""
    assert data.spacing is not None
    box = box_of(data.size, data.spacing)
    automatic = None if cohort_labels(data) else AutomaticTissues.of(data)
    # The body of a small field of view without masks is all of it.
    hidden = automatic is not None and automatic.body is None
    tissues = None if hidden else Tissues.of(data)
    channels = max(len(data.channels), 1)
    return Templates.public(box, len(_names(data)), tissues, automatic, channels)


def _names(data: DataConfig) -> tuple[str, ...]:
    """Names of the labels that maps are of."""
    return cohort_labels(data) or AutomaticTissues.of(data).names


def has_wide_view(data: DataConfig) -> bool:
    """Whether labels are looked for in the declared field of view; data: with a spacing."""
    assert data.spacing is not None
    return Layout.public(box_of(data.size, data.spacing), 0).wide


def _numbers(pose: Alignment, renderer: TemplateRenderer, *, wide: bool) -> Numbers:
    """Numbers round the maps, before more is released."""
    figures = (renderer.public_mean, renderer.public_std, renderer.public_within)
    public = public_numbers([pose], [np.zeros(3)], figures)
    std = place.typical(pose.box.edge) * SIZE
    rotation = WIDE_ROTATION if wide else ROTATION
    std[place.ROTATION] *= rotation / SIZE
    return replace(public, place_std=std, shape_std=np.full_like(public.shape_std, SHAPE))
