"""The guarantee itself, attacked: was one adversarial patient in the cohort of a training?

Tiny trainings of every private stage run on the same patients, with and without one who is made
to stand out in every mechanism. The attacker is the one of SECURITY.md: he knows all other
patients, so he subtracts what they add to each released number, and weighs what is left by how
the adversarial patient would move it (the likelihood ratio of Gaussian mechanisms). Half of the
runs teach him those weights, the other half is judged. What is left where that patient is missing
is noise alone: it must be as large as was planned, in each mechanism. Whatever else differs
between the two worlds (a plan, a shape, a fact of the model) is a leak without bound.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np

from medvae.config import RunConfig
from medvae.grid import Gridded
from medvae.model import Artifact
from medvae.model.procedural import random_volume
from medvae.privacy import Plan, StageRequest, gaussian_mu, gaussian_release, make_plan
from medvae.privacy.bounds import RISK, gaussian_bound
from medvae.privacy.clipping import PatientOptimizer
from medvae.privacy.gaussian import clipped
from medvae.privacy.lattice import Lattice
from medvae.train import stage_requests, train

Array = np.ndarray
SIZE, PATIENTS, EPSILON, DELTA = (12, 12, 12), 20, 8.0, 1e-5


@dataclass
class Seen:
    """What one training released, as the attacker sees it, and what he knows beside.

    Attributes:
        rest: of each mechanism, released sum less what the others add, in noise deviations.
        own: what the adversarial patient adds, likewise; only in runs that have him or her.
        public: everything of the model that is no number of a mechanism.
    """

    rest: dict[str, Array] = field(default_factory=dict)
    own: dict[str, Array] = field(default_factory=dict)
    public: str = ""


class Cohort:
    """Patients of procedural anatomy; the last one is adversarial, or has no volume at all."""

    def __init__(self, present: bool) -> None:
        self.subjects = [f"S{i}" for i in range(PATIENTS)]
        self._present = present

    def __len__(self) -> int:
        return PATIENTS

    def volumes(self, index: int) -> list[Gridded]:
        if index < PATIENTS - 1:
            image = random_volume(SIZE, "mri", 77, index)
            return [Gridded(image, (image > 0).astype(np.uint8))]
        if not self._present:
            return []
        # Black and white halves with a chequered seam: coarse and fine means, edges and power.
        x, corner = np.indices(SIZE)[0], np.indices(SIZE).sum(axis=0)
        image = np.where(x < SIZE[0] // 2, 1.0, -1.0)
        image = np.where(abs(x - SIZE[0] // 2) < 2, np.where(corner % 2, 1.0, -1.0), image)
        image = image.astype(np.float32)
        return [Gridded(image, np.where(corner < 9, 7, 1).astype(np.uint8))]


def configuration() -> RunConfig:
    """Every stage that can hold budget, as small as it goes."""
    return RunConfig.model_validate(
        {
            "data": {"size": SIZE, "labels": 1},
            "model": {"preset": "tiny", "latent_channels": 8},
            "pretrain": {"steps": 0, "init": None},
            "atlas": {"share": 0.6, "samples": 0, "steps": 0},
            "finetune": {"share": 0.2, "steps": 2, "views": 1, "parameters": "bias"},
            "prior": {"share": 0.2},
        }
    )


def plan_of(cfg: RunConfig) -> Plan:
    requests = [StageRequest(*one) for one in stage_requests(cfg, PATIENTS)]
    return make_plan(requests, patients=PATIENTS, epsilon=EPSILON, delta=DELTA)


@contextmanager
def watched(record: Seen, present: bool, one_shot: Callable[..., Array]) -> Iterator[None]:
    """Trainings inside tell `record` what their mechanisms release."""

    def recorded(vectors: Iterable[Array], **arguments: Any) -> Array:
        clip, mechanism = arguments["clip"], arguments["mechanism"]
        lattice = Lattice.of(mechanism.noise_multiplier, clip)
        kept = [np.asarray(vector, dtype=np.float64) for vector in vectors]
        steps = [clipped(vector, clip, lattice, arguments["dimension"]) for vector in kept]
        out = one_shot(iter(kept), **arguments)
        others = steps[:-1] if present else steps
        known = sum(others, np.zeros(arguments["dimension"])) * lattice.grid
        std = mechanism.noise_multiplier * clip
        record.rest[mechanism.name] = (out * arguments["divisor"] - known) / std
        if present:
            record.own[mechanism.name] = steps[-1] * lattice.grid / std
        return out

    finish, add = PatientOptimizer.add_noise, PatientOptimizer.clip_and_accumulate
    sums: list[Array] = []

    def accumulate(self: PatientOptimizer) -> None:
        # A step ends with an accumulation of nobody.
        if len(self.params[0].grad_sample):
            sums.append(self._vector().numpy().copy())
        add(self)

    def noised(self: PatientOptimizer) -> None:
        total = self._vector().numpy().copy()
        finish(self)
        released = np.concatenate([p.grad.numpy().ravel() for p in self.params]).astype(np.float64)
        std, name = self._lattice.sigma, f"{self.mechanism.name} {self.noise_step}"
        # The last gradient that was added is the adversarial patient's.
        others = sums[-1] if present else total
        record.rest[name] = released / self._lattice.grid / std - others / std
        if present:
            record.own[name] = (total - others) / std
        sums.clear()

    with (
        mock.patch("medvae.train.release.gaussian_release", recorded),
        mock.patch("medvae.privacy.recentre.gaussian_release", recorded),
        mock.patch("medvae.train.prior_fit.gaussian_release", recorded),
        mock.patch.object(PatientOptimizer, "clip_and_accumulate", accumulate),
        mock.patch.object(PatientOptimizer, "add_noise", noised),
    ):
        yield


def run(present: bool, key: int, one_shot: Callable[..., Array] = gaussian_release) -> Seen:
    """One training and what the attacker makes of it."""
    cfg, seen = configuration(), Seen()
    with watched(seen, present, one_shot):
        artifact = train(cfg, plan_of(cfg), Cohort(present), key=key.to_bytes(32, "big"))
    seen.public = _public(artifact)
    return seen


def _public(artifact: Artifact) -> str:
    shapes = {name: list(tensor.shape) for name, tensor in sorted(artifact.tensors.items())}
    return json.dumps({"facts": artifact.facts, "tensors": shapes}, sort_keys=True, default=str)


def attack(
    runs: int,
    one_shot: Callable[..., Array] = gaussian_release,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Train `runs` times (8 or more), half of them with the adversarial patient; tell which.

    Returns:
        mu_claimed, mu_found and its 99.99% interval, epsilon_at_least, the mechanisms attacked,
        how large the adversarial patient is in each (1: at the clip), how large the noise of each
        is (1: as planned), and whether it passed.
    """
    worlds: tuple[list[Seen], list[Seen]] = ([], [])
    for key in range(runs):
        worlds[key % 2].append(run(bool(key % 2), key, one_shot))
        report(key + 1, runs)
    plan = plan_of(configuration())
    claimed = gaussian_mu(plan.mechanisms)
    assert claimed is not None
    same = len({seen.public for world in worlds for seen in world}) == 1
    half = len(worlds[1]) // 2
    learnt = worlds[1][:half]
    weights = {name: _mean([s.own[name] for s in learnt]) for name in learnt[0].own}
    out, present = (np.array([_score(s, weights) for s in world[half:]]) for world in worlds)
    noise = noise_of(worlds[0])
    quiet = too_quiet(worlds[0])
    pooled = math.sqrt((out.var(ddof=1) + present.var(ddof=1)) / 2)
    found = float(present.mean() - out.mean()) / pooled if pooled else math.inf
    # Of a difference of means in deviations, to first order; both tails at the risk of the audit.
    from scipy.stats import norm

    error = float(norm.isf(RISK / 2)) * math.sqrt(2 / len(out) + found**2 / (4 * len(out)))
    return {
        "runs": runs,
        "mu_claimed": claimed,
        "mu_found": found,
        "mu_interval": [found - error, found + error],
        "epsilon_at_least": gaussian_bound(out, present, DELTA),
        "same_public_facts": same,
        "sizes": {
            name: float(np.linalg.norm(own)) * plan_noise(plan, name)
            for name, own in weights.items()
        },
        "noise": {name: ratio for name, (ratio, _) in noise.items()},
        "too_quiet": quiet,
        "passed": bool(same and not quiet and found - error <= claimed),
    }


