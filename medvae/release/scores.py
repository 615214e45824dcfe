"""Two headline scores out of 10, each with its formula and the figures that it follows from.

A score is computed only from figures that the card may hold; where they are missing it is None,
which reads "not measured". Scores are rounded down.
"""

from __future__ import annotations

import math
from typing import Any

from medvae.release.quality import Quality

TOP = 10.0
UNMEASURED = (
    "Likeness to the patients would itself be private, so it is on no card: ask the institution "
    "for its own figures, or measure on patients of your own."
)


def scores(privacy: dict[str, Any], quality: Quality | None = None) -> dict[str, Any]:
    """The card's `scores`: name -> value (0 to 10, or None), formula, meaning, figures, rows.

    Args:
        privacy: the card's privacy statement.
        quality: what was measured of the volumes; None: nothing.
    """
    return {"privacy": _privacy(privacy), "quality": _quality(quality)}


def score_text(value: float | None) -> str:
    """A score as it is printed."""
    return "not measured" if value is None else f"{value:.1f} of 10"


def _privacy(privacy: dict[str, Any]) -> dict[str, Any]:
    if "advantage" not in privacy:
        return _score(
            TOP,
            "10, as no patient was read",
            "There is no patient to be found: the model was made from public data only.",
            {},
        )
    advantage, unit = privacy["advantage"], privacy["unit_kind"]
    right = math.ceil(50 * (1 + advantage) - 1e-9)
    return _score(
        TOP * (1 - advantage),
        "10 x (1 - advantage), where the advantage is the most by which an attack's hits among "
        f"{unit}s who took part exceed its false alarms among those who did not",
        f"An attacker who knows everything but whether one {unit} took part, and holds that for a "
        f"coin toss, guesses right at most {right} times in 100; blind guessing gives 50.",
        {
            "advantage": advantage,
            "right guesses": f"at most {right} in 100",
            "epsilon": privacy["epsilon"],
            "delta": privacy["delta"],
        },
    )


def _quality(quality: Quality | None) -> dict[str, Any]:
    if quality is None:
        return _score(None, "", UNMEASURED, {})
    rows = [part.to_json() for part in quality.parts]
    figures: dict[str, Any] = {"volumes looked at": quality.looked}
    if quality.missing:
        meaning = f"Not measured: {quality.missing}. {UNMEASURED}"
        return _score(None, "", meaning, figures if rows else {}, rows)
    least = min(quality.parts, key=lambda part: part.score)
    return _score(
        TOP * least.score,
        "10 x the smallest part: " + "; ".join(part.formula for part in quality.parts),
        f"Measured against {quality.against}, not against the patients. The weakest part is "
        f"{least.name}. {quality.note} {UNMEASURED}".replace("  ", " "),
        {"measured against": quality.against, "source": quality.source, **figures},
        rows,
    )


def _score(
    value: float | None,
    formula: str,
    meaning: str,
    figures: dict[str, Any],
    rows: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    rounded = None if value is None else math.floor(value * 10 + 1e-9) / 10
    return {
        "value": rounded,
        "of": TOP,
        "formula": formula,
        "meaning": meaning,
        "figures": figures,
        "rows": rows or [],
    }
