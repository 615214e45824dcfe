"""Tenants from outside: make, open, list, recover, erase. None of it needs an open one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from medvae.api.context import PathLike
from medvae.api.results import IdentityFiles, Recovery, TenantErasure, TenantInfo
from medvae.api.session import Session
from medvae.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from medvae.vault import Vault

# Of NIST SP 800-226's scale: above about 20 the guarantee says little about one patient.
DEFAULT_EPSILON_LIMIT = 20.0
LOCAL_STORE = "local"


def default_vault() -> Path:
    """`MEDVAE_VAULT`, or the user's data folder."""
    setting = os.environ.get("MEDVAE_VAULT")
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return Path(setting) if setting else data / "medvae" / "vault"


def default_identity(tenant: str) -> Path:
    """`MEDVAE_IDENTITY`, or a file named after the tenant in the user's configuration folder."""
    setting = os.environ.get("MEDVAE_IDENTITY")
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Path(setting) if setting else settings / "medvae" / f"{tenant}.identity"


def open_session(
    vault: PathLike | None = None,
    tenant: str | None = None,
    *,
    identity: PathLike | None = None,
    passphrase: str | None = None,
    device: str = "auto",
) -> Session:
    """Open a tenant.

    Where no identity is named, the default one does not exist, and there is a passphrase, that
    passphrase alone must be a recipient (`Keys.add_passphrase`).

    Raises:
        NotFoundError: no such vault or tenant.
        AccessError: the identity does not open it.
        UsageError: no tenant is named and the vault holds none or several.
    """
    root = default_vault() if vault is None else Path(vault)
    store = _vault(vault)
    name = tenant or os.environ.get("MEDVAE_TENANT") or _only_tenant(store, root)
    secret = _passphrase(passphrase)
    opened = store.open(name, identity=_key(name, identity, secret), passphrase=secret)
    return Session(store, opened, device)


def create_tenant(
    vault: PathLike | None,
    name: str,
    *,
    identity: PathLike | None = None,
    recovery: PathLike | None = None,
    passphrase: str | None = None,
    epsilon_limit: float = DEFAULT_EPSILON_LIMIT,
    delta: float | None = None,
    store: str = LOCAL_STORE,
    approvals: int = 0,
) -> Session:
    """Make a tenant: keys, store and recovery drill. Move the recovery file off this machine.

    `epsilon_limit` (at most 50) at `delta` (1e-5 if None, in [1e-15, 1e-5]) is what may be spent
    on a patient in the tenant's whole life. Cohorts have at most 1/(10 delta) patients.
    `store` is where sealed objects go: "local" (the tenant's folder) or "s3://BUCKET/PREFIX",
    whose credentials, region and endpoint come from the usual AWS_* variables. Catalogue and key
    ring stay in the folder.

    `approvals` (0 or 1) is how many each release needs, of an identity that did not make it
    (`Releases.approve`); it cannot be changed afterwards.

    Raises:
        UsageError: the tenant or one of the files exists, limit, delta or approvals are out of
            range, or `store` is no store.
    """
    from medvae.privacy import DEFAULT_DELTA
    from medvae.privacy.plan import check_epsilon

    check_epsilon(epsilon_limit, "--epsilon-limit")
    root = _vault(vault)
    key = default_identity(name) if identity is None else Path(identity)
    spare = key.parent / f"{name}.recovery" if recovery is None else Path(recovery)
    tenant = root.create_tenant(
        name,
        identity=key,
        recovery=spare,
        passphrase=_passphrase(passphrase),
        epsilon_limit=float(epsilon_limit),
        delta=DEFAULT_DELTA if delta is None else delta,
        store=store,
        approvals=approvals,
    )
    return Session(root, tenant)


def _only_tenant(store: Vault, root: Path) -> str:
    names = [info.name for info in store.tenants()]
    if not names:
        raise NotFoundError(
            f"the vault {root} has no tenant; make one with: medvae tenant create NAME"
        )
    if len(names) > 1:
        raise UsageError(f"name a tenant with --tenant; this vault has {', '.join(names)}")
    return names[0]


def tenants(vault: PathLike | None = None) -> tuple[TenantInfo, ...]:
    """Every tenant of a vault: its name, when it was made, its epoch of keys; needs no keys."""
    return tuple(
        TenantInfo(tenant.name, tenant.created, tenant.epoch) for tenant in _vault(vault).tenants()
    )


def recover_tenant(
    vault: PathLike | None,
    name: str,
    *,
    recovery: PathLike,
    identity: PathLike | None = None,
    passphrase: str | None = None,
) -> Recovery:
    """A new identity from the recovery key; the lost one opens the tenant until it is removed.

    Raises:
        NotFoundError, AccessError, IntegrityError: the tenant, the file, or the key's fit.
        UsageError: the two files are one.
    """
    key = default_identity(name) if identity is None else Path(identity)
    _vault(vault).recover(
        name, recovery=Path(recovery), identity=key, passphrase=_passphrase(passphrase)
    )
    return Recovery(key, name)


def erase_tenant(
    vault: PathLike | None,
    name: str,
    *,
    identity: PathLike | None = None,
    passphrase: str | None = None,
    keys_only: bool = False,
) -> TenantErasure:
    """Erase a tenant by destroying its keys; there is no way back.

    `identity` opens a tenant whose objects are in a store elsewhere, which proves where they are;
    `keys_only` leaves them there, sealed under keys that nobody has.

    Raises:
        NotFoundError: there is no such tenant.
        AccessError: somebody is writing to it, or nothing proves where its objects are.
    """
    secret = _passphrase(passphrase)
    key = _key(name, identity, secret)
    identity_file = key if key is not None and (identity is not None or key.exists()) else None
    _vault(vault).erase(name, identity=identity_file, passphrase=secret, keys_only=keys_only)
    return TenantErasure(name)


def new_identity(path: PathLike, passphrase: str | None = None) -> IdentityFiles:
    """An identity file for a colleague, and beside it the public half (.pub) to hand over.

    Raises:
        UsageError: one of the files exists.
    """
    from medvae.api import keys

    return keys.new(Path(path), _passphrase(passphrase))


def _vault(path: PathLike | None) -> Vault:
    from medvae.vault import Vault

    return Vault(default_vault() if path is None else Path(path))


def _key(name: str, path: PathLike | None, passphrase: str | None) -> Path | None:
    """The identity file to open a tenant with; None where the passphrase alone has to do."""
    if path is not None:
        return Path(path)
    usual = default_identity(name)
    named = "MEDVAE_IDENTITY" in os.environ
    return None if passphrase and not named and not usual.exists() else usual


def _passphrase(passphrase: str | None) -> str | None:
    return passphrase or os.environ.get("MEDVAE_PASSPHRASE") or None
