"""How the intensities of two sets are distributed: histograms and the distances between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from medvae import modality as modalities
from medvae.config import DataConfig

Histograms = npt.NDArray[np.float64]
BINS = 128
_CENTRES = (np.arange(BINS) + 0.5) / BINS * 2 - 1


def histogram(image: npt.NDArray[np.float32]) -> Histograms:
    """[BINS] share of the voxels of an image in [-1, 1], by intensity."""
    counts, _ = np.histogram(image, bins=BINS, range=(-1, 1))
    shares: Histograms = counts / image.size
    return shares


def intensities(
    fake: Histograms, true: Histograms, halves: npt.NDArray[np.bool_], data: DataConfig
) -> dict[str, dict[str, Any]]:
    """Distances between the mean histograms of two sets of volumes.

    Args:
        fake, true: [n, BINS] of each volume.
        halves: [n] bool, two halves of the real patients; `real` is the figure between them.
        data: its window says what the scale is in the modality's units, where it has any.

    Returns:
        intensity_wasserstein: how far intensities must be moved, mean over voxels, on the
        model's scale (its length is 2); hu_wasserstein, suv_wasserstein: the same in the units of
        CT or PET;
        intensity_jensen_shannon: 0 where the histograms are equal, 1 where they do not meet.
    """
    fake_mean, two = fake.mean(axis=0), true.mean(axis=0)
    first, second = true[halves].mean(axis=0), true[~halves].mean(axis=0)
    moved = {"value": _moved(fake_mean, two), "real": _moved(first, second)}
    figures: dict[str, dict[str, Any]] = {
        "intensity_wasserstein": {**moved, "unit": "on the model's scale, -1 to 1"},
        "intensity_jensen_shannon": {
            "value": _apart(fake_mean, two),
            "real": _apart(first, second),
            "unit": f"0 to 1, over {BINS} bins",
        },
    }
    modality = modalities.get(data.modality)
    if modality.scaling.absolute:
        unit = modality.units.symbol
        values = ((_CENTRES + 1) / 2) ** (1 / modality.exponent) * (data.window[1] - data.window[0])
        figures[f"{unit.lower()}_wasserstein"] = {
            "value": _moved(fake_mean, two, values),
            "real": _moved(first, second, values),
            "unit": f"{unit}, within the window",
        }
    return figures


def _moved(first: Histograms, second: Histograms, values: Histograms = _CENTRES) -> float:
    """[BINS] values: what intensity each bin stands for."""
    return float(wasserstein_distance(values, values, first, second))


def _apart(first: Histograms, second: Histograms) -> float:
    # Rounding can leave a root of less than nothing between equal histograms.
    return float(np.nan_to_num(jensenshannon(first, second, base=2)))
