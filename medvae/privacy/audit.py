"""Attack the engine itself: does it leak more than the accountant says?

Two attacks see every noisy update (white box), and each gives a lower bound on epsilon that
holds with high confidence: gradient canaries in repeated single steps (Nasr et al. 2023), and
one run with many canaries, each in or out by a coin (Steinke, Nasr, Jagielski 2023). A bound
above the claimed epsilon is proof of a defect; a bound below it is no proof of the contrary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from medvae.privacy.accounting import Mechanism, epsilon
from medvae.privacy.engine import DPTrainer
from medvae.privacy.noise import NoiseSource
from medvae.progress import SILENT, Progress

_CLIP = 0.5
_HUGE = 1e6

# Chance that a faultless engine is accused by one bound.
RISK = 1e-4


class Engine(Protocol):
    """What is attacked: built like `DPTrainer`, driven by `step`."""

    def step(self, step: int, patients: Any, loss: Any) -> object:
        """As `DPTrainer.step`."""


Build = Callable[..., Engine]


@dataclass(frozen=True)
class AuditReport:
    """What the attacks found.

    Attributes:
        delta: of the canary attacks.
        claimed: epsilon of one step of the canary attacks, by the accountant.
        canaries: lower bound on epsilon of each canary attack.
        claimed_run: epsilon of the one-run attack, by the accountant, at its own smaller delta.
        one_run: its lower bound.
        findings: one sentence for each bound that is above its claim.
    """

    delta: float
    claimed: float
    canaries: dict[str, float]
    claimed_run: float
    one_run: float
    findings: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """No bound exceeds its claim."""
        return not self.findings

    def to_dict(self) -> dict[str, Any]:
        """JSON values (an unbounded leak is the text "inf")."""
        values = asdict(self) | {"passed": self.passed, "findings": list(self.findings)}
        values["canaries"] = {key: _finite(value) for key, value in self.canaries.items()}
        values["one_run"] = _finite(self.one_run)
        return values


def audit_engine(
    build: Build = DPTrainer,
    *,
    trials: int = 2000,
    canaries: int = 2000,
    noise_multiplier: float = 1.0,
    delta: float = 1e-5,
    seed: int = 0,
    progress: Progress = SILENT,
) -> AuditReport:
    """Attack an engine with gradients of our own making; no patient's data are involved.

    Args:
        build: makes an engine from the arguments of `DPTrainer`.
        trials: steps of each canary attack.
        canaries: patients of the one-run attack.
        noise_multiplier: of the canary attacks' mechanism.
        delta: at which epsilons are compared.
        seed: of the coins and the noise; the same seed gives the same report.

    Formal guarantee: each bound exceeds the true epsilon with probability at most 1e-4 (over
    coins and noise).
    """
    key = seed.to_bytes(32, "big")
    claimed = epsilon([Mechanism("audit", 1.0, 1, noise_multiplier)], delta)
    progress.start("audit of the engine", len(_ATTACKS) + 1)
    bounds = {}
    for done, (name, (base, canary)) in enumerate(_ATTACKS.items()):
        outputs = _play(build, base, canary, trials, noise_multiplier, key, name)
        bounds[name] = _gaussian_bound(*outputs, delta)
        progress.advance(done + 1)
    # What delta alone may give away in this attack grows with the canaries (the second term of
    # `_p_value`): it must stay far below the risk of a false accusation.
    delta_run = min(delta, RISK / (20 * canaries))
    claimed_run, one_run = _one_run(build, canaries, delta_run, key)
    findings = [
        f"canary attack '{name}': epsilon is at least {_finite(bound)}, the claim is {claimed:.3f}"
        for name, bound in bounds.items()
        if bound > claimed
    ]
    if one_run > claimed_run:
        findings.append(
            f"one-run attack: epsilon is at least {one_run:.3f}, the claim is {claimed_run:.3f}"
        )
    progress.finish()
    return AuditReport(delta, claimed, bounds, claimed_run, one_run, tuple(findings))


def _finite(value: float) -> float | str:
    return round(value, 4) if math.isfinite(value) else "inf"


class _Direct(nn.Module):
    """A model whose gradient for a patient is, up to sign, that patient's own vector."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dimension))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -(self.weight * x).sum()


def _loss(model: nn.Module, patient: torch.Tensor) -> torch.Tensor:
    value = model(patient)
    assert isinstance(value, torch.Tensor)
    return value


# Name: (gradients of the others, gradient of the canary), in one dimension.
_ATTACKS: dict[str, tuple[list[float], float]] = {
    # Empty batch or a single patient: catches missing or weak noise, missing clipping, and
    # steps that are skipped when nobody was sampled.
    "alone": ([], _HUGE),
    # The canary opposes eight others: catches clipping of the batch's mean instead of each
    # patient, and a divisor taken from the batch.
    "against the others": ([1e3] * 8, -_HUGE),
    # Not a number: catches sums that one patient can spoil, which tells who was there.
    "not a number": ([1e3], math.nan),
}


