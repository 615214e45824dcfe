"""Memorisation: is a synthetic volume, or a part of it, a copy of a patient's?

A copy is much nearer to one patient than to every other. The statistic is the distance to the
nearest patient over the distance to the second nearest *patient* (not volume: two scans of a
person are similar). Volumes that are near all patients, as an average is, do not count as copies.

Calibration: the gap between the two smallest of many independent distances is asymptotically
exponential (Renyi 1953), so -log(ratio) of volumes that copy no one is about exponential. Its scale
is estimated on the real patients, each left out in turn, by the median, which is robust to
unnoticed duplicates among them. At the threshold, one audit in a hundred raises a false alarm.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from medvae.audit.embed import Embedded, distances
from medvae.audit.report import Finding

_ALPHA = 0.01
# Smallest scale of -log(ratio); keeps the threshold away from 1 for homogeneous cohorts.
_LEAST_SCALE = 0.01
_TINY = 1e-6

Array = npt.NDArray[np.float64]


def whole_copies(generated: Embedded, real: Embedded) -> Finding:
    """Copies of a whole volume, mirrored or not, at any brightness and contrast."""
    patients, synthetic, whole = real.subjects, generated.whole(), real.whole()
    between = np.minimum(distances(synthetic, whole), distances(generated.mirrored(), whole))
    within = np.minimum(distances(whole, whole), distances(real.mirrored(), whole))
    ratios = _ratios(between, patients)
    reference = _ratios(within, patients, own=patients)
    return _judge("whole copies", "volume", ratios[None], reference[None])


def part_copies(generated: Embedded, real: Embedded) -> Finding:
    """Copies of an octant, or of a quarter of a picture, in its place."""
    patients = real.subjects
    pairs = list(zip(generated.parts(), real.parts(), strict=True))
    ratios = np.stack([_ratios(distances(a, b), patients) for a, b in pairs])
    reference = np.stack([_ratios(distances(b, b), patients, own=patients) for _, b in pairs])
    part = "quarter of a picture" if real.planar else "octant of a volume"
    return _judge("copied parts", part, ratios, reference)


def _ratios(
    between: Array, patients: npt.NDArray[np.str_], own: npt.NDArray[np.str_] | None = None
) -> Array:
    """[n] distance to the nearest over that to the second nearest patient, of distances [n, m].

    patients: [m] of the columns; own: [n] the patient of each row, who is left out.
    """
    names, index = np.unique(patients, return_inverse=True)
    nearest = np.full((len(between), len(names)), np.inf)
    for column, name in enumerate(index):
        nearest[:, name] = np.minimum(nearest[:, name], between[:, column])
    if own is not None:
        nearest[names[None, :] == own[:, None]] = np.inf
    smallest = np.partition(nearest, 1, axis=1)[:, :2]
    return (smallest[:, 0] + _TINY) / (smallest[:, 1] + _TINY)


def _judge(name: str, unit: str, ratios: Array, reference: Array) -> Finding:
    """Compare ratios [parts, n] with those of real patients; each part has its own scale."""
    scale = np.maximum(np.median(-np.log(reference), axis=1) / math.log(2), _LEAST_SCALE)
    # In units of the part's scale.
    excess = -np.log(ratios) / scale[:, None]
    limit = math.log(ratios.size / _ALPHA)
    caught = int((excess > limit).any(axis=0).sum())
    worst = float(excess.max())
    lowest = float(ratios.min())
    detectable = float(np.exp(-limit * scale).max())
    verdict = (
        f"none of {ratios.shape[1]} synthetic volumes is nearer to one patient than chance allows"
        if caught == 0
        else f"{caught} of {ratios.shape[1]} synthetic volumes hold a copy of a patient's {unit}"
    )
    return Finding(
        name=name,
        statistic=worst,
        threshold=limit,
        passed=caught == 0,
        sentence=f"{verdict} (smallest distance ratio {lowest:.3f}; below {detectable:.3f} a "
        "volume is called a copy, and above it nothing is found)",
        details={
            "caught": caught,
            "synthetic": ratios.shape[1],
            "lowest_ratio": lowest,
            "usual_ratio": float(np.median(reference)),
            "false_alarm_rate": _ALPHA,
        },
        power={"distance_ratio": detectable, "risk": _ALPHA},
    )
