"""Synthetic volumes and a signing key for the tests of releases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from scipy import ndimage

from medvae.config import DataConfig
from medvae.grid import from_grid
from medvae.release import Account, Looks, PrivacyFacts, ReleaseFacts
from medvae.volume import Volume

MRI = DataConfig(
    modality="mri",
    size=(12, 16, 10),
    spacing=(1.0, 1.5, 2.0),
    label_scheme={"1": "outer part", "2": "inner part"},
    labels=2,
    classes=0,
)
CT = DataConfig(
    modality="ct", size=(12, 16, 10), spacing=(0.8, 0.8, 2.5), label_scheme={}, labels=0, classes=0
)
MECHANISMS = (
    {"name": "atlas", "sample_rate": 1.0, "steps": 1, "noise_multiplier": 1.2},
    {"name": "finetune", "sample_rate": 0.5, "steps": 40, "noise_multiplier": 7.0},
)
# What these mechanisms cost is 3.58 at this delta.
PRIVATE = PrivacyFacts(
    "private",
    epsilon=3.59,
    delta=1e-4,
    planned_epsilon=4.0,
    patients=118,
    unit="patient",
    mechanisms=MECHANISMS,
    cross_check=3.58,
    cross_check_note="another accountant; stated error 0.01",
    plan_digest="ab" * 32,
    debited=True,
    tenant_limit=20.0,
    account=Account(epsilon=6.2, delta=1e-5, debits=2),
    looks=Looks(evaluate=0, audit=0),
)


def synthetic(n: int, data: DataConfig, seed: int = 0) -> Iterator[Volume]:
    """Blurred noise in an ellipsoid, with two nested labels when the grid has labels."""
    random = np.random.default_rng(seed)
    axes = [np.linspace(-1, 1, size) for size in data.size]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    radius = x**2 + y**2 + z**2
    for _ in range(n):
        texture = ndimage.gaussian_filter(random.normal(size=data.size), 1.5) * 3
        image = np.where(radius < 0.8, np.clip(texture, -1, 1), -1).astype(np.float32)
        mask = None
        if data.labels:
            mask = ((radius < 0.4).astype(np.uint8) + (radius < 0.15)).astype(np.uint8)
        yield from_grid(image, data, mask)


def facts(data: DataConfig = MRI, privacy: PrivacyFacts = PRIVATE, **extra: Any) -> ReleaseFacts:
    """Facts of a release, with a fixed date."""
    base: dict[str, Any] = {
        "name": "Synthetic test set",
        "seed": 7,
        "created": "2026-01-02",
        "license": "CC0-1.0",
        "model": {"name": "m1", "kind": "conv"},
    }
    return ReleaseFacts(data=data, privacy=privacy, **{**base, **extra})


class Key:
    """An Ed25519 key that signs as a tenant does."""

    def __init__(self, seed: int = 1) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        self.public = self._key.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)