def _play(
    build: Build,
    base: Sequence[float],
    canary: float,
    trials: int,
    noise_multiplier: float,
    key: bytes,
    name: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Updates without and with the canary, each [trials / 2], in units of the clip norm."""
    model = _Direct(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    divisor = max(len(base), 1)
    mechanism = Mechanism(f"audit {name}", 1.0, 2 * (trials // 2), noise_multiplier)
    engine = build(
        model,
        optimizer,
        mechanism=mechanism,
        clip=_CLIP,
        divisor=float(divisor),
        noise=NoiseSource(key),
    )
    others = [torch.tensor([value]) for value in base]
    updates: tuple[list[float], list[float]] = ([], [])
    for step in range(mechanism.steps):
        present = step % 2
        patients = [*others, torch.tensor([canary])] if present else others
        engine.step(step, patients, _loss)
        updates[present].append(float(model.weight.detach()[0]) * divisor / _CLIP)
        with torch.no_grad():
            model.weight.zero_()
    return np.array(updates[0]), np.array(updates[1])


def _gaussian_bound(out: np.ndarray, present: np.ndarray, delta: float) -> float:
    """Lower bound on epsilon at `delta` from two samples of updates (Nasr et al. 2023, s. 4).

    A threshold is chosen on one half of each sample; on the other, Clopper-Pearson bounds on
    its two error rates bound the mu of Gaussian DP from below.
    """
    from scipy.stats import beta, norm

    finite = np.isfinite(out), np.isfinite(present)
    if not (finite[0].all() and finite[1].all()):
        # One world gives numbers that the other cannot: an unbounded leak.
        return math.inf if finite[0].mean() != finite[1].mean() else 0.0
    half = len(out) // 2
    sign = 1.0 if present[:half].mean() >= out[:half].mean() else -1.0
    learn = np.sort(sign * np.concatenate([out[:half], present[:half]]))
    errors = [
        (sign * out[:half] > cut).mean() + (sign * present[:half] <= cut).mean() for cut in learn
    ]
    cut = learn[int(np.argmin(errors))]
    rates = []
    for wrong in (sign * out[half:] > cut, sign * present[half:] <= cut):
        count, total = int(wrong.sum()), len(wrong)
        rates.append(
            1.0 if count == total else float(beta.ppf(1 - RISK / 2, count + 1, total - count))
        )
    mu = float(-norm.ppf(rates[0]) - norm.ppf(rates[1])) if max(rates) < 1 else 0.0
    if mu <= 0:
        return 0.0
    return epsilon([Mechanism("bound", 1.0, 1, max(1 / mu, 0.05))], delta)


def _one_run(build: Build, canaries: int, delta: float, key: bytes) -> tuple[float, float]:
    """(claimed epsilon, lower bound) of one run in which every canary is in by a fair coin.

    Canary i pulls along axis i alone, far beyond the clip norm; its score is how far the
    weights went along that axis. The clearest tenth of scores on either side are guessed.
    """
    steps, noise_multiplier = 4, 4.0
    mechanism = Mechanism("audit one run", 1.0, steps, noise_multiplier)
    model = _Direct(canaries)
    engine = build(
        model,
        torch.optim.SGD(model.parameters(), lr=1.0),
        mechanism=mechanism,
        clip=_CLIP,
        divisor=1.0,
        noise=NoiseSource(key),
    )
    coins = np.random.default_rng(int.from_bytes(key, "big") + 1).random(canaries) < 0.5
    members = [int(index) for index in np.flatnonzero(coins)]
    for step in range(steps):
        patients = (_axis(index, canaries) for index in members)
        engine.step(step, patients, _loss)
    scores = model.weight.detach().numpy().astype(np.float64)
    claimed = epsilon([mechanism], delta)
    if not np.isfinite(scores).all():
        return claimed, math.inf
    order, guesses = np.argsort(scores), max(canaries // 10, 1)
    right = int(coins[order[-guesses:]].sum() + (~coins[order[:guesses]]).sum())
    return claimed, one_run_bound(canaries, 2 * guesses, right, delta)


def _axis(index: int, dimension: int) -> torch.Tensor:
    vector = torch.zeros(dimension)
    vector[index] = _HUGE
    return vector


def one_run_bound(canaries: int, guesses: int, right: int, delta: float) -> float:
    """Largest epsilon that `right` of `guesses` correct refutes (Steinke et al. 2023, thm 3.1).

    Args:
        canaries: m, each included by a fair coin.
        guesses: r <= m, the rest abstained.
        right: how many guesses were correct.
        delta: of the claim.
    """
    low, high = 0.0, 60.0
    if _p_value(canaries, guesses, right, low, delta) > RISK:
        return 0.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        if _p_value(canaries, guesses, right, middle, delta) <= RISK:
            low = middle
        else:
            high = middle
    return low


def _p_value(canaries: int, guesses: int, right: int, eps: float, delta: float) -> float:
    """Chance of so many correct guesses under (eps, delta)-DP, at most."""
    from scipy.stats import binom

    rate = 1 / (1 + math.exp(-eps))
    tail = float(binom.sf(right - 1, guesses, rate))
    # Mass just below the count, per guess that delta may have given away.
    masses = np.cumsum(binom.pmf(np.arange(right - 1, -1, -1), guesses, rate))
    alpha = float((masses / np.arange(1, right + 1)).max(initial=0.0)) if right else 0.0
    return min(tail + 2 * canaries * delta * alpha, 1.0)
