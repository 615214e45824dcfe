"""The life of a release at the command line: listed with its recipient, recalled, refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Clinic


@pytest.fixture
def folder(journey: Clinic, tmp_path: Path) -> Path:
    out = tmp_path / "release"
    words = ("-n", "2", "--seed", "11", "--recipient", "Lab B\u202e of Prof. C")
    assert journey("release", "create", "first", *words, "-o", out, ok=False).code == 2
    assert not out.exists()
    words = ("-n", "2", "--recipient", "Lab B of Prof. C")
    journey("release", "create", "first", *words, "-o", out)
    return out


def test_a_release_is_listed_recalled_and_warned_of(
    journey: Clinic, folder: Path, tmp_path: Path
) -> None:
    number = journey("release", "verify", folder).json["id"]
    found = {one["release"]: one for one in journey("release", "list").json["releases"]}[number]
    assert (found["model"], found["volumes"], found["status"]) == ("first", 2, "released")
    assert found["epsilon"] > 0
    assert [one["recipient"] for one in found["issues"]] == ["Lab B of Prof. C"]
    assert all(b"Lab B" not in path.read_bytes() for path in folder.rglob("*") if path.is_file())

    listing = tmp_path / "recalls.json"
    unknown = journey("release", "recall", "00" * 8, "--reason", "x", "-o", listing, ok=False)
    assert unknown.code == 7
    assert "no release" in unknown.err
    path = journey("release", "recall", "../../x", "--reason", "x", "-o", listing, ok=False)
    assert path.code == 7
    wrong = journey("release", "recall", number, "--reason", "a\nb", "-o", listing, ok=False)
    assert wrong.code == 2
    assert not listing.exists()
    done = journey("release", "recall", number[:12], "--reason", "wrong masks", "-o", listing).json
    assert done["release"] == number
    bad = journey("release", "verify", folder, "--recalled", listing, ok=False)
    assert bad.code == 4
    assert (bad.json["valid"], bad.json["recalled"]) == (False, True)
    assert (bad.json["unchanged"], bad.json["reason"]) == (True, "wrong masks")
    states = {one["release"]: one for one in journey("release", "list").json["releases"]}
    assert (states[number]["status"], states[number]["reason"]) == ("recalled", "wrong masks")
    # Once more: the reason stays, and the list is written again.
    again = journey("release", "recall", number, "--reason", "other", "-o", tmp_path / "b").json
    assert again["reason"] == "wrong masks"
    assert (tmp_path / "b").read_bytes() == listing.read_bytes()
    events = journey("log").json["events"]
    assert "recall" in {one.get("action", one["details"].get("action")) for one in events}


def test_lists_are_numbered_and_complete(journey: Clinic, tmp_path: Path) -> None:
    numbers = []
    for index in range(2):
        out = tmp_path / f"r{index}"
        number = journey("release", "create", "first", "-n", "1", "-o", out).json["id"]
        path = tmp_path / f"list{index}"
        words = ("--reason", f"reason {index}", "-o", path)
        numbers.append(journey("release", "recall", number, *words).json["number"])
    assert numbers[1] == numbers[0] + 1
    for index in range(2):
        newest = journey("release", "verify", tmp_path / f"r{index}", "--recalled", path, ok=False)
        assert newest.json["reason"] == f"reason {index}"
    older = journey("release", "verify", tmp_path / "r1", "--recalled", tmp_path / "list0").json
    assert (older["valid"], older["recalled"], older["recall_list"]) == (None, False, numbers[0])


def test_the_same_bytes_are_one_release_and_stay_recalled(journey: Clinic, tmp_path: Path) -> None:
    def create(out: str, recipient: str, ok: bool = True) -> dict[str, object]:
        words = ("-n", "1", "--seed", "5", "--recipient", recipient, "-o", tmp_path / out)
        done = journey("release", "create", "first", *words, ok=ok)
        return done.json if ok else {"code": done.code, "err": done.err}

    number = create("a", "A")["id"]
    assert create("b", "B")["id"] == number
    (found,) = (o for o in journey("release", "list").json["releases"] if o["release"] == number)
    assert [one["recipient"] for one in found["issues"]] == ["A", "B"]
    journey("release", "recall", str(number), "--reason", "no", "-o", tmp_path / "list")
    refused = create("c", "C", ok=False)
    assert refused["code"] == 2
    assert "was recalled (no)" in str(refused["err"])
    assert not (tmp_path / "c").exists()
