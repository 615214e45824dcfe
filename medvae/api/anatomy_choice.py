"""Which entry of the vault's public library a run uses, and that entry ready for its cohort."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medvae.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from medvae.anatomy.cohort import CohortAnatomy
    from medvae.anatomy.collection import Entry, Library
    from medvae.anatomy.drawing.sequences import Contrast
    from medvae.config import RunConfig
    from medvae.model import Artifact
    from medvae.vault import Tenant


def library_of(tenant: Tenant) -> Library:
    """The library of the tenant's vault."""
    from medvae.anatomy.collection import Library

    return Library(tenant.root.parent)


def choose(tenant: Tenant, cfg: RunConfig) -> RunConfig:
    """The configuration with its entry and the entry's digest, or with the patients' own maps, or
    with none.

    Never looks at a patient: what is declared decides.

    Raises:
        UsageError: the named entry does not cover the cohort, several entries cover it and none
            is named, the cohort cannot have maps of its own, or `anatomy.share` has a budget and
            there is nothing to draw from.
        NotFoundError: there is no such entry.
    """
    from medvae.anatomy.cohort import check_covers
    from medvae.anatomy.patients import anatomy_of_patients
    from medvae.anatomy.templates import LIBRARY

    library, entry_name = library_of(tenant), cfg.anatomy.library
    if entry_name == "auto":
        covering = [name for name in _candidates(library, cfg) if _covers(library, name, cfg)]
        if len(covering) > 1:
            raise UsageError(
                f"several anatomy entries cover the cohort ({', '.join(covering)}); name the one "
                "to use in anatomy.library, or none"
            )
        if cfg.anatomy.labels and not covering:
            # Somebody meant an entry: the first one says what is wrong.
            for name in library.names():
                check_covers(library.entry(name), cfg.data, cfg.anatomy.labels)
            if not library.names():
                raise UsageError(
                    "anatomy.labels says which labels of an entry stand for the cohort's, and the "
                    "public library has no entry; add one (medvae anatomy add), or leave it out"
                )
        entry_name = covering[0] if covering else _without_entry(cfg)
    if entry_name == "none":
        if cfg.anatomy.share > 0:
            raise UsageError(
                "anatomy.share has a part of the budget, but no entry of the public library "
                "covers the cohort; add one (medvae anatomy add), or set anatomy.share to 0"
            )
        return cfg.model_copy(
            update={"anatomy": cfg.anatomy.model_copy(update={"library": "none"})}
        )
    if cfg.cosines.share > 0 and not cfg.data.channels:
        raise UsageError(
            f"anatomy.library is {entry_name}, and cosines.share is {cfg.cosines.share:g}: images "
            "are drawn by cosines or from an anatomy; leave one of them out"
        )
    if entry_name == LIBRARY:
        # Refuses a cohort that cannot have any.
        own = anatomy_of_patients(cfg.data, cfg.anatomy.spacing)
        _check_names_no_entry(cfg)
        return cfg.with_library(entry_name, own.digest)
    entry = library.entry(entry_name)
    check_covers(entry, cfg.data, cfg.anatomy.labels, named=cfg.anatomy.library == entry_name)
    _contrasts(cfg)
    if cfg.anatomy.digest not in ("", entry.digest):
        raise UsageError(
            f"the anatomy entry {entry_name} is not the one that anatomy.digest stands for; put "
            "that entry back"
        )
    return cfg.with_library(entry_name, entry.digest)


def _check_names_no_entry(cfg: RunConfig) -> None:
    """Refuse what somebody says of an entry where patients are drawn from their own maps."""
    for key, value in (("labels", cfg.anatomy.labels), ("contrasts", cfg.anatomy.contrasts)):
        if value:
            raise UsageError(
                f"anatomy.{key} is of entries of the public library, and the cohort is drawn from "
                "its own mean maps; leave it out, or name an entry in anatomy.library"
            )


def if_named(tenant: Tenant, cfg: RunConfig) -> tuple[str, ...]:
    """Entries that a resolved configuration without anatomy could name.

    Of scans without labels, whose region nobody has declared, and of channels that nobody has said
    the contrasts of.
    """
    of_region = cfg.cosines.share == 0 and not cfg.data.label_numbers
    if cfg.anatomy.public or not (of_region or cfg.data.channels):
        return ()
    library = library_of(tenant)
    return tuple(name for name in library.names() if _covers(library, name, cfg, named=True))


def if_spaced(written: RunConfig, cfg: RunConfig) -> bool:
    """Whether contrasts that cosines draw would have maps if the grid had a size in mm.

    written: what `cfg` was resolved from; who has said none there has none with a size, too.
    """
    from medvae.anatomy.patients import refusal

    data = cfg.data
    said_none = written.anatomy.library == "none"
    if said_none or cfg.cosines.share == 0 or not data.channels or data.spacing is not None:
        return False
    return refusal(data.model_copy(update={"spacing": (1.0, 1.0, 1.0)})) is None


def shape_source(cfg: RunConfig) -> str | None:
    """Where the shapes of a resolved configuration come from (see `PlanResult`)."""
    if not cfg.anatomy.used:
        return None
    if cfg.anatomy.public:
        return "public people"
    return "masks" if cfg.data.label_numbers else "automatic tissues"


def _candidates(library: Library, cfg: RunConfig) -> list[str]:
    """Entries that `auto` may stand for: none for pictures, nor for contrasts that nobody knows."""
    if cfg.cosines.share > 0:
        try:
            known = bool(cfg.data.channels) and bool(_contrasts(cfg))
        except UsageError:
            if cfg.anatomy.contrasts or cfg.anatomy.labels:
                # Somebody meant an entry.
                raise
            # Cosines draw them without knowing what they are.
            known = False
        if not known:
            return []
    return library.names()


