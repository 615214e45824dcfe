"""What a release's quality score is computed from: figures that no patient's scan goes into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from medvae.volume import Volume


@dataclass(frozen=True)
class Part:
    """One figure, of the release and of the two rows beside it.

    Attributes:
        name: of the figure, in words.
        unit: what its numbers are, and which number is best.
        release: of the release's volumes.
        people: of public people among themselves; None where there are too few.
        no_patient: of volumes that the same generator draws without any patient; None where it
            cannot draw any.
        score: 0 (of no use) to 1 (as good as the reference).
        formula: how `score` follows from the figures.
    """

    name: str
    unit: str
    release: float
    people: float | None
    no_patient: float | None
    score: float
    formula: str

    def to_json(self) -> dict[str, Any]:
        """A row of the report's table; figures have two decimals, unknown ones are a dash."""

        def text(value: float | None) -> str:
            return "-" if value is None else f"{value:.2f}"

        return {
            "figure": self.name,
            "this release": text(self.release),
            "public people": text(self.people),
            "no patient": text(self.no_patient),
            "part": text(self.score),
            "unit": self.unit,
        }


@dataclass(frozen=True)
class Quality:
    """Attributes:
    against: whom the release was compared with, in words; "" where there was nobody.
    source: where those people come from.
    looked: how many of its volumes were looked at.
    parts: the figures that there are.
    missing: why there is no score; "" where there is one.
    note: what was not measured beside the parts, a sentence; "" where nothing is left out.
    """

    against: str
    looked: int
    parts: tuple[Part, ...]
    missing: str = ""
    note: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if not self.missing and not self.parts:
            raise ValueError("a quality score needs a part")


class Meter(Protocol):
    """Looks at a release's volumes as they pass, and says how good they are.

    Nothing that it says may be computed from a patient's scan.
    """

    def look(self, volume: Volume) -> None:
        """Take one volume into account."""

    def quality(self) -> Quality:
        """The figures, once all volumes have passed."""
