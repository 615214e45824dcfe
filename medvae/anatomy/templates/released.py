"""What the two mechanisms of the maps have released, as a model keeps it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from medvae.anatomy.registration.geometry import Array
from medvae.anatomy.templates.maps import Templates

# What `anatomy.library` says in place of the name of an entry, and the digest that stands for this
# way of drawing: another version of it would draw other volumes.
LIBRARY: Final = "patients"
DIGEST: Final = hashlib.sha256(b"medvae: mean maps of patients, 1").hexdigest()


@dataclass(frozen=True)
class ReleasedMaps:
    """What the two mechanisms of the maps have released.

    Attributes:
        coarse: that patients were registered to for `fine`.
        fine: that volumes are drawn from.
    """

    coarse: Templates
    fine: Templates

    def to_arrays(self) -> dict[str, Array]:
        """By name, for a model file."""
        return {
            f"{name}.{key}": values
            for name, maps in (("coarse", self.coarse), ("fine", self.fine))
            for key, values in maps.to_arrays().items()
        }

    @classmethod
    def read(cls, public: Templates, arrays: Mapping[str, Array]) -> ReleasedMaps:
        """Read back `to_arrays`. KeyError where one is missing."""
        found = [
            public.read({key: arrays[f"{name}.{key}"] for key in public.to_arrays()})
            for name in ("coarse", "fine")
        ]
        return cls(found[0], found[1])
