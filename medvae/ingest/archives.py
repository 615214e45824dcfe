"""A zip or tar archive as a tree of names; nothing of it is written to disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from medvae.ingest.records import Limits, Quarantined, printable
from medvae.ingest.sandbox import Pool
from medvae.ingest.trees import File, SingleFile

# Files at the top of a data set.
ROOTS = (
    *("subjects.csv", "subjects.tsv", "participants.tsv"),
    *("dataset_description.json", "dataset.json", "label_scheme.csv"),
)


class Archive:
    """A zip or tar archive; its list of names is read by the worker."""

    def __init__(self, path: Path, limits: Limits, pool: Pool) -> None:
        self.label = str(path)
        self._file = SingleFile(path, limits)
        self._pool = pool
        self._names: dict[str, str] = {}
        self._unsafe: list[str] = []
        count: Counter[str] = Counter()
        for name in pool.names("members", self._file.file):
            parts = PurePosixPath(name.replace("\\", "/")).parts
            if not parts or ".." in parts or parts[0] == "/" or ":" in parts[0]:
                self._unsafe.append(name)
            elif not any(p.startswith(".") or p == "__MACOSX" for p in parts):
                self._names["/".join(parts)] = name
                count["/".join(parts)] += 1
        # Which of them the person who packed it meant, nobody knows.
        self._several = {name: times for name, times in count.items() if times > 1}
        for name in self._several:
            del self._names[name]
        self._enter()

    def _enter(self) -> None:
        """Take the one folder at the top for the source where it is that of a data set.

        So it is packed, and its table would be passed over.
        """
        tops = {name.partition("/")[0] for name in (*self._names, *self._several)}
        top = next(iter(tops), "")
        if len(tops) != 1 or not any(
            name.lower() in {f"{top}/{root}".lower() for root in ROOTS} for name in self._names
        ):
            return
        self.label = f"{self.label}/{top}"
        start = len(top) + 1
        self._names = {name[start:]: member for name, member in self._names.items()}
        self._several = {name[start:]: times for name, times in self._several.items()}

    def walk(self) -> Iterator[File | Quarantined]:
        for name in self._unsafe:
            yield Quarantined(
                printable(f"{self._file.label}/{name}"), "its name leads out of the archive"
            )
        for name, times in self._several.items():
            yield Quarantined(
                printable(f"{self.label}/{name}"),
                f"the archive holds {times} files of this name: pack it again with one of them",
            )
        # In the order of the archive: a packed tar archive can only be read from its start.
        for name, member in self._names.items():
            yield File(self, name, member)

    def find(self, name: str) -> File | None:
        return File(self, name, self._names[name]) if name in self._names else None

    def has_folder(self, name: str) -> bool:
        return any(n.startswith(f"{name}/") for n in self._names)

    def top(self) -> set[str]:
        return {name.partition("/")[0] for name in (*self._names, *self._several)}

    def beside(self, folder: str) -> list[File]:
        names = [n for n in self._names if str(PurePosixPath(n).parent) == folder]
        return [File(self, name, self._names[name]) for name in sorted(names)]

    def open(self, name: str) -> int:
        return self._file.open("")

    def read(self, name: str, most: int) -> bytes:
        _, data = self._pool.run("content", [File(self, name, self._names[name])], most=most)
        return bytes(data)
