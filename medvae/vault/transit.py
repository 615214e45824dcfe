"""OpenBao / HashiCorp Vault transit: the epoch key is wrapped by a key that never leaves
the server.

The documented HTTP protocol (`POST /v1/MOUNT/encrypt/KEY` and `.../decrypt/KEY`, token in
`X-Vault-Token`), over HTTPS except to this machine. Where the server is and which key is
used is in a small JSON file that the user names in place of an identity; the token comes
from the environment (BAO_TOKEN or VAULT_TOKEN) and is never stored. The tenant's own list
of recipients is read only after it was authenticated, so the token goes to no address that
somebody wrote into it.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from medvae.errors import AccessError, IntegrityError, UsageError
from medvae.vault import fileio, format
from medvae.vault.providers import Recipient, UnwrapError

if TYPE_CHECKING:
    # Loaded where a server is asked: every command would wait for it.
    import http.client

KIND: Final = "transit"
_TOKENS: Final = ("BAO_TOKEN", "VAULT_TOKEN")
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
_SECONDS: Final = 20.0
_LARGEST: Final = 1 << 20


@dataclass(frozen=True)
class TransitProvider:
    """A key of a transit engine.

    The key's type must be an AEAD with associated data (aes256-gcm96, the default, is).
    """

    address: str
    mount: str
    key: str
    pinned: tuple[tuple[str, str], ...] = ()

    def fingerprint(self) -> str:
        """The hash of address, mount and key name."""
        named = json.dumps([KIND, self.address, self.mount, self.key]).encode()
        return hashlib.sha256(named).hexdigest()[:32]

    def approver(self) -> None:
        """A key server signs no approvals."""
        return

    def pins(self) -> dict[str, str]:
        """The pins in the user's file."""
        return dict(self.pinned)

    def recipient(self, label: str, added: str) -> Recipient:
        """The entry in a tenant's list."""
        settings = {"address": self.address, "mount": self.mount, "key": self.key}
        return Recipient(self.fingerprint(), KIND, label, added, settings)

    def wrap(self, secret: bytes, bound: bytes) -> bytes:
        """Ask the server to wrap a key; `bound` is the associated data.

        Raises:
            AccessError: the server cannot be reached or refuses.
        """
        answer = self._ask("encrypt", {"plaintext": _text(secret), "associated_data": _text(bound)})
        try:
            return str(answer["data"]["ciphertext"]).encode()
        except (KeyError, TypeError) as error:
            raise self._refused("its answer holds no ciphertext") from error

    def unwrap(self, sealed: bytes, bound: bytes) -> bytes:
        """Ask the server to unwrap a key.

        Raises:
            UnwrapError: the server says that the ciphertext is not good.
            AccessError: the server cannot be reached or refuses.
        """
        body = {"ciphertext": sealed.decode("ascii", "replace"), "associated_data": _text(bound)}
        answer = self._ask("decrypt", body)
        try:
            return base64.b64decode(answer["data"]["plaintext"], validate=True)
        except (KeyError, TypeError, ValueError) as error:
            raise UnwrapError from error

    def _ask(self, verb: str, body: dict[str, str]) -> dict[str, Any]:
        import http.client

        connection = _connect(self.address)
        path = f"/v1/{self.mount}/{verb}/{self.key}"
        headers = {"X-Vault-Token": _token(), "X-Vault-Request": "true"}
        try:
            connection.request("POST", path, json.dumps(body), headers)
            response = connection.getresponse()
            raw = response.read(_LARGEST)
            answer = json.loads(raw) if raw else {}
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._refused(str(error) or type(error).__name__) from error
        finally:
            connection.close()
        if response.status == 200 and isinstance(answer, dict):
            return answer
        if response.status == 400 and verb == "decrypt":
            raise UnwrapError  # "cipher: message authentication failed" and its kin
        errors = answer.get("errors") if isinstance(answer, dict) else None
        raise self._refused(f"status {response.status}, {errors or response.reason}")

    def _refused(self, reason: str) -> AccessError:
        return AccessError(
            f"the key server {self.address} did not unwrap the key {self.mount}/{self.key}: "
            f"{reason}; check its policy, its seal and the token"
        )


def from_settings(settings: dict[str, Any], pins: dict[str, str] | None = None) -> TransitProvider:
    """The provider that a recipient's settings, or a file, describe.

    Raises:
        UsageError: a field is missing or not of its form.
    """
    try:
        address = str(settings["address"]).rstrip("/")
        mount, key = str(settings.get("mount", "transit")), str(settings["key"])
    except KeyError as error:
        raise UsageError(f"a key server's file must name {error.args[0]}") from error
    if not _NAME.fullmatch(mount) or not _NAME.fullmatch(key) or "/" in key or ".." in mount + key:
        raise UsageError(f"{mount!r} and {key!r} are not the names of a mount and of a key")
    _check_address(address)
    return TransitProvider(address, mount, key, tuple(sorted((pins or {}).items())))


def from_file(path: Path) -> TransitProvider:
    """Read `{"medvae": "transit", "address": ..., "mount": "transit", "key": ...}`.

    Raises:
        IntegrityError: the file is damaged. UsageError: as `from_settings`.
    """
    try:
        stored = format.from_json(fileio.read_small(path))
        pins = {str(tenant): str(pin) for tenant, pin in stored.get("pins", {}).items()}
    except (OSError, ValueError, AttributeError) as error:
        raise IntegrityError(f"the key server's file {path} is damaged") from error
    return from_settings(stored, pins)


def _check_address(address: str) -> None:
    wrong = UsageError(f"{address!r} is not the address of a key server: https://HOST:PORT")
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        raise wrong from None
    try:
        local = (
            parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname or "").is_loopback
        )
    except ValueError:
        local = False
    plain = parts.path in ("", "/") and not parts.query and parts.username is None
    if not parts.hostname or not plain or parts.scheme not in ("https", "http"):
        raise wrong
    if parts.scheme == "http" and not local:
        raise UsageError(f"the key server {address} must be reached by https")


def _connect(address: str) -> http.client.HTTPConnection:
    import http.client
    import ssl

    parts = urlsplit(address)
    host = parts.hostname or ""
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=_SECONDS)
    authority = os.environ.get("BAO_CACERT") or os.environ.get("VAULT_CACERT")
    context = ssl.create_default_context(cafile=authority or None)
    return http.client.HTTPSConnection(host, parts.port, timeout=_SECONDS, context=context)


def _token() -> str:
    for name in _TOKENS:
        if token := os.environ.get(name, "").strip():
            return token
    raise AccessError("the key server needs a token: set BAO_TOKEN or VAULT_TOKEN")


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
