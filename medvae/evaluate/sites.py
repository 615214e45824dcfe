"""Whether what is drawn of a site is nearer to its own patients than draws of all sites are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from medvae.evaluate.distances import Features, frechet

# Fewer vectors have no covariance to speak of.
LEAST: Final = 4
# Draws of all sites are compared as means over so many random choices of them.
CHOICES: Final = 16


def by_site(
    fake: Features,
    fake_sites: Sequence[str | None],
    real: Features,
    real_sites: Sequence[str | None],
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Frechet distances of each site's draws to each site's patients, beside those of all draws.

    A distance is biased upwards for few samples, so that as many draws of all sites are taken as
    there are of the site, as often of each, and the mean is over `CHOICES` choices of them.

    Args:
        fake, real: [n, d] a feature vector of each volume.
        fake_sites, real_sites: of which site each volume is, or None.

    Returns:
        site_frechet: the mean over sites of the distance to its own patients (`value`), and in
        `sites` of each the distance of its draws (`own`), of draws of all sites (`pooled`), and of
        those of each other site (`others`); empty with fewer than two sites that have `LEAST`
        draws and patients.
    """
    made, true = np.array(fake_sites, dtype=object), np.array(real_sites, dtype=object)
    names = sorted(
        str(name)
        for name in set(fake_sites) - {None}
        if min((made == name).sum(), (true == name).sum()) >= LEAST
    )
    if len(names) < 2:
        return {}
    draws = {name: fake[made == name] for name in names}
    rng = np.random.default_rng(seed)
    sites = {name: _of_site(name, draws, real[true == name], rng) for name in names}
    value = float(np.mean([site["own"] for site in sites.values()]))
    unit = "mean over sites of the Frechet distance to a site's own patients"
    return {"site_frechet": {"value": value, "unit": unit, "sites": sites}}


def _of_site(
    name: str, draws: dict[str, Features], patients: Features, rng: np.random.Generator
) -> dict[str, Any]:
    """What `by_site` says of one site."""
    # Of equal number, or the distances cannot be compared.
    count = min(map(len, draws.values()))

    def distance(choose: Callable[[], Features]) -> float:
        return float(np.mean([frechet(choose(), patients) for _ in range(CHOICES)]))

    own = distance(partial(_some, draws[name], count, rng))
    pooled = distance(partial(_mixed, draws, count, rng))
    return {
        "own": own,
        "pooled": pooled,
        "others": {
            other: distance(partial(_some, features, count, rng))
            for other, features in draws.items()
            if other != name
        },
        "nearer": own < pooled,
        "draws": len(draws[name]),
        "patients": len(patients),
    }


def _some(features: Features, count: int, rng: np.random.Generator) -> Features:
    return features[rng.choice(len(features), count, replace=False)]


def _mixed(draws: dict[str, Features], count: int, rng: np.random.Generator) -> Features:
    """`count` draws, as many of each site as can be; which sites have one more is random."""
    order = rng.permutation(len(draws))
    shares = np.full(len(draws), count // len(draws))
    shares[order[: count % len(draws)]] += 1
    parts = [_some(d, int(n), rng) for d, n in zip(draws.values(), shares, strict=True)]
    return np.concatenate(parts)
