"""Whatever is done to a finished release, `verify` says no, and says what."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from medvae.errors import AccessError, NotFoundError, UsageError
from medvae.release import ReleaseResult, verify
from medvae.release import manifest as mf
from tests.release.made import MRI, Key, facts, synthetic

Make = Callable[..., ReleaseResult]
# Every byte of a file up to this size, a spread of offsets in a larger one.
WHOLE = 400
SPREAD = 12


@pytest.fixture
def release(make: Make) -> Path:
    return make().path


def key_file(folder: Path, key: Key) -> Path:
    path = folder / "key.pem"
    path.write_bytes(key.public)
    return path


def offsets(size: int) -> list[int]:
    if size <= WHOLE:
        return list(range(size))
    step = size // SPREAD
    return sorted({0, 1, size - 2, size - 1, *range(0, size, step)})


def flip(path: Path, offset: int, bit: int = 0) -> None:
    """Change one bit; nothing else of the file."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ (1 << bit)]))


def test_a_fresh_release_is_valid_and_names_its_signer(release: Path, key: Key) -> None:
    result = verify(release)
    assert result.valid is None, "nobody said whose key it is"
    assert result.unchanged
    assert result.problems == []
    assert result.signer == mf.fingerprint(key.public)
    assert result.files == sum(path.is_file() for path in release.rglob("*")) - 2
    assert not result.trusted
    assert "--public-key" in result.advice


def test_a_given_key_is_trusted_and_another_is_refused(
    release: Path, key: Key, tmp_path: Path
) -> None:
    mine = verify(release, key_file(tmp_path, key))
    assert mine.valid is True
    assert mine.unchanged
    assert mine.trusted
    assert mine.advice == ""
    other = verify(release, key_file(tmp_path, Key(2)))
    assert other.valid is False
    assert mf.fingerprint(Key(2).public) in " ".join(other.problems)
    assert not other.trusted
    assert not other.unchanged
    assert other.signer is None


def test_a_key_file_with_other_line_ends_is_the_same_key(
    release: Path, key: Key, tmp_path: Path
) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(b"\n" + key.public.replace(b"\n", b"\r\n"))
    assert verify(release, path).valid


def test_every_byte_of_small_files_and_a_spread_of_large_ones(
    make: Make, key: Key, tmp_path: Path
) -> None:
    release = make(n=1).path
    public = key_file(tmp_path, key)
    tried = 0
    for path in sorted(release.rglob("*")):
        if not path.is_file():
            continue
        for offset in offsets(path.stat().st_size):
            # A bit that differs from place to place: case, digits and high bits all come by.
            bit = offset % 8
            flip(path, offset, bit)
            result = verify(release, public if offset % 2 else None)
            flip(path, offset, bit)
            assert result.valid is False, f"{path.name} byte {offset} bit {bit}"
            assert result.problems
            tried += 1
    assert tried > 900
    assert verify(release, public).valid


