"""Distance to closest record: are synthetic volumes nearer to members than to other patients?

The score of a patient is the smallest distance from any of the patient's volumes to a synthetic
one. The attack finds volumes that are too near to patients. It does not measure membership: models
without any noise pass it (Yao et al. 2025, "The DCR Delusion").
"""

from __future__ import annotations

import math

import numpy as np

from medvae.audit.embed import Embedded, distances
from medvae.audit.report import Array, Finding, auc, p_of_chance

_ALPHA = 0.01
_TINY = 1e-6


def closest_record(generated: Embedded, members: Embedded, others: Embedded) -> Finding:
    """AUC of the attack, and whether it is above chance (one-sided Mann-Whitney, p < 0.01)."""
    inside, outside = -_scores(members, generated), -_scores(others, generated)
    measured_auc, p = auc(inside, outside), p_of_chance(inside, outside)
    return Finding(
        name="closest record",
        statistic=measured_auc,
        threshold=_critical_auc(len(inside), len(outside)),
        passed=p >= _ALPHA,
        sentence=f"the nearest synthetic volume separates {len(inside)} members from "
        f"{len(outside)} other patients with AUC {measured_auc:.3f} (p = {p:.2g}, chance is 0.5); "
        "it finds volumes that lean towards patients and does not measure membership",
        details={"p": p, "members": len(inside), "others": len(outside)},
        power={"auc": _critical_auc(len(inside), len(outside)), "risk": _ALPHA},
    )


def _scores(patients: Embedded, generated: Embedded) -> Array:
    """[patients] log of the smallest distance of a patient's volumes to a synthetic one.

    Relative to the volume's median distance to all synthetic ones, so that an unusual patient does
    not score as a non-member.
    """
    between = distances(patients.whole(), generated.whole()) + _TINY
    score = np.log(between.min(axis=1) / np.median(between, axis=1))
    names = np.unique(patients.subjects)
    return np.array([score[patients.subjects == name].min() for name in names])


def _critical_auc(n: int, m: int) -> float:
    """AUC at which p is about 0.01 (normal approximation)."""
    return min(1.0, 0.5 + 2.326 * math.sqrt((n + m + 1) / (12 * n * m)))
