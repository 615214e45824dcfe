"""What a training is likely to be worth: the measured cohort that is most like it.

Public: rows of docs/benchmarks, and the plan's own patients, epsilon and kind of model. Nothing of
the cohort is read but how many patients it has, which the plan says too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from medvae.api import anatomy_choice, simulated
from medvae.api.results import Expected

if TYPE_CHECKING:
    from medvae.config import RunConfig
    from medvae.vault import Tenant

_AUC: Final = "AUC of a classifier trained on them"
_DICE: Final = "Dice of a network trained on them"
_APART: Final = "largest error of a correlation between two channels"
_AWAY: Final = "Frechet distance of network features to people held out (smaller is nearer)"


class Row(NamedTuple):
    """A row of a benchmark: `draws` beside `real` people, and what needs no patient, where seen."""

    cohort: str
    page: str
    patients: int
    epsilon: float
    figure: str
    draws: float
    real: float
    without_patients: float | None = None


_RADIOGRAPHS: Final = ("radiographs of 28 x 28, two classes", "network.md")
_NODULES: Final = ("slices of lung nodules of 32 x 32, two classes", "network.md")
_SKIN: Final = ("photographs of skin of 64 x 48, three classes", "images.md")
_CONTRASTS: Final = ("four contrasts of 32 x 32 x 32 round a tumour", "contrasts.md")
_HEARTS: Final = ("short-axis hearts with a library of 35 people", "anatomy.md")
_HEADS: Final = ("heads at 2 mm with a library of 20 label maps", "anatomy.md")
_MAPS: Final = ("short-axis hearts without a library", "anatomy.md")
_HEART_CONTRASTS: Final = ("short-axis hearts in two contrasts without a library", "contrasts.md")
_HEAD_CONTRASTS: Final = ("heads at 4 mm in two contrasts with a library", "contrasts.md")
_CROPS: Final = ("hippocampus crops on a public template", "utility.md")
_BARE: Final = ("hippocampus crops without a template", "utility.md")
_HEART_TISSUES: Final = ("short-axis hearts of automatic tissues", "anatomy.md")
_HEAD_TISSUES: Final = ("heads at 4 mm of automatic tissues", "anatomy.md")
_BODY_TISSUES: Final = ("made-up CT bodies of automatic tissues", "anatomy.md")
_UNLABELLED: Final = ("short-axis hearts without masks or a library", "anatomy.md")

ROWS: Final[dict[str, tuple[Row, ...]]] = {
    "pictures": (
        Row(*_RADIOGRAPHS, 3525, 8.0, _AUC, 0.987, 0.991),
        Row(*_RADIOGRAPHS, 3525, 3.0, _AUC, 0.98, 0.991),
        Row(*_RADIOGRAPHS, 3525, 1.0, _AUC, 0.969, 0.991),
        Row(*_NODULES, 298, 8.0, _AUC, 0.856, 0.822),
        Row(*_NODULES, 298, 3.0, _AUC, 0.754, 0.822),
        Row(*_NODULES, 298, 1.0, _AUC, 0.719, 0.822),
        Row(*_SKIN, 112, 8.0, _AUC, 0.72, 0.689),
        Row(*_SKIN, 112, 3.0, _AUC, 0.698, 0.689),
        Row(*_SKIN, 112, 1.0, _AUC, 0.654, 0.689),
    ),
    "contrasts": (
        Row(*_CONTRASTS, 180, 8.0, _APART, 0.11, 0.12),
        Row(*_CONTRASTS, 180, 3.0, _APART, 0.2, 0.12),
    ),
    "library": (
        Row(*_HEADS, 67, 8.0, _DICE, 0.687, 0.739, 0.409),
        Row(*_HEADS, 67, 3.0, _DICE, 0.622, 0.739, 0.409),
        Row(*_HEADS, 67, 1.0, _DICE, 0.514, 0.739, 0.409),
    ),
    "images": (
        Row(*_HEARTS, 44, 8.0, _DICE, 0.666, 0.694, 0.645),
        Row(*_HEARTS, 44, 3.0, _DICE, 0.663, 0.694, 0.645),
        Row(*_HEARTS, 44, 1.0, _DICE, 0.626, 0.694, 0.645),
    ),
    "maps": (Row(*_MAPS, 44, 8.0, _DICE, 0.622, 0.694),),
    "maps-contrasts": (Row(*_HEART_CONTRASTS, 44, 8.0, _DICE, 0.682, 0.808),),
    "library-contrasts": (Row(*_HEAD_CONTRASTS, 67, 8.0, _DICE, 0.686, 0.72),),
    "template": (
        Row(*_CROPS, 98, 8.0, _DICE, 0.794, 0.851, 0.244),
        Row(*_CROPS, 98, 3.0, _DICE, 0.759, 0.851, 0.244),
        Row(*_CROPS, 98, 1.0, _DICE, 0.745, 0.851, 0.244),
    ),
    "atlas": (
        Row(*_BARE, 98, 8.0, _DICE, 0.809, 0.851),
        Row(*_BARE, 98, 3.0, _DICE, 0.692, 0.851),
        Row(*_BARE, 98, 1.0, _DICE, 0.357, 0.851),
    ),
    "tissues": (
        Row(*_HEAD_TISSUES, 67, 8.0, _AWAY, 767, 66),
        Row(*_HEART_TISSUES, 44, 8.0, _AWAY, 682, 289),
    ),
    "tissues-ct": (Row(*_BODY_TISSUES, 30, 8.0, _AWAY, 611, 98),),
    "unlabelled": (Row(*_UNLABELLED, 44, 8.0, _AWAY, 1388, 412),),
}


def of_plan(tenant: Tenant, cfg: RunConfig, patients: int, epsilon: float) -> Expected:
    """The row for a resolved configuration; the library is looked at, no patient is."""
    named = cfg.anatomy.public and cfg.cosines.share == 0
    images = named and anatomy_choice.library_of(tenant).entry(cfg.anatomy.library).kind == "images"
    return expected(kind_of(cfg, has_images=images), patients, epsilon)


def expected(kind: str, patients: int, epsilon: float) -> Expected:
    """The row of this kind whose epsilon times patients is nearest, by ratio.

    Noise of a mean is about one over that product: it decides what is left of a statistic.
    """
    strength = math.log(patients * epsilon)
    row = min(ROWS[kind], key=lambda one: abs(math.log(one.patients * one.epsilon) - strength))
    return Expected(
        cohort=row.cohort,
        page=f"docs/benchmarks/{row.page}",
        patients=row.patients,
        epsilon=row.epsilon,
        figure=row.figure,
        draws=row.draws,
        real=row.real,
        without_patients=row.without_patients,
        simulated=simulated.nearest(kind, patients, epsilon),
    )


def kind_of(cfg: RunConfig, *, has_images: bool = False) -> str:
    """Which rows are of models like this one.

    has_images: whether the public people of the library have images, not label maps alone.
    """
    if cfg.cosines.share > 0:
        return "contrasts" if cfg.data.size[2] > 1 else "pictures"
    if cfg.anatomy.used:
        if cfg.anatomy.library == "patients":
            if cfg.data.label_numbers:
                return "maps-contrasts" if cfg.data.channels else "maps"
            return "tissues-ct" if cfg.data.modality == "ct" else "tissues"
        if cfg.data.channels:
            return "library-contrasts"
        return "images" if has_images else "library"
    if cfg.atlas.public != "none":
        return "template"
    # Dice says nothing of volumes without labels.
    return "atlas" if cfg.data.labels else "unlabelled"