@pytest.mark.parametrize("size", [-1, 1])
def test_a_file_cut_short_or_grown(release: Path, size: int) -> None:
    for path in sorted(release.rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        path.write_bytes(data[:-1] if size < 0 else data + b"\0")
        assert verify(release).valid is False, path
        path.write_bytes(data)


def test_every_file_is_missed_when_removed(release: Path) -> None:
    for path in sorted(release.rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        path.unlink()
        result = verify(release)
        assert result.valid is False
        assert path.name in " ".join(result.problems)
        path.write_bytes(data)
    assert verify(release).unchanged


@pytest.mark.parametrize(
    "name",
    [
        "new.txt",
        ".hidden",
        "sub-synth0001/anat/x.json",
        "sub-synth0001/.x",
        "a\nb",
        "manifest.json~",
    ],
)
def test_a_file_added(release: Path, name: str) -> None:
    (release / name).write_text("")
    result = verify(release)
    assert result.valid is False
    assert any("was not released" in problem for problem in result.problems)


def test_a_hostile_name_cannot_command_the_terminal(release: Path) -> None:
    """Escape codes that would wipe the screen and print "valid", and bytes that no UTF-8 is."""
    (release / "\x1b[2J\rvalid\n").write_text("")
    (release / os.fsdecode(b"\xff\xfe")).write_text("")
    (release / "\u202egnp.exe").write_text("")
    problems = verify(release).problems
    assert len(problems) == 3
    for problem in problems:
        assert problem.isprintable()
        assert problem.encode("utf-8")


@pytest.mark.parametrize("name", ["empty", ".git", "sub-synth0001/empty"])
def test_an_empty_folder_added(release: Path, name: str) -> None:
    (release / name).mkdir()
    result = verify(release)
    assert result.problems == [f"{name}/ is a folder that was not released"]


def test_a_file_renamed_or_swapped_with_another(release: Path) -> None:
    first = release / "sub-synth0001/anat/sub-synth0001_T1w.nii.gz"
    second = release / "sub-synth0002/anat/sub-synth0002_T1w.nii.gz"
    first.rename(release / "moved")
    second.rename(first)
    (release / "moved").rename(second)
    assert len(verify(release).problems) == 2
    second.rename(release / "moved")
    assert any("is missing" in problem for problem in verify(release).problems)


@pytest.mark.parametrize(
    "name", ["card.json", "manifest.json", "manifest.sig", "signer.pem", "sub-synth0001"]
)
def test_a_link_in_the_place_of_a_file_or_folder(release: Path, name: str, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    (release / name).rename(moved)
    (release / name).symlink_to(moved)
    result = verify(release)
    assert result.valid is False
    assert f"{name} is a symbolic link" in result.problems


def test_a_dangling_link_and_a_pipe_are_named_and_do_not_stop_it(release: Path) -> None:
    (release / "dangling").symlink_to("nowhere")
    (release / "card.json").unlink()
    os.mkfifo(release / "card.json")
    problems = " ".join(verify(release).problems)
    assert "dangling is a symbolic link" in problems
    assert "card.json is not a regular file" in problems


@pytest.mark.parametrize("name", ["manifest.json", "manifest.sig", "signer.pem"])
def test_a_folder_or_a_pipe_in_the_place_of_what_vouches(release: Path, name: str) -> None:
    (release / name).unlink()
    (release / name).mkdir()
    assert verify(release).valid is False
    (release / name).rmdir()
    os.mkfifo(release / name)
    assert verify(release).valid is False


def test_an_unreadable_file_is_a_problem_and_no_crash(release: Path) -> None:
    """As another user, because root reads everything."""
    (release / "card.json").chmod(0)
    (release / "derivatives").chmod(0)
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from medvae.release import verify\n"
        "import medvae.vault\n"
        "if os.geteuid() == 0: os.seteuid(65534)\n"
        "print(*verify(Path(sys.argv[1])).problems, sep='\\n')\n"
    )
    for folder in [release, *release.parents]:
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    done = subprocess.run(
        [sys.executable, "-c", code, release], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "card.json cannot be read: Permission denied" in done.stdout
    assert "derivatives/ cannot be read: Permission denied" in done.stdout


def test_signed_anew_by_another_is_whole_but_only_under_his_key(
    make: Make, key: Key, tmp_path: Path
) -> None:
    """What `verify` cannot see without a key from outside: the docstring says so."""
    release = make().path
    thief = Key(9)
    (release / "CARD.md").write_text("nothing to see")
    (release / "signer.pem").write_bytes(thief.public)
    entries = {
        path.relative_to(release).as_posix(): mf.read_entry(path)
        for path in release.rglob("*")
        if path.is_file() and path.name not in mf.UNLISTED
    }
    data = mf.encode(entries)
    (release / mf.MANIFEST).write_bytes(data)
    (release / mf.SIGNATURE).write_bytes(thief.sign(mf.signed_bytes(data)))
    embedded = verify(release)
    assert embedded.valid is None
    assert embedded.unchanged
    assert embedded.signer == mf.fingerprint(thief.public) != mf.fingerprint(key.public)
    assert verify(release, key_file(tmp_path, key)).valid is False


def test_a_signature_over_the_bare_manifest_does_not_count(make: Make, key: Key) -> None:
    """The prefix keeps signatures made for other purposes with the same key apart."""
    release = make().path
    (release / mf.SIGNATURE).write_bytes(key.sign((release / mf.MANIFEST).read_bytes()))
    assert verify(release).problems == ["manifest.sig does not fit manifest.json under this key"]


def test_a_manifest_in_another_form_is_refused_even_when_signed(make: Make, key: Key) -> None:
    release = make().path
    data = (release / mf.MANIFEST).read_bytes()
    for other in (
        data.replace(b":", b": "),
        data.rstrip(),
        b"[]",
        b"{}",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"files":[{"path":"a","size":Infinity,"sha256":""}]}',
        b'{"files":[{"path":"a","size":' + b"9" * 9999 + b',"sha256":""}]}',
        b'{"files":{"a":1}}',
        b'{"files":7}',
        data.replace(b'"size":', b'"size":0,"size":', 1),
    ):
        (release / mf.MANIFEST).write_bytes(other)
        (release / mf.SIGNATURE).write_bytes(key.sign(mf.signed_bytes(other)))
        result = verify(release)
        assert result.valid is False
        assert any("manifest.json cannot be used" in problem for problem in result.problems)


def test_a_manifest_that_points_outside_reads_nothing_there(
    make: Make, key: Key, tmp_path: Path
) -> None:
    release = make().path
    outside = tmp_path / "outside"
    outside.write_text("secret")
    entries = mf.decode((release / mf.MANIFEST).read_bytes())
    entries["../outside"] = mf.read_entry(outside)
    entries[str(outside)] = mf.read_entry(outside)
    data = mf.encode(entries)
    (release / mf.MANIFEST).write_bytes(data)
    (release / mf.SIGNATURE).write_bytes(key.sign(mf.signed_bytes(data)))
    result = verify(release)
    assert result.valid is False
    (problem,) = result.problems
    assert "manifest.json cannot be used: it lists" in problem


def test_it_may_be_moved_and_copied(release: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(release, moved)
    assert verify(moved).unchanged


def test_errors_that_are_not_about_the_release(release: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no release folder"):
        verify(tmp_path / "nothing")
    with pytest.raises(UsageError, match="cannot read the public key"):
        verify(release, tmp_path / "nothing.pem")
    (tmp_path / "bad.pem").write_text("not a key")
    with pytest.raises(AccessError, match="PUBLIC KEY"):
        verify(release, tmp_path / "bad.pem")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert verify(empty).valid is False


def test_two_makings_give_the_same_bytes(make: Make, tmp_path: Path) -> None:
    one = make(out=tmp_path / "one").path
    two = make(out=tmp_path / "two", volumes=iter(list(synthetic(3, MRI))), facts=facts()).path
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(two) for path in two.rglob("*") if path.is_file())
    for path in files:
        assert (one / path).read_bytes() == (two / path).read_bytes(), path
