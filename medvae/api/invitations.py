"""The file by which other machines join a training, and what both ends of its TLS are set to.

An invitation holds the address of the first process, the certificate that it will show, and a
certificate and key of this one training. Whoever has the file can take part in that training and
is given the keys of its tenant, as a process that `--workers` starts is: hand it over as a key.
"""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from medvae.api import stale
from medvae.errors import (
    AccessError,
    InputError,
    IntegrityError,
    MedvaeError,
    NotFoundError,
    UsageError,
)

if TYPE_CHECKING:
    from medvae.vault.certificates import Certificates

_LARGEST = 1 << 16
_KIND = {"medvae": "invitation", "format": 1}


@dataclass(frozen=True)
class Invitation:
    """What another machine must know before it can reach the first process; all of it is text.

    Attributes:
        host, port: of the first process.
        store: where the tenant's sealed objects are: "local" (the vault's folder) or an address.
        authority, server: PEM of the authority of this training, and of the first process.
        certificate, key: PEM by which another process shows that it was invited.
        process: which process has written it (`stale.process`).
    """

    host: str
    port: int
    store: str
    authority: str
    server: str
    certificate: str
    key: str
    process: str = ""

    @property
    def address(self) -> str:
        """As a person writes it."""
        return shown(self.host, self.port)


def shown(host: str, port: int) -> str:
    """HOST:PORT, with brackets where the host is an address of version 6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parsed(listen: str) -> tuple[str, int]:
    """Host and port of HOST:PORT; port 0 is any that is free.

    Raises:
        UsageError: it has another form, or names no machine that others could reach.
    """
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    digits = port.isascii() and port.isdigit() and len(port) <= 5
    if not colon or not host or not digits or int(port) > 65535:
        raise UsageError(f"--listen is {listen!r}: expected HOST:PORT, such as 10.0.0.1:7443")
    if host == "*":
        raise everywhere(listen)
    return host, int(port)


def everywhere(listen: str) -> UsageError:
    """The sentence of an address that names no machine."""
    return UsageError(
        f"--listen is {listen!r}, which is every address of this machine: name the one by "
        "which the other machines reach it"
    )


@contextmanager
def written(
    path: Path, invitation: Invitation, say: Callable[[str], None] = lambda sentence: None
) -> Iterator[None]:
    """The file is there, for this account alone, until the block ends.

    One that a killed process has left there is replaced, of which `say` is given a sentence.

    Raises:
        UsageError: something else is at `path`, or its folder is missing.
        AccessError: the disk refuses.
    """
    from medvae.vault import fileio

    # Before this one is noted, for the same place.
    left = stale.left()
    with stale.noted(path):
        _create(path, json.dumps(_KIND | asdict(invitation), indent=1).encode(), left, say)
        try:
            yield
        finally:
            fileio.shred(path)


def _create(path: Path, data: bytes, left: Sequence[Path], say: Callable[[str], None]) -> None:
    from medvae.vault import fileio

    try:
        # Who replaces a file that was left holds the folder, as whoever else would write one.
        with fileio.file_lock(path.parent):
            if _is_left(path, left):
                say(f"{path} was left by a training whose first process was killed: replaced")
                fileio.shred(path)
            fileio.new_file(path, data)
    except FileExistsError:
        raise UsageError(
            f"{path} is there already: give --invitation a new name, or remove the file if no "
            "training uses it"
        ) from None
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"the folder of --invitation {path} does not exist") from None
    except PermissionError as error:
        raise AccessError(f"--invitation {path} cannot be written ({error.strerror})") from error


def _is_left(path: Path, left: Sequence[Path]) -> bool:
    """Whether a killed process has left an invitation there, or a part of one."""
    try:
        return stale.has_ended(_read(path).process)
    except UnfinishedError:
        return path.absolute() in left
    except MedvaeError:
        return False


def notes_of_left(but: Path | None = None) -> list[str]:
    """A sentence of each invitation that a killed process has left, but that at `but`."""
    return [
        f"the invitation {path} is stale: the first process of its training was killed; it lets "
        "nobody in: remove it, or name it by --invitation again, which replaces it"
        for path in stale.left()
        if but is None or path != but.absolute()
    ]


class StaleError(NotFoundError):
    """The invitation was left by a process that was killed."""


class UnfinishedError(InputError):
    """What is there is cut off: an invitation that is being written or removed, or none."""


def load(path: Path) -> Invitation:
    """Read an invitation.

    Raises:
        UnfinishedError: it may be one that is not all there yet.
        NotFoundError: no file is there.
        AccessError: others than this account can read it.
        InputError: it is none.
        StaleError: its training was killed, on this machine.
    """
    found = _read(path)
    if stale.has_ended(found.process):
        raise StaleError(
            f"the invitation {path} is stale, for the first process of its training was killed: "
            "go on with that training by --resume --listen, which writes a new one"
        )
    return found


def _read(path: Path) -> Invitation:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise NotFoundError(
            f"there is no invitation {path}: a training with --listen writes it when it begins and "
            "removes it when all its processes have joined (--wait MINUTES waits for it)"
        ) from None
    except OSError as error:
        raise AccessError(f"the invitation {path} cannot be read ({error.strerror})") from error
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise InputError(f"{path} is no plain file, and so no invitation of medvae train")
        if info.st_uid != os.geteuid() or stat.S_IMODE(info.st_mode) & 0o077:
            raise AccessError(
                f"the invitation {path} is open to other accounts or belongs to one: expected mode "
                "0600; whoever has read it can join, so begin the training again"
            )
        raw = os.read(fd, _LARGEST)
    finally:
        os.close(fd)
    try:
        found = json.loads(raw)
        values = {field.name: found[field.name] for field in fields(Invitation)}
        good = all(found[key] == value for key, value in _KIND.items())
        good &= all(type(v) is (int if k == "port" else str) for k, v in values.items())
        good &= 0 < values["port"] < 1 << 16
    except (ValueError, KeyError, TypeError, RecursionError):
        good = False
    if not good:
        kind = InputError if raw.endswith(b"}") else UnfinishedError
        raise kind(f"{path} is no invitation of medvae train, or one of another version")
    return Invitation(**values)


def server_context(made: Certificates) -> ssl.SSLContext:
    """TLS 1.3 for the first process: a peer without a certificate of this training is refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _strict(context, made.authority)
    with _in_memory(made.server + made.server_key) as path:
        context.load_cert_chain(path)
    context.num_tickets = 0
    return context


