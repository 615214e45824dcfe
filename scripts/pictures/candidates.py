"""What may be left out of the product's pictures, or be put in: the candidates of the map.

A part that is left out gives its budget to the others. Borders cost none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final
from unittest import mock

import numpy as np

from medvae.cosines import planned
from medvae.cosines.basis import Basis
from medvae.cosines.parts import GAINS
from pictures import over, statistics
from pictures.budget import one_shot
from pictures.cohort import Pictures

Method = Callable[[Pictures, float, int, int], Pictures]
# Coefficients with means and covariances, at most, where there are few.
FEW: Final = 12
ALL: Final = "statistics, all parts"


def without(*mechanisms: str, borders: bool = True) -> Method:
    """The product less some of its mechanisms, or less borders."""

    def method(train: Pictures, epsilon: float, count: int, seed: int) -> Pictures:
        left = [own for own in planned.mechanisms(Basis.of(train.data)) if own[0] not in mechanisms]
        whole = sum(share for _, share in left)
        shares = [(name, share / whole) for name, share in left]
        model = statistics.fitted(train, one_shot(shares, len(train), epsilon, seed))
        if not borders:
            model = replace(model, numbers=replace(model.numbers, borders=np.zeros(0)))
        return statistics.sampled(model, train, count, seed)

    return method


def few_coefficients(train: Pictures, epsilon: float, count: int, seed: int) -> Pictures:
    """The product with means and covariances of the strongest coefficients alone."""
    with mock.patch.multiple(planned, MOST_MEANS=FEW, MOST_SECONDS=FEW):
        return statistics.cosine_model(train, epsilon, count, seed)


def more_means(train: Pictures, epsilon: float, count: int, seed: int) -> Pictures:
    """The product with means of coefficients under four times the noise."""
    with mock.patch.object(planned, "MEAN_NOISE", 4.0 * planned.MEAN_NOISE):
        return statistics.cosine_model(train, epsilon, count, seed)


CANDIDATES: Final[dict[str, Method]] = {
    ALL: statistics.cosine_model,
    "without gains": without(GAINS),
    "without grey values": without(planned.MARGINALS),
    "without borders": without(borders=False),
    "without all three": without(GAINS, planned.MARGINALS, borders=False),
    "few coefficients": few_coefficients,
    "more means": more_means,
    "plain Gaussian": statistics.dct_gaussian,
    "network on draws": over.free_over_statistics,
    "network, DP decoder": over.decoder_over_statistics,
}
# Minutes a row: at fewer points.
SLOW: Final = ("network on draws", "network, DP decoder")
