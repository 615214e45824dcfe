"""Sites in a release: the gate, the table, the card, and what its reader gets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from medvae.errors import InputError
from medvae.release import ReleaseResult
from medvae.release.gate import VoxelGate
from medvae.release.opened import open_release
from medvae.release.sites import MOST
from medvae.volume import Volume
from tests.release.made import MRI, facts, synthetic

Make = Callable[..., ReleaseResult]
SITES = ("north", "south")
DATA = MRI.model_copy(update={"sites": SITES})
ROW = {"statistic": "mean | of <b>x</b>", "difference": 1.5, "noise": 0.1, "chance": 0.2}


def shown(rows: int = 3) -> dict[str, Any]:
    """What a model's facts say of its sites."""
    found = [{"site": "north", **ROW, "differs": True} for _ in range(rows)]
    found.append({"site": "south", **ROW, "differs": False})
    return {"names": list(SITES), "shares": [0.4, 0.6], "level": 0.05, "differences": found}


def volumes(*names: str | None) -> Iterator[Volume]:
    for volume, name in zip(synthetic(len(names), DATA), names, strict=True):
        yield replace(volume, meta={} if name is None else {"site": name})


def released(make: Make, *names: str, **more: Any) -> ReleaseResult:
    return make(DATA, volumes=volumes(*names), facts=facts(DATA, sites=shown(**more)))


def test_the_table_and_its_reader_name_the_site(make: Make) -> None:
    root = released(make, "north", "south", "north").path
    lines = (root / "participants.tsv").read_text().splitlines()
    assert lines[0].split("\t") == ["participant_id", "synthetic", "site"]
    assert [line.split("\t")[2] for line in lines[1:]] == ["north", "south", "north"]
    assert [sample.site for sample in open_release(root).samples] == ["north", "south", "north"]
    croissant = json.loads((root / "croissant.json").read_text())
    assert '"column": "site"' in json.dumps(croissant)


def test_class_and_site_stand_beside_each_other(make: Make) -> None:
    data = DATA.model_copy(update={"classes": 2})
    drawn = (
        replace(volume, meta={"class": 1, "site": "south"}) for volume in synthetic(2, data, seed=3)
    )
    root = make(data, volumes=drawn, facts=facts(data, sites=shown())).path
    head, first, _ = (root / "participants.tsv").read_text().splitlines()
    assert head.split("\t") == ["participant_id", "synthetic", "class", "site"]
    assert first.split("\t")[2:] == ["1", "south"]


def test_card_and_report_say_what_differs_and_no_name_becomes_markup(make: Make) -> None:
    root = released(make, "north", "south", rows=MOST + 5).path
    card = json.loads((root / "card.json").read_text())["sites"]
    assert (card["differing"], card["compared"]) == (MOST + 5, MOST + 6)
    assert len(card["differences"]) == MOST
    text = (root / "CARD.md").read_text()
    assert f"{MOST + 5} of {MOST + 6} statistics of the sites north, south differ" in text
    assert "mean \\| of \\<b\\>" in text
    page = (root / "report.html").read_text()
    assert "<h2>Sites</h2>" in page
    assert "&lt;b&gt;x" in page


def test_a_release_without_sites_says_nothing_of_them(make: Make) -> None:
    root = make().path
    assert "sites" not in json.loads((root / "card.json").read_text())
    assert "<h2>Sites</h2>" not in (root / "report.html").read_text()
    assert "## Sites" not in (root / "CARD.md").read_text()


@pytest.mark.parametrize(("data", "name"), [(DATA, "west"), (DATA, None), (MRI, "north")])
def test_the_gate_refuses_a_site_that_was_not_declared(data: Any, name: str | None) -> None:
    gate = VoxelGate(data, expected=1)
    (volume,) = volumes(name)
    with pytest.raises(InputError, match="is of the site"):
        gate.look(volume)
