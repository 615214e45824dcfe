"""How the intensities of two sets are distributed: histograms and the distances between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from medvae import modality as modalities
from medvae.config import DataConfig
from medvae.evaluate.pictures import channels_of

Histograms = npt.NDArray[np.float64]
BINS = 128
_CENTRES = (np.arange(BINS) + 0.5) / BINS * 2 - 1


def histograms(image: npt.NDArray[np.float32]) -> Histograms:
    """[C, BINS] share of the voxels of each channel of an image in [-1, 1], by intensity."""
    parts = channels_of(image)
    counts = [np.histogram(part, bins=BINS, range=(-1, 1))[0] / part.size for part in parts]
    return np.stack(counts)


def intensities(
    fake: Histograms, true: Histograms, halves: npt.NDArray[np.bool_], data: DataConfig
) -> dict[str, dict[str, Any]]:
    """Distances between the mean histograms of two sets of volumes.

    Args:
        fake, true: [n, C, BINS] of each volume.
        halves: [n] bool, two halves of the real patients; `real` is the figure between them.
        data: its window says what the scale is in the modality's units, where it has any.

    Returns:
        intensity_wasserstein: how far intensities must be moved, mean over voxels, on the
        model's scale (its length is 2), over all channels; hu_wasserstein, suv_wasserstein: the
        same in the units of CT or PET, of channels of several modalities each by itself
        (pet_suv_wasserstein of the channel pet);
        intensity_jensen_shannon: 0 where the histograms are equal, 1 where they do not meet.
    """
    means = fake.mean(axis=0), true.mean(axis=0), *(true[h].mean(axis=0) for h in (halves, ~halves))
    fake_mean, two, first, second = (mean.mean(axis=0) for mean in means)
    moved = {"value": _moved(fake_mean, two), "real": _moved(first, second)}
    figures: dict[str, dict[str, Any]] = {
        "intensity_wasserstein": {**moved, "unit": "on the model's scale, -1 to 1"},
        "intensity_jensen_shannon": {
            "value": _apart(fake_mean, two),
            "real": _apart(first, second),
            "unit": f"0 to 1, over {BINS} bins",
        },
    }
    if not data.modalities:
        return figures | _in_units(data, (fake_mean, two, first, second))
    for at, (name, own) in enumerate(zip(data.channels, data.of_channels, strict=True)):
        of_channel = _in_units(own, tuple(mean[at] for mean in means))
        figures |= {f"{name}_{key}": figure for key, figure in of_channel.items()}
    return figures


def _in_units(data: DataConfig, means: tuple[Histograms, ...]) -> dict[str, dict[str, Any]]:
    """The distance in the modality's unit, where it has one.

    means: [BINS] of synthetic and of real volumes, and of two halves of the real ones.
    """
    modality = modalities.get(data.modality)
    if not modality.scaling.absolute:
        return {}
    fake, two, first, second = means
    unit = modality.units.symbol
    values = ((_CENTRES + 1) / 2) ** (1 / modality.exponent) * (data.window[1] - data.window[0])
    return {
        f"{unit.lower()}_wasserstein": {
            "value": _moved(fake, two, values),
            "real": _moved(first, second, values),
            "unit": f"{unit}, within the window",
        }
    }


def _moved(first: Histograms, second: Histograms, values: Histograms = _CENTRES) -> float:
    """[BINS] values: what intensity each bin stands for."""
    return float(wasserstein_distance(values, values, first, second))


def _apart(first: Histograms, second: Histograms) -> float:
    # Rounding can leave a root of less than nothing between equal histograms.
    return float(np.nan_to_num(jensenshannon(first, second, base=2)))
