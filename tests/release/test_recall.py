"""The recall list: a recalled release is not valid, and only its signer can recall it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from medvae.errors import IntegrityError, UsageError
from medvae.release import Recall, ReleaseResult, encode_recalls, verify
from medvae.release import manifest as mf
from medvae.release.recall import decode
from tests.release.made import Key

Make = Callable[..., ReleaseResult]
OTHER = Recall("ab" * 32, "another one", "2026-01-02")


@pytest.fixture
def made(make: Make) -> ReleaseResult:
    return make(n=1)


def listed(folder: Path, recalls: list[Recall], key: Key) -> Path:
    path = folder / "recalls.json"
    path.write_bytes(encode_recalls(recalls, key.sign, key.public))
    return path


def test_the_id_is_the_digest_of_the_manifest(made: ReleaseResult) -> None:
    digest = hashlib.sha256((made.path / mf.MANIFEST).read_bytes()).hexdigest()
    assert made.id == digest == verify(made.path).id


@pytest.mark.parametrize("known", [True, False])
def test_a_recalled_release_is_not_valid(
    made: ReleaseResult, key: Key, tmp_path: Path, known: bool
) -> None:
    pem = tmp_path / "key.pem"
    pem.write_bytes(key.public)
    trusted = pem if known else None
    listing = listed(tmp_path, [OTHER, Recall(made.id, "a mask was wrong", "2026-03-04")], key)
    found = verify(made.path, trusted, recalled=listing)
    assert (found.valid, found.recalled, found.reason) == (False, True, "a mask was wrong")
    assert (found.unchanged, found.trusted, found.recall_list) == (True, known, 2)
    assert found.problems == ["the release was recalled on 2026-03-04: a mask was wrong"]
    kept = verify(made.path, trusted, recalled=listed(tmp_path, [OTHER], key))
    assert (kept.valid, kept.recalled, kept.recall_list) == (True if known else None, False, 1)
    assert verify(made.path, trusted).recalled is None


def test_a_changed_release_stays_changed(made: ReleaseResult, key: Key, tmp_path: Path) -> None:
    (made.path / "CARD.md").write_text("forged")
    found = verify(made.path, recalled=listed(tmp_path, [Recall(made.id, "x", "2026-03-04")], key))
    assert (found.valid, found.unchanged, found.recalled) == (False, False, True)
    assert len(found.problems) == 2


def test_the_list_of_another_signer_is_refused(
    made: ReleaseResult, key: Key, tmp_path: Path
) -> None:
    """Whoever has no key of the publisher can neither recall nor clear a release."""
    thief = Key(9)
    for recalls in ([], [Recall(made.id, "x", "2026-03-04")]):
        with pytest.raises(IntegrityError, match=r"signed by SHA256:.* and the release by"):
            verify(made.path, recalled=listed(tmp_path, recalls, thief))
    path = tmp_path / "mixed.json"
    path.write_bytes(encode_recalls([], thief.sign, key.public))
    with pytest.raises(IntegrityError, match="signature does not fit"):
        verify(made.path, recalled=path)


def test_every_changed_byte_of_a_list_is_found(key: Key) -> None:
    signer = mf.fingerprint(key.public)
    data = encode_recalls([OTHER], key.sign, key.public)
    assert decode(data, signer) == (OTHER,)
    for place in range(len(data)):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises(IntegrityError):
            decode(changed, signer)
    for other in (data + b"\n", b" " + data, data.replace(b'"list"', b'"a":1,"list"')):
        with pytest.raises(IntegrityError):
            decode(other, signer)


@pytest.mark.parametrize(
    ("recalls", "number"),
    [
        ([OTHER], 2),
        ([Recall("ab", "x", "2026-01-02")], 1),
        ([Recall("ab" * 32, "a\nb", "2026-01-02")], 1),
        ([Recall("ab" * 32, "x", "yesterday")], 1),
    ],
)
def test_a_signed_list_that_none_of_ours_can_be(
    key: Key, recalls: list[Recall], number: int
) -> None:
    told = json.loads(encode_recalls(recalls, key.sign, key.public))
    told["list"]["number"] = number
    domain = b"medvae recall list v1\0"
    told["signature"] = key.sign(domain + mf.canonical(told["list"])).hex()
    with pytest.raises(IntegrityError, match="is not one that medvae release recall wrote"):
        decode(mf.canonical(told), mf.fingerprint(key.public))


def test_files_that_are_no_list(made: ReleaseResult, tmp_path: Path) -> None:
    path = tmp_path / "recalls.json"
    with pytest.raises(UsageError, match="cannot read the recall list"):
        verify(made.path, recalled=path)
    for data in (b"", b"[]", b"{}", b"\xff", b'{"list": {}, "public_key": 1}', b"[" * 100_000):
        path.write_bytes(data)
        with pytest.raises(IntegrityError, match="is not one that"):
            verify(made.path, recalled=path)
    path.write_bytes(b" " * ((16 << 20) + 1))
    with pytest.raises(IntegrityError, match="larger than one can be"):
        verify(made.path, recalled=path)
