"""Findings and report of an audit."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
# Every attack there is, by the name of its finding.
ATTACKS = ("whole copies", "copied parts", "noise", "closest record", "membership")
# Up to this many on a side, a p-value is exact.
_EXACT = 200


@dataclass(frozen=True)
class Finding:
    """Outcome of one attack.

    Attributes:
        name: of the attack.
        statistic: the measured value.
        threshold: the value at which it fails.
        passed: the attack did not succeed.
        sentence: the outcome in words.
        details: further numbers (JSON values).
        power: the smallest effect that the attack detects (JSON values).
    """

    name: str
    statistic: float
    threshold: float
    passed: bool
    sentence: str
    details: dict[str, Any] = field(default_factory=dict)
    power: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """All findings, and what they do not cover. Stays in the tenant.

    Attributes:
        findings: of the attacks that were run.
        not_run: attacks that these data do not allow, each as its name, a colon and the reason.
        not_attacked: parts of the model that no attack covers, with the reason.
    """

    findings: tuple[Finding, ...]
    not_run: tuple[str, ...] = ()
    not_attacked: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """No attack that was run succeeded; False when none was run."""
        return bool(self.findings) and all(finding.passed for finding in self.findings)

    @property
    def attacks(self) -> dict[str, tuple[str, ...]]:
        """Names of the attacks that were "run" and of those that were "not_run": all there are."""
        names = {finding.name for finding in self.findings}
        return {
            "run": tuple(name for name in ATTACKS if name in names),
            "not_run": tuple(name for name in ATTACKS if name not in names),
        }

    def to_json(self) -> dict[str, Any]:
        """JSON values for the command line."""
        return {
            "passed": self.passed,
            "attacks": {key: list(names) for key, names in self.attacks.items()},
            "findings": [asdict(finding) for finding in self.findings],
            "not_run": list(self.not_run),
            "not_attacked": list(self.not_attacked),
            "power": {finding.name: finding.power for finding in self.findings},
            "release_ok": False,
        }


def auc(inside: Array, outside: Array) -> float:
    """Fraction of pairs in which the score inside is higher; equal scores count half."""
    below = np.sort(outside)
    count = np.searchsorted(below, inside, "left") + np.searchsorted(below, inside, "right")
    return float(count.sum()) / (2 * len(inside) * len(outside))


def p_of_chance(inside: Array, outside: Array) -> float:
    """One-sided p-value of higher scores inside (Mann and Whitney 1947).

    Exact for up to 200 scores a side without ties.
    """
    from scipy.stats import mannwhitneyu

    both = np.concatenate([inside, outside])
    exact = max(len(inside), len(outside)) <= _EXACT and len(np.unique(both)) == len(both)
    method = "exact" if exact else "asymptotic"
    return float(mannwhitneyu(inside, outside, alternative="greater", method=method).pvalue)
