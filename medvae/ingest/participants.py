"""participants.tsv of a BIDS data set: ages and sexes, as participants.json describes them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from typing import Any

from medvae.errors import InputError
from medvae.ingest.notices import Notices
from medvae.ingest.records import printable
from medvae.ingest.trees import Tree

TABLE, DESCRIPTION = "participants.tsv", "participants.json"
MOST_BYTES = 1 << 24
MOST_JSON = 1 << 20
KEPT = ("age", "sex")
# Words for a unit of age, and the letter that DICOM has for it (PS3.5 6.2, AS).
UNITS = {
    "Y": re.compile(r"\b(y|yrs?|years?|yo)\b"),
    "M": re.compile(r"\b(mos?|mths?|months?)\b"),
    "W": re.compile(r"\b(w|wks?|weeks?)\b"),
    "D": re.compile(r"\b(d|days?)\b"),
}
UNSAID = ("", "n/a", "na", "none")

People = dict[str, dict[str, str]]


def people(tree: Tree, notices: Notices) -> People:
    """Subject -> its `age`, with the letter of its unit, and `sex`; what is unclear is left out.

    Args:
        notices: receives what was left out, and why.
    """
    table_file, description_file = tree.find(TABLE), tree.find(DESCRIPTION)
    if table_file is None:
        return {}
    try:
        found, differ = participants(tree.read(table_file.name, MOST_BYTES))
    except InputError:
        notices.add("participants", table_file.source)
        return {}
    for participant in differ:
        notices.add("participant", printable(participant))
    if description_file is None:
        return found
    try:
        columns = _columns(tree.read(description_file.name, MOST_JSON))
    except InputError:
        notices.add("described", description_file.source)
        return {}
    unit = _unit(columns.get("age", {}))
    if unit is None:
        notices.add("aged", description_file.source)
    levels = columns.get("sex", {}).get("Levels")
    return {
        person: {
            "age": "" if unit is None else _with(said["age"], unit),
            "sex": _level(said["sex"], levels),
        }
        for person, said in found.items()
    }


def participants(data: bytes) -> tuple[People, set[str]]:
    """participants.tsv: subject -> its `age` and `sex` columns, and who is there in two ways.

    Neither age nor sex is kept where the table states a subject in two ways.

    Raises:
        InputError: it is no table in UTF-8 with the column `participant_id`, or has a column twice.
    """
    try:
        text = data[:MOST_BYTES].decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t")
        columns = [(column or "").strip().lower() for column in reader.fieldnames or []]
        reader.fieldnames = columns
        rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError("it is not a table in UTF-8") from error
    if columns.count("participant_id") != 1 or max(map(columns.count, KEPT)) > 1:
        raise InputError("it needs the column participant_id once, and each other at most once")
    found: People = {}
    differ = set()
    for row in rows:
        person = str(row["participant_id"] or "").removeprefix("sub-")
        said = {key: str(row.get(key) or "").strip() for key in KEPT}
        if found.setdefault(person, said) != said:
            differ.add(person)
    return {person: said for person, said in found.items() if person not in differ}, differ


def _columns(data: bytes) -> dict[str, dict[str, Any]]:
    """What participants.json says of each column, by its name in lower case. Raises InputError."""
    try:
        said = json.loads(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InputError("it is not JSON in UTF-8") from error
    if not isinstance(said, Mapping):
        raise InputError("it describes no columns")
    return {str(key).strip().lower(): own for key, own in said.items() if isinstance(own, dict)}


def _unit(column: Mapping[str, Any]) -> str | None:
    """The letter of the unit of age, Y where none is given; None where it is not clear."""
    words = str(column.get("Units") or "").strip().lower()
    if words in UNSAID:
        return "Y"
    meant = [letter for letter, pattern in UNITS.items() if pattern.search(words)]
    return meant[0] if len(meant) == 1 else None


def _with(age: str, unit: str) -> str:
    return f"{age}{unit}" if age[-1:].isdigit() else age


def _level(value: str, levels: object) -> str:
    """A code of the column sex as participants.json explains it; the code where it does not."""
    return str(levels.get(value, value)) if isinstance(levels, Mapping) else value
