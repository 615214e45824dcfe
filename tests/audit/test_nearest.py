"""Which patients volumes are nearest to: a copy is found, a stranger is not, others are beside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from medvae.audit.nearest import neighbours
from medvae.config import DataConfig
from medvae.errors import InputError
from medvae.grid import from_grid
from medvae.volume import Volume

GRID = DataConfig(
    modality="mri", size=(16, 16, 12), spacing=(1.0, 1.0, 1.0), label_scheme={}, labels=0, classes=0
)


def people(n: int, seed: int) -> list[tuple[str, Volume]]:
    return [(f"p{seed}-{i}", one) for i, one in enumerate(drawn(n, seed))]


def drawn(n: int, seed: int) -> Iterator[Volume]:
    random = np.random.default_rng(seed)
    for _ in range(n):
        texture = ndimage.gaussian_filter(random.normal(size=GRID.size), 1.5) * 4
        yield from_grid(np.clip(texture, -1, 1).astype(np.float32), GRID)


def test_a_copy_is_nearest_to_its_patient_and_a_stranger_is_not() -> None:
    members = people(9, 1)
    mirrored = replace(members[4][1], voxels=members[4][1].voxels[::-1].copy())
    volumes = [*drawn(3, 2), members[7][1], mirrored]
    found = neighbours(volumes, members, data=GRID, others=people(10, 3))
    assert (len(found.found), found.compared, found.unseen) == (5, 10, True)
    first, second, third = found.found[:3]
    assert [(one.number, one.subject, one.mirrored) for one in (first, second)] == [
        (4, "p1-7", False),
        (5, "p1-4", True),
    ]
    assert first.distance < 0.01 < third.distance
    assert first.nearer == second.nearer == 0
    assert all(one.next_distance >= one.distance for one in found.found)
    assert 0 < found.least <= found.usual
    # Strangers are as near to patients as other strangers are.
    assert all(10 <= one.nearer <= 100 for one in found.found[2:])


def test_without_other_patients_each_is_beside_the_others() -> None:
    members = people(8, 1)
    members.append(("p1-0", members[3][1]))  # a scan of another's: not its own neighbour
    found = neighbours(drawn(2, 2), members, data=GRID, others=people(7, 3))
    assert (found.compared, found.unseen) == (8, False)
    assert found.least < 0.01 < found.usual


def test_too_few_are_refused() -> None:
    with pytest.raises(InputError, match="at least 8 patients, and there are 7"):
        neighbours(drawn(1, 2), people(7, 1), data=GRID)
    with pytest.raises(InputError, match="no synthetic volume"):
        neighbours([], people(8, 1), data=GRID)
