"""The whole plan is debited before the first private step, and a stop refunds nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

import medvae

from .conftest import DECLARED, QUICK, Clinic

ASKED = ("train", "-c", QUICK, "-d", "phantoms", "--name", "run")


def test_the_debit_is_there_when_training_begins(
    clinic: Clinic, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic("ingest", scans, "-d", "phantoms", *DECLARED)
    planned = clinic("plan", "-c", QUICK, "-d", "phantoms").json["epsilon"]
    spent = []

    def train(*_: object, **__: object) -> None:
        # Read as another process would, from what is durable.
        other = medvae.open(clinic.root / "vault", "clinic", identity=clinic.root / "key")
        spent.append(other.budget().spent)
        raise KeyboardInterrupt

    assert clinic("budget").json["spent"] == 0
    monkeypatch.setattr("medvae.train.train", train)
    assert clinic(*ASKED, ok=False).code == 130
    assert spent == [pytest.approx(planned, rel=1e-9)]
    assert clinic("budget").json["spent"] == spent[0]
    # The run goes on at no further cost.
    assert clinic(*ASKED, "--resume", ok=False).code == 130
    assert spent[1] == spent[0]
    assert len(clinic("budget").json["events"]) == 1
