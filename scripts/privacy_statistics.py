"""What re-centring saves: error of released statistics at equal budget, before and after.

Three statistics of the atlas on real patients' vectors: moments of labels, quantiles of grey
values, and the coarse mean image. The budget of each is its share of a plan at epsilon 8; the
rule (a third of it for a centre, half of the clip) was written down before `mri_cardiac_acdc` was
looked at, and is the same for all.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from medvae.atlas import intensity, moments, shares
from medvae.atlas.features import standardise
from medvae.atlas.template import CLIP, REACH, Layout
from medvae.config import DataConfig
from medvae.grid import Gridded, to_grid
from medvae.privacy import Mechanism, NoiseSource, gaussian_release
from medvae.privacy.gaussian_dp import gaussian_epsilon
from medvae.privacy.recentre import CENTRE_SHARE, centre_name, recentred_release
from medvae.volume import Volume

EPSILON, DELTA, KEYS = 8.0, 1e-5, 20
COHORTS = {
    # Name: (size, spacing in mm, labels, whether the rule was chosen on it).
    "mri_hippocampus": ((32, 48, 32), None, 2, True),
    "mri_cardiac_acdc": ((48, 48, 12), (3.0, 3.0, 8.0), 3, False),
}


def rows(folder: Path) -> list[dict[str, Any]]:
    """One row a cohort and statistic: root mean square errors, and their ratio."""
    found = []
    for name, (size, spacing, labels, chosen) in COHORTS.items():
        data = DataConfig(modality="mri", size=size, spacing=spacing, labels=labels)
        patients = load(folder / name, data)
        for statistic, (vectors, clip, share) in statistics(patients, data).items():
            before, after = errors(vectors, clip, share)
            found.append(
                {
                    "cohort": name,
                    "chosen_on_it": chosen,
                    "patients": len(patients),
                    "statistic": statistic,
                    "numbers": vectors.shape[1],
                    "before": before,
                    "after": after,
                    "ratio": after / before,
                }
            )
    return found


def markdown(table: list[dict[str, Any]]) -> str:
    """The rows as a page of the documentation."""
    lines = [
        "# What re-centring saves",
        "",
        f"Root mean square error of released statistics at epsilon {EPSILON:g}, delta {DELTA:g},"
        f" at equal budget; {KEYS} noise keys. Made by `scripts/bench privacy --docs`. The rule was"
        " chosen on `mri_hippocampus` and written down before `mri_cardiac_acdc` was looked at.",
        "",
        "| cohort | patients | statistic | numbers | one release | around a centre | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in table:
        note = "" if row["chosen_on_it"] else " (not used for choosing)"
        lines.append(
            f"| `{row['cohort']}`{note} | {row['patients']} | {row['statistic']} |"
            f" {row['numbers']} | {row['before']:.4f} | {row['after']:.4f} | {row['ratio']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def load(folder: Path, data: DataConfig) -> list[list[Gridded]]:
    """Each patient's volumes on the grid."""
    of: dict[str, list[Gridded]] = defaultdict(list)
    owner = _owners(folder)
    for path in sorted((folder / "images").glob("*.nii*")):
        image = nib.as_closest_canonical(nib.load(path))
        mask = nib.as_closest_canonical(nib.load(folder / "labels" / path.name))
        volume = Volume(
            np.asarray(image.get_fdata(), dtype=np.float32),
            image.affine,
            "mri",
            np.asarray(mask.get_fdata(), dtype=np.uint8),
        )
        of[owner.get(path.name, path.name)].append(to_grid(volume, data))
    return list(of.values())


def _owners(folder: Path) -> dict[str, str]:
    table = folder / "subjects.csv"
    if not table.exists():
        return {}
    with table.open() as file:
        return {row["filename"]: row["subject"] for row in csv.DictReader(file)}


def statistics(
    patients: list[list[Gridded]], data: DataConfig
) -> dict[str, tuple[np.ndarray, float, float]]:
    """Vectors [patients, numbers], clip, and share of the budget of each statistic."""
    mu = _mu()
    sigma = CLIP / (mu * math.sqrt(shares.STRONG[shares.MEAN]) * len(patients))
    layout = Layout.plan(data.size, sigma, REACH)

    def vectors(measure: Any) -> np.ndarray:
        return np.array([np.mean([measure(v) for v in volumes], axis=0) for volumes in patients])

    return {
        "moments of labels": (
            vectors(lambda v: moments.describe(v.mask, data.labels)),
            moments.clip(data.labels),
            shares.STRONG[shares.MOMENTS],
        ),
        "grey quantiles": (
            vectors(lambda v: intensity.describe(v.image.astype(np.float64))),
            intensity.CLIP,
            shares.STRONG[shares.INTENSITY],
        ),
        "coarse mean image": (
            vectors(lambda v: layout.encode(standardise(v.image, None))),
            CLIP,
            shares.STRONG[shares.MEAN],
        ),
    }


def _mu() -> float:
    """mu of Gaussian DP at (EPSILON, DELTA)."""
    from scipy.optimize import brentq

    return float(brentq(lambda mu: gaussian_epsilon(mu, DELTA) - EPSILON, 0.01, 10))


def errors(vectors: np.ndarray, clip: float, share: float) -> tuple[float, float]:
    """Root mean square error of the released mean: one release, and one around a centre."""
    mu, truth = _mu() * math.sqrt(share), vectors.mean(axis=0)
    common = {"divisor": float(len(vectors)), "dimension": vectors.shape[1], "clip": clip}
    one = Mechanism("x", 1.0, 1, 1 / mu)
    centre = Mechanism(centre_name("x"), 1.0, 1, 1 / (mu * math.sqrt(CENTRE_SHARE)))
    rest = Mechanism("x", 1.0, 1, 1 / (mu * math.sqrt(1 - CENTRE_SHARE)))
    squares = np.zeros(2)
    for key in range(KEYS):
        noise = NoiseSource(bytes([key] * 32))
        alone = gaussian_release(vectors, mechanism=one, noise=noise, **common)
        both = recentred_release(vectors, centre=centre, rest=rest, noise=noise, **common)
        squares += [((alone - truth) ** 2).mean(), ((both - truth) ** 2).mean()]
    before, after = np.sqrt(squares / KEYS)
    return float(before), float(after)
