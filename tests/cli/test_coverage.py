"""Whether the grid shows the labels whole: what `plan` says, and the grid that it proposes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medvae.api.coverage import coverage, cut_off, label_boxes, of_run
from medvae.config import DataConfig, RunConfig
from medvae.config_files import load_config
from tests.cli.conftest import BY_FILE, QUICK, Clinic

SPACING = (2.0, 2.0, 8.0)
SHAPE = (60, 60, 10)


def mask_of(low: tuple[int, int, int], high: tuple[int, int, int], label: int = 1) -> np.ndarray:
    """A box of one label; `high` is not in it."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = label
    return mask


def line(mask: np.ndarray) -> dict[str, Any]:
    """What the manifest holds of a volume."""
    return {"shape": list(SHAPE), "spacing": list(SPACING), "label_boxes": label_boxes(mask)}


def grid(size: tuple[int, int, int], **others: object) -> DataConfig:
    given = {"modality": "mri", "size": size, "labels": 2, "spacing": SPACING}
    return DataConfig.model_validate(given | others)


def test_a_box_is_that_of_each_number() -> None:
    mask = mask_of((1, 2, 3), (4, 6, 8), label=7)
    mask[0, 0, 0] = 2
    assert label_boxes(mask) == {"2": [[0, 0]] * 3, "7": [[1, 3], [2, 5], [3, 7]]}
    assert label_boxes(np.zeros(SHAPE, np.uint8)) == {}
    many = np.arange(1, 34, dtype=np.uint8).reshape(33, 1, 1)
    assert len(label_boxes(many[:32])) == 32
    assert label_boxes(many) == {}


@pytest.mark.parametrize(
    ("low", "high", "crop", "beyond"),
    [
        # The grid of 32 voxels shows voxels 14 to 45 of a scan of 60.
        ((14, 20, 1), (46, 40, 9), "centre", 0),
        ((13, 20, 1), (46, 40, 9), "centre", 1),
        ((14, 20, 1), (47, 40, 9), "centre", 1),
        ((14, 20, 0), (46, 40, 9), "centre", 1),
        # Centred on the labels it shows any 32 voxels.
        ((0, 20, 0), (32, 40, 8), "labels", 0),
        ((0, 20, 0), (33, 40, 8), "labels", 0),
        ((0, 20, 0), (34, 40, 8), "labels", 1),
    ],
)
def test_labels_beyond_the_grid_are_counted(low, high, crop, beyond) -> None:
    found = coverage([line(mask_of(low, high))], grid((32, 32, 8), crop=crop))
    assert found is not None
    assert (found.volumes, found.beyond) == (1, beyond)
    assert found.grid_mm == (64.0, 64.0, 64.0)


def test_only_learnt_labels_count() -> None:
    inner, outer = mask_of((25, 25, 4), (30, 30, 6)), mask_of((0, 0, 0), SHAPE, label=2)
    both = np.where(inner > 0, inner, outer)
    assert coverage([line(both)], grid((32, 32, 8), labels=1)).beyond == 0
    assert coverage([line(both)], grid((32, 32, 8), labels=2)).beyond == 1
    scheme = {"2": "outer"}
    assert coverage([line(both)], grid((32, 32, 8), labels=-1, label_scheme=scheme)).beyond == 1


def test_where_nothing_is_known_nothing_is_said() -> None:
    known = line(mask_of((0, 0, 0), SHAPE))
    empty = line(np.zeros(SHAPE, np.uint8))
    old = {"shape": list(SHAPE), "spacing": list(SPACING)}
    assert coverage([empty, old], grid((32, 32, 8))) is None
    assert coverage([known, empty, old], grid((32, 32, 8))).volumes == 1
    assert coverage([known], grid((32, 32, 8), fit="stretch")) is None
    assert coverage([known], grid((32, 32, 8), crop="body")) is None


def test_the_proposed_grid_shows_the_labels_and_keeps_thick_slices() -> None:
    lines = [line(mask_of((5, 5, 1), (5 + n, 45, 9))) for n in (30, 35, 40)]
    found = coverage(lines, grid((32, 32, 8)))
    assert found.spacing == SPACING
    assert coverage(lines, grid(found.size, spacing=found.spacing, crop="labels")).beyond == 0
    assert all(edge % 8 == 0 for edge in found.size)
    # 40 voxels of 2 mm and 10 mm on either side.
    assert found.size == (56, 56, 16)


