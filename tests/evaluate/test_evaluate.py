"""`evaluate` as a whole: the better set has the better figures, and each says what it is."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from medvae.config import DataConfig, RunConfig
from medvae.errors import InputError
from medvae.evaluate import Options, evaluate, network, shells, texture
from medvae.evaluate.downstream import classification_auc, segmentation_dice
from medvae.evaluate.intensities import histograms, intensities
from medvae.evaluate.restoration import restoration
from medvae.grid import Gridded, from_grid
from medvae.model.procedural import random_volume
from medvae.train.public import public_artifact, start
from medvae.volume import Volume

SIZE = (16, 16, 12)
DATA = DataConfig(modality="mri", size=SIZE, labels=1)
QUICK = Options(downstream=False, network=False)


def pair(random: np.random.Generator, blur: float = 1.0) -> Gridded:
    """A bright ball somewhere in texture, and its mask."""
    axes = np.meshgrid(*[np.arange(n) for n in SIZE], indexing="ij")
    centre = random.uniform(5, 8, 3)
    inside = sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)) < 14
    texture_ = ndimage.gaussian_filter(random.normal(size=SIZE), blur) * blur
    image = np.clip(0.5 * texture_ + inside - 0.5, -1, 1).astype(np.float32)
    return Gridded(image, inside.astype(np.uint8))


def cohort(n: int, seed: int, blur: float = 1.0) -> list[Volume]:
    random = np.random.default_rng(seed)
    pairs = [pair(random, blur) for _ in range(n)]
    return [from_grid(p.image, DATA, p.mask) for p in pairs]


def patients(n: int, seed: int) -> list[tuple[str, Volume]]:
    return [(f"p{i // 2}", volume) for i, volume in enumerate(cohort(n, seed))]


@pytest.fixture(scope="module")
def figures() -> Callable[[float], dict[str, dict[str, object]]]:
    real = patients(40, 1)
    return lambda blur: evaluate(cohort(40, 2, blur), real, data=DATA, options=QUICK)


def test_the_same_distribution_is_near_and_another_is_far(
    figures: Callable[[float], dict[str, dict[str, float]]],
) -> None:
    same, other = figures(1.0), figures(2.0)
    assert same["texture_frechet"]["value"] < 2 * same["texture_frechet"]["real"]
    assert other["texture_frechet"]["value"] > 5 * same["texture_frechet"]["value"]
    assert other["texture_mmd"]["value"] > 5 * abs(same["texture_mmd"]["value"])
    assert same["texture_coverage"]["value"] > 0.7 > other["texture_coverage"]["value"]
    assert same["texture_diversity"]["value"] == pytest.approx(1, abs=0.15)
    assert other["intensity_wasserstein"]["value"] > same["intensity_wasserstein"]["value"]


def test_a_shift_of_intensity_is_told_in_the_scale_and_in_hounsfield_units() -> None:
    random = np.random.default_rng(0)
    data = DataConfig(modality="ct", size=SIZE, window=(-1000.0, 1000.0))
    image = random.uniform(-0.5, 0.3, SIZE).astype(np.float32)
    real = [(f"p{i}", from_grid(image, data)) for i in range(4)]
    moved = [from_grid(image + np.float32(0.1), data) for _ in range(2)]
    same = [from_grid(image, data) for _ in range(2)]
    found = {
        name: evaluate(made, real, data=data, options=QUICK)
        for name, made in {"moved": moved, "same": same}.items()
    }
    assert found["moved"]["intensity_wasserstein"]["value"] == pytest.approx(0.1, abs=0.005)
    assert found["moved"]["hu_wasserstein"]["value"] == pytest.approx(100, abs=5)
    assert 0.1 < found["moved"]["intensity_jensen_shannon"]["value"] < 1
    for name in ("intensity_wasserstein", "hu_wasserstein", "intensity_jensen_shannon"):
        assert found["same"][name]["value"] == found["same"][name]["real"] == 0
    mri = evaluate(cohort(4, 1), patients(10, 1), data=DATA, options=QUICK)
    assert "hu_wasserstein" not in mri
    assert mri["intensity_wasserstein"]["real"] > 0


def test_histograms_that_do_not_meet_are_wholly_apart() -> None:
    low, high = (histograms(np.full(SIZE, v, np.float32)) for v in (-0.5, 0.5))
    halves = np.array([True, False])
    found = intensities(np.stack([low]), np.stack([high, high]), halves, DATA)
    assert found["intensity_jensen_shannon"]["value"] == pytest.approx(1)
    assert found["intensity_jensen_shannon"]["real"] == 0
    assert found["intensity_wasserstein"]["value"] == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("size", [(32, 32, 32), (32, 32, 1)])
def test_a_model_is_also_measured_by_what_it_restores(size: tuple[int, int, int]) -> None:
    """Of volumes that it was made for it keeps more than of noise."""
    cfg = RunConfig.model_validate(
        {"data": {"size": size}, "model": {"latent_channels": 8 if size[2] > 1 else 4}}
    )
    model = public_artifact(cfg, start(cfg))
    shape = size if size[2] > 1 else size[:2]
    smooth = [random_volume(shape, "mri", 77, i).reshape(size) for i in range(4)]
    noise = [np.random.default_rng(i).uniform(-1, 1, size).astype(np.float32) for i in range(4)]
    good, bad = restoration(model, smooth), restoration(model, noise)
    assert set(good) == {f"reconstruction_{name}" for name in ("psnr", "ssim", "ms_ssim")}
    assert good["reconstruction_psnr"]["value"] > bad["reconstruction_psnr"]["value"] + 5
    assert good["reconstruction_ssim"]["value"] > bad["reconstruction_ssim"]["value"]
    assert "4 real volumes" in good["reconstruction_psnr"]["task"]


def test_channels_are_restored_all_alike() -> None:
    """Of 32 volumes with two channels, each second image in a row would be of one channel."""
    size = (16, 16, 16)
    cfg = RunConfig.model_validate({"data": {"size": size}, "model": {"latent_channels": 8}})
    model = public_artifact(cfg, start(cfg))
    smooth = random_volume(size, "mri", 77, 0)
    noise = np.random.default_rng(0).uniform(-1, 1, size).astype(np.float32)
    each = [restoration(model, [image] * 4) for image in (smooth, noise)]
    both = restoration(model, [np.stack([smooth, noise])] * 32, "channels of volumes")
    for name, figure in both.items():
        mean = np.mean([found[name]["value"] for found in each])
        assert figure["value"] == pytest.approx(mean, rel=1e-6)
        assert "32 real channels of volumes" in figure["task"]


def test_every_figure_says_what_it_is(
    figures: Callable[[float], dict[str, dict[str, object]]],
) -> None:
    found = figures(1.0)
    json.dumps(found, allow_nan=False)
    for name, figure in found.items():
        assert figure["release_ok"] is False
        assert (figure["n_synthetic"], figure["n_real"]) == (40, 40)
        if name.startswith("texture"):
            assert figure["extractor"] == "medvae-texture-1"


def test_copies_of_one_volume_have_no_diversity() -> None:
    one = cohort(1, 3)[0]
    noise = np.random.default_rng(0)
    made = [
        one.with_voxels((one.voxels + noise.integers(0, 2, SIZE)).clip(0, 1000).astype(np.int16))
        for _ in range(10)
    ]
    found = evaluate(made, patients(20, 1), data=DATA, options=QUICK)
    assert found["texture_diversity"]["value"] < 0.1
    assert found["texture_recall"]["value"] < 0.2


def test_segmentation_learns_from_pairs_and_not_from_noise() -> None:
    random = np.random.default_rng(0)
    test = [pair(random) for _ in range(6)]
    train = [pair(random) for _ in range(12)]
    wrong = [Gridded(p.image, random.permutation(p.mask.ravel()).reshape(SIZE)) for p in train]  # type: ignore[union-attr]
    (good,) = segmentation_dice(train, test, 1, iterations=40)
    (bad,) = segmentation_dice(wrong, test, 1, iterations=40)
    assert good > 0.8
    assert bad < 0.3
    assert segmentation_dice(train, test, 1, iterations=3) == segmentation_dice(
        train, test, 1, iterations=3
    )


def test_dice_of_a_label_that_is_nowhere_is_no_number() -> None:
    random = np.random.default_rng(0)
    train = [pair(random) for _ in range(4)]
    scores = segmentation_dice(train, train, 2, iterations=40)
    assert 0 <= scores[0] <= 1
    assert math.isnan(scores[1]) or scores[1] == 0


def test_the_downstream_task_is_run_where_there_are_masks() -> None:
    options = Options(iterations=5, network=False)
    found = evaluate(cohort(6, 2), patients(12, 1), data=DATA, options=options)
    assert found["segmentation_dice"]["release_ok"] is False
    assert "tested on 6 real volumes" in str(found["segmentation_dice"]["task"])
    bare = [Volume(v.voxels, v.affine, "mri") for v in cohort(6, 2)]
    assert "segmentation_dice" not in evaluate(bare, patients(12, 1), data=DATA, options=options)


def test_auc_against_known_answers() -> None:
    random = np.random.default_rng(0)
    labels = [str(i % 2) for i in range(400)]
    shift = np.array([[float(label)] for label in labels])
    features = random.normal(size=(400, 3)) + shift * [2.0, 0, 0]
    # Two unit Gaussians 2 apart: AUC = Phi(2 / sqrt 2) = 0.921.
    auc = classification_auc(features[:200], labels[:200], features[200:], labels[200:])
    assert auc == pytest.approx(0.921, abs=0.04)
    noise = random.normal(size=(400, 3))
    assert classification_auc(noise[:200], labels[:200], noise[200:], labels[200:]) == (
        pytest.approx(0.5, abs=0.1)
    )
    with pytest.raises(ValueError, match="classes"):
        classification_auc(features[:3], ["a"] * 3, features[:2], ["a", "b"])


def test_classification_where_there_are_labels() -> None:
    def labelled(volumes: list[Volume]) -> list[Volume]:
        return [
            Volume(v.voxels, v.affine, "mri", None, {"label": str(i % 2)})
            for i, v in enumerate(volumes)
        ]

    made = labelled([v for two in zip(cohort(10, 2), cohort(10, 3, 2.0), strict=True) for v in two])
    real = labelled([v for two in zip(cohort(10, 4), cohort(10, 5, 2.0), strict=True) for v in two])
    found = evaluate(
        made,
        [(f"p{i}", v) for i, v in enumerate(real)],
        data=DATA,
        options=Options(network=False),
    )
    assert found["classification_auc"]["value"] > 0.9
    assert found["texture_classification_auc"]["value"] > 0.9
    # The class goes before the label, and what has neither is not classified.
    wrong = [replace(v, meta=v.meta | {"class": 0}) for v in made]
    kinds = [(f"p{i}", v) for i, v in enumerate(real)]
    assert "classification_auc" not in evaluate(
        wrong, kinds, data=DATA, options=Options(network=False)
    )


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(InputError, match="at least two synthetic"):
        evaluate(cohort(1, 1), patients(8, 1), data=DATA, options=QUICK)
    with pytest.raises(InputError, match="four subjects"):
        evaluate(cohort(4, 1), patients(4, 1), data=DATA, options=QUICK)
    with pytest.raises(InputError, match="is mri, not ct"):
        evaluate(cohort(4, 1), patients(8, 1), data=DataConfig(modality="ct"), options=QUICK)


def test_without_a_grid_the_first_synthetic_volume_gives_it() -> None:
    assert evaluate(cohort(4, 1), patients(10, 1), options=QUICK)["texture_frechet"]["value"] >= 0


def test_shells_are_what_they_were() -> None:
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in (16, 16, 8)], indexing="ij")
    radius = np.sqrt((np.array(axes) ** 2 * np.array([64, 64, 16])[:, None, None, None]).sum(0))
    vector = shells.shells((radius / 16 - 0.5).astype(np.float32))
    assert vector.shape == (16,)
    assert (np.diff(vector[:7]) > 0).all()
    assert vector[0] == pytest.approx(-0.5 + 0.9 / 16, abs=0.03)
    assert vector[9:14] == pytest.approx(1 / 16, abs=0.02)


def test_the_extractor_is_what_it_was() -> None:
    """Figures of different versions are only comparable while this holds."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in (12, 10, 8)], indexing="ij")
    image = np.sin(5 * axes[0] + 2 * axes[1] * axes[2]).astype(np.float32)
    vector = texture.texture(image)
    assert vector.shape == (46,)
    assert np.isfinite(texture.texture(np.zeros((8, 8, 8), np.float32))).all()
    assert float(vector.sum()) == pytest.approx(SUM, rel=1e-4)


SUM = 7.774062


@pytest.mark.skipif(not network.available(), reason="the extra `metrics` is not installed")
def test_the_network_gives_features_and_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    found = network.Network().features(pair(np.random.default_rng(0)).image)
    assert found.shape == (3, 1280)
    assert capsys.readouterr().out == ""
