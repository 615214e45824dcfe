"""Attacks on the mechanisms themselves: do they leak more than the accountant says?

No patient's data are involved. Every mechanism that can hold budget is attacked through the very
functions that a training calls, with canaries far beyond the clip, each in or out by a coin:
one-shot mechanisms and DP-SGD steps in bulk, one coordinate a canary (Nasr et al. 2023; Mahloujifar
et al. 2024 on Gaussian-DP bounds), DP-SGD against other patients and with what is not a number.
The lattice of the outputs, the Poisson sampler and a resumed training are tested beside. A bound
above the claim is proof of a defect; a bound below it is no proof of the contrary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from medvae.privacy.accounting import Mechanism, epsilon
from medvae.privacy.bounds import RISK, Array, coarseness, gaussian_bound
from medvae.privacy.engine import DPTrainer
from medvae.privacy.gaussian import gaussian_release
from medvae.privacy.lattice import Lattice
from medvae.privacy.noise import NoiseSource
from medvae.privacy.sampler import PoissonSampler
from medvae.progress import SILENT, Progress

_CLIP = 0.5
_HUGE = 1e6
# Coordinates of one call; a power of two divides exactly.
_WIDTH, _DIVISOR = 1000, 4.0


class Engine(Protocol):
    """What is attacked: built like `DPTrainer`, driven by `step`."""

    def step(self, step: int, patients: Any, loss: Any) -> object:
        """As `DPTrainer.step`."""


Build = Callable[..., Engine]
OneShot = Callable[..., np.ndarray]


@dataclass(frozen=True)
class Attack:
    """One attack and what came of it.

    Attributes:
        name: of the attack.
        passed: it did not succeed.
        sentence: what was found, in words.
        samples: number of independent outputs that it saw.
        claimed: epsilon by the accountant; None of a test that is no bound.
        epsilon_at_least: the lower bound that was found (infinity: unbounded).
    """

    name: str
    passed: bool
    sentence: str
    samples: int
    claimed: float | None = None
    epsilon_at_least: float | None = None


@dataclass(frozen=True)
class AuditReport:
    """All attacks on the engine."""

    delta: float
    findings: tuple[Attack, ...]

    @property
    def passed(self) -> bool:
        """No attack succeeded; False when none was run."""
        return bool(self.findings) and all(attack.passed for attack in self.findings)

    def __getitem__(self, name: str) -> Attack:
        return next(attack for attack in self.findings if attack.name == name)


def audit_engine(
    build: Build = DPTrainer,
    one_shot: OneShot = gaussian_release,
    *,
    coordinates: int = 100_000,
    steps: int = 40,
    trials: int = 2000,
    noise_multiplier: float = 1.0,
    delta: float = 1e-5,
    seed: int = 0,
    progress: Progress = SILENT,
) -> AuditReport:
    """Attack the one-shot mechanism and the DP-SGD engine.

    Args:
        build: makes an engine from the arguments of `DPTrainer`.
        one_shot: called as `gaussian_release`.
        coordinates: canaries of the one-shot attack, a thousand a call.
        steps: of the DP-SGD attack in bulk, a thousand canaries a step.
        trials: steps of each attack on a single coordinate.
        noise_multiplier: of the attacked mechanisms.
        delta: at which epsilons are compared.
        seed: of the coins and the noise; the same seed gives the same report.

    Formal guarantee: each bound exceeds the true epsilon, and each test fails on a faultless
    mechanism, with probability at most 1e-4 (over coins and noise).
    """
    noise = NoiseSource(seed.to_bytes(32, "big"))
    coins = np.random.default_rng(seed)
    claim = epsilon([Mechanism("audit", 1.0, 1, noise_multiplier)], delta)
    grid = Lattice.of(noise_multiplier, _CLIP).grid / _DIVISOR
    attacks: list[Callable[[], list[Attack]]] = [
        lambda: _bulk(
            "one-shot mechanism",
            _one_shot_outputs(one_shot, coordinates, noise_multiplier, noise, coins),
            (claim, delta, grid),
        ),
        lambda: _bulk(
            "DP-SGD",
            _step_outputs(build, steps, noise_multiplier, noise, coins),
            (claim, delta, grid),
        ),
        *(
            partial(_single, build, name, trials, noise_multiplier, noise, claim, delta)
            for name in _AGAINST
        ),
        lambda: [_sampling(seed)],
        lambda: [_resuming(build, noise)],
    ]
    progress.start("audit of the engine", len(attacks))
    findings: list[Attack] = []
    for done, attack in enumerate(attacks):
        findings += attack()
        progress.advance(done + 1)
    progress.finish()
    return AuditReport(delta, tuple(findings))


Outputs = Iterator[tuple[np.ndarray, np.ndarray]]


def _bulk(name: str, outputs: Outputs, claim: tuple[float, float, float]) -> list[Attack]:
    """A bound and a test of the lattice from pairs of (coins, outputs), one coordinate a canary."""
    epsilon_claimed, delta, grid = claim
    coins, values = (np.concatenate(parts) for parts in zip(*outputs, strict=True))
    bound = _bound(name, (values[~coins], values[coins]), epsilon_claimed, delta)
    problem = coarseness(values[~coins], grid)
    lattice = Attack(
        f"lattice of {name}",
        not problem,
        problem or f"{(~coins).sum()} outputs fill the stated grid evenly",
        int((~coins).sum()),
    )
    return [bound, lattice]


def _bound(name: str, samples: tuple[Array, Array], claim: float, delta: float) -> Attack:
    bound = gaussian_bound(*samples, delta)
    passed = not bound > claim
    verdict = "" if passed else ": it leaks more than it claims"
    sentence = f"epsilon is at least {bound:.3g}; claimed are {claim:.3g}{verdict}"
    return Attack(name, passed, sentence, sum(map(len, samples)), claim, bound)


def _one_shot_outputs(
    one_shot: OneShot,
    coordinates: int,
    noise_multiplier: float,
    noise: NoiseSource,
    coins: np.random.Generator,
) -> Outputs:
    calls = max(1, coordinates // _WIDTH)
    mechanism = Mechanism("audit one-shot", 1.0, calls, noise_multiplier)
    for call in range(calls):
        present = coins.random(_WIDTH) < 0.5
        values = one_shot(
            (_axis(int(index)) for index in np.flatnonzero(present)),
            clip=_CLIP,
            mechanism=mechanism,
            divisor=_DIVISOR,
            noise=noise,
            dimension=_WIDTH,
            step=call,
        )
        yield present, values


def _step_outputs(
    build: Build,
    steps: int,
    noise_multiplier: float,
    noise: NoiseSource,
    coins: np.random.Generator,
) -> Outputs:
    model = _Direct(_WIDTH)
    mechanism = Mechanism("audit DP-SGD", 1.0, steps, noise_multiplier)
    engine = _engine(build, model, mechanism, noise)
    for step in range(steps):
        present = coins.random(_WIDTH) < 0.5
        patients = (torch.from_numpy(_axis(int(index))) for index in np.flatnonzero(present))
        engine.step(step, patients, _loss)
        yield present, model.weight.detach().numpy().copy()
        with torch.no_grad():
            model.weight.zero_()


def _axis(index: int) -> Array:
    """A canary: far beyond the clip along one axis."""
    vector = np.zeros(_WIDTH)
    vector[index] = _HUGE
    return vector


class _Direct(nn.Module):
    """A model whose gradient for a patient is, up to sign, that patient's own vector."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        # Double precision shows the outputs as they are, on their grid.
        self.weight = nn.Parameter(torch.zeros(dimension, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -(self.weight * x).sum()


def _loss(model: nn.Module, patient: torch.Tensor) -> torch.Tensor:
    value = model(patient)
    assert isinstance(value, torch.Tensor)
    return value


def _engine(build: Build, model: _Direct, mechanism: Mechanism, noise: NoiseSource) -> Engine:
    return build(
        model,
        torch.optim.SGD(model.parameters(), lr=1.0),
        mechanism=mechanism,
        clip=_CLIP,
        divisor=_DIVISOR,
        noise=noise,
    )


# Name: (gradients of the others, gradient of the canary), in one dimension.
_AGAINST: dict[str, tuple[list[float], float]] = {
    # Nobody else: catches steps that are skipped when nobody was sampled.
    "DP-SGD, alone": ([], _HUGE),
    # The canary opposes eight others: catches clipping of the batch's mean instead of each
    # patient, and a divisor taken from the batch.
    "DP-SGD, against others": ([1e3] * 8, -_HUGE),
    # Not a number: catches sums that one patient can spoil, which reveals who was there.
    "DP-SGD, not a number": ([1e3], math.nan),
}


def _single(
    build: Build,
    name: str,
    trials: int,
    noise_multiplier: float,
    noise: NoiseSource,
    claim: float,
    delta: float,
) -> list[Attack]:
    """A bound from updates without and with the canary, each [trials / 2]."""
    base, canary = _AGAINST[name]
    model = _Direct(1)
    mechanism = Mechanism(f"audit {name}", 1.0, 2 * (trials // 2), noise_multiplier)
    engine = _engine(build, model, mechanism, noise)
    others = [torch.tensor([value], dtype=torch.float64) for value in base]
    last = torch.tensor([canary], dtype=torch.float64)
    updates: tuple[list[float], list[float]] = ([], [])
    for step in range(mechanism.steps):
        present = step % 2
        engine.step(step, [*others, last] if present else others, _loss)
        updates[present].append(float(model.weight.detach()[0]) * _DIVISOR / _CLIP)
        with torch.no_grad():
            model.weight.zero_()
    return [_bound(name, (np.array(updates[0]), np.array(updates[1])), claim, delta)]


def _sampling(seed: int, patients: int = 500, rate: float = 0.3, steps: int = 400) -> Attack:
    """Each patient is in a batch as often as the plan says, and on his or her own account."""
    from scipy.stats import binomtest, chi2

    sampler = PoissonSampler(seed.to_bytes(32, "big"), patients, rate, "audit sampling")
    batches = [sampler.batch(step) for step in range(steps)]
    sizes = np.array([len(batch) for batch in batches])
    number = patients * steps
    often = binomtest(int(sizes.sum()), number, rate).pvalue
    # Sizes of batches of independent patients are binomial: neither fixed nor bursts.
    spread = ((sizes - patients * rate) ** 2).sum() / (patients * rate * (1 - rate))
    tail = chi2.cdf(spread, steps)
    passed = often > RISK / 2 and RISK / 4 < tail < 1 - RISK / 4
    sentence = f"patients were sampled at rate {sizes.sum() / number:.4f}; the plan says {rate}"
    return Attack("Poisson sampling", bool(passed), sentence, number)


def _resuming(build: Build, noise: NoiseSource) -> Attack:
    """A training that is stopped and resumed gives the weights of one that is not."""
    mechanism = Mechanism("audit resuming", 1.0, 4, 1.0)
    patients = [torch.from_numpy(_axis(index)) for index in range(3)]

    def run(stop: int) -> torch.Tensor:
        model = _Direct(_WIDTH)
        engine = _engine(build, model, mechanism, noise)
        for step in range(mechanism.steps):
            if step == stop:
                state = engine.state_dict()  # type: ignore[attr-defined]
                model = _Direct(_WIDTH)
                engine = _engine(build, model, mechanism, noise)
                engine.load_state_dict(state)  # type: ignore[attr-defined]
            engine.step(step, patients, _loss)
        return model.weight.detach()

    same = torch.equal(run(-1), run(2))
    sentence = "a resumed training has the same noise" if same else "resuming changed the noise"
    return Attack("resuming", same, sentence, mechanism.steps)
