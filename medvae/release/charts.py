"""Charts of the report as SVG: they take their colours from the page, light or dark.

Text is large enough to be read at the width of a phone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from medvae.release.survey import Survey

Points = Sequence[tuple[float, float]]
Ticks = Sequence[tuple[float, str]]
# The plot's edges, in the units of the view box.
WIDTH, HEIGHT = 420, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 408, 12, 200
# Epsilons of the curve of advantages.
EPSILON_TICKS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
MUS = tuple(float(mu) for mu in np.geomspace(0.02, 6, 60))


@dataclass(frozen=True)
class Axis:
    """A title, and ticks at fractions in [0, 1] of the axis."""

    title: str
    ticks: Ticks


def advantage_chart(privacy: dict[str, Any]) -> str:
    """What an attacker gains at most, by epsilon at the release's delta, and where it stands.

    The curve is that of Gaussian differential privacy; the mark is the release's own figures.
    """
    from medvae.privacy import gaussian_advantages

    low, high = (math.log(EPSILON_TICKS[at]) for at in (0, -1))

    def place(epsilon: float) -> float:
        return (math.log(max(epsilon, EPSILON_TICKS[0])) - low) / (high - low)

    curve = [
        (place(epsilon), gained)
        for epsilon, gained in gaussian_advantages(privacy["delta"], MUS)
        if EPSILON_TICKS[0] <= epsilon <= EPSILON_TICKS[-1]
    ]
    epsilon, gained = privacy["epsilon"], privacy["advantage"]
    return _chart(
        f"An attacker's advantage at most, by epsilon. This release: epsilon {epsilon:.3g}, "
        f"advantage {gained:.0%}",
        Axis("epsilon (smaller is safer)", [(place(e), f"{e:g}") for e in EPSILON_TICKS]),
        curve,
        mark=(min(place(epsilon), 1.0), gained, "this release"),
    )


def attack_chart(privacy: dict[str, Any]) -> str:
    """What any attack finds at most of those who took part, by its false alarms."""
    curve, unit = privacy["trade_off"], privacy["unit_kind"]
    rates, hits = curve["false_positive_rates"], curve["true_positive_rates"]
    low = math.log10(rates[0])
    places = [1 - math.log10(rate) / low for rate in rates]
    ticks = [(1 - math.log10(r) / low, f"{100 * r:g}%") for r in (1e-4, 1e-3, 1e-2, 1e-1, 1)]
    return _chart(
        f"Share of {unit}s that any attack finds at most, by its rate of false alarms; the broken "
        "line is guessing",
        Axis(f"false alarms among {unit}s who did not take part", ticks),
        list(zip(places, hits, strict=True)),
        guessing=list(zip(places, rates, strict=True)),
    )


def histogram_chart(survey: Survey) -> str:
    """Share of voxels by intensity, on a square-root scale."""
    share = survey.counts / max(int(survey.counts.sum()), 1)
    # The air of a crop may fill one bin: a square root keeps the rest readable.
    heights = np.sqrt(share / max(float(share.max()), 1e-12))
    wide = (RIGHT - LEFT) / len(heights)
    bars = "".join(
        f'<rect x="{LEFT + i * wide:.2f}" y="{_y(h):.2f}" width="{wide * 0.85:.2f}" '
        f'height="{BOTTOM - _y(h):.2f}"/>'
        for i, h in enumerate(heights.tolist())
    )
    ends = (survey.low, (survey.low + survey.high) / 2, survey.high)
    ticks = [(at, f"{value:g}") for at, value in zip((0.0, 0.5, 1.0), ends, strict=True)]
    return _svg("Histogram of intensities", bars + _below(ticks), BOTTOM + 24)


def _chart(
    label: str,
    across: Axis,
    curve: Points,
    guessing: Points = (),
    mark: tuple[float, float, str] | None = None,
) -> str:
    up = [(share, f"{share:.0%}") for share in (0, 0.25, 0.5, 0.75, 1)]
    grid = "".join(
        f'<line x1="{LEFT}" x2="{RIGHT}" y1="{_y(at):.1f}" y2="{_y(at):.1f}"/>'
        f'<text x="{LEFT - 6}" y="{_y(at) + 4:.1f}" text-anchor="end">{text}</text>'
        for at, text in up
    )
    body = grid + f'<path class="curve" d="{_path(curve)}"/>' + _below(across.ticks)
    if guessing:
        body += f'<path class="guess" d="{_path(guessing)}"/>'
    if mark is not None:
        x, y, text = mark
        anchor, shift = ("end", -10) if x > 0.5 else ("start", 10)
        body += (
            f'<circle cx="{_x(x):.1f}" cy="{_y(y):.1f}" r="5"/><text class="mark" '
            f'x="{_x(x) + shift:.1f}" y="{_y(y) - 8:.1f}" text-anchor="{anchor}">{text}</text>'
        )
    title = f'<text x="{(LEFT + RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">'
    return _svg(label, f"{body}{title}{escape(across.title)}</text>", HEIGHT)


def _below(ticks: Ticks) -> str:
    return f'<line x1="{LEFT}" x2="{RIGHT}" y1="{BOTTOM}" y2="{BOTTOM}"/>' + "".join(
        f'<text x="{_x(at):.1f}" y="{BOTTOM + 18}" text-anchor="{_anchor(at)}">{text}</text>'
        for at, text in ticks
    )


def _anchor(at: float) -> str:
    return "start" if at < 0.01 else "end" if at > 0.99 else "middle"


def _path(points: Points) -> str:
    return "M" + " L".join(f"{_x(x):.1f} {_y(y):.1f}" for x, y in points)


def _x(share: float) -> float:
    return LEFT + share * (RIGHT - LEFT)


def _y(share: float) -> float:
    return BOTTOM - share * (BOTTOM - TOP)


def _svg(label: str, body: str, height: int) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">{body}</svg>'
    )
