"""What a plan is likely to be worth: rows of the benchmarks, and which of them is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from medvae.anatomy.templates import AUTOMATIC_DIGEST, CHANNELS_DIGEST
from medvae.api.expected import ROWS, Row, expected, kind_of
from medvae.config_files import load_config

PAGES = Path(__file__).parents[1] / "docs/benchmarks"


@pytest.mark.parametrize("kind", sorted(ROWS))
def test_each_row_is_told_for_a_cohort_of_its_own_size_and_epsilon(kind: str) -> None:
    for row in ROWS[kind]:
        told = expected(kind, row.patients, row.epsilon)
        assert (told.patients, told.epsilon, told.draws) == (row.patients, row.epsilon, row.draws)
        assert min(told.draws, told.real) >= 0
        assert max(told.draws, told.real) <= 1 or "distance" in told.figure


def test_patients_count_as_much_as_epsilon_does() -> None:
    few, many = expected("pictures", 440, 8.0), expected("pictures", 1100, 24.0)
    assert (few.patients, few.epsilon) == (3525, 1.0)
    assert (many.patients, many.epsilon) == (3525, 8.0)


@pytest.mark.parametrize("row", [row for rows in ROWS.values() for row in rows])
def test_the_page_of_a_row_has_its_figures(row: Row) -> None:
    page = (PAGES / row.page).read_text(encoding="utf-8")
    for figure in (row.draws, row.real, row.without_patients):
        if figure is not None:
            assert str(figure).lstrip("0") in page


def test_volumes_without_labels_are_not_told_a_dice() -> None:
    cfg = load_config("mri", ["data.labels=0"])
    assert kind_of(cfg) == "unlabelled"
    assert "Dice" not in expected(kind_of(cfg), 60, 8.0).figure


@pytest.mark.parametrize(
    ("preset", "kind"),
    [
        ("xray", "pictures"),
        ("contrasts", "contrasts"),
        ("mri", "atlas"),
        ("mri-template", "template"),
    ],
)
def test_a_preset_is_of_the_kind_that_was_measured(preset: str, kind: str) -> None:
    assert kind_of(load_config(preset, [])) == kind


def test_ct_without_masks_is_held_against_ct() -> None:
    patients = ["data.labels=0", "anatomy.library=patients", "data.spacing=[5, 5, 6]"]
    shares = [
        f"anatomy.digest={AUTOMATIC_DIGEST}",
        "anatomy.share=1",
        "atlas.share=0",
        "finetune.share=0",
        "prior.share=0",
    ]
    for preset, kind in (("ct", "tissues-ct"), ("mri", "tissues")):
        assert kind_of(load_config(preset, [*patients, *shares])) == kind


def test_contrasts_of_an_anatomy_are_held_against_contrasts() -> None:
    both = ["data.channels=[t1, flair]", "data.labels=2", "data.spacing=[2, 2, 2]"]
    shares = [f"anatomy.digest={CHANNELS_DIGEST}", "anatomy.share=1", "cosines.share=0"]
    for library, kind in (("patients", "maps-contrasts"), ("heads", "library-contrasts")):
        cfg = load_config("contrasts", [*both, *shares, f"anatomy.library={library}"])
        assert kind_of(cfg) == kind
