"""The vault: a folder of tenants. What can be done to a tenant from outside of it."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from medvae.errors import AccessError, IntegrityError, MedvaeError, NotFoundError, UsageError
from medvae.progress import SILENT, Progress
from medvae.vault import (
    audit,
    create,
    elsewhere,
    fileio,
    keyring,
    recipients,
    recovery_files,
    rotation,
    verify,
)
from medvae.vault import identity as identities
from medvae.vault.catalogue import Catalogue
from medvae.vault.lock import WriterLock
from medvae.vault.naming import check_tenant, is_tenant
from medvae.vault.open import provider_for
from medvae.vault.providers import HpkeProvider, identity_recipient
from medvae.vault.session import Session
from medvae.vault.stores import LOCAL, check_url, open_store
from medvae.vault.tenant import Tenant
from medvae.vault.verify import VerifyReport

_ERASED: Final = ".erased-"
_CREATING: Final = ".creating-"
_MAKING: Final = "making"
_WAIT_SECONDS: Final = 10.0


@dataclass(frozen=True)
class TenantInfo:
    """What can be known of a tenant without its keys."""

    name: str
    created: str
    epoch: int


class Vault:
    """A folder that holds tenants, each with its own keys, store and log.

    No method takes a tenant and the path of anything inside it.
    """

    def __init__(self, root: Path) -> None:
        self._root = Path(root)

    def create_tenant(
        self,
        name: str,
        *,
        identity: Path,
        recovery: Path,
        passphrase: str | None = None,
        epsilon_limit: float = 20.0,
        delta: float = keyring.DEFAULT_DELTA,
        store: str = LOCAL,
        approvals: int = 0,
    ) -> Tenant:
        """Make a tenant; it exists only once a recovery drill has worked.

        identity: written with mode 0600, sealed by `passphrase` if there is one. A file that
            is an identity already is used, and remembers the new tenant too.
        recovery: written with mode 0600, without a passphrase, for a safe. Must not exist.
        epsilon_limit, delta: the largest epsilon that may be spent on a patient, at this delta,
            for the tenant's whole life. delta is in [1e-15, 1e-5].
        store: where sealed objects lie: "local", or "s3://BUCKET/PREFIX".
        approvals: how many each release needs, 0 or 1, for the tenant's whole life.

        Raises:
            UsageError: the name is not valid or taken, the recovery file exists, the limit
                is not a finite positive number, delta or approvals are out of range.
            AccessError: a file cannot be written, or the passphrase is wrong.
        """
        check_tenant(name)
        check_url(store)
        if not (math.isfinite(epsilon_limit) and epsilon_limit > 0):
            raise UsageError(f"the epsilon limit must be a finite number > 0, not {epsilon_limit}")
        try:
            keyring.check_delta(delta)
        except ValueError as error:
            raise UsageError(f"the tenant's {error}, not {delta!r}") from None
        if approvals not in (0, 1):
            raise UsageError(f"a release can need 0 approvals or 1, not {approvals}")
        if (self._root / name).exists():
            raise UsageError(f"tenant {name} exists already: choose another name")
        self._make_root()
        request = create.Request(
            name, identity, recovery, passphrase, epsilon_limit, delta, store, approvals
        )
        temporary = self._root / f"{_CREATING}{secrets.token_hex(8)}"
        lock = WriterLock(temporary, name, _MAKING)
        with fileio.file_lock(self._root):
            if self._resume(request):
                return self.open(name, identity=identity, passphrase=passphrase)
            self._sweep()
            fileio.private_folder(temporary)
            lock.acquire(0.0)  # shows a sweep that this creation is alive
        try:
            create.build(temporary, request)
            self._claim(temporary, name)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        finally:
            lock.release()
        return self.open(name, identity=identity, passphrase=passphrase)

    def tenants(self) -> list[TenantInfo]:
        """Every tenant, by name; needs no keys. A damaged one is listed with epoch 0."""
        return [self._info(name) for name in self._names()]

    def open(
        self, name: str, *, identity: Path | None = None, passphrase: str | None = None
    ) -> Tenant:
        """Open a tenant with an identity file, a key server's file, or a passphrase alone.

        Raises:
            NotFoundError: no such tenant, or no such file.
            AccessError: the identity is not among the tenant's recipients, the passphrase
                is wrong or missing. The refusal goes into the tenant's audit log.
            IntegrityError: the tenant's keys or its catalogue were changed.
        """
        folder = self._folder(name)
        ring = keyring.load(folder, name)
        try:
            session = Session(folder, name, provider_for(identity, passphrase, ring))
        except AccessError as error:
            self._note_refusal(folder, name, str(error))
            raise
        audit.absorb_refusals(session)
        return Tenant(session)

    def recover(
        self, name: str, *, recovery: Path, identity: Path, passphrase: str | None = None
    ) -> Path:
        """Make a new identity with the recovery key; returns the path of its file.

        An identity file that is at that path already (its passphrase may be lost) is kept
        beside it as `NAME.replaced-TIME`. The tenant starts a new epoch; the lost identity
        stays a recipient until it is removed. The new one gets its name last, and a recovery
        that was cut off is finished by the same call, with the same new key; with another
        passphrase it starts again, and the key that nobody holds is removed.

        Raises:
            NotFoundError, AccessError, IntegrityError: as `open`.
            UsageError: the two files are one.
        """
        folder = self._folder(name)
        if identity.exists() and recovery.exists() and identity.samefile(recovery):
            raise UsageError("the new identity must be another file than the recovery key")
        try:
            key = HpkeProvider(identities.load(recovery, offline=True))
            session = Session(folder, name, key)
        except AccessError as error:
            self._note_refusal(folder, name, str(error))
            raise
        try:
            pins = {session.keys.tenant_id.hex(): session.keys.signer_public().hex()}
            with create.key_folder(identity), session.writer(_WAIT_SECONDS):
                waiting = identity.with_name(f".{identity.name}.{name}.recovering")
                owner = recovery_files.begun(waiting, pins, passphrase)
                if owner is None:
                    recovery_files.forget_abandoned(session, waiting)
                    owner = replace(identities.Identity.new(), pins=pins)
                    create.write_identity(waiting, owner, passphrase)
                entry = identity_recipient(owner, "identity", recipients.now())
                if entry.fingerprint not in {
                    recipient.fingerprint for recipient in session.ring.recipients
                }:
                    recipients.add(session, entry)
                rotation.rotate(session)
                details = {"fingerprint": entry.fingerprint}
                audit.record(session, "keys recover", "success", details)
                recovery_files.set_aside(identity)
                waiting.rename(identity)
                fileio.fsync_folder(identity.parent)
        finally:
            session.close()
        return identity

    def erase(
        self,
        name: str,
        *,
        identity: Path | None = None,
        passphrase: str | None = None,
        keys_only: bool = False,
    ) -> None:
        """Destroy a tenant: its wrapped keys first, then everything else.

        Without the key ring nothing of the tenant can be opened any more, wherever copies
        of its objects or its catalogue may lie. Copies of the key ring must be destroyed too.

        Args:
            identity, passphrase: of the tenant; needed where its objects are in a store elsewhere.
            keys_only: leave sealed objects in a store elsewhere; no identity is needed.

        Raises:
            NotFoundError: no such tenant. AccessError: somebody is writing to it, or its objects
                are in a store elsewhere and nothing proves where.
        """
        check_tenant(name)
        if not (self._root / name).exists() and self._cut_off(name):
            signers = elsewhere.met(self._cut_off(name), identity, passphrase)
            self._finish(name, signers, keys_only=keys_only)
            return
        folder = self._folder(name)
        lock = WriterLock(folder, name)
        lock.acquire(0.0)
        try:
            signers = {} if keys_only else elsewhere.proven(folder, name, identity, passphrase)
            fileio.shred(folder / keyring.FILE)
            folder.rename(self._root / f"{_ERASED}{name}.{secrets.token_hex(8)}")
            fileio.fsync_folder(self._root)
        finally:
            lock.release()
        self._finish(name, signers, keys_only=keys_only)

    def _cut_off(self, name: str) -> list[Path]:
        """Folders of erasures of that name that did not come to their end."""
        folders = self._root.glob(f"{_ERASED}{name}.*") if self._root.is_dir() else ()
        return [path for path in folders if path.is_dir() and not path.is_symlink()]

    def _finish(self, name: str, signers: Mapping[str, str], *, keys_only: bool) -> None:
        """Remove what an erasure has left: the objects of a store elsewhere, then the folder."""
        failed: MedvaeError | None = None
        with fileio.file_lock(self._root):
            for path in self._cut_off(name):
                fileio.shred(path / keyring.FILE)
                if keys_only:
                    (path / elsewhere.FILE).unlink(missing_ok=True)
                try:
                    elsewhere.purge(path, signers)
                except MedvaeError as error:
                    # A folder that somebody else has put there keeps none of ours.
                    failed = failed or error
            self._sweep()
        if failed is not None:
            raise failed

    def scrub(
        self,
        name: str,
        progress: Progress = SILENT,
        *,
        identity: Path | None = None,
        passphrase: str | None = None,
    ) -> VerifyReport:
        """Check a tenant's files against its catalogue; needs no keys where both are one folder.

        identity, passphrase: of the tenant; needed where its objects are in a store elsewhere,
            which is listed only once its address is proven.

        Raises:
            AccessError, IntegrityError: the address is not proven; nothing was listed.
        """
        folder = self._folder(name)
        ring = keyring.load(folder, name)
        if ring.store != LOCAL:
            session = Session(folder, name, elsewhere.opener(ring, identity, passphrase))
            try:
                return verify.scrub(session.catalogue, session.store, progress)
            finally:
                session.close()
        catalogue = Catalogue(folder, name)
        try:
            return verify.scrub(catalogue, open_store(LOCAL, folder, ring.tenant_id), progress)
        finally:
            catalogue.close()

    def _names(self) -> Iterator[str]:
        if not self._root.is_dir():
            return
        for path in sorted(self._root.iterdir()):
            if is_tenant(path.name) and path.is_dir() and not path.is_symlink():
                yield path.name

    def _info(self, name: str) -> TenantInfo:
        try:
            ring = keyring.load(self._root / name, name)
        except (IntegrityError, NotFoundError):
            return TenantInfo(name, "", 0)
        return TenantInfo(name, ring.created, ring.latest())

    def _folder(self, name: str) -> Path:
        check_tenant(name)
        folder = self._root / name
        if not folder.is_dir():
            raise NotFoundError(f"tenant {name} does not exist in the vault {self._root}")
        fileio.check_private(self._root, "the vault")
        fileio.check_private(folder, f"the folder of tenant {name}")
        return folder

    def _make_root(self) -> None:
        try:
            self._root.mkdir(mode=fileio.PRIVATE_FOLDER, parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or str(error)
            raise AccessError(f"the vault {self._root} cannot be made: {reason}") from error
        fileio.check_private(self._root, "the vault")

    def _resume(self, request: create.Request) -> bool:
        """Finish the same creation where one was cut off after all but the last step."""
        for path in self._root.glob(f"{_CREATING}*"):
            if path.is_symlink() or not path.is_dir():
                continue
            lock = WriterLock(path, request.name, _MAKING)
            try:
                lock.acquire(0.0)
            except (AccessError, OSError):
                continue  # somebody is at it
            try:
                if create.is_whole(path, request):
                    self._claim(path, request.name)
                    return True
            finally:
                lock.release()
        return False

    def _claim(self, temporary: Path, name: str) -> None:
        try:
            temporary.rename(self._root / name)
        except OSError as error:
            raise UsageError(f"tenant {name} exists already: choose another name") from error
        (self._root / name / _MAKING).unlink()
        fileio.fsync_folder(self._root)

    def _sweep(self) -> None:
        """Finish erasures and creations that were cut off; the caller has its turn."""
        for path in self._root.iterdir():
            if path.is_symlink():
                continue  # not made by us, and not to be followed
            if path.name.startswith(_ERASED):
                fileio.shred(path / keyring.FILE)
                # What a store elsewhere holds waits for who repeats the erasure.
                if not os.path.lexists(path / elsewhere.FILE):
                    shutil.rmtree(path, ignore_errors=True)
            elif path.name.startswith(_CREATING):
                _sweep_creation(path)

    def _note_refusal(self, folder: Path, name: str, reason: str) -> None:
        catalogue = Catalogue(folder, name)
        with contextlib.suppress(MedvaeError), catalogue.writing() as connection:
            audit.note_refusal(connection, "open", {"reason": reason})
        catalogue.close()


def _sweep_creation(path: Path) -> None:
    lock = WriterLock(path, path.name, _MAKING)
    try:
        lock.acquire(0.0)
    except (AccessError, OSError):
        return  # somebody is at it
    shutil.rmtree(path, ignore_errors=True)
    lock.release()
