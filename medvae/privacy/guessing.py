"""What guesses at who was a member say of one model's privacy: one training, many patients.

The audit holds n members and as many patients whom the model never saw, and guesses which n they
are. Under a guarantee for each patient no attacker is right too often, however the guesses depend
on one another (Mahloujifar, Melis, Chaudhuri 2024, "Auditing f-differential privacy in one run").
"""

from __future__ import annotations

import math

from medvae.privacy.gaussian_dp import gaussian_epsilon

# Largest mu that is distinguished from infinity, and how many halvings a search for one takes.
_MOST_MU, _STEPS = 40.0, 40


def exceeds(right: int, members: int, mu: float, risk: float) -> bool:
    """Whether so many right guesses have a probability below `risk` under mu-Gaussian DP.

    Formal guarantee: of a mu-Gaussian-DP model, True comes with probability at most `risk` (over
    who is a member and the noise), where members and others are of one kind. The theorem is for
    members drawn by independent fair coins; that exactly `members` of them came up costs a
    factor, the chance of that.

    Args:
        right: of the 2 x members guesses, `members` of which say "member".
        members: how many, 1 or more; as many are not.
        risk: in (0, 1).
    """
    from scipy.special import gammaln, ndtr, ndtri

    total = 2 * members
    chance = math.exp(gammaln(total + 1) - 2 * gammaln(members + 1) - total * math.log(2))
    tail = risk * chance
    # Suppose that P[at least `right` right] is `tail`. `sure` and `wrong` are the parts of P[at
    # least i right] in which a patient drawn at random is guessed rightly and wrongly. Gaussian DP
    # ties the wrong part of i - 1 to the right part of i; the least sum of both must not pass 1.
    sure, wrong = tail * right / total, tail * (total - right) / total
    for i in range(right - 1, -1, -1):
        least = max(wrong, float(ndtr(ndtri(min(sure, 1.0)) - mu)))
        sure += i / (total - i) * (least - wrong)
        wrong = least
        if sure + wrong > 1.0:
            return True
    return False


def epsilon_at_least(right: int, members: int, delta: float, risk: float) -> float:
    """Lower bound on the epsilon at `delta` of a Gaussian-DP model; 0 where there is none.

    Too large with probability at most `risk` (see `exceeds`).
    """
    if not exceeds(right, members, 0.0, risk):
        return 0.0
    low, high = 0.0, _MOST_MU
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if exceeds(right, members, middle, risk) else (low, middle)
    return gaussian_epsilon(low, delta) if low else 0.0
