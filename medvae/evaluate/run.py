"""`evaluate`: one dictionary of figures, each with what it was measured on and by what.

The volumes come one by one; what is kept of each is its features and its place on the model's
grid, where the downstream task needs it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medvae.config import MAX_LABELS, DataConfig
from medvae.errors import InputError
from medvae.evaluate import channels, network, pictures, shells, texture
from medvae.evaluate.distances import frechet, in_deviations, manifold, mmd, spread
from medvae.evaluate.downstream import classification_auc, segmentation_dice
from medvae.evaluate.intensities import histograms, intensities
from medvae.evaluate.restoration import restoration
from medvae.evaluate.sites import by_site
from medvae.grid import Gridded, to_grid
from medvae.progress import SILENT, Progress
from medvae.volume import Volume

if TYPE_CHECKING:
    from medvae.model import Artifact

Features = npt.NDArray[np.float64]
_PRIVATE = "measured on private patients: stays in the tenant"


@dataclass(frozen=True)
class Options:
    """What to measure besides the distances.

    Attributes:
        downstream: train and test a segmentation or a classifier, where labels are there.
        iterations: of the segmentation.
        seed: of its first weights, batches and of the split of the patients.
        network: features of efficientnet-lite0 too, where the extra `metrics` is installed.
    """

    downstream: bool = True
    iterations: int = 300
    seed: int = 0
    network: bool = True


@dataclass
class Cohort:
    """What is kept of a set of volumes.

    Attributes:
        gridded: on the model's grid.
        subjects: whose each one is.
        labels: the class, else `meta["label"]`, or None.
        features: extractor -> [n, d]; of the network [3 n, d], a row a plane, but of pictures.
        histograms: [n, C, BINS] of each channel, share of each one's voxels by intensity.
        looks: of each, for the classifier: `shells` of a volume, `thumbnail` of a picture.
        correlations: [C, C] of the channels of each image that has some.
        sites: where each was made, or None.
    """

    gridded: list[Gridded] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    features: dict[str, Features] = field(default_factory=dict)
    histograms: list[npt.NDArray[np.float64]] = field(default_factory=list)
    looks: list[Features] = field(default_factory=list)
    correlations: list[channels.Matrix] = field(default_factory=list)
    sites: list[str | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.gridded)

    @property
    def masked(self) -> bool:
        """Whether every volume has a mask."""
        return bool(self.gridded) and all(pair.mask is not None for pair in self.gridded)


def evaluate(
    synthetic: Iterable[Volume],
    real: Iterable[tuple[str, Volume]] | Cohort,
    *,
    data: DataConfig | None = None,
    artifact: Artifact | None = None,
    options: Options | None = None,
    progress: Progress = SILENT,
) -> dict[str, dict[str, Any]]:
    """Measure synthetic volumes beside real ones.

    Args:
        synthetic: at least two.
        real: (subject, volume) pairs of at least four subjects. For an honest downstream
            figure they should not be those that the model was trained on. A cohort that
            `gather` made with the same `data` and options is taken as it is.
        data: the model's grid; without one, that of the first synthetic volume.
        artifact: the model, to measure how well it reconstructs real volumes too.

    Returns:
        name -> {value, n_synthetic, n_real, release_ok: false, note} and, where they apply,
        extractor, slices, `real` (the same figure between two halves of the real patients,
        which is the best that a generator can be expected to reach).

    Raises:
        InputError: too few volumes or subjects, or another modality.
    """
    options = options or Options()
    volumes = list(synthetic)
    if len(volumes) < 2:
        raise InputError(f"an evaluation needs at least two synthetic volumes, not {len(volumes)}")
    data = data or _grid_of(volumes)
    tools = _extractors(options)
    fake = _gather(
        ((f"s{i}", v) for i, v in enumerate(volumes)), data, tools, "synthetic", progress
    )
    true = real if isinstance(real, Cohort) else _gather(real, data, tools, "real", progress)
    if len(set(true.subjects)) < 4:
        raise InputError("an evaluation needs real volumes of at least four subjects")
    halves = _halves(true.subjects, options.seed)
    figures: dict[str, dict[str, Any]] = {}
    for name in tools:
        figures |= _distances(name, fake, true, halves)
    ours, two = in_deviations(fake.features[texture.NAME], true.features[texture.NAME])
    figures |= by_site(ours, fake.sites, two, true.sites, options.seed)
    figures |= intensities(np.stack(fake.histograms), np.stack(true.histograms), halves, data)
    if data.channels:
        figures |= channels.figures(fake.correlations, true.correlations, halves, data.channels)
    if artifact is not None and not artifact.part("cosines"):
        # A code is that of one channel.
        what = "channels of volumes" if data.channels else "volumes"
        figures |= restoration(artifact, [pair.image for pair in true.gridded], what)
    if options.downstream:
        figures |= _downstream(fake, true, halves, data, options, progress)
    counts = {"n_synthetic": len(fake), "n_real": len(true), "release_ok": False, "note": _PRIVATE}
    return {name: {**figure, **counts} for name, figure in figures.items()}


def gather(
    real: Iterable[tuple[str, Volume]],
    data: DataConfig,
    options: Options | None = None,
    progress: Progress = SILENT,
) -> Cohort:
    """What is kept of real volumes, for several evaluations beside them.

    Raises:
        InputError: another modality.
    """
    return _gather(real, data, _extractors(options or Options()), "real", progress)


def _grid_of(volumes: Sequence[Volume]) -> DataConfig:
    """The grid of the first volume, with all labels of the masks (none if over MAX_LABELS)."""
    first = volumes[0]
    numbers = {int(n) for v in volumes if v.mask is not None for n in np.unique(v.mask)} - {0}
    scheme = {str(n): f"label {n}" for n in numbers if len(numbers) <= MAX_LABELS}
    return DataConfig(
        modality=first.modality,
        size=first.shape,
        spacing=first.spacing,
        labels=len(scheme),
        label_scheme=scheme,
        channels=first.channels,
        modalities=first.modalities,
    )


def _extractors(options: Options) -> dict[str, Any]:
    """Name -> function of an image, giving [rows, d]."""
    tools: dict[str, Any] = {texture.NAME: _texture}
    if options.network and network.available():
        tools[network.NAME] = network.Network().features
    return tools


def _texture(image: npt.NDArray[np.float32]) -> Features:
    """[1, 46 C]: channel by channel."""
    return np.concatenate([texture.texture(channel) for channel in pictures.channels_of(image)])[
        None
    ]


def _look(image: npt.NDArray[np.float32]) -> Features:
    """What a classifier sees of a picture, or of a volume."""
    if pictures.is_picture(image):
        return pictures.thumbnail(image)
    return np.concatenate([shells.shells(channel) for channel in pictures.channels_of(image)])


def _gather(
    pairs: Iterable[tuple[str, Volume]],
    data: DataConfig,
    tools: dict[str, Any],
    what: str,
    progress: Progress,
) -> Cohort:
    cohort = Cohort()
    rows: dict[str, list[Features]] = {name: [] for name in tools}
    progress.start(f"features of {what} volumes", 0)
    for subject, volume in pairs:
        own, expected = (of.modalities or (of.modality,) for of in (volume, data))
        if own != expected:
            raise InputError(f"a {what} volume is {', '.join(own)}, not {', '.join(expected)}")
        try:
            gridded = to_grid(volume, data)
        except InputError as error:
            if what == "real":
                # It counted as no volume in the training as well.
                continue
            raise InputError(f"a {what} volume cannot be used: {error}") from error
        cohort.gridded.append(gridded)
        cohort.subjects.append(subject)
        cohort.sites.append(volume.site)
        cohort.labels.append(volume.meta.get("class", volume.meta.get("label")))
        cohort.looks.append(_look(gridded.image))
        if gridded.image.ndim == 4:
            cohort.correlations.append(channels.correlations(gridded.image))
        for name, tool in tools.items():
            rows[name].append(tool(gridded.image))
        cohort.histograms.append(histograms(gridded.image))
        progress.advance(len(cohort))
    progress.finish()
    if rows and len(cohort):
        cohort.features = {name: np.concatenate(features) for name, features in rows.items()}
    return cohort


def _halves(subjects: Sequence[str], seed: int) -> npt.NDArray[np.bool_]:
    """[n] bool: two halves of the subjects, never of one subject's volumes."""
    names = sorted(set(subjects))
    np.random.default_rng(seed).shuffle(names)
    first = set(names[: len(names) // 2])
    return np.array([subject in first for subject in subjects])


def _distances(
    name: str, fake: Cohort, true: Cohort, halves: npt.NDArray[np.bool_]
) -> dict[str, dict[str, Any]]:
    """Frechet, MMD, manifold and diversity on one extractor's features."""
    ours, two = fake.features[name], true.features[name]
    rows = len(two) // len(true)
    by_row = np.repeat(halves, rows)
    extra: dict[str, Any] = {"extractor": name}
    if name == network.NAME:
        extra["slices"] = network.SLICES if rows > 1 else "the whole picture"
        short = "efficientnet"
    else:
        ours, two = in_deviations(ours, two)
        short = "texture"
    first, second = two[by_row], two[~by_row]
    fakes, trues = _by_volume(ours, rows), _by_volume(two, rows)
    shape = manifold(fakes, trues)
    reference = manifold(_by_volume(first, rows), _by_volume(second, rows))
    figures = {
        "frechet": {"value": frechet(ours, two), "real": frechet(first, second)},
        "mmd": {"value": mmd(ours, two), "real": mmd(first, second)},
        "diversity": {"value": spread(fakes) / max(spread(trues), 1e-12), "real": 1.0},
    }
    for part in ("precision", "recall", "density", "coverage"):
        figures[part] = {"value": getattr(shape, part), "real": getattr(reference, part)}
    return {f"{short}_{key}": {**figure, **extra} for key, figure in figures.items()}


def _by_volume(features: Features, rows: int) -> Features:
    """[n, rows * d] from [n * rows, d]."""
    return features.reshape(len(features) // rows, -1)


def _downstream(
    fake: Cohort,
    true: Cohort,
    halves: npt.NDArray[np.bool_],
    data: DataConfig,
    options: Options,
    progress: Progress,
) -> dict[str, dict[str, Any]]:
    """Train on synthetic or on half of the real patients; test on the other half of them."""
    figures: dict[str, dict[str, Any]] = {}
    test = np.flatnonzero(~halves)
    train = np.flatnonzero(halves)
    labels = data.labels if data.labels >= 0 else max(_top(fake), _top(true))
    if labels and fake.masked and true.masked:
        scores = {}
        for name, pairs in (
            ("value", fake.gridded),
            ("real", [true.gridded[i] for i in train]),
        ):
            scores[name] = segmentation_dice(
                pairs,
                [true.gridded[i] for i in test],
                labels,
                iterations=options.iterations,
                seed=options.seed,
                progress=progress,
            )
        figures["segmentation_dice"] = {
            "value": _mean(scores["value"]),
            "real": _mean(scores["real"]),
            "labels": [_number(value) for value in scores["value"]],
            "task": f"UNet (8, 16, 32), {options.iterations} iterations, tested on "
            f"{len(test)} real volumes; real: trained on {len(train)} of other patients",
        }
    if all(label is not None for label in (*fake.labels, *true.labels)):
        figures |= _classification(fake, true, train, test)
    return figures


def _top(cohort: Cohort) -> int:
    return max((int(g.mask.max()) for g in cohort.gridded if g.mask is not None), default=0)


def _classification(
    fake: Cohort, true: Cohort, train: npt.NDArray[np.intp], test: npt.NDArray[np.intp]
) -> dict[str, dict[str, Any]]:
    truth = [true.labels[i] for i in test]
    train_labels = [true.labels[i] for i in train]
    figures = {}
    look = pictures.NAME if pictures.is_picture(true.gridded[0].image) else shells.NAME
    for prefix, name, ours, two in (
        ("", look, np.stack(fake.looks), np.stack(true.looks)),
        ("texture_", texture.NAME, fake.features[texture.NAME], true.features[texture.NAME]),
    ):
        try:
            value = classification_auc(ours, fake.labels, two[test], truth)
            real = classification_auc(two[train], train_labels, two[test], truth)
        except ValueError:
            # A class that only one side has: there is no such figure for these sets.
            return {}
        figures[f"{prefix}classification_auc"] = {
            "value": value,
            "real": real,
            "extractor": name,
            "task": f"logistic regression, tested on {len(test)} real volumes; real: trained on "
            f"{len(train)} of other patients",
        }
    return figures


def _mean(values: Sequence[float]) -> float | None:
    there = [value for value in values if not math.isnan(value)]
    return float(np.mean(there)) if there else None


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
