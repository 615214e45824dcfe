"""A vault on a real disk, with the cheapest Argon2id that a test may use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from medvae.vault import Tenant, Vault, identity


@dataclass
class Place:
    """A vault and where its key files go."""

    root: Path
    vault: Vault

    def identity(self, tenant: str) -> Path:
        return self.root / "keys" / f"{tenant}.identity"

    def recovery(self, tenant: str) -> Path:
        return self.root / "safe" / f"{tenant}.recovery"

    def create(self, tenant: str, passphrase: str | None = None) -> Tenant:
        return self.vault.create_tenant(
            tenant,
            identity=self.identity(tenant),
            recovery=self.recovery(tenant),
            passphrase=passphrase,
        )

    def open(self, tenant: str, passphrase: str | None = None) -> Tenant:
        return self.vault.open(tenant, identity=self.identity(tenant), passphrase=passphrase)


@pytest.fixture(autouse=True)
def cheap_argon2(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parameters are in each file's header, so only writing needs to be told."""
    real = identity.encode

    def cheap(owner: identity.Identity, passphrase: str | None, role: str, *_: object) -> bytes:
        return real(owner, passphrase, role, identity.CHEAPEST)

    monkeypatch.setattr(identity, "encode", cheap)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, Vault(tmp_path / "vault"))


@pytest.fixture
def tenant(place: Place) -> Iterator[Tenant]:
    opened = place.create("clinic")
    yield opened
    opened.close()
