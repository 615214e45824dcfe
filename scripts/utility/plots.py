"""Plots of utility against epsilon."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator

# Colour-blind safe (Okabe and Ito); ours first, so they keep their colours in every plot.
_COLOURS = {
    "full pipeline": "#0072B2",
    "full pipeline, no public template": "#7F4F24",
    "atlas alone": "#D55E00",
    "atlas alone, no public template": "#E69F00",
    "atlas alone, no public labels": "#F0E442",
    "DCT mean + covariance": "#009E73",
    "DP-MERF": "#CC79A7",
    "DP-SGD VAE from scratch": "#56B4E9",
    "VAE without privacy": "#56B4E9",
}
_PANELS = {
    "dice": "Dice of a UNet trained on them (more is better)",
    "auc": "AUC of a classifier trained on them (more is better)",
    "efficientnet_frechet": "Fréchet distance, ImageNet features (less is better)",
    "texture_frechet": "Fréchet distance, texture features (less is better)",
}
# Where "no privacy" stands on the axis of epsilon.
_NONE = 24.0


def plots(results: Sequence[dict[str, Any]], path: Path, title: str) -> None:
    """A panel a figure; one line a method, bars where there are several seeds; real dotted."""
    panels = {key: name for key, name in _PANELS.items() if any(key in row for row in results)}
    if not panels:
        return
    figure, axes = plt.subplots(
        1, len(panels), figsize=(5.2 * len(panels), 4.6), squeeze=False, layout="constrained"
    )
    for axis, (key, name) in zip(axes[0], panels.items(), strict=True):
        _panel(axis, key, results)
        axis.set_title(name, fontsize=10)
    lines: dict[str, Any] = {}
    for axis in axes[0]:
        handles, names = axis.get_legend_handles_labels()
        lines |= dict(zip(names, handles, strict=True))
    figure.legend(
        lines.values(), lines.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=9
    )
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panel(axis: Axes, key: str, results: Sequence[dict[str, Any]]) -> None:
    for method, points in _by_method(results, key).items():
        places = sorted(points)
        means = [float(np.mean(points[p])) for p in places]
        spread = [_deviation(points[p]) for p in places]
        colour = _COLOURS.get(method, "#666666")
        marker = "s" if method == "VAE without privacy" else "o"
        style = {"color": colour, "marker": marker, "markersize": 5, "capsize": 3}
        axis.errorbar(places, means, yerr=spread, label=method, linewidth=1.6, **style)
    if key not in ("dice", "auc"):
        # Baselines are many times as far away as what is compared.
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    _yardsticks(axis, key, results)
    axis.set_xscale("log")
    axis.set_xlim(0.8, 36)
    axis.set_xticks([1, 3, 8, _NONE], ["1", "3", "8", "no privacy"])
    axis.minorticks_off()
    axis.set_xlabel("epsilon of the whole plan")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25, linewidth=0.6)


def _deviation(values: Sequence[float]) -> float:
    """Over seeds; no number (and no bar) where there is one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def _yardsticks(axis: Axes, key: str, results: Sequence[dict[str, Any]]) -> None:
    """Lines of real volumes and of no data at all; names that would overlap become one."""
    seen: dict[str, list[float]] = {}
    for row in results:
        if key in row and not row["epsilon"]:
            seen.setdefault(row["method"], []).append(row[key])
    found = sorted((float(np.mean(values)), name) for name, values in seen.items())
    for value, name in found:
        real = name.startswith("real")
        style = {"linestyle": ":", "color": "black"} if real else {"linestyle": "--"}
        axis.axhline(value, linewidth=1, **{"color": "#999999", **style})
    axis.figure.draw_without_rendering()
    lines: list[tuple[float, list[str]]] = []
    for value, name in found:
        height = axis.transAxes.inverted().transform(axis.transData.transform((1, value)))[1]
        if lines and height - lines[-1][0] < 0.045:
            lines[-1] = (height, [*lines[-1][1], name])
        else:
            lines.append((height, [name]))
    for height, names in lines:
        place = {"xycoords": "axes fraction", "ha": "right", "va": "bottom"}
        axis.annotate(_joined(names), (0.995, height), fontsize=7, color="#444444", **place)


def _joined(names: Sequence[str]) -> str:
    """`no data, real, 10 / 30 patients` from the names of lines that lie together."""
    counted = [n for n in names if re.match(r"real, \d+ ", n)]
    counts = sorted(int(n.split()[1]) for n in counted)
    others = [n for n in names if n not in counted]
    real = [f"real, {' / '.join(map(str, counts))} patients"] if counts else []
    return ", ".join([*others, *real])


def _by_method(results: Sequence[dict[str, Any]], key: str) -> dict[str, dict[float, list[float]]]:
    """Method -> place on the axis -> figures; methods with a colour of their own first."""
    found: dict[str, dict[float, list[float]]] = {name: {} for name in _COLOURS}
    for row in results:
        if row["epsilon"] and key in row and not row["method"].startswith("atlas +"):
            where = _NONE if row["epsilon"] == "inf" else float(row["epsilon"])
            found.setdefault(row["method"], {}).setdefault(where, []).append(row[key])
    return {name: points for name, points in found.items() if points}
