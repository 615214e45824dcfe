"""Forged releases: whatever stands in the place of a file, nothing but evidence is believed."""

from __future__ import annotations

import base64
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from medvae.errors import AccessError, UsageError
from medvae.release import manifest as mf
from medvae.release import verify
from medvae.release.seal import Found, compare, open_seal
from medvae.vault import check_public_key, verify_signature
from tests.release.made import Key

# Makes something at a path; the file that was there is kept at another.
Special = Callable[[Path, Path], None]

# y of the points whose order divides 8, and y that are not reduced, each with both signs of x.
FIELD = 2**255 - 19
EIGHT = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD83D3D706A17C7
WEAK = [
    (y | sign << 255).to_bytes(32, "little")
    for y in (0, 1, FIELD - 1, EIGHT, FIELD - EIGHT, FIELD, FIELD + 1, 2**255 - 1)
    for sign in (0, 1)
]


def pem(raw: bytes) -> bytes:
    der = bytes.fromhex("302a300506032b6570032100") + raw
    return b"-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(der) + b"\n-----END PUBLIC KEY-----\n"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of one volume and, beside it, the publisher's key."""
    from medvae.release import create
    from tests.release.made import MRI, facts, synthetic

    root = tmp_path_factory.mktemp("forgery")
    key = Key()
    (root / "key.pem").write_bytes(key.public)
    create(synthetic(1, MRI), root / "release", facts=facts(), sign=key.sign, public_key=key.public)
    return root


@pytest.fixture
def release(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original / "release", tmp_path / "r")
    shutil.copy(original / "key.pem", tmp_path / "key.pem")
    return tmp_path / "r"


def listing(release: Path) -> dict[str, mf.Entry]:
    """The manifest as a forger makes it: of every regular file that is there."""

    def entry(path: Path) -> mf.Entry:
        # Nobody waits for the digest of terabytes of zeros.
        size = path.stat().st_size
        return mf.Entry(size, "0" * 64) if size > 1 << 30 else mf.read_entry(path)

    return {
        path.relative_to(release).as_posix(): entry(path)
        for path in sorted(release.rglob("*"))
        if path.is_file()
        and not path.is_symlink()
        and path.relative_to(release).as_posix() not in mf.UNLISTED
    }


def folder(path: Path, _: Path) -> None:
    path.mkdir()


def folder_with_file(path: Path, _: Path) -> None:
    path.mkdir()
    (path / "x").write_text("x")


def deep_folder(path: Path, _: Path) -> None:
    deepest = path.joinpath(*["d"] * 60)
    deepest.mkdir(parents=True)
    (deepest / "x").write_text("x")


def link(path: Path, original: Path) -> None:
    path.symlink_to(original)


def pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


def dangling(path: Path, _: Path) -> None:
    path.symlink_to("nowhere")


def endless(path: Path, _: Path) -> None:
    path.symlink_to("/dev/zero")


def unix_socket(path: Path, _: Path) -> None:
    # The name of a socket may have 107 bytes; a relative one fits.
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(before)


def empty(path: Path, _: Path) -> None:
    path.write_bytes(b"")


def sparse(path: Path, _: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2 << 40)


def longer(path: Path, original: Path) -> None:
    path.write_bytes(original.read_bytes() + b"x")


def zeros(path: Path, original: Path) -> None:
    path.write_bytes(bytes(original.stat().st_size))


def device(path: Path, _: Path) -> None:
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))


SPECIAL = [
    folder, folder_with_file, deep_folder, link, dangling, endless, pipe, unix_socket,
    empty, sparse, longer, zeros,
]  # fmt: skip
if os.geteuid() == 0:
    SPECIAL.append(device)


def replace(path: Path, special: Special, original: Path) -> None:
    """Put `special` in the place of a file; the file itself goes to `original`."""
    path.rename(original)
    try:
        special(path, original)
    except PermissionError:
        pytest.skip("this system makes no devices, not even for root")
    except OSError:
        if special is not sparse:
            raise
        # Some file systems hold no file this large, and need not be tried with it.
        pytest.skip("the file system has no sparse files")


