"""Noise of released means: is it as strong as the plan states? The auditor knows all members.

Means that a model stores exactly must differ from the members' own means by the plan's noise.
Anything that this audit does not know about their computation increases the difference. Unlike an
attack on membership, it needs no other patients, and few coordinates are enough.
"""

from __future__ import annotations

import numpy as np

from medvae.audit.means import Means
from medvae.audit.report import Finding
from medvae.audit.tracing import Candidates

_RISK = 0.01


def noise_of_means(means: Means, members: Candidates) -> Finding | None:
    """Whether every exact mean has its noise (one-sided chi-squared test); None without any."""
    from scipy.stats import chi2

    exact = {name: mean for name, mean in means.by_name.items() if mean.exact}
    if not exact:
        return None
    parts, limits = {}, {}
    for name, mean in exact.items():
        # Over the plan's N: a member whose volumes cannot be resampled to the grid adds nothing.
        own = members.matrix(name, mean.clip).sum(axis=0) / means.patients
        size = len(own)
        parts[name] = float(np.linalg.norm(mean.released - own) / (mean.sigma * np.sqrt(size)))
        limits[name] = float(np.sqrt(chi2.ppf(_RISK / len(exact), size) / size))
    worst = min(parts, key=lambda name: parts[name] / limits[name])
    failed = sorted(name for name in parts if parts[name] < limits[name])
    verdict = f"{', '.join(failed)} has too little" if failed else "none has too little"
    least = max(limits.values())
    return Finding(
        name="noise",
        statistic=parts[worst],
        threshold=limits[worst],
        passed=not failed,
        sentence=f"of {len(exact)} released means {verdict} noise: {worst} differs from the "
        f"members' own by {parts[worst]:.2f} of its noise (at least {limits[worst]:.2f}); of a "
        f"mean with more than {least:.2f} of its noise it would have found nothing",
        details={"differs_by": parts, "at_least": limits},
        power={"noise_below": least, "risk": _RISK},
    )
