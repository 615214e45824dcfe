"""What an audit says."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One attack and how it went.

    Attributes:
        name: of the attack.
        statistic: what was measured.
        threshold: where it would have failed.
        passed: the attack did not succeed.
        sentence: the same in words.
        details: further numbers (JSON values).
    """

    name: str
    statistic: float
    threshold: float
    passed: bool
    sentence: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """All findings, and which attacks could not be run and why. Stays in the tenant."""

    findings: tuple[Finding, ...]
    not_run: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """No attack succeeded; False when none was run."""
        return bool(self.findings) and all(finding.passed for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """JSON values for the command line."""
        return {
            "passed": self.passed,
            "findings": [asdict(finding) for finding in self.findings],
            "not_run": list(self.not_run),
            "release_ok": False,
        }
