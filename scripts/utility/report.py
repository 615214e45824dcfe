"""Tables: every row, and what each stage adds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from utility.methods import STAGES
from utility.rows import EPSILON

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
# The ablation's lines, with what each is called among the rows.
_LINES = ("atlas alone", *STAGES, "full pipeline")
_SHOWN = ("dice", "efficientnet_frechet", "efficientnet_coverage", "texture_frechet", "seconds")


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


def ablation(results: Sequence[dict[str, Any]]) -> str:
    """Mean and deviation over seeds of each set of stages at the same total epsilon.

    Empty where fewer than two of them were run.
    """
    lines = []
    for name in _LINES:
        found = [r for r in results if r["method"] == name and r["epsilon"] == EPSILON]
        if found:
            values = " ".join(_spread([r.get(key) for r in found]) for key in _SHOWN)
            lines.append(f"{name:32} {len(found):>5} {values}")
    if len(lines) < 2:
        return ""
    names = " ".join(f"{COLUMNS[key]:>15}" for key in _SHOWN)
    return "\n".join([f"{'stages':32} {'seeds':>5} {names}", *lines])


def _spread(values: Sequence[float | None]) -> str:
    there = [v for v in values if v is not None and math.isfinite(v)]
    if not there:
        return f"{'-':>15}"
    digits = 0 if abs(there[0]) >= 100 else 3
    text = f"{np.mean(there):.{digits}f}"
    if len(there) > 1:
        text += f" \N{PLUS-MINUS SIGN} {np.std(there, ddof=1):.{digits}f}"
    return f"{text:>15}"
