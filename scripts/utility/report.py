"""A table of what each stage adds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from comparison.table import COLUMNS

from utility.methods import STAGES
from utility.rows import EPSILON

# The ablation's lines, with what each is called among the rows.
_LINES = ("atlas alone", *STAGES, "full pipeline")
_SHOWN = ("dice", "efficientnet_frechet", "efficientnet_coverage", "texture_frechet", "seconds")


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
