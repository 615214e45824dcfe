"""Trace candidates in a model's released means.

A mean over members is a sum over all candidates with weight 1/n for members and 0 for others. The
attack solves for these weights by regularised least squares over all means of the model: without
noise, and with more coordinates than candidates, the solution is exact. It is stronger than tracing
a patient by correlation (Homer et al. 2008; Dwork et al. 2015), to which the other candidates are
noise.

The attack does not use who is a member, so members and others have the same distribution of scores
if the model does not depend on membership.
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

# Candidate noise variances of a mean, in units of its mean square.
_VARIANCES = np.geomspace(1e-8, 3.0, 80)


class Candidates:
    """Patients' vectors for each mean of a model, collected while their volumes are read."""

    def __init__(self, means: Means | None) -> None:
        self._means = means
        # Subject -> mechanism -> vectors of the volumes that have one.
        self._vectors: dict[str, dict[str, list[Array]]] = {}
        self._classes: dict[str, set[tuple[int | None, str | None]]] = {}

    def passing(self, pairs: Iterable[tuple[str, Gridded]]) -> Iterator[tuple[str, Gridded]]:
        """Yield the same pairs of (subject, volume), and collect their vectors."""
        for subject, volume in pairs:
            self._keep(subject, {} if self._means is None else self._means.vectors(volume))
            yield subject, volume

    def scanning(self, pairs: Iterable[tuple[str, Volume]]) -> Iterator[tuple[str, Volume]]:
        """`passing` for volumes on their own grids."""
        for subject, volume in pairs:
            self._classes.setdefault(subject, set()).add((volume.category, volume.site))
            self._keep(subject, {} if self._means is None else self._means.scan_vectors(volume))
            yield subject, volume

    def _keep(self, subject: str, vectors: dict[str, Array]) -> None:
        own = self._vectors.setdefault(subject, {})
        for name, vector in vectors.items():
            own.setdefault(name, []).append(vector)

    def __len__(self) -> int:
        return len(self._vectors)

    def classes(self) -> dict[str, str]:
        """Class and site of each subject's volumes, as one string; sorted by subject."""
        return {s: str(sorted(map(str, self._classes.get(s, ())))) for s in sorted(self._vectors)}

    def matrix(self, name: str, clip: float) -> Array:
        """[patients, D] clipped mean over each patient's volumes, as in training; by subject."""
        assert self._means is not None
        # A patient without vectors added nothing to the sum.
        zero = [np.zeros(len(self._means.by_name[name].released))]
        rows = np.array(
            [np.mean(self._vectors[s].get(name, zero), axis=0) for s in sorted(self._vectors)]
        )
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.asarray(rows * np.minimum(1.0, clip / np.maximum(norms, 1e-300)))


def shuffled(
    values: npt.NDArray[Any], classes: npt.NDArray[Any], random: np.random.Generator
) -> npt.NDArray[Any]:
    """The values [P] permuted at random within each class [P]."""
    permuted = values.copy()
    for name in np.unique(classes):
        indices = np.flatnonzero(classes == name)
        permuted[indices] = values[random.permutation(indices)]
    return permuted


@dataclass(frozen=True)
class _Part:
    """One mean, and the candidates' vectors for it.

    Attributes:
        mean: of the model.
        vectors: [P, D] of the candidates around their own mean, over the number of members.
        products: [P, P] inner products of the vectors.
        centre: [D] mean of the candidates.
        singular: [R] singular values of the vectors.
        axes: [R, D] right singular vectors.
    """

    mean: Mean
    vectors: Array
    products: Array
    centre: Array
    singular: Array
    axes: Array


class Tracer:
    """The attack on all means of a model at once, for any values of these means."""

    def __init__(self, means: dict[str, Mean], members: Candidates, others: Candidates) -> None:
        self.members, self.total = len(members), len(members) + len(others)
        self.classes = np.array([*members.classes().values(), *others.classes().values()])
        self._parts: list[_Part] = []
        for name, mean in means.items():
            rows = np.concatenate([group.matrix(name, mean.clip) for group in (members, others)])
            # Around the candidates' mean, which carries no information about membership.
            centre = rows.mean(axis=0)
            vectors = (rows - centre) / self.members
            _, singular, axes = np.linalg.svd(vectors, full_matrices=False)
            products = vectors @ vectors.T
            self._parts.append(_Part(mean, vectors, products, centre, singular, axes))

    @property
    def _prior(self) -> float:
        """Prior variance of a candidate's membership."""
        rate = self.members / self.total
        return rate * (1 - rate)

    def scores(self) -> Array:
        """[members, then others] estimated membership of each candidate."""
        return self._solve([part.mean.released - part.centre for part in self._parts])

    def simulated(
        self, noise: float, random: np.random.Generator
    ) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Scores, and who is a member, for a model of random members.

        Its means are those of a plan whose noise stds are multiplied by `noise`. Each class has as
        many members as in truth: a different mix of classes is no evidence of membership.
        """
        is_member = shuffled(np.arange(self.total) < self.members, self.classes, random)
        means = []
        for part in self._parts:
            sampled = random.normal(0.0, part.mean.sigma * noise, len(part.centre))
            means.append(is_member @ part.vectors + sampled)
        return self._solve(means), is_member

    def _solve(self, means: list[Array]) -> Array:
        """[P] posterior mean of memberships, from means [D] around the candidates' mean."""
        precision = np.eye(self.total) / self._prior
        evidence = np.zeros(self.total)
        for part, values in zip(self._parts, means, strict=True):
            variance = self._variance(part, values)
            precision += part.products / variance
            evidence += part.vectors @ values / variance
        return np.asarray(np.linalg.solve(precision, evidence))

    def _variance(self, part: _Part, values: Array) -> float:
        """Noise variance with the largest marginal likelihood of `values` [D].

        Whatever changed a mean on its way into the model counts as noise too.
        """
        projected = part.axes @ values
        rest = max(float(values @ values - projected @ projected), 0.0)
        free = len(values) - len(projected)
        noise_var = max(float(values @ values) / len(values), 1e-24) * _VARIANCES
        variance = part.singular**2 * self._prior + noise_var[:, None]
        misfit = (np.log(variance) + projected**2 / variance).sum(axis=1)
        misfit += free * np.log(noise_var) + rest / noise_var
        return float(noise_var[int(np.argmin(misfit))])
