"""Which candidates a model's released means are made of.

A mean over members is a sum over all candidates with weight 1/n for members and 0 for others. The
attack solves for those weights by regularised least squares over everything that the model holds:
without noise, and with more numbers than candidates, they come out exactly. It is the strong form
of tracing a patient in a mean by correlation (Homer et al. 2008; Dwork et al. 2015), which leaves
the other candidates in as noise.

No candidate is treated by whether he or she is a member, so scores of members and others are of
one distribution where the model does not depend on who was one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medvae.audit.means import Array, Mean, Means
from medvae.grid import Gridded
from medvae.volume import Volume

# Noise variances that are tried for each mean, in parts of what is to be explained.
_TRIED = np.geomspace(1e-8, 3.0, 80)


class Candidates:
    """Patients' vectors for each mean of a model, gathered while their volumes pass by."""

    def __init__(self, means: Means | None) -> None:
        self._means = means
        # Subject -> mechanism -> vectors of the volumes that show something.
        self._found: dict[str, dict[str, list[Array]]] = {}
        self._classes: dict[str, set[int | None]] = {}

    def passing(self, pairs: Iterable[tuple[str, Gridded]]) -> Iterator[tuple[str, Gridded]]:
        """The same pairs of (subject, volume), each measured on its way."""
        for subject, volume in pairs:
            self._keep(subject, {} if self._means is None else self._means.vectors(volume))
            yield subject, volume

    def scanning(self, pairs: Iterable[tuple[str, Volume]]) -> Iterator[tuple[str, Volume]]:
        """The same of volumes on their own grids."""
        for subject, volume in pairs:
            self._classes.setdefault(subject, set()).add(volume.category)
            self._keep(subject, {} if self._means is None else self._means.scan_vectors(volume))
            yield subject, volume

    def _keep(self, subject: str, vectors: dict[str, Array]) -> None:
        own = self._found.setdefault(subject, {})
        for name, vector in vectors.items():
            own.setdefault(name, []).append(vector)

    def __len__(self) -> int:
        return len(self._found)

    def classes(self) -> dict[str, str]:
        """Subject -> the classes of his or her volumes, as one word; by subject."""
        return {s: str(sorted(map(str, self._classes.get(s, ())))) for s in sorted(self._found)}

    def matrix(self, name: str, clip: float) -> Array:
        """[patients, D], by subject: the mean over each one's volumes, clipped as in training."""
        assert self._means is not None
        # Who shows nothing has added nothing to the sum.
        nothing = [np.zeros(len(self._means.found[name].released))]
        rows = np.array(
            [np.mean(self._found[s].get(name, nothing), axis=0) for s in sorted(self._found)]
        )
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.asarray(rows * np.minimum(1.0, clip / np.maximum(norms, 1e-300)))


def shuffled(
    values: npt.NDArray[Any], classes: npt.NDArray[Any], random: np.random.Generator
) -> npt.NDArray[Any]:
    """The values [P] exchanged at random within each class [P]."""
    mixed = values.copy()
    for one in np.unique(classes):
        where = np.flatnonzero(classes == one)
        mixed[where] = values[random.permutation(where)]
    return mixed


@dataclass(frozen=True)
class _Part:
    """One mean, and candidates' vectors around their own mean, over n.

    Attributes:
        seen: [P, D] these, U diag(lengths) axes; products: [P, P] of each two.
        middle: [D] their mean.
    """

    mean: Mean
    seen: Array
    products: Array
    middle: Array
    lengths: Array
    axes: Array


class Tracer:
    """The attack on all means of a model at once, ready for any outcome of their releases."""

    def __init__(self, means: dict[str, Mean], members: Candidates, others: Candidates) -> None:
        self.members, self.total = len(members), len(members) + len(others)
        self.classes = np.array([*members.classes().values(), *others.classes().values()])
        self._parts: list[_Part] = []
        for name, mean in means.items():
            rows = np.concatenate([who.matrix(name, mean.clip) for who in (members, others)])
            # Around the candidates' mean: what all share tells nothing of who took part.
            middle = rows.mean(axis=0)
            seen = (rows - middle) / self.members
            _, lengths, axes = np.linalg.svd(seen, full_matrices=False)
            self._parts.append(_Part(mean, seen, seen @ seen.T, middle, lengths, axes))

    @property
    def _prior(self) -> float:
        """Variance of a candidate's membership before anything is seen."""
        part = self.members / self.total
        return part * (1 - part)

    def scores(self) -> Array:
        """[members, then others] how much each one seems to be in the model's means."""
        return self._solve([part.mean.released - part.middle for part in self._parts])

    def simulated(
        self, noise: float, random: np.random.Generator
    ) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Scores, and who is a member, of a model of members drawn at random.

        It holds the means exactly as a plan releases them with its noise deviations times
        `noise`. As many of each class are members as in truth: a mix of classes that differs
        from that of the others shows no member.
        """
        chosen = shuffled(np.arange(self.total) < self.members, self.classes, random)
        left = []
        for part in self._parts:
            dirt = random.normal(0.0, part.mean.sigma * noise, len(part.middle))
            left.append(chosen @ part.seen + dirt)
        return self._solve(left), chosen

    def _solve(self, left: list[Array]) -> Array:
        precision = np.eye(self.total) / self._prior
        evidence = np.zeros(self.total)
        for part, values in zip(self._parts, left, strict=True):
            variance = self._variance(part, values)
            precision += part.products / variance
            evidence += part.seen @ values / variance
        return np.asarray(np.linalg.solve(precision, evidence))

    def _variance(self, part: _Part, values: Array) -> float:
        """The variance of noise that makes `values` [D] likeliest, memberships unknown.

        By the marginal likelihood; what a model holds in changed form counts as noise too.
        """
        along = part.axes @ values
        rest = max(float(values @ values - along @ along), 0.0)
        free = len(values) - len(along)
        tried = max(float(values @ values) / len(values), 1e-24) * _TRIED
        spread = part.lengths**2 * self._prior + tried[:, None]
        misfit = (np.log(spread) + along**2 / spread).sum(axis=1)
        misfit += free * np.log(tried) + rest / tried
        return float(tried[int(np.argmin(misfit))])
