"""The public anatomy library of a vault: add, list, show, verify. Needs no tenant and no keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medvae.api.results import (
    AnatomyAlignment,
    AnatomyCheck,
    AnatomyDetail,
    AnatomyEntry,
    AnatomyList,
    AnatomyPerson,
    Damage,
)
from medvae.errors import InputError, UsageError
from medvae.progress import SILENT, Progress

if TYPE_CHECKING:
    from medvae.anatomy.collection import Entry, Library, PersonMaps
    from medvae.api.context import PathLike
    from medvae.api.declaration import Scheme

# How many label numbers an error names.
_NAMED = 5


def add_anatomy(
    folder: PathLike,
    name: str,
    *,
    licence: str,
    source: str,
    label_scheme: Scheme | None = None,
    consent: str | None = None,
    vault: PathLike | None = None,
    progress: Progress = SILENT,
) -> AnatomyList:
    """Add public people to the library, aligned to one another; all of them or none.

    Args:
        folder: label maps of a whole region, or images with labels (see `anatomy_files.find`).
        licence, source: under which the files may be used, and where they come from.
        label_scheme: as `Session.ingest` takes it, numbers 1 to 32767; without it every number
            that the files hold is a label without a name.
        consent: what the people shown have agreed to.

    Raises:
        UsageError: no licence or source, or the name is not valid or taken.
        InputError: a file cannot be used, or holds a label that the scheme lacks.
    """
    from medvae.anatomy.collection import Person, align
    from medvae.anatomy.collection.entries import Entry
    from medvae.api import anatomy_files

    for option, text in (("--licence", licence), ("--source", source)):
        if not text.strip():
            raise UsageError(f"{option} is empty; an entry of the library needs one")
    scheme = None if label_scheme is None else _scheme(label_scheme)
    with library_of(vault).adding(name) as staging, anatomy_files.Reader() as reader:
        kind, files = anatomy_files.find(Path(folder))
        progress.start("reading the library", len(files))
        people, numbers = [], set()
        for done, person in enumerate(files, 1):
            maps, sources = reader.read(person)
            numbers |= _labels(maps, scheme, person.labels.source)
            x, y, z = maps.labels.shape
            stored = staging.add(maps)
            people.append(Person(person.id, sources, stored, (x, y, z), maps.spacing))
            progress.advance(done)
        progress.finish()
        named = _unnamed(numbers) if scheme is None else scheme
        alignment = staging.align(align(staging.people(), kind, named, progress))
        entry = Entry(
            name,
            kind,
            source.strip(),
            licence.strip(),
            consent.strip() if consent else None,
            named,
            tuple(people),
            alignment,
        )
        staging.commit(entry)
    return AnatomyList(name, (summary(entry),))


def list_anatomy(vault: PathLike | None = None) -> AnatomyList:
    """Every entry of a vault's library."""
    library = library_of(vault)
    entries = tuple(summary(library.entry(name)) for name in library.names())
    return AnatomyList(str(library.root), entries)


def show_anatomy(name: str, vault: PathLike | None = None) -> AnatomyDetail:
    """One entry: what `list_anatomy` says of it, its label scheme, its people and its alignment.

    Raises:
        NotFoundError: there is none. IntegrityError: it is damaged.
    """
    library = library_of(vault)
    entry = library.entry(name)
    aligned = library.aligned(entry)
    template = aligned.group.template
    return AnatomyDetail(
        **vars(summary(entry)),
        label_scheme={str(number): text for number, text in entry.label_scheme.items()},
        alignment=AnatomyAlignment(
            sha256=entry.alignment.sha256,
            box_mm=tuple(template.box.size),
            spacing_mm=tuple(template.grid.spacing),
            channels=tuple(aligned.channels),
        ),
        files=tuple(
            AnatomyPerson(
                person=person.id,
                shape=tuple(person.shape),
                spacing_mm=tuple(person.spacing),
                sources={file.name: file.sha256 for file in person.sources},
            )
            for person in entry.people
        ),
    )


def verify_anatomy(vault: PathLike | None = None, progress: Progress = SILENT) -> AnatomyCheck:
    """Check every file of the library against its digest; `damaged` lists what is not as it was."""
    library = library_of(vault)
    objects, damaged = library.verify(progress)
    return AnatomyCheck(
        anatomy=str(library.root),
        entries=tuple(library.names()),
        objects=objects,
        damaged=tuple(Damage(**damage) for damage in damaged),
    )


def library_of(vault: PathLike | None) -> Library:
    """The library of a vault, the default one for None."""
    from medvae.anatomy.collection import Library
    from medvae.api.tenancy import default_vault

    return Library(default_vault() if vault is None else Path(vault))


def _scheme(scheme: Scheme) -> dict[int, str]:
    from medvae.anatomy.collection import label_scheme
    from medvae.api import declaration

    try:
        return label_scheme(declaration.mapping(scheme))
    except ValueError as error:
        raise UsageError(
            f"--label-scheme: {error}; expected 1=name,2=name or a YAML, JSON, CSV or TSV file"
        ) from error


def _unnamed(numbers: set[int]) -> dict[int, str]:
    from medvae.anatomy.collection import unnamed

    return unnamed(numbers)


def _labels(maps: PersonMaps, scheme: dict[int, str] | None, source: str) -> set[int]:
    """The label numbers of a person. Raises InputError where the scheme lacks one."""
    import numpy as np

    numbers = {int(n) for n in np.flatnonzero(np.bincount(maps.labels.ravel()))} - {0}
    strange = sorted(numbers - set(scheme)) if scheme is not None else []
    if strange:
        listed = ", ".join(map(str, strange[:_NAMED])) + (", ..." if strange[_NAMED:] else "")
        raise InputError(
            f"{source} holds labels that the label scheme lacks ({listed}); name them in "
            "--label-scheme, or correct the file"
        )
    return numbers


def summary(entry: Entry) -> AnatomyEntry:
    """What every verb says of an entry."""
    return AnatomyEntry(
        name=entry.name,
        kind=entry.kind,
        people=len(entry.people),
        labels=len(entry.label_scheme),
        licence=entry.licence,
        source=entry.source,
        consent=entry.consent,
        digest=entry.digest,
    )
