"""The quality of a release beside public people: what its card may say without a patient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from medvae.api import anatomy_choice
from medvae.api.public_meter import PublicMeter
from medvae.errors import UsageError
from medvae.evaluate.likeness import LOOKED, Likeness
from medvae.progress import SILENT, Progress
from medvae.volume import Volume

if TYPE_CHECKING:
    from medvae.anatomy.collection import Entry, Library
    from medvae.config import DataConfig, RunConfig
    from medvae.model import Artifact
    from medvae.vault import Tenant

# `--reference`, where nobody is to be compared with.
NONE = "none"


def meter(
    tenant: Tenant,
    artifact: Artifact,
    data: DataConfig,
    reference: str | None = None,
    progress: Progress = SILENT,
) -> PublicMeter:
    """What measures a release of a model.

    Args:
        data: the release's grid, window and labels.
        reference: name of the entry to compare with, or `NONE`; None: the one that the model draws
            from, else the first one that covers the release's labels.

    Raises:
        NotFoundError: there is no such entry.
        UsageError: it does not cover the labels, or shows an ingested patient: figures beside it
            would be figures on a patient.
        IntegrityError: it is damaged.
    """
    cfg, library = artifact.config(), anatomy_choice.library_of(tenant)
    if reference == NONE:
        return PublicMeter(data, missing="nobody was to be compared with (--reference none)")
    name = _chosen(library, cfg, data, reference)
    if name is None:
        return PublicMeter(data, missing=_nobody(data))
    entry = library.entry(name)
    anatomy_choice.check_other_people(tenant, entry, library)
    people = Likeness(data, look=entry.kind == "images")
    for volume in _volumes(library, entry, cfg, data):
        people.add(volume)
    drawn = cfg.anatomy.public and cfg.anatomy.library == name
    own = anatomy_choice.of_model(tenant, artifact) if drawn else None
    return PublicMeter(data, people, _words(entry), entry.source, "", own, progress)


def _chosen(
    library: Library, cfg: RunConfig, data: DataConfig, reference: str | None
) -> str | None:
    from medvae.anatomy.cohort import check_covers

    if reason := _incomparable(data):
        if reference is not None:
            raise UsageError(f"--reference {reference} cannot be compared: {reason}; leave it out")
        return None
    if reference is not None:
        check_covers(library.entry(reference), data, cfg.anatomy.labels)
        return reference
    if cfg.anatomy.public:
        return cfg.anatomy.library
    names = [name for name in library.names() if _covers(library.entry(name), cfg, data)]
    return names[0] if names else None


def _covers(entry: Entry, cfg: RunConfig, data: DataConfig) -> bool:
    from medvae.anatomy.cohort import check_covers

    try:
        check_covers(entry, data, cfg.anatomy.labels)
    except UsageError:
        return False
    return True


def _incomparable(data: DataConfig) -> str:
    """Why public people cannot be compared with such a release; "" where they can be."""
    if data.labels <= 0:
        return "public people are compared by labels, and this release has none"
    if data.channels:
        return "public people have one channel, and the volumes of this release have several"
    return ""


def _nobody(data: DataConfig) -> str:
    return _incomparable(data) or (
        "no entry of the public library covers the labels (medvae anatomy add makes one of public "
        "people)"
    )


def _words(entry: Entry) -> str:
    count = min(len(entry.people), LOOKED)
    of = f" of {len(entry.people)}" if count < len(entry.people) else ""
    noun = "person" if len(entry.people) == 1 else "people"
    return f"{count}{of} public {noun} (anatomy entry {entry.name})"


def _volumes(library: Library, entry: Entry, cfg: RunConfig, data: DataConfig) -> Iterator[Volume]:
    """The first people, with the release's labels; black where the entry has no images."""
    from medvae.anatomy.cohort import check_covers

    table = np.zeros(max(entry.label_scheme) + 1, np.uint8)
    own = check_covers(entry, data, cfg.anatomy.labels)
    for number, theirs in zip(data.label_numbers, own, strict=True):
        table[list(theirs)] = number
    for index in range(min(len(entry.people), LOOKED)):
        maps = library.person(entry, index)
        mask = table[np.clip(maps.labels, 0, None)]
        image = np.zeros(mask.shape, np.int16) if maps.image is None else np.asarray(maps.image)
        yield Volume(image, maps.affine, data.modality, mask)
