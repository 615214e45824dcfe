"""Odd data as hospitals and public sets have it: each case read right, told, or refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from shared_cases import BAD, OUTCOMES, Case, Seen, cases, folder, judged, run

CASES = {case.name: case for case in cases()}
NUMBERS = {name: number for number, name in enumerate(CASES)}
FOLDER = folder()
needs_cases = pytest.mark.skipif(
    FOLDER is None, reason="no cases/ingest beside the folder that MEDVAE_REAL_DATA names"
)
Looked = Callable[[str], Seen]


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Looked:
    """What a case gave; each is run once."""
    out, known = tmp_path_factory.mktemp("cases"), dict[str, Seen]()

    def look(name: str) -> Seen:
        assert FOLDER is not None
        if name not in known:
            known[name] = run(CASES[name], FOLDER, out, NUMBERS[name])
        return known[name]

    return look


@needs_cases
def test_every_folder_is_in_the_table_and_no_other() -> None:
    assert FOLDER is not None
    there = {path.name for path in FOLDER.iterdir() if path.is_dir() and path.name[0].isdigit()}
    assert {case.folder for case in CASES.values()} == there


@needs_cases
@pytest.mark.parametrize("name", CASES)
def test_a_case_is_read_right_told_or_refused_clearly(looked: Looked, name: str) -> None:
    outcome, why = judged(CASES[name], looked(name))
    assert outcome not in BAD, why
    assert (outcome, why) == (CASES[name].outcome, "")


def _changed(case: Case, key: str, right: Any) -> Case:
    return replace(case, right=case.right | {key: right})


# A figure of the table -> one that is nearly right.
NEARLY: dict[str, tuple[str, Any]] = {
    "volumes": ("01-rescale-slope-absent", 2),
    "patients": ("85-longitudinal-folders", 4),
    "unit": ("91f-nfd", "file"),
    "modality": ("01-rescale-slope-absent", "mri"),
    "shape": ("09-45deg-orientation-jitter", [24, 20, 12]),
    "spacing": ("02c-comma-spacing", [0.7, 0.9, 2.01]),
    "origin": ("06-siemens-mosaic", [-100.75, -58.68, -84.79]),
    "corner": ("01-rescale-slope-absent", 1018),
    "values": ("05-padding-0-signed", [-998, 1500, 71.99]),
    "masks": ("80b-mask-255", 0),
    "labels": ("80b-mask-255", [0, 1]),
    "mask_at": ("80e-mask-stored-flipped", [13.0, 6.5, 5.0]),
    "classes": ("98-second-ingest", [0, 1, 1, 1]),
}


@needs_cases
@pytest.mark.parametrize("key", NEARLY)
def test_a_wrong_right_value_is_caught(looked: Looked, key: str) -> None:
    name, right = NEARLY[key]
    outcome, why = judged(_changed(CASES[name], key, right), looked(name))
    assert outcome == "silent wrong"
    assert why.startswith(f"{key} ")


def test_every_figure_of_the_table_has_such_a_test() -> None:
    assert set(NEARLY) == {key for case in CASES.values() for key in case.right}


READ = Case("read", "read", (".",), ({},), {"volumes": 1})
TOLD = replace(READ, told=("odd",), left_out={"empty": 1})
NOT = replace(READ, right={}, refused=("is no scan",))
ONE = {"volumes": 1, "masks": 0, "labels": [], "classes": []}


@pytest.mark.parametrize(
    ("case", "seen", "outcome"),
    [
        (READ, Seen(ONE), "pass"),
        (READ, Seen(ONE, ("the modality of 1 image was guessed from the numbers: mri",)), "pass"),
        (READ, Seen(ONE, ("it is odd",)), "told"),
        (READ, Seen(ONE | {"masks": 1}), "silent wrong"),
        (READ, Seen(ONE, (), ("it is empty",)), "refused falsely"),
        (READ, Seen(sentence="it is no scan"), "refused falsely"),
        (READ, Seen(crash="KeyError()"), "crash"),
        (TOLD, Seen(ONE, ("it is odd",), ("it is empty",)), "told"),
        (TOLD, Seen(ONE, (), ("it is empty",)), "silent wrong"),
        (TOLD, Seen(ONE, ("it is odd",)), "silent wrong"),
        (TOLD, Seen(ONE, ("it is odd",), ("it is empty", "it is empty")), "silent wrong"),
        (NOT, Seen(sentence="it is no scan"), "refused clearly"),
        (NOT, Seen(sentence="it is damaged"), "refused falsely"),
        (NOT, Seen(ONE), "silent wrong"),
    ],
)
def test_outcomes_are_told_apart(case: Case, seen: Seen, outcome: str) -> None:
    assert judged(case, seen)[0] == outcome
    assert outcome in OUTCOMES


@pytest.mark.parametrize("options", [{"modality": "nothing"}, {"no_such_option": 1}])
def test_a_run_that_fails_says_how(tmp_path: Path, options: dict[str, Any]) -> None:
    (tmp_path / "read").mkdir()
    seen = run(replace(READ, steps=(options,)), tmp_path, tmp_path, 0)
    assert bool(seen.crash) == ("no_such_option" in options)
    assert bool(seen.sentence) == ("modality" in options)
