"""What a release's card says of all patients of a tenant: looks at them, and what they lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from tests.cli.conftest import BY_FILE, Clinic
from tests.conftest import phantom


def statement(clinic: Clinic, out: Path) -> dict[str, Any]:
    clinic("release", "create", "first", "-n", "2", "-o", out)
    card: dict[str, Any] = json.loads((out / "card.json").read_text())
    return card["privacy"]


def test_looks_are_counted_whoever_the_patients_were(journey: Clinic, tmp_path: Path) -> None:
    before = statement(journey, tmp_path / "before")["looks"]
    journey("evaluate", "first", "--against", "phantoms", "-n", "2", "--no-downstream")
    # A folder's volumes beside the patients are a look at them too.
    folder = tmp_path / "before"
    journey("evaluate", folder, "--against", "phantoms@1", "--no-downstream")
    journey("audit", "first", "-n", "2", ok=False)
    after = statement(journey, tmp_path / "after")
    assert after["looks"] == {
        "evaluate": before["evaluate"] + 2,
        "audit": before["audit"] + 1,
    }
    assert f"evaluate was run {after['looks']['evaluate']} times" in " ".join(after["assumptions"])
    rng = np.random.default_rng(0)
    (tmp_path / "strangers").mkdir()
    for index in range(4):
        image = nib.Nifti1Image(phantom(rng)[0], np.diag([1.0, 1.0, 1.5, 1.0]))
        nib.save(image, tmp_path / "strangers" / f"{index}.nii.gz")
    journey("ingest", tmp_path / "strangers", "-d", "strangers", *BY_FILE)
    journey("evaluate", "first", "--against", "strangers", "-n", "2", "--no-downstream")
    # Were it not counted, the card of a data set that shares one patient with these would say so.
    again = statement(journey, tmp_path / "again")["looks"]
    assert again == {"evaluate": after["looks"]["evaluate"] + 1, "audit": after["looks"]["audit"]}
    journey("dataset", "delete", "strangers", "--yes")
    assert statement(journey, tmp_path / "gone")["looks"] == again


def test_evaluations_name_model_and_data_set_in_the_trail(journey: Clinic) -> None:
    journey("evaluate", "first", "--against", "phantoms", "-n", "2", "--no-downstream")
    events = journey("log").json["events"]
    last = [one for one in events if one["event"] == "evaluate"][-1]["details"]
    assert (last["model"], last["dataset"]) == ("first", "phantoms@1")


def test_the_card_says_what_nobody_has_lost_more_than(journey: Clinic, tmp_path: Path) -> None:
    card = statement(journey, tmp_path / "release")
    budget = journey("budget").json
    assert card["lost_in_all"]["epsilon"] >= budget["spent"] - 1e-9
    assert card["lost_in_all"]["epsilon"] <= budget["limit"]
    assert card["lost_in_all"]["delta"] == budget["delta"]
    assert card["lost_in_all"]["debits"] == len(budget["events"])