def _mean(vectors: list[Array]) -> Array:
    """The mean of those of the commonest length: what noise allows decides some lengths."""
    lengths = [len(vector) for vector in vectors]
    common = max(set(lengths), key=lengths.count)
    return np.mean([vector for vector in vectors if len(vector) == common], axis=0)


def noise_of(runs: list[Seen]) -> dict[str, tuple[float, float]]:
    """Of runs without the adversarial patient: `_noise` of each mechanism."""
    return {name: _noise([seen.rest[name] for seen in runs]) for name in runs[0].rest}


def too_quiet(runs: list[Seen]) -> list[str]:
    """Mechanisms whose noise is smaller than planned, beyond doubt."""
    noise = noise_of(runs)
    return [name for name, (_, chance) in noise.items() if chance < RISK / len(noise)]


def _noise(rests: list[Array]) -> tuple[float, float]:
    """Standard deviation of a mechanism's noise / the planned one, and the chance of so little."""
    from scipy.stats import chi2

    values = np.concatenate(rests)
    power = float((values**2).sum())
    return math.sqrt(power / len(values)), float(chi2.cdf(power, len(values)))


def _score(record: Seen, weights: dict[str, Array]) -> float:
    """The log likelihood ratio of what one run released, to first order."""
    pairs = ((record.rest[name], weight) for name, weight in weights.items())
    return sum(float(rest @ weight) for rest, weight in pairs if len(rest) == len(weight))


def plan_noise(plan: Plan, name: str) -> float:
    """The noise multiplier of a mechanism, whatever step of it is named."""
    return plan.mechanism(name.split(" ")[0]).noise_multiplier
