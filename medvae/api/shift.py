"""`model shift`: by what the sites of a model differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medvae.api import models
from medvae.api.results import Shift, SiteDifference
from medvae.errors import UsageError

if TYPE_CHECKING:
    from medvae.vault import Tenant


def shift(tenant: Tenant, name: str) -> Shift:
    """From what the model's training released.

    Raises:
        NotFoundError: there is no such model.
        UsageError: it has no sites.
    """
    known = models.load(tenant, name).facts.get("sites")
    if known is None:
        raise UsageError(
            f"model {name} has no sites; ingest with --site-column and --sites and train to have "
            "some"
        )
    found = tuple(SiteDifference(**one) for one in known["differences"])
    sites = tuple(known["names"])
    return Shift(
        model=name,
        sites=sites,
        shares=tuple(known["shares"]),
        level=known["level"],
        statistics=len(found) // len(sites),
        differing=sum(one.differs for one in found),
        differences=found,
    )
