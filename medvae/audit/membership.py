"""Membership inference: are the patients that the model saw told apart from those it did not?

The attack scores a patient by the distance from his or her nearest volume to the nearest
synthetic one (distance to closest record). The unit is the patient, as in the guarantee.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, mannwhitneyu

from medvae.audit.embed import Embedded, distances
from medvae.audit.report import Finding

_ALPHA = 0.01
_TINY = 1e-6


def membership(made: Embedded, members: Embedded, others: Embedded) -> Finding:
    """AUC of the attack, and whether it is above chance (one-sided Mann-Whitney, p < 0.01)."""
    inside, outside = _scores(members, made), _scores(others, made)
    test = mannwhitneyu(inside, outside, alternative="less")
    auc = 1 - float(test.statistic) / (len(inside) * len(outside))
    p = float(test.pvalue)
    bound = epsilon_bound(inside, outside)
    return Finding(
        name="membership",
        statistic=auc,
        threshold=_critical_auc(len(inside), len(outside)),
        passed=p >= _ALPHA,
        sentence=f"the nearest synthetic volume tells {len(inside)} members from {len(outside)} "
        f"other patients with AUC {auc:.3f} (p = {p:.2g}, chance is 0.5)",
        details={"p": p, "members": len(inside), "others": len(outside), "epsilon_at_least": bound},
    )


def _scores(patients: Embedded, made: Embedded) -> npt.NDArray[np.float64]:
    """[patients] log distance of each one's nearest volume to the nearest synthetic one.

    Relative to the volume's median distance to all of them, so that a patient who is unlike
    everybody does not pass for a stranger.
    """
    between = distances(patients.whole(), made.whole()) + _TINY
    score = np.log(between.min(axis=1) / np.median(between, axis=1))
    names = np.unique(patients.subjects)
    return np.array([score[patients.subjects == name].min() for name in names])


def _critical_auc(n: int, m: int) -> float:
    """The AUC at which p would be about 0.01 (normal approximation)."""
    return 0.5 + 2.326 * math.sqrt((n + m + 1) / (12 * n * m))


def epsilon_bound(
    inside: npt.NDArray[np.float64],
    outside: npt.NDArray[np.float64],
    *,
    delta: float = 0.0,
    confidence: float = 0.95,
) -> float:
    """A lower bound on epsilon that this attack proves (Jagielski et al. 2020), 0 when none.

    From (epsilon, delta)-DP follows TPR <= e^epsilon FPR + delta at every threshold. The rates
    are bounded by Clopper and Pearson, with a Bonferroni correction over the thresholds tried.
    A model whose plan says less than this bound is broken.
    """
    thresholds = np.quantile(np.concatenate([inside, outside]), (0.02, 0.05, 0.1, 0.2, 0.5))
    tail = (1 - confidence) / (2 * len(thresholds))
    best = 0.0
    for threshold in thresholds:
        hits, alarms = int((inside <= threshold).sum()), int((outside <= threshold).sum())
        true = float(beta.ppf(tail, hits, len(inside) - hits + 1)) if hits else 0.0
        rest = len(outside) - alarms
        false = float(beta.ppf(1 - tail, alarms + 1, rest)) if rest else 1.0
        if true > delta and false > 0:
            best = max(best, math.log((true - delta) / false))
    return best
