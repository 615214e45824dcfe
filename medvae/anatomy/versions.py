"""A cohort's anatomy as the version that made a model has it: a model is drawn as it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from medvae.anatomy.cohort import CohortAnatomy
from medvae.anatomy.drawing import shading
from medvae.anatomy.drawing.channels import ChannelRenderer
from medvae.anatomy.drawing.classes import ClassRenderer
from medvae.anatomy.drawing.images import ImageRenderer
from medvae.anatomy.drawing.templates import TemplateRenderer
from medvae.anatomy.registration.geometry import Array
from medvae.errors import IntegrityError

# Names in model files, which must not change. An older file lacks the newer ones.
_SHADING_STD: Final = "shading_std"
_CONTRAST: Final = "knows_contrast"
_SPLINES: Final = "splines"
_MEASURES_DRAWS: Final = "measures_draws"


def facts(cohort: CohortAnatomy) -> dict[str, Array]:
    """What a model file says of the version that made it."""
    renderer = cohort.renderer
    of_classes = isinstance(renderer, ClassRenderer | ChannelRenderer)
    knows_contrast = of_classes and renderer.related is not None
    has_splines = isinstance(renderer, ImageRenderer) and renderer.order > 1
    measures_draws = isinstance(renderer, TemplateRenderer) and renderer.measures_draws
    return {
        _SHADING_STD: np.array(_shading_std(cohort)),
        _CONTRAST: np.array(float(knows_contrast)),
        _SPLINES: np.array(float(has_splines)),
        _MEASURES_DRAWS: np.array(float(measures_draws)),
    }


def as_made(cohort: CohortAnatomy, arrays: Mapping[str, Array], figures: int) -> CohortAnatomy:
    """The cohort's anatomy in the version that made a model.

    Args:
        cohort: in this version.
        arrays: of the model file, with its `facts`.
        figures: how many the model has.

    Raises:
        IntegrityError: no version has so many figures, or such units of shading.
    """
    cohort = _with_figures(cohort, figures)
    cohort = _with_shading(cohort, float(arrays.get(_SHADING_STD, shading.EARLIER_STD)))
    if not float(arrays.get(_CONTRAST, 0.0)):
        cohort = _with_earlier_greys(cohort)
    renderer = cohort.renderer
    if isinstance(renderer, ImageRenderer) and not float(arrays.get(_SPLINES, 0.0)):
        # From before images were interpolated by cubic splines.
        return replace(cohort, renderer=renderer.with_linear_images())
    if isinstance(renderer, TemplateRenderer) and not float(arrays.get(_MEASURES_DRAWS, 0.0)):
        # From before the grey values of each draw were measured.
        return replace(cohort, renderer=renderer.with_one_reference())
    return cohort


def _shading_std(cohort: CohortAnatomy) -> float:
    """How much a coefficient of the shading is expected to differ; 0 where there is none."""
    renderer = cohort.renderer
    return renderer.shading_std if isinstance(renderer, ClassRenderer | ChannelRenderer) else 0.0


def _with_figures(cohort: CohortAnatomy, count: int) -> CohortAnatomy:
    """The same for so many figures: older models have no volumes of labels."""
    if count == len(cohort.numbers.figures):
        return cohort
    renderer = cohort.renderer
    if isinstance(renderer, ClassRenderer):
        renderer = renderer.without_volumes()
    if count != len(renderer.names):
        raise IntegrityError("the numbers of the model are not those of its anatomy")
    names = ("figures", "figures_std", "figures_within")
    fewer = {name: getattr(cohort.numbers, name)[:count] for name in names}
    return replace(cohort, renderer=renderer, numbers=replace(cohort.numbers, **fewer))


def _with_shading(cohort: CohortAnatomy, std: float) -> CohortAnatomy:
    """The same in the units of a model's shading, which are these or those of before."""
    renderer = cohort.renderer
    if _shading_std(cohort) in (0.0, std) or not isinstance(renderer, ClassRenderer):
        return cohort
    renderer = renderer.with_earlier_shading()
    if std != renderer.shading_std:
        raise IntegrityError("the units of the model's shading are those of no version")
    units = {"figures_std": renderer.public_std, "figures_within": renderer.public_within}
    return replace(cohort, renderer=renderer, numbers=replace(cohort.numbers, **units))


def _with_earlier_greys(cohort: CohortAnatomy) -> CohortAnatomy:
    """The same for a model from before contrasts were known."""
    renderer = cohort.renderer
    if not isinstance(renderer, ClassRenderer) or renderer.related is None:
        return cohort
    renderer = renderer.with_earlier_greys()
    numbers = cohort.numbers.with_error(np.zeros_like(cohort.numbers.figures), 0.0)
    numbers = replace(numbers, figures=renderer.public_mean)
    return replace(cohort, renderer=renderer, numbers=numbers)
