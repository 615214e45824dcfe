"""Tables, plots of utility against epsilon, contact sheets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from medvae.grid import Gridded

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


def plots(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Dice, Frechet distance and diversity against epsilon; real as a line."""
    keys = [
        k for k in ("dice", "auc", "efficientnet_frechet", "texture_frechet") if _has(results, k)
    ]
    figure, axes = plt.subplots(1, len(keys), figsize=(5 * len(keys), 4), squeeze=False)
    for axis, key in zip(axes[0], keys, strict=True):
        for method in sorted({r["method"] for r in results if r["epsilon"] not in (None, 0.0)}):
            points: dict[float, list[float]] = {}
            for row in results:
                if row["method"] == method and key in row and row["epsilon"]:
                    where = 30.0 if row["epsilon"] == "inf" else float(row["epsilon"])
                    points.setdefault(where, []).append(row[key])
            places = sorted(points)
            axis.plot(places, [np.mean(points[p]) for p in places], marker="o", label=method)
        for row in results:
            if row["method"].startswith("real") and key in row:
                axis.axhline(row[key], linestyle=":", color="grey")
        axis.set(xscale="log", xlabel="epsilon (30: none)", title=COLUMNS[key])
    axes[0][0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _has(results: Sequence[dict[str, Any]], key: str) -> bool:
    return any(key in row for row in results)


def sheet(sets: dict[str, list[Gridded]], path: Path, count: int = 8) -> None:
    """A line of slices a set, labels outlined; real first. Sagittal, of CT axial."""
    figure, axes = plt.subplots(
        len(sets), count, figsize=(1.6 * count, 1.5 * len(sets)), squeeze=False
    )
    for line, (name, volumes) in zip(axes, sets.items(), strict=True):
        for axis in line:
            axis.axis("off")
        line[0].set_title(name, fontsize=7, loc="left")
        for axis, volume in zip(line, volumes, strict=False):
            if volume.category is not None:
                centre = volume.image[:, :, volume.image.shape[2] // 2]
                axis.imshow(centre.T, cmap="gray", vmin=-1, vmax=0.4, origin="lower")
                axis.text(0, 0, str(volume.category), color="w", fontsize=7)
                continue
            place = volume.image.shape[0] // 2 - 2
            axis.imshow(volume.image[place].T, cmap="gray", vmin=-1, vmax=1, origin="lower")
            if volume.mask is not None and volume.mask[place].any():
                axis.contour(volume.mask[place].T, levels=[0.5, 1.5], colors=["r", "c"])
    figure.tight_layout(pad=0.2)
    figure.savefig(path, dpi=80)
    plt.close(figure)
