"""The benchmark of pictures: its classifier, its targets, and a cohort that it splits by people."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from medvae.volume import Volume

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import bench_images  # noqa: E402


def test_the_classifier_finds_what_is_there_and_nothing_where_nothing_is() -> None:
    random = np.random.default_rng(0)
    images = random.normal(size=(300, 1, 12, 12)).astype(np.float32)
    classes = np.arange(300) % 2
    other = random.normal(size=images.shape).astype(np.float32)
    assert abs(bench_images.auc(images, classes, other, classes, 0) - 0.5) < 0.15
    images[:, :, :6] += classes[:, None, None, None]
    assert bench_images.auc(images[:200], classes[:200], images[200:], classes[200:], 0) > 0.95


def test_targets_are_points_below_what_real_pictures_give() -> None:
    row = {"real": 0.97, "epsilon 8": 0.96, "epsilon 3": 0.96, "epsilon 1": 0.93}
    found = {name: {"auc": {"mean": value}} for name, value in row.items()}
    targets = bench_images.targets({"xray_pneumonia": found})
    assert [one["met"] for one in targets] == [True, True, False]
    assert bench_images.targets({"rgb_skin": found}) == []


def test_a_seed_gives_a_row_for_real_pictures_and_each_epsilon() -> None:
    random = np.random.default_rng(1)
    case = bench_images.Case("", "xray", (8, 8, 1), 2, False)
    volumes = {}
    for person in range(60):
        values = random.normal(120, 20, (8, 8, 1)).cumsum(axis=0) / 3
        values += 40 * (person % 2)
        clipped = np.clip(values, 0, 255).astype(np.int16)
        volumes[f"p{person:02d}"] = [Volume(clipped, np.eye(4), "xray", meta={"class": person % 2})]
    found = dict(bench_images.one_seed(volumes, case, 0, quick=True))
    assert list(found) == ["real", "epsilon 8", "epsilon 3", "epsilon 1"]
    for name, figures in found.items():
        assert 0 <= figures["auc"] <= 1
        assert name == "real" or figures["texture_frechet"] > 0
