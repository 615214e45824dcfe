"""Scans of patients who have spent budget, known again after their data sets are gone.

A data set that is deleted, or a patient who is erased, takes the list of scans along, and the same
scans under another name would then open an account of which nothing is spent. So a deletion keeps,
of patients whom the ledger has charged, the keyed digest of each scan and the pseudonym that was
charged for it: nothing of the scan, and nothing that anybody without the tenant's keys can try a
guess against.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from medvae.api.accounts import ledger

if TYPE_CHECKING:
    from medvae.api.records import VolumeEntry
    from medvae.vault import Tenant

_KIND, _NAME = "charged", "scans"


def patients(tenant: Tenant) -> frozenset[str]:
    """Pseudonyms of all whom a training was charged to."""
    return ledger(tenant).subjects()


def keep(tenant: Tenant, entries: Iterable[VolumeEntry]) -> None:
    """Remember the scans of charged patients; in the caller's transaction, before they go."""
    charged = patients(tenant)
    new = {
        entry["voxels"]: [entry["subject"], bool(entry.get("own_subject"))]
        for entry in entries
        if entry["subject"] in charged
    }
    if new:
        text = json.dumps(_read(tenant) | new, sort_keys=True)
        tenant.put(_KIND, text.encode(), name=_NAME, replace=True)


def scans(tenant: Tenant) -> dict[str, tuple[str, bool]]:
    """Keyed digest of voxels -> the pseudonym that was charged, and whether it is a file's own."""
    return {voxels: (str(who), bool(own)) for voxels, (who, own) in _read(tenant).items()}


def _read(tenant: Tenant) -> dict[str, list[object]]:
    if tenant.find(_KIND, _NAME) is None:
        return {}
    stored: dict[str, list[object]] = json.loads(tenant.get_named(_KIND, _NAME))
    return stored
