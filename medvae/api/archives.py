"""Image archives (PACS): studies from them into a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medvae.api import datasets, declaration, intake, moving
from medvae.api.links import access_of
from medvae.api.results import Pulled, PullResult
from medvae.errors import MedvaeError, NotFoundError, UsageError
from medvae.options.archives import PullOptions, ingesting
from medvae.progress import Progress

if TYPE_CHECKING:
    from medvae.ingest import Received
    from medvae.pacs.archive import Archive
    from medvae.pacs.hold import Hold
    from medvae.pacs.wanted import Wanted
    from medvae.vault import Tenant

GIB = 1024**3


def modality_of(name: str | None) -> str | None:
    """The modality of an ingest, by its own name or by DICOM's code (CT, MR, PT)."""
    from medvae.pacs.wanted import CODES, NAMES

    return None if name is None else NAMES.get(CODES.get(name.lower(), ""))


def pull(tenant: Tenant, options: PullOptions) -> PullResult:
    """Fetch, check and ingest; nothing is stored unless every study came whole.

    Raises:
        UsageError: what is asked for cannot be right, or would go unprotected.
        AccessError: the archive cannot be reached, does not prove who it is, or refuses.
        InputError: it sent something else than was asked for, or part of it; or as `ingest`.
        NotFoundError: nothing matches.
    """
    from medvae.pacs import peers
    from medvae.pacs.archive import archive_of

    datasets.check_name(options.dataset)
    declaration.parse(options.label_scheme, options.classes)
    peer, query = peers.parse(options.peer), _wanted(options)
    access = access_of(options.link)
    hold = hold_of(options.memory_limit)
    try:
        with moving.destination_of(options.move, options.bind, peer, access, hold) as destination:
            archive = archive_of(peer, access, destination)
            try:
                more = _receive(archive, query, hold, options.progress)
            except MedvaeError as error:
                reason = type(error).__name__
                tenant.record("pull", outcome="failure", peer=peer.label, reason=reason)
                raise
        pulled = count(hold)
        tenant.record("pull", peer=peer.label, **vars(pulled))
        sources = sources_of(peer.host, hold)
        done = intake.ingest(tenant, sources, ingesting(options, modality_of(options.modality)))
    finally:
        hold.close()
    notes = (f"more studies match than the {len(sources)} of --limit",) if more else ()
    return PullResult(**(vars(done) | {"notes": (*notes, *done.notes)}), pulled=pulled)


def _wanted(options: PullOptions) -> Wanted:
    from medvae.pacs.wanted import Wanted

    return Wanted.of(
        tuple(options.studies), options.patient, options.modality, options.dates, options.limit
    )


def _receive(archive: Archive, query: Wanted, hold: Hold, progress: Progress) -> bool:
    """Fetch all that matches; whether there would have been more."""
    listing = archive.find(query)
    missing = set(query.studies) - {study.uid for study in listing.studies}
    if not listing.studies or (missing and not listing.more):
        which = f"study {min(missing)}" if missing else "study that matches"
        raise NotFoundError(f"{archive.peer.label} has no {which}: check what was asked for")
    progress.start("pull", len(listing.studies))
    for done, listed in enumerate(listing.studies, start=1):
        archive.fetch(listed, query, hold)
        progress.advance(done)
    progress.finish()
    return listing.more


def count(hold: Hold) -> Pulled:
    """How much was received."""
    studies = hold.studies
    return Pulled(
        len(studies),
        sum(len(study.members) for study in studies),
        sum(study.size for study in studies),
    )


def hold_of(memory_limit: float) -> Hold:
    """A hold of so many GiB. Raises UsageError where that is no number above 0."""
    from medvae.pacs.hold import Hold

    if not memory_limit > 0:
        raise UsageError(f"--memory-limit must be GiB above 0, not {memory_limit:g}")
    return Hold(int(memory_limit * GIB))


def sources_of(origin: str, hold: Hold) -> list[Received]:
    """What to ingest of the studies that were received; `origin` is for messages."""
    from medvae.ingest import Received

    return [
        Received(
            f"study {study.uid} of {origin}",
            study.descriptor,
            study.members,
            study.uid,
            study.patient,
        )
        for study in hold.studies
    ]
