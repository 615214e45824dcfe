"""Several connections to one catalogue in a process keep the locks of all of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from medvae.vault import held
from medvae.vault.catalogue import FILE, Catalogue

_WRITE = """
import sys
from pathlib import Path
from medvae.vault.catalogue import Catalogue

catalogue = Catalogue(Path(sys.argv[1]), "clinic")
with catalogue.writing() as connection:
    connection.execute("INSERT INTO meta VALUES(?, 1)", (sys.argv[2],))
found = catalogue.check()
catalogue.close()
sys.exit(found)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Catalogue.create(tmp_path, "clinic", b"x" * 16, 1)
    return tmp_path


def write(catalogue: Catalogue, key: str) -> None:
    with catalogue.writing() as connection:
        connection.execute("INSERT INTO meta VALUES(?, 1)", (key,))


def keys(catalogue: Catalogue) -> set[str]:
    with catalogue.reading() as connection:
        return {key for (key,) in connection.execute("SELECT key FROM meta")}


def elsewhere(folder: Path, key: str) -> None:
    """Another process writes and closes."""
    subprocess.run([sys.executable, "-c", _WRITE, str(folder), key], check=True, timeout=300)


def test_a_second_connection_costs_no_commit_of_the_first(folder: Path) -> None:
    first, second = Catalogue(folder, "clinic"), Catalogue(folder, "clinic")
    write(first, "one")
    keys(second)
    second.close()
    elsewhere(folder, "two")
    # The log that the first connection writes to is that of the others, too.
    assert (folder / f"{FILE}-wal").exists()
    write(first, "three")
    elsewhere(folder, "four")
    assert {"one", "two", "three", "four"} <= keys(first)
    first.close()
    assert {"one", "two", "three", "four"} <= keys(Catalogue(folder, "clinic"))


def test_a_descriptor_is_kept_as_long_as_a_connection_is(folder: Path) -> None:
    first, second = held.hold(folder / FILE), held.hold(folder / FILE)
    assert first.file == second.file
    assert first.head(16) == b"SQLite format 3\0"
    descriptor = held._held[first.file].fd
    first.release()
    assert second.head(16) == b"SQLite format 3\0"
    second.release()
    assert first.file not in held._held
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_after_a_fork_the_parent_still_holds_it(folder: Path) -> None:
    catalogue = Catalogue(folder, "clinic")
    write(catalogue, "one")
    child = os.fork()
    if child == 0:
        try:
            keys(catalogue)
            catalogue.close()
            os._exit(0 if not held._held else 1)
        except BaseException:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    elsewhere(folder, "two")
    write(catalogue, "three")
    elsewhere(folder, "four")
    assert {"one", "two", "three", "four"} <= keys(catalogue)
    catalogue.close()
