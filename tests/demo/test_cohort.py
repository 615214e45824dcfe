"""The demo's patients: one public anatomy, deformed and recoloured."""

from __future__ import annotations

import csv
import filecmp

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from medvae.demo import cohort


@pytest.fixture(scope="module")
def head():
    """The MNI152 brain in an ellipsoid of scalp, as the average head is stored."""
    index = np.indices((46, 62, 60)) - np.array([23, 33, 34])[:, None, None, None]
    inside = ((index / np.array([19, 24, 26])[:, None, None, None]) ** 2).sum(axis=0) < 1
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = [-92.0, -122.0, -118.0]
    return cohort.head(nib.Nifti1Image((inside * 200).astype(np.int16), affine), 8.0)


@pytest.fixture(scope="module")
def brain():
    return cohort.brain()


def test_the_brain_is_in_the_middle_of_the_head(head):
    brain = (head.grey + head.white) > 0.5
    assert brain.sum() * 8.0**3 == pytest.approx(1.1e6, rel=0.2)
    outside = head.t1[~ndimage.binary_dilation(brain, iterations=2)]
    assert head.t1[head.white > 0.8].mean() > 1.5 * outside[outside > 0.2].mean()
    assert head.t1.max() == 1.0
    assert head.t1[0].max() < 0.05


def test_the_same_seed_writes_the_same_files(brain, tmp_path):
    for name in ("one", "two"):
        cohort.write(tmp_path / name, brain, 2, 1, seed=3)
    compared = filecmp.dircmp(tmp_path / "one", tmp_path / "two")
    for part in ("images", "labels"):
        files = compared.subdirs[part].common_files
        match = filecmp.cmpfiles(tmp_path / "one" / part, tmp_path / "two" / part, files, False)
        assert match == (files, [], [])
    rows = list(csv.reader((tmp_path / "one" / "subjects.csv").open(encoding="utf-8")))
    assert [row[1] for row in rows[1:]] == ["patient000", "patient000", "patient001"]


def test_two_scans_of_a_patient_have_one_anatomy_and_patients_differ(brain, tmp_path):
    cohort.write(tmp_path, brain, 2, 1)
    masks = [nib.load(path).get_fdata() for path in sorted((tmp_path / "labels").iterdir())]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert 0.02 < (masks[0] != masks[2]).mean() < 0.2
    scans = [nib.load(path).get_fdata() for path in sorted((tmp_path / "images").iterdir())]
    assert not np.array_equal(scans[0], scans[1])


def test_smooth_fields_are_as_wide_as_they_say(brain):
    for width in (16.0, 40.0):
        found = np.mean(
            [cohort._smooth(np.random.default_rng(seed), brain, width) for seed in range(4)], axis=0
        )
        assert found.shape == brain.t1.shape
        field = cohort._smooth(np.random.default_rng(9), brain, width)
        assert float(field.std()) == pytest.approx(1.0, abs=1e-4)
        # Of a Gaussian kernel of width w the field changes by sqrt(2 - 2 exp(-d^2 / 4 w^2)).
        step = max(1, round(width / 4.0))
        change = float(np.sqrt(np.mean((field[step:] - field[:-step]) ** 2)))
        wanted = np.sqrt(2.0 - 2.0 * np.exp(-((step * 4.0 / width) ** 2) / 4.0))
        assert change == pytest.approx(wanted, rel=0.35)
