"""Which patient each file belongs to, from a table (`filename,subject[,label...]`)."""

from __future__ import annotations

import csv
import io
import math
import re
import unicodedata
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from medvae.errors import InputError
from medvae.ingest import nobody
from medvae.ingest.names import stem
from medvae.ingest.records import Quarantined, printable
from medvae.volume import MAX_CLASSES, SITE

MOST_BYTES = 1 << 26
LONGEST_LABEL = 64
# No name of a column: each is stripped of blanks.
REST = " "
_PLURALS = {"subject": "subjects", "category": "classes", "site": "sites", "label": "labels"}


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        category: the text of its class column, where one is kept.
        site: the text of its site column, where one is kept.
        own: its column `unit` says "file": the subject stands for the file, not for a patient.
    """

    line: int
    subject: str
    label: str | int | float | None
    category: str | None = None
    own: bool = False
    site: str | None = None


@dataclass
class Subjects:
    """The table, and which of its lines have met their file.

    Attributes:
        source: what to call the table in messages.
        rows: by the name written in the table, with "/" between folders, in Unicode NFC (the
            table of one system and the disk of another spell the same name in two ways).
        places: of each name that a line gives, the files or folders that it stands for.
    """

    source: str
    rows: dict[str, Row]
    clashes: dict[str, str] = field(default_factory=dict)
    met: set[str] = field(default_factory=set)
    places: dict[str, set[Hashable]] = field(default_factory=dict)

    def see(self, name: str, tree: Hashable) -> None:
        """Note what the names of a file and its folders stand for; before `of` is asked for any.

        Args:
            name: of a file in its source.
            tree: what distinguishes the source from others.
        """
        for key, place in _keys(name):
            if place and key in self.rows:
                self.places.setdefault(key, set()).add((tree, place))

    def of(self, name: str) -> Row:
        """The row for a file: by its relative name, its bare name, or a folder that it is in.

        Names of files may lack the ending of their format.

        Raises:
            InputError: no row, an empty subject, two rows that disagree, or a name that stands
                for several files or folders.
        """
        for key, place in _keys(name):
            if key not in self.rows:
                continue
            self.met.add(key)
            if place and len(self.places.get(key, ())) > 1:
                raise InputError(
                    f"line {self.rows[key].line} of {self.source} names {printable(key)!r}, which "
                    f"stands for {len(self.places[key])} files or folders: write each with its path"
                )
            if key in self.clashes:
                raise InputError(self.clashes[key])
            row = self.rows[key]
            if nobody.is_empty(row.subject):
                raise InputError(f"line {row.line} of {self.source} gives it no subject")
            if nobody.is_shortened(row.subject):
                raise InputError(
                    f"line {row.line} of {self.source} gives it the beginning of a long number, as "
                    "spreadsheets show it: format the column as text and write it out"
                )
            if row.category and _class(row.category) is None:
                raise InputError(
                    f"line {row.line} of {self.source} gives it no class: expected a whole number "
                    f"from 0 to {MAX_CLASSES - 1}, or nothing"
                )
            if row.site and not re.fullmatch(SITE, row.site):
                raise InputError(
                    f"line {row.line} of {self.source} names no site: expected up to 32 letters, "
                    "digits, dots, hyphens and underscores, or nothing"
                )
            return row
        raise InputError(f"{self.source} does not name it: add a line with its subject")

    @staticmethod
    def kept(row: Row) -> dict[str, str | int | float]:
        """What of a row stays with the volume: label, class, site, where kept and there."""
        facts_of_row: dict[str, str | int | float | None] = {
            "label": row.label,
            "class": _class(row.category or ""),
            "site": row.site or None,
        }
        return {key: value for key, value in facts_of_row.items() if value is not None}

    def alike(self) -> list[tuple[int, int]]:
        """The lines of two subjects that differ in spelling only, such as 1 and 1.0."""
        first: dict[str, Row] = {}
        pairs = []
        for row in self.rows.values():
            plain = _plain(row.subject)
            before = first.setdefault(plain, row)
            if plain and before.subject != row.subject:
                pairs.append((before.line, row.line))
        return pairs

    def nobodies(self) -> list[int]:
        """The first line of each subject that stands for nobody, such as ANONYMOUS."""
        first = {row.subject: row.line for row in reversed(self.rows.values())}
        return sorted(
            line
            for subject, line in first.items()
            if nobody.is_nobody(subject)
            and not nobody.is_empty(subject)
            # A name of one letter, as people give to two or three patients.
            and subject.lower() != "x"
        )

    def unmet(self) -> Iterator[Quarantined]:
        """The lines whose file was not found; to be asked when every file has been seen."""
        for name, row in self.rows.items():
            if name not in self.met:
                reason = f"line {row.line} names {printable(name)!r}, which is not there"
                if name.startswith("/") or re.match("[A-Za-z]:/", name):
                    reason += ": write its path from the source on, not from the root of the disk"
                yield Quarantined(self.source, reason)


def parse_subjects(
    data: bytes,
    source: str,
    label_column: str | None,
    class_column: str | None = None,
    site_column: str | None = None,
) -> Subjects:
    """Read a table.

    Raises:
        InputError: not a table in UTF-8 with the columns `filename` and `subject`.
    """
    source = printable(source)
    expected = f"{source} is not a table of subjects: expected the columns filename,subject"
    if len(data) > MOST_BYTES:
        raise InputError(f"{source} is too large for a table of subjects: more than 64 MiB")
    try:
        whole = data.decode("utf-8-sig")
        text = whole.lstrip("\r\n")
        above = whole[: len(whole) - len(text)].count("\n")
        comma = ""
        if excel := re.match(r"sep=([,;\t])\r?\n", text):
            above, comma, text = above + 1, excel.group(1), text[excel.end() :]
        comma = comma or max(",;\t", key=text.partition("\n")[0].count)
        reader = csv.DictReader(
            io.StringIO(text, newline=""), restkey=REST, delimiter=comma, strict=True
        )
        columns = [(c or "").strip().lower() for c in reader.fieldnames or []]
        reader.fieldnames = columns
        further = [name.lower() for name in (label_column, class_column, site_column) if name]
        needed = {"filename", "subject", *further}
        if not needed <= set(columns):
            missing = sorted(needed - set(columns))
            are = "is" if len(missing) == 1 else "are"
            raise InputError(f"{expected}, and {printable(', '.join(missing))} {are} missing")
        used = needed | {"unit"}
        if twice := next((name for name in sorted(used) if columns.count(name) > 1), None):
            raise InputError(f"{source} has two columns {printable(twice)}: keep one")
        table = Subjects(source, {})
        for row in reader:
            _add(table, above + reader.line_num, row, label_column, class_column, site_column)
    except UnicodeDecodeError as error:
        raise InputError(f"{expected}, in UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{expected}, each cell in a pair of quotes or in none") from error
    return table


def _add(
    table: Subjects,
    line: int,
    row: dict[str, Any],
    label_column: str | None,
    class_column: str | None,
    site_column: str | None,
) -> None:
    name = (row["filename"] or "").strip().replace("\\", "/").removeprefix("./").rstrip("/")
    name = unicodedata.normalize("NFC", name)
    # ="0012" is how people keep spreadsheets from dropping zeros.
    subject = clean_subject(re.sub(r'^\s*="([^"]*)"\s*$', r"\1", row["subject"] or ""))
    if not name and not subject:
        return
    label = _label(row.get(label_column.lower()) or "") if label_column else None
    category = (row.get(class_column.lower()) or "").strip() if class_column else None
    own = (row.get("unit") or "").strip().lower() == "file"
    site = (row.get(site_column.lower()) or "").strip() if site_column else None
    new = Row(line, subject, label, category, own, site)
    before = table.rows.setdefault(name, new)
    if any((cell or "").strip() for cell in row.get(REST) or ()):
        table.clashes[name] = (
            f"line {line} of {table.source} has more cells than the table has columns: put a cell "
            "that holds a separator into quotes"
        )
        return
    for kind in ("subject", "category", "site", "label"):
        if getattr(before, kind) != getattr(new, kind):
            lines = f"lines {before.line} and {line} of {table.source}"
            table.clashes[name] = f"{lines} give it different {_PLURALS[kind]}: keep one"
            return


def clean_subject(text: str) -> str:
    """One spelling of an identifier: Unicode NFC, no blanks around it, always encodable."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return unicodedata.normalize("NFC", text.replace("\0", "")).strip()


