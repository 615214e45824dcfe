"""Tampering with every file of a release in every format, and two makings of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medvae.release import PublicImages, ReleaseResult, approval, create, verify
from tests.release.made import CT, MRI, Key, facts, synthetic
from tests.release.test_pictures import PHOTO, XRAY, pictures
from tests.release.test_verify import flip, key_file

PEOPLE = PublicImages(2, "hearts", "ab" * 32, "made up", "CC-BY-4.0")
ONE, OTHER = Key(21), Key(22)


def _of_pictures(data: Any) -> dict[str, Any]:
    return {"volumes": pictures(2, data), "facts": facts(data), "fmt": "folder"}


# Arguments of `create`, made anew for each release.
KINDS: dict[str, Callable[[], dict[str, Any]]] = {
    "bids mri": lambda: {"volumes": synthetic(2, MRI), "facts": facts()},
    "bids ct": lambda: {"volumes": synthetic(2, CT), "facts": facts(CT)},
    "bids with public": lambda: {
        "volumes": synthetic(2, MRI),
        "facts": facts(public=PEOPLE),
        "public": synthetic(2, MRI, seed=8),
    },
    "bids to be approved": lambda: {
        "volumes": synthetic(2, MRI),
        "facts": facts(),
        "approvals": approval.require(ONE.public, [ONE.public, OTHER.public]),
    },
    "dicom mri": lambda: {"volumes": synthetic(2, MRI), "facts": facts(), "fmt": "dicom"},
    "dicom ct": lambda: {"volumes": synthetic(2, CT), "facts": facts(CT), "fmt": "dicom"},
    "nnunet": lambda: {"volumes": synthetic(2, MRI), "facts": facts(), "fmt": "nnunet"},
    "folder xray": lambda: _of_pictures(XRAY),
    "folder photo": lambda: _of_pictures(PHOTO),
}


def release(kind: str, out: Path, key: Key) -> ReleaseResult:
    made = create(out=out, sign=key.sign, public_key=key.public, **KINDS[kind]())
    if kind == "bids to be approved":
        given = approval.encode(made.id, "2026-01-03", OTHER.public, OTHER.sign)
        (out / "approval.json").write_bytes(given)
    return made


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", KINDS)
def test_tampering_with_any_file_is_found(kind: str, tmp_path: Path, key: Key) -> None:
    folder, public = tmp_path / "release", key_file(tmp_path, key)
    release(kind, folder, key)
    files = files_of(folder)
    assert verify(folder, public).valid is True
    aside = tmp_path / "aside"
    for number, path in enumerate(files):
        data = path.read_bytes()
        for offset in (0, len(data) // 2, len(data) - 1):
            flip(path, offset, (number + offset) % 8)
            found = verify(folder, public)
            flip(path, offset, (number + offset) % 8)
            assert found.valid is False, f"{path} byte {offset}"
            assert found.problems
        # The label maps of two volumes may be equal.
        other = next(one for one in map(Path.read_bytes, files) if one != data)
        for changed in (data[:-1], data + b"\n", b"", other):
            path.write_bytes(changed)
            assert verify(folder, public).valid is False, path
        path.write_bytes(data)
        path.rename(aside)
        assert verify(folder, public).valid is False, path
        assert verify(folder).valid is False, path
        aside.rename(path)
    assert verify(folder, public).valid is True


@pytest.mark.parametrize("kind", KINDS)
def test_two_makings_are_equal_byte_for_byte(kind: str, tmp_path: Path, key: Key) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert release(kind, one, key).id == release(kind, two, key).id
    names = [path.relative_to(one) for path in files_of(one)]
    assert names == [path.relative_to(two) for path in files_of(two)]
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