def scan(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], box: list[list[int]]
) -> dict[str, Any]:
    return {"shape": list(shape), "spacing": list(spacing), "label_boxes": {"1": box}}


@pytest.mark.parametrize(
    ("shape", "spacing", "box", "expected"),
    [
        # A prostate in slices of 3.6 mm: at 3.6 mm within them its zones would be a few voxels.
        (
            (160, 160, 20),
            (0.6, 0.6, 3.6),
            [[40, 119], [45, 114], [3, 15]],
            ((72, 64, 24), (1.0, 1.0, 3.6)),
        ),
        # Sagittal knee.
        (
            (24, 144, 144),
            (4.0, 0.9, 0.9),
            [[3, 20], [20, 123], [0, 143]],
            ((24, 80, 88), (4.0, 1.5, 1.5)),
        ),
        # A chest: the slices are finer than the grid that shows it.
        (
            (512, 512, 150),
            (0.7, 0.7, 2.0),
            [[20, 480], [80, 400], [5, 144]],
            ((88, 64, 80), (4.0, 4.0, 4.0)),
        ),
        ((64, 64, 56), (5.5, 5.5, 5.0), [[10, 40]] * 3, ((40, 40, 40), (5.5, 5.5, 5.0))),
    ],
)
def test_the_proposed_grid_keeps_what_slices_show(shape, spacing, box, expected) -> None:
    data = grid((32, 32, 8), spacing=(1.0, 1.0, 1.0))
    found = coverage([scan(shape, spacing, box)], data)
    assert (found.size, found.spacing) == expected


def test_the_proposed_grid_has_no_margin_where_nothing_was_scanned() -> None:
    found = coverage([line(mask_of((0, 5, 0), (60, 45, 10)))], grid((32, 32, 8)))
    # 60 voxels of 2 mm and no margin; 40 with 10 mm on either side; 10 of 8 mm.
    assert found.size == (64, 56, 16)


def test_draws_as_large_as_the_public_people_are_cut_off_by_no_grid() -> None:
    lines = [line(mask_of((10, 10, 1), (50, 50, 9)))]
    named = load_config(QUICK, []).with_library("heads", "0" * 64)

    def declared(
        anatomy: tuple[float, float, float] | None, own: tuple[float, float, float] | None
    ) -> RunConfig:
        entry = named.anatomy.model_copy(update={"spacing": anatomy})
        return named.model_copy(update={"anatomy": entry, "data": grid((32, 32, 8), spacing=own)})

    assert of_run(lines, declared(SPACING, SPACING)) is None
    assert cut_off(lines, declared(None, None)) == ""
    # Draws of that size and spacing, though of the library's people.
    assert of_run(lines, declared(None, SPACING)).beyond == 1
    assert "reach beyond the grid" in cut_off(lines, declared(None, SPACING))


def test_plan_and_train_tell_what_the_grid_cuts_off(tmp_path: Path) -> None:
    clinic = Clinic(tmp_path)
    clinic("tenant", "create", "clinic", "--recovery-out", tmp_path / "spare")
    rng = np.random.default_rng(0)
    for side in ("images", "labels"):
        (tmp_path / side).mkdir()
    for index in range(3):
        mask = mask_of((10, 10, 1), (50, 50, 9))
        affine = np.diag([*SPACING, 1.0])
        image = (mask * 100 + rng.integers(0, 50, SHAPE)).astype(np.int16)
        nib.save(nib.Nifti1Image(image, affine), tmp_path / "images" / f"{index}.nii.gz")
        nib.save(nib.Nifti1Image(mask, affine), tmp_path / "labels" / f"{index}.nii.gz")
    labels = ("--labels", tmp_path / "labels", "--label-scheme", "1=cube")
    clinic("ingest", tmp_path / "images", "-d", "d", *labels, *BY_FILE)
    planned = clinic("plan", "-c", QUICK, "-d", "d").json["coverage"]
    assert (planned["volumes"], planned["beyond"]) == (3, 3)
    assert planned["grid_mm"] == [32.0, 48.0, 128.0]
    proposed = [f"data.{key}={planned[key]}" for key in ("size", "spacing")]
    settings = [word for one in (*proposed, "data.crop=labels") for word in ("--set", one)]
    assert clinic("plan", "-c", QUICK, "-d", "d", *settings).json["coverage"]["beyond"] == 0
    notes = clinic("train", "-c", QUICK, "-d", "d", "--name", "m").json["notes"]
    assert any("reach beyond the grid" in note for note in notes)
