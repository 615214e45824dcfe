"""The benchmark of contrasts: means over seeds, and its own vault by the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medvae.volume import Volume

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import bench_contrasts  # noqa: E402
from contrasts import heads, made, prediction  # noqa: E402


def test_figures_are_means_over_splits() -> None:
    def row(value: float) -> dict[str, object]:
        pairs = {"a b": {"synthetic": value, "real": 2 * value}}
        figures = {name: {"value": value, "real": value / 2} for name in bench_contrasts.FIGURES}
        figures["channel_correlation"]["pairs"] = pairs
        figures[bench_contrasts.PREDICTION] = {"value": 1.2 * value, "real": value} | {
            "without_others": 3 * value
        }
        return {"seconds": 10 * value, **figures}

    found = bench_contrasts.summary([row(1.0), row(3.0)])
    assert found["seconds"] == pytest.approx(20.0)
    assert found["texture_frechet"] == {"value": 2.0, "real": 1.0}
    assert found["pairs"] == {"a b": {"synthetic": 2.0, "real": 4.0}}
    (target,) = bench_contrasts.targets({"epsilon 8": found})
    assert target["value"] == pytest.approx(0.2)
    assert not target["met"]


def test_a_channel_is_predicted_by_what_relates_it_to_the_others() -> None:
    random = np.random.default_rng(0)
    waves = random.normal(size=(30, 3, 20, 20, 20)).astype(np.float32)
    volumes = np.concatenate([waves, waves[:, :1] - waves[:, 1:2]], axis=1) / 3.0
    train, test, unrelated = volumes[:20], volumes[20:], volumes[:20].copy()
    unrelated[:, -1] = unrelated[::-1, -1]
    alone = prediction.without_others(train, test)
    assert prediction.error(train, test, 0, steps=200) < 0.4 * alone
    assert prediction.error(unrelated, test, 0, steps=60) > 0.9 * alone


def test_the_channels_of_a_person_are_read_in_their_order(tmp_path: Path) -> None:
    for person in ("b", "a"):
        for place, name in enumerate(("t1", "flair")):
            values = np.arange(64.0).reshape(4, 4, 4) * (-1.0) ** place
            values = values if person == "a" else values[::-1]
            nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / f"{person}_{name}.nii.gz")
    read = prediction.people(tmp_path, ["_t1", "_flair"])
    assert read.shape == (2, 2, 4, 4, 4)
    assert read[0, 0, 3, 3, 3] > 0.9 > -0.9 > read[0, 1, 3, 3, 3]
    assert read[1, 1, 0, 3, 3] < -0.9


def test_it_runs_the_command_line(tmp_path: Path) -> None:
    answered = bench_contrasts.medvae(
        tmp_path, "tenant", "create", "bench", "--recovery-out", tmp_path / "spare"
    )
    assert answered["tenant"] == "bench"


class _Ward:
    """One person: a ball of white matter round a ball of fluid, beside which there is fluid."""

    scheme = heads.GREYS

    def read(self, scan: object) -> Volume:
        far = np.sqrt(sum((one - 12.0) ** 2 for one in np.indices((24, 24, 24))))
        labels = np.where(far < 4.0, 4, np.where(far < 8.0, 1, 0)).astype(np.uint8)
        t1 = np.where(labels == 1, 800, np.where(labels == 4, 150, 0)) + 100 * (far < 11.0)
        return Volume(t1.astype(np.int16), np.diag([2.0, 2.0, 2.0, 1.0]), "mri", labels, {})


def test_a_made_flair_has_the_anatomy_of_its_person() -> None:
    t1, flair, labels, affine = heads.contrasts(_Ward(), object())  # type: ignore[arg-type]
    assert t1.shape == flair.shape == labels.shape == (12, 12, 12)
    np.testing.assert_allclose(np.diag(affine), [4.0, 4.0, 4.0, 1.0])
    np.testing.assert_allclose(affine[:3, 3], 1.0)
    assert flair[labels == 4].mean() < 0.3 < flair[labels == 1].mean()
    # Fluid round the brain is dark, and the corner is air.
    assert flair[6, 6, 1] < 0.3
    assert abs(flair[0, 0, 0]) < 0.01


def test_bodies_and_hearts_are_what_they_are_said_to_be(tmp_path: Path) -> None:
    ct, pet = made.body(np.random.default_rng(0))
    assert ct.shape == pet.shape == made.BODY
    assert ct[0, 0, 12] == pytest.approx(-1000, abs=60)
    assert ct[16, 10, 12] > 100  # the spine
    assert pet.max() > 3.0
    assert pet[0, 0, 12] < 0.1
    beating = made.heart(np.random.default_rng(0))
    assert beating.shape == (*made.HEART, made.PHASES)
    bright = (beating > 600).sum(axis=(0, 1, 2))
    assert bright.min() < 0.7 * bright.max()
    for folder in ("held", "drawn"):
        (tmp_path / folder).mkdir()
        for number in range(3):
            made.write_body(tmp_path / folder, number)
    made.sheet([tmp_path / "held", tmp_path / "drawn"], tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").size == (3 * (3 * 32 + 2), 4 * (3 * 32 + 2))
