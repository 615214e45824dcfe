"""`medvae audit` says what it found, what it did not attack and what it could not have found."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from medvae.api.results import AuditResult, EngineAudit, EngineFinding, Finding
from medvae.audit.report import ATTACKS
from medvae.cli.verbs.audit import _lines
from medvae.privacy.audit import audit_engine
from tests.cli.conftest import DECLARED, Clinic
from tests.conftest import phantom


def test_membership_is_measured_against_patients_that_the_model_never_saw(
    journey: Clinic, tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    for index in range(10):
        image = nib.Nifti1Image(phantom(rng)[0], np.diag([1.0, 1.0, 1.5, 1.0]))
        nib.save(image, tmp_path / f"{index}.nii.gz")
    journey("ingest", tmp_path, "-d", "heldout", *DECLARED, "--files-are-patients")
    found = journey("audit", "first", "--against", "heldout", "-n", "4", ok=False).json
    assert {"passed", "findings", "not_run", "not_attacked", "power"} <= set(found)
    names = {one["name"] for one in found["findings"]}
    assert "closest record" in names
    # Measured, or the reason why these ten cannot be told from ten others.
    assert ("membership" in names) != bool(found["not_run"])
    assert set(found["attacks"]["run"]) == names
    assert set(found["attacks"]["run"]).isdisjoint(found["attacks"]["not_run"])
    assert {name for names in found["attacks"].values() for name in names} == set(ATTACKS)
    assert set(found["power"]) == names
    assert any("gradients" in one for one in found["not_attacked"])


def test_without_other_patients_membership_is_not_run(journey: Clinic) -> None:
    found = journey("audit", "first", "-n", "4", ok=False).json
    assert "membership" not in {one["name"] for one in found["findings"]}
    assert found["not_run"][0].startswith("membership")
    findings = tuple(Finding(**one) for one in found["findings"])
    text = _lines(AuditResult(**(found | {"findings": findings})))
    assert any(line.startswith("not run") and "--against" in line for line in text)
    assert found["attacks"]["not_run"] == ["closest record", "membership"]
    assert text[0] == (
        "3 of 5 attacks were run (whole copies, copied parts, noise); "
        "not run: closest record, membership."
    )
    # Of a run that left attacks out nobody reads that it passed.
    assert not any("passed" in line.lower() for line in text)
    assert text[-1] in (
        "No attack that was run succeeded. Not run: closest record, membership.",
        "An attack succeeded.",
    )
    *_, event = [one for one in journey("log").json["events"] if one["event"] == "audit"]
    assert event["details"]["not_run"] == ["closest record", "membership"]


def test_bounds_of_the_engine_stand_in_one_column() -> None:
    report = audit_engine(coordinates=2000, steps=2, trials=40)
    findings = tuple(EngineFinding(**vars(one)) for one in report.findings)
    lines = _lines(EngineAudit(report.passed, report.delta, findings))
    bounds = [line for line in lines if "claimed" in line]
    assert len(bounds) == 5
    assert len({line.index("epsilon at least") for line in bounds}) == 1
    assert len({line.rindex("claimed") for line in bounds}) == 1
    assert lines[-1] == "No attack that was run succeeded."
