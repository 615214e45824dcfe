"""Keys of a run: one secret, bound to one plan and one data set version."""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from medvae.errors import UsageError


def run_key(secret: bytes, plan_digest: bytes, dataset_digest: bytes, purpose: str) -> bytes:
    """A 32-byte key for one purpose of one run (HKDF-SHA256, RFC 5869).

    Formal guarantee: keys of different secrets, plans, data set versions or purposes are
    independent (as far as HKDF is a random oracle), so that the noise of one plan can never meet
    other data: two results with equal noise would reveal their exact difference.

    Args:
        secret: at least 32 bytes from a CSPRNG, sealed while the run lasts and destroyed after.
        plan_digest: `Plan.digest()`.
        dataset_digest: of the data set version; not empty.
        purpose: such as "noise" or "sampling".

    Raises:
        UsageError: a secret too short, or an empty argument.
    """
    if len(secret) < 32:
        raise UsageError(f"a run's secret must have 32 bytes or more, not {len(secret)}")
    if not plan_digest or not dataset_digest or not purpose:
        raise UsageError("a run key needs the plan's digest, the data set's digest and a purpose")
    salt = b"".join(len(part).to_bytes(8, "big") + part for part in (plan_digest, dataset_digest))
    return derive(secret, f"medvae run {purpose}", salt)


def derive(key: bytes, info: str, salt: bytes | None = None) -> bytes:
    """32 bytes by HKDF-SHA256 with `info` as its purpose."""
    return HKDF(SHA256(), 32, salt, info.encode()).derive(key)
