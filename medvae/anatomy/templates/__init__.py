"""Mean maps of a cohort's own patients, where there are no public people of its region."""

from medvae.anatomy.templates.automatic import AutomaticTissues
from medvae.anatomy.templates.layout import Layout
from medvae.anatomy.templates.maps import Templates, box_of
from medvae.anatomy.templates.measure import compared
from medvae.anatomy.templates.parts import (
    COARSE_MAPS,
    FINE_MAPS,
    LAYOUT_MAPS,
    PLACES_MAPS,
    SITES_MAPS,
    MapMechanism,
    MapPart,
    steps,
)
from medvae.anatomy.templates.released import (
    AUTOMATIC_DIGEST,
    CHANNELS_DIGEST,
    DIGEST,
    LIBRARY,
    ReleasedMaps,
)
from medvae.anatomy.templates.tissues import Tissues

__all__ = [
    "AUTOMATIC_DIGEST",
    "CHANNELS_DIGEST",
    "COARSE_MAPS",
    "DIGEST",
    "FINE_MAPS",
    "LAYOUT_MAPS",
    "LIBRARY",
    "PLACES_MAPS",
    "SITES_MAPS",
    "AutomaticTissues",
    "Layout",
    "MapMechanism",
    "MapPart",
    "ReleasedMaps",
    "Templates",
    "Tissues",
    "box_of",
    "compared",
    "steps",
]
