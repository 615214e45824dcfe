"""Public images in a release: licences that allow it, and what the gate asks of each image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medvae.errors import InputError, UsageError
from medvae.release import PublicImages, ReleaseResult, redistributable
from tests.release.made import MRI, facts, synthetic

Make = Callable[..., ReleaseResult]


def public(count: int) -> PublicImages:
    return PublicImages(count, "hearts", "ab" * 32, "made up", "CC-BY-4.0")


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("cc0-1.0", "CC0-1.0"),
        ("CC BY 4.0", "CC-BY-4.0"),
        ("CC-BY-SA 4.0", "CC-BY-SA-4.0"),
        ("cc_by_nc_sa_3.0", "CC-BY-NC-SA-3.0"),
        ("mit", "MIT"),
    ],
)
def test_licences_that_let_changed_images_be_passed_on(written: str, name: str) -> None:
    assert redistributable(written, "it") == name


@pytest.mark.parametrize(
    "written",
    ["", "free", "CC-BY", "CC BY-ND 4.0", "CC-BY-NC-ND-4.0", "CC-BY-5.0", "CC-BY-40", "(MIT)"],
)
def test_any_other_licence_is_refused_by_its_name(written: str) -> None:
    with pytest.raises(UsageError) as refused:
        redistributable(written, "the entry hearts")
    assert f"the entry hearts has the licence {written!r}" in str(refused.value)


@pytest.mark.parametrize("came", [0, 1, 3])
def test_as_many_must_come_as_the_card_says(make: Make, tmp_path: Path, came: int) -> None:
    given = synthetic(came, MRI, seed=5)
    with pytest.raises(InputError, match=f"2 public images must come, not {came}"):
        make(MRI, facts=facts(public=public(2)), public=given)
    assert not any(tmp_path.iterdir())


def test_public_images_that_nobody_described_do_not_go_out(make: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 public images must come, not 1"):
        make(MRI, public=synthetic(1, MRI, seed=5))
    assert not any(tmp_path.iterdir())


def test_a_synthetic_volume_that_is_a_public_image_stops_the_release(make: Make) -> None:
    with pytest.raises(InputError, match="public image 1 is identical to synthetic volume 1"):
        make(MRI, facts=facts(public=public(1)), public=synthetic(1, MRI))


def test_a_source_cannot_break_the_table() -> None:
    with pytest.raises(UsageError, match="one line"):
        PublicImages(1, "hearts", "ab" * 32, "made\tup", "CC-BY-4.0")
