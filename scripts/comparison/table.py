"""The table of all rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

COLUMNS = {
    "dice": "Dice",
    "auc": "AUC",
    "efficientnet_frechet": "FDd",
    "efficientnet_mmd": "MMDd",
    "efficientnet_diversity": "div d",
    "efficientnet_precision": "P d",
    "efficientnet_recall": "R d",
    "efficientnet_coverage": "C d",
    "texture_frechet": "FDt",
    "texture_recall": "R t",
    "texture_coverage": "C t",
    "seconds": "s",
}


def table(results: Sequence[dict[str, Any]], *, header: bool) -> str:
    """One line a row; d: efficientnet-lite0 features, t: texture features."""
    lines = []
    if header:
        names = " ".join(f"{name:>7}" for name in COLUMNS.values())
        lines.append(f"{'method':32} {'eps':>5} {'seed':>4} {names}")
    for row in results:
        values = " ".join(_cell(row.get(key)) for key in COLUMNS)
        lines.append(f"{row['method']:32} {row['epsilon']!s:>5} {row['seed']:>4} {values}")
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return f"{'-':>7}"
    return f"{value:7.0f}" if abs(value) >= 100 else f"{value:7.3f}"