def client_context(invitation: Invitation) -> ssl.SSLContext:
    """TLS 1.3 for another process; `pinned` must follow the handshake.

    Raises:
        InputError: the invitation holds no certificates.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The certificate itself is known, which is more than a name in it.
    context.check_hostname = False
    try:
        _strict(context, invitation.authority.encode())
        with _in_memory((invitation.certificate + invitation.key).encode()) as path:
            context.load_cert_chain(path)
    except (ssl.SSLError, ValueError) as error:
        raise InputError("the invitation holds no certificates that can be used") from error
    return context


def pinned(invitation: Invitation, shown: bytes | None) -> None:
    """Whether the certificate that the other end has shown (DER) is the invitation's.

    Raises:
        IntegrityError: it is another.
    """
    if shown is None or ssl.DER_cert_to_PEM_cert(shown).split() != invitation.server.split():
        raise IntegrityError(
            f"whoever answers at {invitation.address} is not the first process of the training "
            "that this invitation is of: nothing was sent"
        )


def _strict(context: ssl.SSLContext, authority: bytes) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority.decode())


@contextmanager
def _in_memory(pem: bytes) -> Iterator[str]:
    """The path of a file that is on no disk: `ssl` reads keys from files alone."""
    if not hasattr(os, "memfd_create"):
        raise UsageError("several machines in one training need Linux, on each of them")
    fd = os.memfd_create("medvae")
    with contextlib.closing(os.fdopen(fd, "r+b")) as file:
        file.write(pem)
        file.flush()
        yield f"/proc/self/fd/{fd}"
