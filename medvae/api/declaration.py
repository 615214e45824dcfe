"""Facts of the protocol that a person declares: label scheme, classes, who is a patient.

They are public: plan, model and card print them. So they are never measured on patients'
data, whose maximum or completeness would reveal who took part.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path

from medvae.api.records import Declaration, Manifest, VolumeEntry
from medvae.api.results import Declared
from medvae.config_names import checked_sites
from medvae.config_names import label_scheme as checked_scheme
from medvae.errors import UsageError
from medvae.options import ingest
from medvae.volume import MAX_CLASSES

# Numbers and names of a file, before they are checked.
Unchecked = Mapping[int, str] | Mapping[str, str] | Mapping[object, object]
Scheme = ingest.Scheme

_TABLES = (".csv", ".tsv")
_FILES = (*_TABLES, ".yaml", ".yml", ".json")
_NUMBERS = ("value", "index", "label")
_MOST_BYTES = 1 << 20
UNDECLARED: Declaration = {"label_scheme": None, "classes": None, "sites": None}


def parse(
    label_scheme: Scheme | None, classes: int | None, sites: Sequence[str] | None = None
) -> Declaration:
    """What was declared, as the manifest keeps it; None for what was not.

    Args:
        label_scheme: a mapping of numbers to names, the text "1=name,2=name", "none" for masks
            without labels, or a file: YAML or JSON with such a mapping, CSV or TSV with the
            columns value and name.
        classes: 0 for none, else the volumes are of class 0 to `classes` - 1.
        sites: names of the hospitals or scanners; () for none.

    Raises:
        UsageError: it is no label scheme, the number of classes is out of range, or the sites are
            not two or more different names.
    """
    if classes is not None and not 0 <= classes <= MAX_CLASSES:
        raise UsageError(f"--classes must be in 0..{MAX_CLASSES}, not {classes}")
    named = None if sites is None else _sites(sites)
    if label_scheme is None:
        return {"label_scheme": None, "classes": classes, "sites": named}
    try:
        scheme = checked_scheme(mapping(label_scheme))
    except ValueError as error:
        raise UsageError(
            f"--label-scheme: {error}; expected 1=name,2=name or a YAML, JSON, CSV or TSV file"
        ) from error
    return {"label_scheme": scheme, "classes": classes, "sites": named}


def _sites(names: Sequence[str]) -> list[str]:
    try:
        return list(checked_sites(names))
    except ValueError as error:
        raise UsageError(f"--sites: {error}; expected such as north,south, or none") from error


def mapping(scheme: Scheme) -> Unchecked:
    """Numbers and names as they were given, before they are checked.

    Raises:
        ValueError: it is no mapping, and no file that holds one.
    """
    if isinstance(scheme, Mapping):
        return scheme
    text = os.fspath(scheme)
    if text == "none":
        return {}
    if isinstance(scheme, str) and "=" in text and not text.lower().endswith(_FILES):
        return _pairs(part.partition("=")[::2] for part in text.split(","))
    return _file(Path(text))


def _file(path: Path) -> Unchecked:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ValueError(f"{path} is larger than 1 MiB")
        text = data.decode("utf-8-sig")
        if path.suffix.lower() in _TABLES:
            return _table(path, text)
        content = _of_yaml(text)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, _NoYamlError, csv.Error) as error:
        raise ValueError(f"{path} is not a table or mapping in UTF-8") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds no mapping of numbers to names")
    return content


def _table(path: Path, text: str) -> Mapping[str, str]:
    rows = csv.DictReader(
        io.StringIO(text, newline=""), delimiter="\t" if path.suffix.lower() == ".tsv" else ","
    )
    columns = {(name or "").strip().lower(): name for name in rows.fieldnames or []}
    number = next((columns[name] for name in _NUMBERS if name in columns), None)
    if number is None or "name" not in columns:
        raise ValueError(f"{path} lacks the columns value,name")
    return _pairs((row[number] or "", row[columns["name"]] or "") for row in rows)


def _pairs(pairs: Iterable[Sequence[str]]) -> Mapping[str, str]:
    names: dict[str, str] = {}
    for number, name in pairs:
        if number.strip() in names:
            raise ValueError(f"label {number.strip()} is named twice")
        names[number.strip()] = name
    return names


class _NoYamlError(Exception):
    """A text is no YAML."""


def _of_yaml(text: str) -> object:
    """What YAML (and so JSON) holds; a key that is there twice is an error, not the last value.

    Raises:
        _NoYamlError: it is none.
        ValueError: a key is there twice.
    """
    import yaml  # here: most commands read no such file

    class UniqueKeys(yaml.SafeLoader):
        def construct_mapping(
            self, node: yaml.MappingNode, deep: bool = False
        ) -> dict[Hashable, object]:
            keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
            if len(set(keys)) < len(keys):
                raise ValueError("a label is named twice")
            return super().construct_mapping(node, deep=deep)

    try:
        return UniqueKeys(text).get_single_data()
    except yaml.YAMLError as error:
        raise _NoYamlError from error


def result(declared: Declaration) -> Declared:
    """What a manifest keeps, as results have it."""
    sites = declared.get("sites")
    named = None if sites is None else tuple(sites)
    return Declared(declared["label_scheme"], declared["classes"], named)


def merged(before: Declaration, after: Declaration) -> Declaration:
    """`before` with whatever `after` declares in its place."""
    scheme, classes = after["label_scheme"], after["classes"]
    return {
        "label_scheme": before.get("label_scheme") if scheme is None else scheme,
        "classes": before.get("classes") if classes is None else classes,
        "sites": before.get("sites") if after.get("sites") is None else after["sites"],
    }


def unit(volumes: list[VolumeEntry]) -> str | None:
    """Who is a subject: "file" if any subject is one, None if that was not recorded for all."""
    own = [entry.get("own_subject") for entry in volumes]
    if any(own):
        return "file"
    return None if None in own else "patient"


def notes(manifest: Manifest) -> list[str]:
    """Where data and declaration differ. Counts of private data: they stay in the tenant."""
    declared = manifest.get("declared", UNDECLARED)
    volumes = manifest["volumes"]
    return [
        f"{sentence} (counts of private data: they stay in the tenant)"
        for sentence in [
            *_label_notes(declared["label_scheme"], volumes),
            *_class_notes(declared["classes"], volumes),
            *_site_notes(declared.get("sites"), volumes),
        ]
    ]


def _label_notes(scheme: dict[str, str] | None, volumes: list[VolumeEntry]) -> list[str]:
    masked = [entry for entry in volumes if entry["mask"]]
    if scheme is None:
        if not masked:
            return []
        return [f"{len(masked)} volumes have masks, and no label scheme is declared"]
    if not scheme:
        return [f"{len(masked)} volumes have masks that no label is learnt from"] if masked else []
    notes = []
    if len(masked) < len(volumes):
        notes.append(
            f"{len(volumes) - len(masked)} of {len(volumes)} volumes have no mask, which counts as "
            "an empty one"
        )
    present: set[int] = set()
    strange = 0
    for entry in masked:
        values = set(label_values(entry))
        present |= values
        strange += bool(values - {int(number) for number in scheme})
    if strange:
        notes.append(
            f"{strange} masks have numbers that the label scheme lacks, which count as background"
        )
    absent = [f"{number} ({name})" for number, name in scheme.items() if int(number) not in present]
    if absent:
        notes.append(f"no mask has label {', '.join(absent)}")
    return notes


def label_values(entry: VolumeEntry) -> list[int]:
    """Label numbers in a volume's mask; an older manifest kept only their maximum."""
    values: list[int] = entry.get("label_values", list(range(1, entry.get("labels", 0) + 1)))
    return values


