"""Findings of an audit that may fail by chance: each attack does in one of a hundred runs."""

from __future__ import annotations

from typing import Any

# A false alarm is past its threshold by a little; what is copied or not noised is far past it.
_BY_CHANCE = 0.2


def nearly_passed(finding: dict[str, Any]) -> bool:
    """Whether a finding of an audit passed, or failed by so little that chance explains it."""
    apart = abs(finding["statistic"] - finding["threshold"])
    return bool(finding["passed"] or apart < _BY_CHANCE * finding["threshold"])
