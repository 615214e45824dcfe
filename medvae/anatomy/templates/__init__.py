"""Mean maps of a cohort's own patients, where there are no public people of its region."""

from medvae.anatomy.templates.maps import Templates, box_of
from medvae.anatomy.templates.parts import COARSE_MAPS, FINE_MAPS, MapMechanism, MapPart
from medvae.anatomy.templates.released import DIGEST, LIBRARY, ReleasedMaps

__all__ = [
    "COARSE_MAPS",
    "DIGEST",
    "FINE_MAPS",
    "LIBRARY",
    "MapMechanism",
    "MapPart",
    "ReleasedMaps",
    "Templates",
    "box_of",
]
