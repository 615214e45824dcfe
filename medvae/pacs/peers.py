"""The peer that a user names, and what the connection to it must prove."""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from medvae.errors import AccessError, UsageError
from medvae.escape import escaped

# PS3.5 6.2: 16 characters, no backslash; "@" separates it from the host here.
AET = re.compile(r"[A-Za-z0-9 _.\-]{1,16}")
HOST = re.compile(r"[A-Za-z0-9.\-_]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]")
UID = re.compile(r"[0-9]+(\.[0-9]+)*")
LONGEST_UID = 64
FORMS = "https://HOST[:PORT]/PATH of a DICOMweb service, or AETITLE@HOST:PORT"
USER, PASSWORD, TOKEN = "MEDVAE_PACS_USER", "MEDVAE_PACS_PASSWORD", "MEDVAE_PACS_TOKEN"


@dataclass(frozen=True)
class Peer:
    """An archive.

    Attributes:
        scheme: "https", "http" (DICOMweb) or "dimse".
        path: of the DICOMweb service, without a slash at its end.
        aet: its application entity title (DIMSE).
    """

    scheme: str
    host: str
    port: int
    path: str = ""
    aet: str = ""

    @property
    def is_web(self) -> bool:
        return self.scheme != "dimse"

    @property
    def label(self) -> str:
        """What to call it in messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.is_web:
            return f"{self.scheme}://{host}:{self.port}{self.path}"
        return f"{self.aet}@{host}:{self.port}"

    @property
    def is_here(self) -> bool:
        """Whether it is this machine."""
        return is_loopback(self.host)


@dataclass(frozen=True)
class Access:
    """How to reach a peer.

    Attributes:
        ca: PEM file of the authorities that may sign its certificate; None: the system's.
        certificate, key: PEM files by which we prove who we are.
        plaintext: go without TLS to another machine.
        headers: credentials of HTTP requests; never shown.
        silence: seconds that the peer may be silent.
        aet: our application entity title (DIMSE).
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    plaintext: bool = False
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    silence: float = 60.0
    aet: str = "MEDVAE"

    @property
    def asks_for_tls(self) -> bool:
        return self.ca is not None or self.certificate is not None


def parse(text: str) -> Peer:
    """The peer of a URL or of aet@host:port.

    Raises:
        UsageError: it is neither, or it holds a password.
    """
    if "://" in text:
        return _web(text)
    aet, at, rest = text.rpartition("@")
    host, colon, port = rest.rpartition(":")
    if not at or not colon or not AET.fullmatch(aet) or not HOST.fullmatch(host):
        raise UsageError(f"{_shown(text)} is no address of an archive: expected {FORMS}")
    return Peer("dimse", host.strip("[]"), _port(port, text), aet=aet)


def _web(text: str) -> Peer:
    parts = urlsplit(text)
    try:
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:
        port = 0
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            f"an address holds no user and no password: give them as {USER} and {PASSWORD}"
        )
    host = parts.hostname or ""
    wrong = parts.query or parts.fragment or not parts.path.isprintable() or " " in parts.path
    if wrong or not port or not (HOST.fullmatch(host) or HOST.fullmatch(f"[{host}]")):
        raise UsageError(f"{_shown(text)} is no address of an archive: expected {FORMS}")
    return Peer(parts.scheme, host, port, parts.path.rstrip("/"))


def _shown(text: str) -> str:
    # What stands before an @ may be a password.
    return escaped(text.rpartition("@")[2][:100])


def _port(text: str, whole: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise UsageError(f"{_shown(whole)} has no port from 1 to 65535: expected {FORMS}")
    return int(text)


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_uid(uid: str) -> str:
    """A UID as it is, fit to be part of a request.

    Raises:
        UsageError: it is none.
    """
    if len(uid) > LONGEST_UID or not UID.fullmatch(uid):
        raise UsageError(f"{escaped(uid[:80])} is no UID: expected digits and dots")
    return uid


def credentials(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The HTTP header of the credentials in the environment; empty where there are none.

    Raises:
        UsageError: half of them, both kinds, or characters that no header may hold.
    """
    user, password = environment.get(USER), environment.get(PASSWORD)
    token = environment.get(TOKEN)
    if (user is None) != (password is None):
        raise UsageError(f"{USER} and {PASSWORD} go together: set both")
    if token is not None and user is not None:
        raise UsageError(f"{USER} and {TOKEN} are two ways of logging in: set one")
    if token is not None:
        if not re.fullmatch(r"[\x21-\x7e]+", token):
            raise UsageError(f"{TOKEN} holds characters that no token has: check it")
        return {"Authorization": f"Bearer {token}"}
    if user is None or password is None:
        return {}
    packed = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {packed}"}


def tls_of(peer: Peer, access: Access) -> ssl.SSLContext | None:
    """The TLS of a connection; None where it goes without.

    Raises:
        UsageError: it would go without to another machine, and nobody said that it may.
        AccessError: a file of certificates or a key cannot be used.
    """
    if access.plaintext and access.asks_for_tls:
        raise UsageError("--plaintext goes without TLS: leave out --ca and --client-cert")
    if peer.scheme == "https":
        if access.plaintext:
            raise UsageError(f"--plaintext goes without TLS, and {peer.label} asks for it")
        return client_tls(access)
    if peer.is_web and access.asks_for_tls:
        raise UsageError(f"{peer.label} goes without TLS: write https:// to use certificates")
    if peer.is_web and not (access.plaintext or peer.is_here):
        raise UsageError(
            f"{peer.label} would send patients' data in the clear: use https://, or --plaintext "
            "where the network is safe"
        )
    without = access.plaintext or peer.is_web or (peer.is_here and not access.asks_for_tls)
    return None if without else client_tls(access)


def client_tls(access: Access) -> ssl.SSLContext:
    """TLS 1.2 or later that verifies the peer's certificate and name. Raises as `tls_of`."""
    if (access.certificate is None) != (access.key is None):
        raise UsageError("--client-cert and --client-key go together: give both")
    _check_files(access)
    try:
        context = ssl.create_default_context(cafile=access.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if access.certificate is not None:
            # Without a terminal nobody can be asked for the passphrase of a key.
            context.load_cert_chain(access.certificate, access.key, password=lambda: b"")
    except (OSError, ValueError) as error:
        raise AccessError(
            "the files of --ca, --client-cert and --client-key cannot be used: expected "
            "certificates as PEM, and the key of the client's without a passphrase"
        ) from error
    return context


def server_tls(access: Access, options: str = "--cert and --key") -> ssl.SSLContext:
    """TLS 1.2 or later of a service, which asks for certificates where `access.ca` is given.

    Args:
        options: those that name our certificate and its key, for messages.

    Raises:
        UsageError: a certificate without a key, or the other way round.
        AccessError: a file cannot be used.
    """
    if access.certificate is None or access.key is None:
        raise UsageError(f"{options} go together: give both")
    _check_files(access)
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=access.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_NONE if access.ca is None else ssl.CERT_REQUIRED
        context.load_cert_chain(access.certificate, access.key, password=lambda: b"")
    except (OSError, ValueError) as error:
        raise AccessError(
            f"the files of {options} and --ca cannot be used: expected certificates as PEM, and a "
            "key without a passphrase"
        ) from error
    return context


def _check_files(access: Access) -> None:
    named = (access.ca, access.certificate, access.key)
    for path in named:
        if path is not None and not path.is_file():
            raise AccessError(f"{escaped(str(path))} is not a file: expected PEM")
