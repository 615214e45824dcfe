"""The private statistics of the anatomy model: one file a kind, one shape for all (`Part`)."""

from medvae.anatomy.parts.base import Measured, Part
from medvae.anatomy.parts.classes import ClassFigures, ClassPlace, ClassShape, ClassShares
from medvae.anatomy.parts.means import (
    EARLIER_SHAPE_SHARE,
    SHAPE_SHARE,
    MeanFigures,
    MeanPlace,
    MeanShape,
)
from medvae.anatomy.parts.planned import (
    BY_SITE,
    CLASSES,
    MEANS,
    SPREADS,
    class_parts,
    mean_parts,
    parts_of,
    site_parts,
    spread_parts,
)
from medvae.anatomy.parts.sites import Apart, SiteFigures, SiteShares
from medvae.anatomy.parts.spreads import FiguresSpread, PlaceSpread, ShapeSpread

__all__ = [
    "BY_SITE",
    "CLASSES",
    "EARLIER_SHAPE_SHARE",
    "MEANS",
    "SHAPE_SHARE",
    "SPREADS",
    "Apart",
    "ClassFigures",
    "ClassPlace",
    "ClassShape",
    "ClassShares",
    "FiguresSpread",
    "MeanFigures",
    "MeanPlace",
    "MeanShape",
    "Measured",
    "Part",
    "PlaceSpread",
    "ShapeSpread",
    "SiteFigures",
    "SiteShares",
    "class_parts",
    "mean_parts",
    "parts_of",
    "site_parts",
    "spread_parts",
]