def _without_entry(cfg: RunConfig) -> str:
    """What `auto` stands for where no entry covers the cohort: the patients' own maps, or none.

    A configuration with another model of its own (cosines of pictures, an atlas on a public
    template) keeps it. Contrasts with masks are nearer to people from maps than by cosines
    (docs/benchmarks/contrasts.md).
    """
    from medvae.anatomy.patients import is_default
    from medvae.anatomy.templates import LIBRARY

    of_pictures = cfg.cosines.share > 0 and not cfg.data.channels
    other = of_pictures or cfg.atlas.public != "none"
    return LIBRARY if is_default(cfg.data) and not other else "none"


def for_public(tenant: Tenant, cfg: RunConfig) -> RunConfig:
    """The configuration of a model of public people: of the entry that it names, if it does.

    Labels that the configuration does not name are all that the entry has.

    Raises:
        UsageError: classes are asked for, or channels without an entry; else as `choose`.
        NotFoundError: as `choose`.
    """
    if cfg.anatomy.library in ("auto", "none", "patients"):
        if cfg.data.channels:
            raise UsageError(
                f"data.channels is {', '.join(cfg.data.channels)}, and a network without an "
                "anatomy is of one image: leave data.channels out, or name an entry of label maps "
                "in anatomy.library"
            )
        return cfg.model_copy(
            update={"anatomy": cfg.anatomy.model_copy(update={"library": "none"})}
        )
    for key, value in (("classes", max(cfg.data.classes, 0)), ("sites", cfg.data.sites)):
        if value:
            raise UsageError(
                f"data.{key} is {value}, and of public people no class or site is known; leave it "
                "out"
            )
    if cfg.data.label_scheme is None:
        scheme = library_of(tenant).entry(cfg.anatomy.library).label_scheme
        named = {str(number): name for number, name in scheme.items()}
        facts = {"label_scheme": named, "labels": len(named)}
        cfg = cfg.model_copy(update={"data": cfg.data.model_copy(update=facts)})
    return choose(tenant, cfg)


def _contrasts(cfg: RunConfig) -> tuple[Contrast, ...]:
    """What grey values are expected of each channel. UsageError where nobody says it."""
    from medvae.anatomy.contrasts import contrasts_of

    return contrasts_of(cfg.data.channels, cfg.anatomy.contrast, cfg.anatomy.contrasts)


def _covers(library: Library, name: str, cfg: RunConfig, *, named: bool = False) -> bool:
    from medvae.anatomy.cohort import check_covers

    try:
        check_covers(library.entry(name), cfg.data, cfg.anatomy.labels, named=named)
    except UsageError:
        return False
    return True


def check(tenant: Tenant, cfg: RunConfig) -> None:
    """Refuse an entry that shows a patient of the tenant. UsageError."""
    if cfg.anatomy.public:
        library = library_of(tenant)
        check_other_people(tenant, library.entry(cfg.anatomy.library), library)


def check_other_people(tenant: Tenant, entry: Entry, library: Library) -> None:
    """Refuse an entry that shows an ingested patient: his or her scan, or the mask of one.

    Raises:
        UsageError: a person of the entry is a patient of the tenant, or cannot be
            distinguished from one.
        IntegrityError: the entry is damaged.
    """
    from medvae.api.copies import Stored

    images = Stored(tenant) if entry.kind == "images" else None
    masks = Stored(tenant, "mask_likeness")
    for index, person in enumerate(entry.people):
        maps = library.person(entry, index)
        same = masks.copies(maps.labels > 0)
        copy = next(same, None)
        if copy is None and images is not None and maps.image is not None:
            copy = next(images.copies(maps.image), None)
        if copy is not None:
            raise UsageError(
                f"{person.id} of the anatomy entry {entry.name} is an ingested patient, or so "
                "close to one that the two cannot be distinguished; use an entry that shows "
                "nobody of this tenant"
            )


def of_run(tenant: Tenant, cfg: RunConfig) -> CohortAnatomy | None:
    """The entry of a resolved configuration, or the patients' own maps; None where it has none.

    Raises:
        NotFoundError: the entry is no longer in the library.
        UsageError: it is another one of the same name.
    """
    from medvae.anatomy.cohort import CohortAnatomy
    from medvae.anatomy.patients import anatomy_of_patients

    if not cfg.anatomy.used:
        return None
    if not cfg.anatomy.public:
        own = anatomy_of_patients(cfg.data, cfg.anatomy.spacing)
        if cfg.anatomy.digest != own.digest:
            raise UsageError(
                "the run draws from maps of its patients in a way of another version; train a new "
                "one"
            )
        return own
    library = library_of(tenant)
    entry = library.entry(cfg.anatomy.library)
    if entry.digest != cfg.anatomy.digest:
        raise UsageError(
            f"the anatomy entry {entry.name} is not the one that the run was begun with; put that "
            "entry back"
        )
    anatomy = cfg.anatomy
    return CohortAnatomy.open(
        library, entry, cfg.data, anatomy.labels, anatomy.spacing, _contrasts(cfg)
    )


def of_model(tenant: Tenant, artifact: Artifact) -> CohortAnatomy | None:
    """The entry that a model draws people of; None for a model without anatomy.

    Raises:
        NotFoundError: the library lacks it; the message says which.
    """
    if not artifact.part("anatomy"):
        return None
    try:
        return of_run(tenant, artifact.config())
    except NotFoundError as error:
        source = artifact.facts["anatomy"]["source"]
        raise NotFoundError(
            f"the model draws people of an anatomy entry that the vault lacks ({source}): {error}"
        ) from error
