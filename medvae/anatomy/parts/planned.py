"""Which statistics are released together, by which mechanism."""

from __future__ import annotations

from typing import Final

from medvae.anatomy.bands import Bands
from medvae.anatomy.numbers import Numbers
from medvae.anatomy.parts.base import Part
from medvae.anatomy.parts.classes import ClassFigures, ClassPlace, ClassShape, ClassShares
from medvae.anatomy.parts.means import OTHERS_SHARE, SHAPE_SHARE, MeanFigures, MeanPlace, MeanShape
from medvae.anatomy.parts.sites import SiteFigures, SiteShares
from medvae.anatomy.parts.spreads import FiguresSpread, PlaceSpread, ShapeSpread
from medvae.anatomy.related import Related

MEANS: Final = "anatomy-means"
SPREADS: Final = "anatomy-spreads"
CLASSES: Final = "anatomy-classes"
BY_SITE: Final = "anatomy-by-site"


def mean_parts(
    public: Numbers,
    bands: Bands,
    count: int | None,
    shape_share: float = SHAPE_SHARE,
    related: Related | None = None,
    greys: int = 0,
) -> list[Part]:
    """What `MEANS` releases.

    count: coefficients of the shape along each axis; None: not its mean, which is zero round
        maps that are the patients' own means.
    shape_share: part of the budget that the shape has beside the others.
    related: how figures go together, to read a release by; None: as if they did not.
    greys: how many of the figures, from the first on, are grey values with a part of their own.
    """
    parts: list[Part] = [MeanPlace(public)]
    if greys:
        parts += [
            MeanFigures(public, related, stop=greys, name="greys"),
            MeanFigures(public, related, start=greys, share=OTHERS_SHARE),
        ]
    else:
        parts += [MeanFigures(public, related)]
    if count is None:
        return parts
    return [*parts, MeanShape(public, bands, count, share=shape_share)]


def spread_parts(public: Numbers, bands: Bands) -> list[Part]:
    """What `SPREADS` releases, around the means."""
    return [PlaceSpread(public), FiguresSpread(public), ShapeSpread(public, bands)]


def class_parts(public: Numbers, bands: Bands, classes: int) -> list[Part]:
    """What `CLASSES` releases, around the means and in units of the spreads."""
    return [
        # First: the others are divided by it.
        ClassShares(classes),
        ClassPlace(classes),
        ClassFigures(classes, len(public.figures)),
        ClassShape(classes, bands),
    ]


def site_parts(public: Numbers, sites: int) -> list[Part]:
    """What `BY_SITE` releases, around the means of all or of a class, in units of the spreads."""
    # First: the others are divided by it.
    return [SiteShares(sites), SiteFigures(sites, len(public.figures))]


def parts_of(
    name: str,
    dimension: int,
    public: Numbers,
    bands: Bands,
    shape_share: float,
    greys: int = 0,
) -> list[Part]:
    """What mechanism `name` released in a vector [dimension]; the rest as in `mean_parts`."""
    if name == SPREADS:
        return spread_parts(public, bands)
    if name == CLASSES:
        size = sum(part.dimension for part in class_parts(public, bands, 1))
        return class_parts(public, bands, dimension // size)
    if name == BY_SITE:
        size = sum(part.dimension for part in site_parts(public, 1))
        return site_parts(public, dimension // size)
    left = dimension - sum(part.dimension for part in mean_parts(public, bands, None))
    return mean_parts(public, bands, left // 3 or None, shape_share, greys=greys)
