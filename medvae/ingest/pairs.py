"""Images in several files: a header, and beside it what may be its voxels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medvae.ingest import names
from medvae.ingest.records import Limits, Quarantined
from medvae.ingest.trees import File, Folder, Tree


class Neighbours:
    """The files of one folder of a tree at a time, and which of them belong together."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._folder: str | None = None
        self._files: list[File] = []
        self._named: dict[str, list[File]] = {}
        self._voxels: set[str] = set()

    def files(self, file: File) -> list[File]:
        """The files of a file's folder."""
        self._look(file)
        return self._files

    def parts(self, file: File) -> tuple[File, ...]:
        """The files that hold an image: itself, and what may be its voxels beside it."""
        if not names.voxel_names(file.name):
            return (file,)
        self._look(file)
        return file, *self._voxels_of(file)

    def _voxels_of(self, header: File) -> list[File]:
        """What may be the voxels of a header; of names that differ in case the one like its own."""
        wanted = names.voxel_names(header.name)
        if not wanted:
            return []
        own = names.stem(header.name)
        voxel_files = []
        for name in wanted:
            there = self._named.get(name, [])
            if len(there) > 1:
                there = [file for file in there if file.name.startswith(own)]
            voxel_files += there if len(there) == 1 else []
        return voxel_files

    def holds_voxels(self, file: File) -> bool:
        """Whether a file may be the voxels of a header beside it, with which it is read."""
        self._look(file)
        return file.name in self._voxels

    def _look(self, file: File) -> None:
        folder = file.name.rpartition("/")[0] or "."
        if self._folder != folder:
            self._folder = folder
            self._files = self._tree.beside(folder)
            self._named = {}
            for member in self._files:
                self._named.setdefault(member.name.lower(), []).append(member)
            self._voxels = {
                voxels.name for header in self._files for voxels in self._voxels_of(header)
            }


class Pair(Folder):
    """A header that the user named and what may be its voxels; nothing else of the folder."""

    def __init__(self, path: Path, limits: Limits) -> None:
        super().__init__(path.parent, limits)
        self._header = path.name
        spellings = {path.name.lower(), *names.voxel_names(path.name)}
        self._names = [file.name for file in super().beside("") if file.name.lower() in spellings]

    def walk(self) -> Iterator[File | Quarantined]:
        for name in self._names:
            yield File(self, name)

    def find(self, name: str) -> File | None:
        file_name = name or self._header
        return File(self, file_name) if file_name in self._names else None

    def has_folder(self, name: str) -> bool:
        return False

    def top(self) -> set[str]:
        return set(self._names)

    def beside(self, folder: str) -> list[File]:
        return [File(self, name) for name in self._names] if folder in ("", ".") else []
