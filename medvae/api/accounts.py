"""The tenant's privacy accounts: the ledger, and what it leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medvae.api import datasets
from medvae.api.results import Budget, Debit

if TYPE_CHECKING:
    from medvae.privacy import Ledger
    from medvae.vault import Tenant


def ledger(tenant: Tenant) -> Ledger:
    """The tenant's privacy ledger, on its durable journal."""
    from medvae.privacy import Ledger
    from medvae.privacy.plan import MAX_EPSILON

    # A tenant of an earlier version can have a higher limit: nothing is planned beyond this one.
    limit = min(tenant.epsilon_limit, MAX_EPSILON)
    return Ledger(tenant.journal("ledger"), limit=limit, delta=tenant.delta)


def budget(tenant: Tenant, dataset: str | None) -> Budget:
    """Spent and left for the patient who has spent most (of one data set, if named)."""
    book = ledger(tenant)
    who = None if dataset is None else datasets.subjects(datasets.load(tenant, dataset))
    spent = book.spent(who)
    return Budget(
        limit=spent.limit,
        spent=spent.spent,
        remaining=spent.remaining,
        delta=spent.delta,
        events=tuple(Debit(**debit) for debit in book.history(who)),
    )