def _class_notes(classes: int | None, volumes: list[VolumeEntry]) -> list[str]:
    classes_of = [entry["class"] for entry in volumes if "class" in entry]
    if classes is None:
        return (
            [f"{len(classes_of)} volumes have a class, and no classes are declared"]
            if classes_of
            else []
        )
    outside = sum(not number < classes for number in classes_of)
    notes = []
    if outside:
        notes.append(f"{outside} volumes have a class that is not declared, which counts as none")
    if classes and len(classes_of) < len(volumes):
        notes.append(f"{len(volumes) - len(classes_of)} of {len(volumes)} volumes have no class")
    return notes


def _site_notes(sites: Sequence[str] | None, volumes: list[VolumeEntry]) -> list[str]:
    sites_of = [entry["site"] for entry in volumes if "site" in entry]
    if sites is None:
        return (
            [f"{len(sites_of)} volumes have a site, and no sites are declared"] if sites_of else []
        )
    if not sites:
        return []
    notes = []
    undeclared = sorted(set(sites_of) - set(sites))
    if undeclared:
        count = sum(name in undeclared for name in sites_of)
        names = ", ".join(undeclared[:5]) + (", ..." if len(undeclared) > 5 else "")
        notes.append(
            f"{count} volumes are of a site that is not declared ({names}), which counts as none"
        )
    if len(sites_of) < len(volumes):
        notes.append(
            f"{len(volumes) - len(sites_of)} of {len(volumes)} volumes have no site, and count "
            "only in the statistics of all"
        )
    of_patient: dict[str, set[str]] = {}
    for entry in volumes:
        if entry.get("site") in sites:
            of_patient.setdefault(entry["subject"], set()).add(entry["site"])
    several = sum(len(own) > 1 for own in of_patient.values())
    if several:
        notes.append(
            f"{several} patients have volumes of more than one site, and count in part at each"
        )
    empty = [name for name in sites if name not in sites_of]
    if empty and sites_of:
        notes.append(f"no volume is of the site {', '.join(empty)}")
    return notes
