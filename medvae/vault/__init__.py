"""Sealed storage: a vault of tenants, each with its own keys. It sees bytes only.

    Vault    tenants: create, list, open, recover, erase, scrub       vault.py
    Tenant   objects, journals, audit log, keys, care                 tenant.py

Behind them, one module a concept: format (what is sealed, bound to what) and keys have no
I/O; keyring, catalogue, bytestore and lock are what is on the disk; session holds an
unlocked tenant together; batch, rotation, verify, repair work on it.
"""

from medvae.vault.approvers import approver_of
from medvae.vault.audit import LogReport
from medvae.vault.bytestore import ByteStore
from medvae.vault.enrol import new_identity, recipient_of, recipient_of_passphrase
from medvae.vault.fileio import atomic_write
from medvae.vault.journal import Journal
from medvae.vault.providers import Provider, Recipient
from medvae.vault.repair import Collected, RepairReport
from medvae.vault.signing import check_public_key, verify_signature
from medvae.vault.tenant import Tenant
from medvae.vault.vault import TenantInfo, Vault
from medvae.vault.verify import Damage, VerifyReport

__all__ = [
    "ByteStore",
    "Collected",
    "Damage",
    "Journal",
    "LogReport",
    "Provider",
    "Recipient",
    "RepairReport",
    "Tenant",
    "TenantInfo",
    "Vault",
    "VerifyReport",
    "approver_of",
    "atomic_write",
    "check_public_key",
    "new_identity",
    "recipient_of",
    "recipient_of_passphrase",
    "verify_signature",
]
