"""What a model's facts say of its sites: names, released shares, and by what they differ."""

from __future__ import annotations

from typing import Any

from medvae.anatomy.model import AnatomyModel
from medvae.anatomy.parts import BY_SITE, site_parts
from medvae.anatomy.parts.classes import shares_of
from medvae.anatomy.shift import LEVEL, differences
from medvae.privacy import Plan, joint
from medvae.privacy.recentre import sigma_of


def facts(model: AnatomyModel, plan: Plan) -> dict[str, Any] | None:
    """Post-processing of what mechanism `BY_SITE` released; None for a model without sites."""
    names = model.cohort.data.sites
    if not names:
        return None
    joined = joint.joined(site_parts(model.cohort.numbers, len(names)))
    part = joined.split(model.released[BY_SITE])["site-figures"]
    sigma = joined.sigma("site-figures", sigma_of(plan, BY_SITE, joined.clip))
    # Of the patients that were measured; `shares` below are also of those of an earlier model.
    noise = joined.sigma("site-shares", sigma_of(plan, BY_SITE, joined.clip))
    measured = shares_of(joined.split(model.released[BY_SITE])["site-shares"], noise)
    shares = model.numbers.site_shares
    figures = model.cohort.renderer.names
    return {
        "names": list(names),
        "shares": [round(float(share), 4) for share in shares],
        "level": LEVEL,
        "differences": [
            {
                "site": names[difference.site],
                "statistic": figures[difference.figure],
                "difference": round(difference.difference, 4),
                "noise": round(difference.noise, 4),
                "chance": round(difference.chance, 4),
                "differs": difference.differs,
            }
            for difference in differences(part, sigma, measured, plan.patients)
        ],
    }
