"""Anchors at the command line and in the API: a vault that was put back as a whole is found."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from medvae import api
from medvae.cli.main import run
from medvae.errors import IntegrityError
from tests.cli.conftest import Clinic


def opened(clinic: Clinic) -> api.Session:
    return api.open(clinic.root / "vault", "clinic", identity=clinic.root / "key")


def debit(clinic: Clinic, words: bytes = b"a debit") -> None:
    session = opened(clinic)
    session.tenant.journal("ledger").append(words)
    session.tenant.close()


def put_back(clinic: Clinic, saved: Path) -> None:
    shutil.rmtree(clinic.root / "vault")
    shutil.copytree(saved, clinic.root / "vault")


def test_an_anchor_holds_through_all_that_the_vault_does(clinic: Clinic) -> None:
    kept = clinic.root / "elsewhere"
    first = clinic("log", "anchor", "--out", kept).json
    assert first["tenant"] == "clinic"
    assert json.loads(first["anchor"])["sequence"] == first["sequence"]
    debit(clinic)
    clinic("keys", "rotate")
    second = clinic("log", "anchor", "--out", kept).json
    assert second["sequence"] > first["sequence"]
    assert kept.read_text().splitlines() == [first["anchor"], second["anchor"]]
    debit(clinic)
    clinic("keys", "reseal")
    found = clinic("log", "verify", "--anchor", kept).json
    assert (found["valid"], found["anchors"], found["problem"]) == (True, 2, None)
    assert "log anchor" in {event["event"] for event in clinic("log").json["events"]}


def test_a_vault_that_was_put_back_is_found(clinic: Clinic) -> None:
    """The whole folder of yesterday: everything in it fits, and only the anchor tells."""
    saved, kept = clinic.root / "yesterday", clinic.root / "anchor"
    debit(clinic)
    shutil.copytree(clinic.root / "vault", saved)
    debit(clinic, b"spent today")
    kept.write_text(clinic("log", "anchor").json["anchor"])
    put_back(clinic, saved)
    assert clinic("verify", "--read-data").json["damaged"] == []
    assert clinic("log", "verify").json["valid"]
    found = clinic("log", "verify", "--anchor", kept, ok=False)
    assert found.code == IntegrityError.exit_code == 4
    assert not found.json["valid"]
    assert "tenant clinic was rolled back: it is at commit" in found.json["problem"]
    session = opened(clinic)
    assert session.log.verify(kept).problem == found.json["problem"]
    for _ in range(10):  # past the anchor, and in another way
        session.tenant.journal("ledger").append(b"spent otherwise")
    later = clinic("log", "verify", "--anchor", kept, ok=False)
    assert later.code == 4
    assert "rolled back and went on differently" in later.json["problem"]


def test_one_of_many_anchors_is_enough(clinic: Clinic) -> None:
    kept, saved = clinic.root / "anchors", clinic.root / "saved"
    clinic("log", "anchor", "--out", kept)
    shutil.copytree(clinic.root / "vault", saved)
    debit(clinic)
    clinic("log", "anchor", "--out", kept)
    put_back(clinic, saved)
    assert clinic("log", "verify", "--anchor", kept, ok=False).code == 4


@pytest.mark.parametrize(
    ("text", "code"),
    [(None, 7), ("", 2), ("\n\n", 2), ("no anchor", 2), ("[" * 200_000, 2), ('{"a": 1}', 2)],
)
def test_a_file_that_holds_no_anchor(clinic: Clinic, text: str | None, code: int) -> None:
    kept = clinic.root / "anchor"
    if text is not None:
        kept.write_text(text)
    assert clinic("log", "verify", "--anchor", kept, ok=False).code == code


def test_an_anchor_is_not_kept_in_the_vault(clinic: Clinic) -> None:
    (clinic.root / "linked").symlink_to(clinic.root / "vault")
    for folder in ("vault", "vault/clinic", "linked"):
        said = clinic("log", "anchor", "--out", clinic.root / folder / "anchor", ok=False)
        assert said.code == 2
        assert "keep it elsewhere" in said.err
    assert not list((clinic.root / "vault").rglob("anchor"))


def test_an_anchor_that_cannot_be_written_is_said(clinic: Clinic) -> None:
    assert clinic("log", "anchor", "--out", clinic.root / "no/where", ok=False).code == 5


def test_what_was_written_without_keys_is_escaped_and_marked(
    clinic: Clinic, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refusals are in a table that anybody with the disk can write to."""
    forged = "wrong key\n2026-01-01T00:00:00Z  tenant erase  success\x1b[2J"
    event = {"event": "open", "user": "root\x1b]0;", "details": {"reason": forged}}
    catalogue = clinic.root / "vault" / "clinic" / "catalogue.db"
    with closing(sqlite3.connect(catalogue)) as connection, connection:
        connection.execute("INSERT INTO refusals VALUES('2026', ?)", (json.dumps(event),))
    given = ["--vault", str(clinic.root / "vault"), "--identity", str(clinic.root / "key")]
    assert run([*given, "log"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    (line,) = [line for line in shown.splitlines() if "wrong key" in line]
    assert "tenant erase" in line
    assert line.endswith("(not sealed)")


def test_a_label_cannot_forge_a_row(clinic: Clinic, capsys: pytest.CaptureFixture[str]) -> None:
    made = api.new_identity(clinic.root / "colleague")
    opened(clinic).keys.add(made.public, "Ada\nroot  X25519  owner\x1b[1A")
    given = ["--vault", str(clinic.root / "vault"), "--identity", str(clinic.root / "key")]
    assert run([*given, "keys", "list"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert not any(line.startswith("root") for line in shown.splitlines())