def restore(path: Path, original: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    original.rename(path)


def not_valid(release: Path) -> None:
    """Refused with a sentence, whether or not the publisher's key is given."""
    for key in (release.parent / "key.pem", None):
        result = verify(release, key)
        assert result.valid is False, (key, result)
        assert not result.unchanged
        assert not result.trusted
        assert result.problems


@pytest.mark.parametrize("special", SPECIAL, ids=lambda one: one.__name__)
def test_every_kind_of_file_in_the_place_of_each_file(release: Path, special: Special) -> None:
    kept = release.parent / "kept"
    names = sorted(path.relative_to(release) for path in release.rglob("*") if path.is_file())
    assert len(names) > 10
    for name in names:
        size = (release / name).stat().st_size
        replace(release / name, special, kept)
        if special is not empty or size:
            not_valid(release)
        restore(release / name, kept)
    assert verify(release, release.parent / "key.pem").valid is True


@pytest.mark.parametrize("special", SPECIAL, ids=lambda one: one.__name__)
@pytest.mark.parametrize(
    "names",
    [("manifest.sig",), ("signer.pem",), ("manifest.sig", "signer.pem"), ("manifest.json",)],
    ids="+".join,
)
@pytest.mark.parametrize("order", ["before", "after"])
def test_a_forged_release_with_special_files_where_evidence_should_be(
    release: Path, special: Special, names: tuple[str, ...], order: str
) -> None:
    """The content is forged and the manifest made again, before or after the special file."""
    (release / "CARD.md").write_text("# forged\n")
    if order == "before":
        (release / mf.MANIFEST).write_bytes(mf.encode(listing(release)))
    for number, name in enumerate(names):
        replace(release / name, special, release.parent / f"kept{number}")
    if order == "after" and mf.MANIFEST not in names:
        (release / mf.MANIFEST).write_bytes(mf.encode(listing(release)))
    not_valid(release)


def test_a_release_signed_by_another_is_unchanged_but_not_valid(release: Path) -> None:
    thief = Key(9)
    (release / "CARD.md").write_text("# forged\n")
    (release / mf.SIGNER).write_bytes(thief.public)
    data = mf.encode(listing(release))
    (release / mf.MANIFEST).write_bytes(data)
    (release / mf.SIGNATURE).write_bytes(thief.sign(mf.signed_bytes(data)))
    unknown = verify(release)
    assert (unknown.valid, unknown.unchanged, unknown.trusted) == (None, True, False)
    assert unknown.signer == mf.fingerprint(thief.public)
    assert verify(release, release.parent / "key.pem").valid is False
    # With the publisher's key in the folder, the thief's signature does not fit.
    (release / mf.SIGNER).write_bytes(Key().public)
    not_valid(release)


@contextmanager
def as_another_user(root: Path) -> Iterator[None]:
    """Root reads everything: be somebody else, who may reach the folder."""
    if os.geteuid() != 0:
        yield
        return
    for one in [root, *root.parents]:
        if one != Path("/"):
            one.chmod(one.stat().st_mode | 0o055)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_files_that_may_not_be_read(release: Path) -> None:
    """Each file in turn with mode 000."""
    for path in sorted(release.rglob("*")):
        if path.is_file():
            mode = path.stat().st_mode
            path.chmod(0)
            with as_another_user(release):
                not_valid(release)
            path.chmod(mode)


@pytest.mark.parametrize(
    "path",
    ["manifest.json", "manifest.sig", "manifest.sig/x", "manifest.json/x/y", "signer.pem/x",
     "", "/etc/passwd", "../x", "a/../CARD.md", "./CARD.md", "a//b", "CARD.md/", "nul\0", ".",
     ".."],
)  # fmt: skip
def test_a_manifest_lists_no_path_that_a_release_cannot_have(release: Path, path: str) -> None:
    """Even where the signature fits."""
    key = Key()
    data = mf.encode({**listing(release), path: mf.Entry(1, "0" * 64)})
    (release / mf.MANIFEST).write_bytes(data)
    (release / mf.SIGNATURE).write_bytes(key.sign(mf.signed_bytes(data)))
    not_valid(release)
    with pytest.raises(ValueError, match="cannot be a file of a release"):
        mf.decode(data)


@pytest.mark.parametrize("raw", WEAK, ids=bytes.hex)
def test_keys_under_which_anybody_can_sign_are_refused(release: Path, raw: bytes) -> None:
    weak = pem(raw)
    (release / mf.SIGNER).write_bytes(weak)
    data = mf.encode(listing(release))
    (release / mf.MANIFEST).write_bytes(data)
    # R the neutral point and S = 0: under a key of order 1 this fits every message.
    forged = (1).to_bytes(32, "little") + bytes(32)
    (release / mf.SIGNATURE).write_bytes(forged)
    result = verify(release)
    assert result.valid is False
    with pytest.raises(UsageError, match="the public key is not"):
        verify_signature(weak, forged, mf.signed_bytes(data))
    given = release.parent / "weak.pem"
    given.write_bytes(weak)
    with pytest.raises(AccessError, match="the public key is not"):
        verify(release, given)


def test_sound_keys_are_accepted() -> None:
    for seed in range(50):
        check_public_key(Key(seed).public)


def test_a_key_file_of_any_size_is_read_no_further_than_4_kib(release: Path) -> None:
    large = release.parent / "large.pem"
    sparse(large, large)
    with pytest.raises(AccessError, match="larger than"):
        verify(release, large)


def test_nothing_is_parsed_before_the_signature_fits(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parse(data: bytes) -> dict[str, mf.Entry]:
        raise AssertionError("parsed")

    monkeypatch.setattr(mf, "decode", parse)
    (release / mf.MANIFEST).write_bytes(b'{"files":[' + b"[]," * 1000 + b"[]]}")
    not_valid(release)
    shutil.copy(release.parent / "key.pem", release / mf.SIGNER)


def test_the_core_takes_bytes_and_believes_evidence_only() -> None:
    key, other = Key(), Key(2)
    entry = mf.Entry(3, "ab" * 32)
    manifest = mf.encode({"a/b": entry})
    signature = key.sign(mf.signed_bytes(manifest))
    seal = open_seal(manifest, signature, key.public, key.public)
    assert seal.files == {"a/b": entry}
    assert seal.signer == mf.fingerprint(key.public)
    for wrong in (
        (manifest, signature, other.public, key.public),
        (manifest, signature, key.public, other.public),
        (manifest, signature, other.public, None),
        (manifest, signature[:-1], key.public, key.public),
        (manifest, signature + b"\0", key.public, key.public),
        (manifest, b"", key.public, None),
        (manifest + b" ", signature, key.public, key.public),
        (manifest, signature, b"", None),
        (manifest, key.sign(manifest), key.public, key.public),
    ):
        with pytest.raises(ValueError, match=r"."):
            open_seal(*wrong)
    whole = [Found("a", "folder"), Found("a/b", "file", entry)]
    assert compare(seal.files, whole) == (1, [])
    # Not read, not there, twice the folder: silence is no evidence.
    assert compare(seal.files, [])[0] == 0
    assert compare(seal.files, []) == (0, ["a/b is missing"])
    assert compare(seal.files, [Found("a", "folder"), Found("a/b", "file")])[0] == 0
    assert compare(seal.files, [Found("a/b", "folder")])[1]
