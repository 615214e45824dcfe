"""What the mechanisms of the maps have released, as a model keeps it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from medvae.anatomy.registration.geometry import Array
from medvae.anatomy.templates.maps import Templates
from medvae.anatomy.templates.parts import FINE_MAPS, MapMechanism, steps

# What `anatomy.library` says in place of the name of an entry, and the digest that stands for this
# way of drawing: another version of it would draw other volumes.
LIBRARY: Final = "patients"
DIGEST: Final = hashlib.sha256(b"medvae: mean maps of patients, 4").hexdigest()
# The same for maps of patients whose images have channels.
CHANNELS_DIGEST: Final = hashlib.sha256(b"medvae: mean maps of channels, 1").hexdigest()
# The same for maps of automatic tissues, of patients without masks.
AUTOMATIC_DIGEST: Final = hashlib.sha256(b"medvae: mean maps of automatic tissues, 1").hexdigest()


@dataclass(frozen=True)
class ReleasedMaps:
    """What the mechanisms of the maps have released.

    Attributes:
        found: by mechanism, in the order of `steps`: each is what the next one is round.
    """

    found: Mapping[str, Templates]

    @property
    def fine(self) -> Templates:
        """That volumes are drawn from."""
        return self.found[FINE_MAPS]

    def mechanisms(self, public: Templates) -> list[MapMechanism]:
        """The mechanisms that released them."""
        states = [public, *self.found.values()][:-1]
        return [
            MapMechanism.of(name, state) for name, state in zip(self.found, states, strict=True)
        ]

    def to_arrays(self) -> dict[str, Array]:
        """By name, for a model file."""
        return {
            f"{name}.{key}": values
            for name, maps in self.found.items()
            for key, values in maps.to_arrays().items()
        }

    @classmethod
    def read(cls, public: Templates, arrays: Mapping[str, Array]) -> ReleasedMaps:
        """Read back `to_arrays`. KeyError where one is missing."""
        return cls(
            {
                name: public.read({key: arrays[f"{name}.{key}"] for key in public.to_arrays()})
                for name in steps(public.layout)
            }
        )
