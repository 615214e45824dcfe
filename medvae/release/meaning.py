"""What the guarantee means for one patient: figures and sentences of the card.

Every figure is a bound over all attackers, computed from the plan's mechanisms alone
(`medvae.privacy.interpretation` has the sources). None is an estimate of what an attack
achieves today.
"""

from __future__ import annotations

import math
from typing import Any

from medvae.release.facts import PrivacyFacts

# False positive rates of the trade-off curve: eight a decade, from 1e-4 to 1.
RATES = tuple(10 ** (-4 + step / 8) for step in range(33))

UNITS = {
    "patient": "the patient: all volumes of one person together, however many there are",
    "file": "one file (no patient identifiers were given)",
}


def readings(privacy: PrivacyFacts) -> dict[str, Any]:
    """The card's figures beside epsilon and delta.

    Returns:
        gaussian_dp_mu: mu, or None where patients were sampled.
        loss_bound: epsilon' and the probability with which the privacy loss exceeds it.
        neighbouring_relations: epsilon by relation, at the same delta.
        advantage: the most by which an attack's hits exceed its false alarms.
        trade_off: the most that any attacker finds, by rate of false alarms.
    """
    from medvae.privacy import (
        Mechanism,
        advantage,
        epsilon_of_loss,
        epsilon_replace_one,
        gaussian_mu,
        true_positive_rates,
    )

    assert privacy.epsilon is not None
    assert privacy.delta is not None
    mechanisms = tuple(Mechanism(**mechanism) for mechanism in privacy.mechanisms)
    mu = gaussian_mu(mechanisms)
    rates = true_positive_rates(mechanisms, RATES)
    unit = privacy.unit
    return {
        "gaussian_dp_mu": None if mu is None else _digits(mu),
        "loss_bound": {
            "epsilon": _digits(epsilon_of_loss(mechanisms, privacy.delta)),
            "probability": privacy.delta,
        },
        "neighbouring_relations": {
            f"add or remove one {unit} (its contribution becomes nothing)": privacy.epsilon,
            f"replace one {unit} by another": _digits(
                epsilon_replace_one(mechanisms, privacy.delta)
            ),
        },
        "advantage": min(_digits(advantage(mechanisms)), 1.0),
        "trade_off": {
            "false_positive_rates": [_digits(rate) for rate in RATES],
            "true_positive_rates": [_digits(rate) for rate in rates],
        },
    }


def _digits(value: float) -> float:
    """Rounded up to four significant digits: a bound stays one."""
    if value == 0 or not math.isfinite(value):
        return value
    scale = 10 ** (3 - math.floor(math.log10(abs(value))))
    # Half a unit of the tenth digit is the float's own error and not worth another digit.
    return float(f"{math.ceil(value * scale - 1e-6) / scale:.4g}")


def sentences(privacy: PrivacyFacts, figures: dict[str, Any]) -> str:
    """What the figures mean for one person, as a bound over all attackers."""
    unit = privacy.unit
    loss, probability = figures["loss_bound"]["epsilon"], figures["loss_bound"]["probability"]
    replaced = list(figures["neighbouring_relations"].values())[1]
    mu = figures["gaussian_dp_mu"]
    gaussian = "" if mu is None else f" All of it together is {mu:g}-Gaussian differential privacy."
    weak = (
        " A bound of this size says little by itself: weigh it together with the recipients and "
        "a data use agreement."
        if privacy.epsilon is not None and privacy.epsilon > 3
        else ""
    )
    return (
        f"The comparison is with the same training in which this {unit} contributed nothing. But "
        f"for a chance of {probability:g}, no attacker's odds that the {unit} took part grow by "
        f"more than a factor of e^{loss:g} ({_posterior(loss)}). Of all {unit}s who took part, an "
        f"attacker who knows everything else finds at most {_found(figures, 0.01)} at 1% false "
        f"alarms, and at most {_found(figures, 0.1)} at 10%. As the number of {unit}s is public, "
        f"an attacker may also ask which of two took part: then epsilon is {replaced:g} at the "
        f"same delta.{gaussian}{weak}"
    )


def _posterior(loss: float) -> str:
    """What a factor of e^loss makes of a coin toss."""
    sure = 100 / (1 + math.exp(-loss))
    limit = "above 99.9%" if sure > 99.9 else f"at most {sure:.1f}%"
    return f"whoever holds it for a coin toss, 50%, becomes {limit} sure"


def _found(figures: dict[str, Any], rate: float) -> str:
    curve = figures["trade_off"]
    index = min(range(len(RATES)), key=lambda i: abs(curve["false_positive_rates"][i] - rate))
    return f"{100 * curve['true_positive_rates'][index]:.3g}%"
