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
    facts = models.load(tenant, name).facts.get("sites")
    if facts is None:
        raise UsageError(
            f"model {name} has no sites; ingest with --site-column and --sites and train to have "
            "some"
        )
    differences = tuple(SiteDifference(**difference) for difference in facts["differences"])
    sites = tuple(facts["names"])
    return Shift(
        model=name,
        sites=sites,
        shares=tuple(facts["shares"]),
        level=facts["level"],
        statistics=len(differences) // len(sites),
        differing=sum(difference.differs for difference in differences),
        differences=differences,
    )
