"""One delta a tenant, real limits, small cohorts, and no advice to spend again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import medvae
from medvae.errors import UsageError
from medvae.privacy import Ledger, Mechanism, Plan, epsilon
from medvae.vault import Tenant

from .conftest import DECLARED, QUICK, Clinic


def opened(clinic: Clinic) -> Tenant:
    return medvae.open(clinic.root / "vault", "clinic", identity=clinic.root / "key").tenant


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--delta", "1e-4"), "delta"),
        (("--delta", "0"), "delta"),
        (("--delta", "1e-16"), "delta"),
        (("--delta", "nan"), "delta"),
        (("--epsilon-limit", "50.1"), "--epsilon-limit"),
        (("--epsilon-limit", "0"), "--epsilon-limit"),
        (("--epsilon-limit", "nan"), "--epsilon-limit"),
    ],
)
def test_a_tenant_has_a_limit_and_a_delta_that_mean_something(
    tmp_path: Path, words: tuple[str, ...], named: str
) -> None:
    clinic = Clinic(tmp_path)
    spare = tmp_path / "spare"
    refused = clinic("tenant", "create", "clinic", "--recovery-out", spare, *words, ok=False)
    assert (refused.code, named in refused.err) == (2, True)
    assert refused.err.count("\n") == 1
    assert not spare.exists()


def test_plan_ledger_and_budget_are_at_the_tenants_delta(tmp_path: Path, scans: Path) -> None:
    clinic = Clinic(tmp_path)
    words = ("--epsilon-limit", "50", "--delta", "1e-7")
    made = clinic("tenant", "create", "clinic", "--recovery-out", tmp_path / "spare", *words).json
    assert (made["epsilon_limit"], made["delta"]) == (50, 1e-7)
    clinic("ingest", scans, "-d", "d", *DECLARED)
    asked = ("plan", "-c", QUICK, "-d", "d")
    assert clinic(*asked).json["delta"] == 1e-7
    assert clinic(*asked, "--set", "privacy.delta=1e-7").json["delta"] == 1e-7
    refused = clinic(*asked, "--set", "privacy.delta=1e-5", ok=False)
    assert (refused.code, "keeps its accounts at 1e-07" in refused.err) == (2, True)
    assert clinic("budget").json["delta"] == 1e-7
    clinic("keys", "rotate")
    assert opened(clinic).delta == 1e-7


def test_fewer_than_twenty_patients_have_to_be_asked_for(clinic: Clinic, scans: Path) -> None:
    clinic("ingest", scans, "-d", "d", *DECLARED)
    for words in (("plan",), ("train", "--name", "r")):
        asked = (*words, "-c", QUICK, "-d", "d")
        refused = clinic(*asked, ok=False, small=False)
        assert refused.code == 2
        assert "10 patients" in refused.err
        assert "--small-cohort" in refused.err
    assert clinic("budget").json["spent"] == 0
    assert clinic("plan", "-c", QUICK, "-d", "d").json["patients"] == 10
    session = medvae.open(clinic.root / "vault", identity=clinic.root / "key")
    with pytest.raises(UsageError, match="fewer than 20"):
        session.plan(QUICK, "d")
    assert session.plan(QUICK, "d", small_cohort=True).patients == 10


def test_a_limit_of_an_earlier_version_is_cut_to_todays(clinic: Clinic) -> None:
    from medvae.api.accounts import ledger

    tenant = opened(clinic)
    ring = tenant._session.ring
    object.__setattr__(ring, "epsilon_limit", 1000.0)
    assert tenant.epsilon_limit == 1000.0
    assert ledger(tenant).limit == 50.0


def test_a_budget_of_an_earlier_version_is_restated(clinic: Clinic) -> None:
    tenant = opened(clinic)
    one = Mechanism("a", 1.0, 1, 2.0)
    plan = Plan(epsilon([one], 1e-2), 1e-2, 1, (one,), {})
    book = Ledger(tenant.journal("ledger"), 20.0, delta=1e-2)
    book.debit("old", plan, ["S1"], "d@1")
    tenant.close()
    told = clinic("budget").json
    assert set(told) >= {"limit", "spent", "remaining", "events", "delta"}
    assert told["delta"] == 1e-5
    assert told["spent"] == told["events"][0]["epsilon"] == epsilon([one], 1e-5) > plan.epsilon


def test_no_message_advises_to_spend_again(clinic: Clinic, scans: Path, monkeypatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    clinic("ingest", scans, "-d", "d", *DECLARED)
    clinic("ingest", scans, "-d", "e", *DECLARED)
    asked = ("train", "-c", QUICK, "--name", "run")
    monkeypatch.setattr("medvae.train.train", stopped)
    assert clinic(*asked, "-d", "d", ok=False).code == 130
    before = clinic("budget").json
    assert before["spent"] > 0
    for words in (
        ("-d", "d"),
        ("-d", "e", "--resume"),
        ("-d", "d", "--resume", "--set", "prior.rank=3"),
        ("-d", "d", "--resume", "--init", "another"),
    ):
        refused = clinic(*asked, *words, ok=False)
        assert refused.code == 2, words
        assert "spends nothing more" in refused.err, words
        assert "choose another" not in refused.err, words
    assert clinic("budget").json == before
    clinic("subject", "erase", "CANARY-PATIENT-5", "--yes")
    refused = clinic(*asked, "-d", "d", "--resume", ok=False)
    assert refused.code == 2
    assert "cannot be finished without those who were erased" in refused.err
    assert "again" not in refused.err
    assert clinic("budget").json == before
    tenant = opened(clinic)
    run = json.loads(tenant.get_named("run", "run"))
    assert run["state"] == "running"
