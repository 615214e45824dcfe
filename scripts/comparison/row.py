"""A row of a table of synthetic volumes: which method, at which epsilon, with which seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from medvae.grid import Gridded

# (cohort, how many, seed) -> volumes. What a cohort is, each benchmark decides.
Make = Callable[[Any, int, int], list[Gridded]]


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        method: its name in the table.
        epsilon: None where nobody is protected from anything (real volumes), 0 without data.
        seed: of noise, training and drawing.
        make: (cohort, count, seed) -> volumes.
    """

    method: str
    epsilon: float | None
    seed: int
    make: Make

    @property
    def title(self) -> str:
        """What --only looks at: `full pipeline, eps 8, seed 0`."""
        privacy = "" if self.epsilon is None else f", eps {_name(self.epsilon)}"
        return f"{self.method}{privacy}, seed {self.seed}"

    def described(self) -> dict[str, Any]:
        """The columns that name the row, as JSON values."""
        epsilon = "inf" if self.epsilon == math.inf else self.epsilon
        return {"method": self.method, "epsilon": epsilon, "seed": self.seed}


def _name(epsilon: float) -> str:
    return "inf" if math.isinf(epsilon) else f"{epsilon:g}"
