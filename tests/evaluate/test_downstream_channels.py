"""The segmentation of a downstream task sees every channel."""

from __future__ import annotations

import numpy as np
import pytest

from medvae.evaluate.downstream import segmentation_dice
from medvae.grid import Gridded

SIZE = (10, 8, 4)


def pairs(count: int, seed: int, channel: int) -> list[Gridded]:
    """A label that one of two channels shows, and the other does not."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        mask = np.zeros(SIZE, np.uint8)
        at = random.integers(0, 5)
        mask[at : at + 5, 2:6] = 1
        image = 0.1 * random.standard_normal((2, *SIZE)).astype(np.float32)
        image[channel] += mask - 0.5
        made.append(Gridded(image.astype(np.float32), mask))
    return made


@pytest.mark.parametrize("shown", [0, 1])
def test_a_label_is_found_in_whichever_channel_shows_it(shown: int) -> None:
    (dice,) = segmentation_dice(pairs(8, 1, shown), pairs(4, 2, shown), 1, iterations=60)
    assert dice > 0.8


def test_one_channel_is_no_special_case() -> None:
    single = [Gridded(pair.image[1], pair.mask) for pair in (*pairs(8, 1, 1), *pairs(4, 2, 1))]
    (dice,) = segmentation_dice(single[:8], single[8:], 1, iterations=60)
    assert dice > 0.8
