"""Releases that a second identity has to approve: who may, what counts, and what does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import medvae
from medvae.api import verify_release
from medvae.errors import IntegrityError
from medvae.release.manifest import canonical
from tests.cli.conftest import DECLARED, QUICK, Clinic, Outcome


class Hospital(Clinic):
    """A tenant that demands approvals, and a steward beside the researcher."""

    def by(self, key: str, *words: str | Path, ok: bool = True) -> Outcome:
        """A command under another identity."""
        return self("--identity", self.root / key, *words, ok=ok)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory, scans: Path) -> Hospital:
    made = Hospital(tmp_path_factory.mktemp("approval"))
    root = made.root
    words = ("--recovery-out", root / "spare", "--approvals", "1")
    assert made("tenant", "create", "clinic", *words).json["approvals"] == 1
    made("ingest", scans, "-d", "phantoms", *DECLARED)
    made("train", "-c", QUICK, "-d", "phantoms", "--name", "first")
    alone = made("release", "create", "first", "-n", 1, "-o", root / "no", ok=False)
    assert alone.code == 2
    assert "approval of a second identity" in alone.err
    assert not (root / "no").exists()
    made("keys", "new", root / "steward")
    made("keys", "add", root / "steward.pub", "--label", "steward")
    tenant = medvae.open(root / "vault", "clinic", identity=root / "key").tenant
    (root / "hospital.pem").write_bytes(tenant.public_key())
    tenant.close()
    return made


@pytest.fixture
def waiting(hospital: Hospital, tmp_path: Path) -> Path:
    out = tmp_path / "release"
    words = ("first", "-n", 1, "--seed", "3", "-o", out)
    made = hospital("release", "create", *words)
    assert made.json["status"] == "awaiting approval"
    return out


def verify(hospital: Hospital, folder: Path, *words: str) -> Outcome:
    key = hospital.root / "hospital.pem"
    return hospital("release", "verify", folder, "--public-key", key, *words, ok=False)


def refused(outcome: Outcome, word: str) -> None:
    assert outcome.code == 4
    assert (outcome.json["valid"], outcome.json["approved"]) == (False, False)
    assert word in outcome.json["problems"][0]


def test_a_release_is_valid_once_another_identity_has_approved_it(
    hospital: Hospital, waiting: Path
) -> None:
    refused(verify(hospital, waiting), "awaits approval")
    assert hospital("release", "verify", waiting, ok=False).code == 4, "without a key, too"
    with pytest.raises(IntegrityError, match="awaits approval"):
        medvae.Release.open(waiting)
    own = hospital("release", "approve", waiting, ok=False)
    assert own.code == 5
    assert "nobody approves what he or she made" in own.err
    spare = hospital.by("spare", "release", "approve", waiting, ok=False)
    assert spare.code == 5, "who has the recovery key alone approves nothing"
    refused(verify(hospital, waiting), "awaits approval")

    done = hospital.by("steward", "release", "approve", waiting).json
    people = {one["label"]: one["approver"] for one in hospital("keys", "list").json["recipients"]}
    assert done["approver"] == people["steward"]
    assert people["recovery"] is None
    found = verify(hospital, waiting, "--approver", people["steward"]).json
    assert (found["valid"], found["approved"], found["approver"]) == (True, True, people["steward"])
    assert len(medvae.Release.open(waiting)) == 1
    refused(verify(hospital, waiting, "--approver", people["identity"]), "not by")
    (listed,) = hospital("release", "list").json["releases"]
    assert (listed["status"], listed["approver"]) == ("released", people["steward"])
    events = [(one["event"], one["outcome"]) for one in hospital("log").json["events"]]
    assert ("approve", "success") in events
    assert ("approve", "refused") in events


def test_the_id_will_do_and_a_copy_gets_the_same_approval(
    hospital: Hospital, waiting: Path, tmp_path: Path
) -> None:
    number = hospital("release", "list").json["releases"][0]["release"]
    copy = tmp_path / "copy"
    shutil.copytree(waiting, copy)
    hospital.by("steward", "release", "approve", number[:12])
    assert verify(hospital, waiting).json["valid"] is True
    refused(verify(hospital, copy), "awaits approval")
    hospital.by("steward", "release", "approve", copy)
    assert (copy / "approval.json").read_bytes() == (waiting / "approval.json").read_bytes()


def test_nothing_else_is_an_approval(hospital: Hospital, waiting: Path, tmp_path: Path) -> None:
    hospital.by("steward", "release", "approve", waiting)
    path = waiting / "approval.json"
    good = path.read_bytes()
    told = json.loads(good)
    other = tmp_path / "other"
    hospital("release", "create", "first", "-n", 1, "--seed", "4", "-o", other)
    shutil.copy(path, other)
    refused(verify(hospital, other), "that of another release")
    creator = json.loads((waiting / "approvals.json").read_text())["creator"]
    for change, word in (
        ({"date": "2000-01-01"}, "signature does not fit"),
        ({"signature": "00" * 64}, "signature does not fit"),
        ({"signature": told["signature"][2:]}, "signature does not fit"),
        ({"approver": creator}, "nobody approves"),
        ({"approver": "SHA256:" + "0" * 64}, "not on the release's list"),
        ({"approver": None}, "not on the release's list"),
        ({"note": "x"}, "not in the form"),
    ):
        path.write_bytes(canonical({**told, **change}))
        refused(verify(hospital, waiting), word)
    for data in (b"", b"{}", good + b"\n", good[:-1], b"\xff" * 9, b"[" * 100_000):
        path.write_bytes(data)
        refused(verify(hospital, waiting), "approval.json is no approval")
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    assert verify(hospital, waiting).code == 4
    path.unlink()
    path.mkdir()
    assert verify(hospital, waiting).code == 4
    path.rmdir()
    path.write_bytes(good)
    assert verify(hospital, waiting).code == 0


def test_every_bit_of_an_approval_counts(hospital: Hospital, waiting: Path) -> None:
    hospital.by("steward", "release", "approve", waiting)
    path = waiting / "approval.json"
    good = path.read_bytes()
    for place in range(0, len(good), 7):
        changed = bytearray(good)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        assert verify_release(waiting).valid is False, place


def test_a_release_without_the_demand_is_not_changed_by_an_approval(
    journey: Clinic, hospital: Hospital, waiting: Path, tmp_path: Path
) -> None:
    out = tmp_path / "plain"
    journey("release", "create", "first", "-n", 1, "-o", out)
    found = journey("release", "verify", out).json
    assert (found["valid"], found["approved"]) == (None, None)
    no = journey("release", "approve", out, ok=False)
    assert no.code == 2
    assert "needs no approval" in no.err
    asked = journey("release", "verify", out, "--approver", "SHA256:" + "0" * 64, ok=False)
    assert asked.code == 4, "an approval that was asked for is not there"
    hospital.by("steward", "release", "approve", waiting)
    shutil.copy(waiting / "approval.json", out)
    found = journey("release", "verify", out, ok=False).json
    assert found["problems"] == ["approval.json was not released"]


def test_a_changed_or_recalled_release_is_not_approved(hospital: Hospital, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = hospital("release", "create", "first", "-n", 1, "--seed", "9", "-o", out).json
    readme = out / "README.md"
    good = readme.read_bytes()
    readme.write_bytes(good + b" ")
    changed = hospital.by("steward", "release", "approve", out, ok=False)
    assert changed.code == 4
    assert "not as this tenant signed it" in changed.err
    readme.write_bytes(good)
    hospital("release", "recall", made["id"], "--reason", "wrong", "-o", tmp_path / "list")
    recalled = hospital.by("steward", "release", "approve", out, ok=False)
    assert recalled.code == 2
    assert "was recalled (wrong)" in recalled.err
    assert not (out / "approval.json").exists()


def test_who_came_after_the_release_was_made_cannot_approve_it(
    hospital: Hospital, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    hospital("release", "create", "first", "-n", 1, "--seed", "21", "-o", out)
    hospital("keys", "new", tmp_path / "late")
    hospital("keys", "add", tmp_path / "late.pub", "--label", "late")
    late = hospital.by(str(tmp_path / "late"), "release", "approve", out, ok=False)
    assert late.code == 5
    assert "not on the release's list" in late.err
