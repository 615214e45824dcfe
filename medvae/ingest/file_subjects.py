"""Whose each file of a tree is: by the table, by BIDS, by ADNI's numbers, else by its own name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from medvae.errors import InputError
from medvae.ingest import bids, facts, names, nobody, picture_files
from medvae.ingest.layout_names import Image
from medvae.ingest.notices import Notices
from medvae.ingest.participants import people
from medvae.ingest.records import printable
from medvae.ingest.subjects import Subjects, clean_subject
from medvae.ingest.trees import File, Tree

ADNI = re.compile(r"(?:^|[/_])(\d{3}_S_\d{4,5})(?=[/_.]|$)")


class FileSubjects:
    """Subjects of the files of one tree."""

    def __init__(
        self, tree: Tree, table: Subjects | None, notices: Notices, *, demographics: bool
    ) -> None:
        """demographics: ages and sexes of BIDS' table of participants are kept."""
        self._tree, self._table = tree, table
        self._demographics = demographics
        self._people = people(tree, notices) if demographics else {}
        # BIDS labels without case, separators and leading zeros -> how each is written.
        self._labels: dict[str, set[str]] = {}

    def of(self, file: File, images: Mapping[str, Image]) -> tuple[str, bool, dict[str, Any]]:
        """Subject, whether it is only the file's own name, and what to keep of the table.

        Args:
            images: of the tree's layout.

        Raises:
            InputError: the name is of two subjects, or the table does not say whose the file is.
        """
        meta: dict[str, Any] = {}
        name = path_of(file)
        named = bids.subject_of(name)
        if named and self._demographics:
            person = self._people.get(named, {})
            meta |= facts.demographics(person.get("age", ""), person.get("sex", ""))
        if self._table is not None:
            row = self._table.of(name)
            return row.subject, row.own, meta | self._table.kept(row)
        if named:
            if bids.is_of_two(name):
                raise InputError("its name and its folder are of two subjects (sub-): rename one")
            self._labels.setdefault(nobody.bare(nobody.plain(named)), set()).add(named)
            return named, False, meta
        if match := ADNI.search(name):
            return match.group(1), False, meta
        image = images.get(file.name)
        if image is not None and image.contrast:
            folder, own = image.case
            return clean_subject(f"{folder}/{'_'.join(own)}".rstrip("/")), True, meta
        return clean_subject(picture_files.stem(names.stem(name))), True, meta

    def is_by_adni(self, file: File, subject: str) -> bool:
        """Whether a file outside BIDS has its subject from ADNI's number in its name."""
        match = None if self._table is not None else ADNI.search(file.name)
        return match is not None and match.group(1) == subject

    def add_notices(self, notices: Notices) -> None:
        """Note labels that differ in case or leading zeros only: they may be one person's."""
        for labels in self._labels.values():
            if len(labels) > 1:
                text = printable(" and ".join(sorted(labels)))
                notices.add("zeros", printable(self._tree.label), text)


def path_of(file: File) -> str:
    """A file's path in its source; of a source that is one file, its own name."""
    return file.name or PurePosixPath(file.source).name
