"""The images of public people that a release may hold beside its synthetic volumes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from medvae.api import anatomy_choice
from medvae.api.baselines import people
from medvae.errors import UsageError

if TYPE_CHECKING:
    from medvae.anatomy.cohort import CohortAnatomy
    from medvae.config import DataConfig
    from medvae.model import Artifact
    from medvae.release import PublicImages
    from medvae.vault import Tenant
    from medvae.volume import Volume


def of_model(tenant: Tenant, name: str, artifact: Artifact) -> tuple[CohortAnatomy, PublicImages]:
    """The entry that a model draws people of, and what a release says of its images.

    Raises:
        UsageError: the model has no entry with images, its licence is not known to permit
            redistribution of modified images, or the entry shows an ingested patient.
        NotFoundError: the library lacks the entry.
        IntegrityError: the entry is damaged.
    """
    from medvae.release import PublicImages, redistributable

    anatomy = anatomy_choice.of_model(tenant, artifact)
    entry = None if anatomy is None else anatomy.entry
    if anatomy is None or entry is None:
        raise UsageError(
            f"model {name} draws from no entry of the public library, so that there are no public "
            "images: leave out --with-public, or train with anatomy.library"
        )
    if anatomy.read_person is None:
        raise UsageError(
            f"the anatomy entry {entry.name} of model {name} holds label maps and nobody's image: "
            "leave out --with-public"
        )
    licence = redistributable(entry.licence, f"the anatomy entry {entry.name}")
    # Again: a person may have been ingested since the model was trained.
    anatomy_choice.check_other_people(tenant, entry, anatomy_choice.library_of(tenant))
    images = PublicImages(
        count=len(entry.people),
        entry=entry.name,
        digest=entry.digest,
        source=entry.source,
        licence=licence,
        consent=entry.consent,
    )
    return anatomy, images


def on_grid(anatomy: CohortAnatomy, data: DataConfig) -> Iterator[Volume]:
    """The images on a release's grid, in the place and the units of its synthetic volumes.

    They are resampled as evaluation resamples every image (`to_grid`).
    """
    from medvae.grid import from_grid, to_grid

    for volume in people(anatomy):
        gridded = to_grid(volume, data)
        yield from_grid(gridded.image, data, gridded.mask)