def _plain(subject: str) -> str:
    """An identifier without what spreadsheets, people and systems change in it."""
    text = unicodedata.normalize("NFKC", subject).casefold()
    text = re.sub(r"^(\d+)[.]0+$", r"\1", text)
    return "".join(c for c in text if c.isalnum()).lstrip("0")


def _keys(name: str) -> Iterator[tuple[str, str]]:
    """What a table may call a file, with what each name stands for, where that may be several.

    A folder by its whole path is one patient's also where two sources have it.
    """
    path = PurePosixPath(unicodedata.normalize("NFC", name))
    parents = [parent for parent in path.parents if str(parent) != "."]
    files = (str(path), stem(str(path)), path.name, stem(path.name))
    # Two files whose names differ only in how Unicode spells a letter are two places.
    yield from ((file, name) for file in files)
    yield from ((str(parent), "") for parent in parents)
    yield from ((parent.name, str(parent)) for parent in parents)


def _class(text: str) -> int | None:
    """A class as its number; None where the text is none. Spreadsheets write 1 as 1.0."""
    text = re.sub(r"[.]0*$", "", text)
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        return None
    return int(text) if int(text) < MAX_CLASSES else None


def _label(text: str) -> str | int | float | None:
    """A label as a number where it is one, else its text; None where it is empty or no label."""
    text = text.strip()
    if not 0 < len(text) <= LONGEST_LABEL or not text.isprintable() or nobody.is_empty(text):
        return None
    # A decimal comma, as spreadsheets of many countries write it.
    text = re.sub(r"^([+-]?\d+),(\d+)$", r"\1.\2", text)
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        return value if math.isfinite(value) else None
    return text
