"""The privacy engine: plans, accounts, sampling, noise and DP-SGD over patients.

Names are loaded on first use, so that reading a plan or a ledger does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medvae.privacy.accounting import DEFAULT_DELTA, Mechanism, epsilon, second_epsilon
    from medvae.privacy.engine import DPTrainer, StepInfo
    from medvae.privacy.gaussian import gaussian_release
    from medvae.privacy.guard import check
    from medvae.privacy.interpretation import (
        accountant_name,
        advantage,
        epsilon_of_loss,
        epsilon_replace_one,
        gaussian_advantages,
        gaussian_mu,
        second_opinion,
        true_positive_rates,
    )
    from medvae.privacy.keys import run_key
    from medvae.privacy.ledger import Ledger, Spent
    from medvae.privacy.noise import NoiseSource
    from medvae.privacy.plan import Plan, StageRequest, make_plan
    from medvae.privacy.sampler import PoissonSampler

_HOMES = {
    "DEFAULT_DELTA": "accounting",
    "DPTrainer": "engine",
    "Ledger": "ledger",
    "Mechanism": "accounting",
    "NoiseSource": "noise",
    "Plan": "plan",
    "PoissonSampler": "sampler",
    "Spent": "ledger",
    "StageRequest": "plan",
    "StepInfo": "engine",
    "check": "guard",
    "epsilon": "accounting",
    "epsilon_of_loss": "interpretation",
    "second_epsilon": "accounting",
    "epsilon_replace_one": "interpretation",
    "gaussian_mu": "interpretation",
    "gaussian_release": "gaussian",
    "make_plan": "plan",
    "run_key": "keys",
    "accountant_name": "interpretation",
    "advantage": "interpretation",
    "gaussian_advantages": "interpretation",
    "second_opinion": "interpretation",
    "true_positive_rates": "interpretation",
}

__all__ = [
    "DEFAULT_DELTA",
    "DPTrainer",
    "Ledger",
    "Mechanism",
    "NoiseSource",
    "Plan",
    "PoissonSampler",
    "Spent",
    "StageRequest",
    "StepInfo",
    "accountant_name",
    "advantage",
    "check",
    "epsilon",
    "epsilon_of_loss",
    "epsilon_replace_one",
    "gaussian_advantages",
    "gaussian_mu",
    "gaussian_release",
    "make_plan",
    "run_key",
    "second_epsilon",
    "second_opinion",
    "true_positive_rates",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
