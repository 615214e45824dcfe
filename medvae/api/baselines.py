"""What public people give without any patient: the rows that a private model is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from medvae.progress import Progress

if TYPE_CHECKING:
    from medvae.anatomy.cohort import CohortAnatomy
    from medvae.volume import Volume

DRAWN = "public people drawn"
DIRECT = "public images directly"


def public_volumes(
    anatomy: CohortAnatomy, n: int, progress: Progress
) -> Iterator[tuple[str, Iterator[Volume]]]:
    """Name and volumes of each baseline that an entry of the library allows; none without one.

    Args:
        anatomy: the entry, ready for the cohort.
        n: how many volumes are drawn. Images of an entry are as many as its people.
    """
    if anatomy.entry is None:
        return
    yield DRAWN, drawn_people(anatomy, n, progress)
    if anatomy.read_person is not None:
        yield DIRECT, people(anatomy)


def drawn_people(anatomy: CohortAnatomy, n: int, progress: Progress) -> Iterator[Volume]:
    """People in poses and greys that public people alone say."""
    from medvae.anatomy.model import AnatomyModel
    from medvae.grid import drawn_volume

    model = AnatomyModel(anatomy, anatomy.numbers)
    progress.start("public people", n)
    for index in range(n):
        random = np.random.Generator(np.random.Philox(key=[0, index]))
        image, mask, affine = model.draw_volume(random)
        yield drawn_volume(image, affine, anatomy.data, mask)
        progress.advance(index + 1)
    progress.finish()


def people(anatomy: CohortAnatomy) -> Iterator[Volume]:
    """The entry's own images on their own grids, with the cohort's labels."""
    from medvae.grid import drawn_volume

    assert anatomy.read_person is not None
    assert anatomy.entry is not None
    for index in range(len(anatomy.entry.people)):
        scan = anatomy.read_person(index)
        yield drawn_volume(scan.image, scan.affine, anatomy.data, scan.mask)
