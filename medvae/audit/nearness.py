"""Do synthetic volumes lie nearer to members than to patients whom the model never saw?

Each patient is scored by the distance from his or her nearest volume to the nearest synthetic one
(distance to closest record). It finds volumes that lean towards patients. It does not measure
membership: models without any noise pass it (Yao et al. 2025, "The DCR Delusion").
"""

from __future__ import annotations

import math

import numpy as np

from medvae.audit.embed import Embedded, distances
from medvae.audit.report import Array, Finding, auc, p_of_chance

_ALPHA = 0.01
_TINY = 1e-6


def closest_record(made: Embedded, members: Embedded, others: Embedded) -> Finding:
    """AUC of the attack, and whether it is above chance (one-sided Mann-Whitney, p < 0.01)."""
    inside, outside = -_scores(members, made), -_scores(others, made)
    found, p = auc(inside, outside), p_of_chance(inside, outside)
    return Finding(
        name="closest record",
        statistic=found,
        threshold=_critical_auc(len(inside), len(outside)),
        passed=p >= _ALPHA,
        sentence=f"the nearest synthetic volume separates {len(inside)} members from "
        f"{len(outside)} other patients with AUC {found:.3f} (p = {p:.2g}, chance is 0.5); it "
        "finds volumes that lean towards patients and does not measure membership",
        details={"p": p, "members": len(inside), "others": len(outside)},
        power={"auc": _critical_auc(len(inside), len(outside)), "risk": _ALPHA},
    )


def _scores(patients: Embedded, made: Embedded) -> Array:
    """[patients] log distance of each one's nearest volume to the nearest synthetic one.

    Relative to the volume's median distance to all of them, so that a patient who is unlike
    everybody is not taken for another patient.
    """
    between = distances(patients.whole(), made.whole()) + _TINY
    score = np.log(between.min(axis=1) / np.median(between, axis=1))
    names = np.unique(patients.subjects)
    return np.array([score[patients.subjects == name].min() for name in names])


def _critical_auc(n: int, m: int) -> float:
    """The AUC at which p would be about 0.01 (normal approximation)."""
    return min(1.0, 0.5 + 2.326 * math.sqrt((n + m + 1) / (12 * n * m)))
