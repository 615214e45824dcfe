"""Sealed objects in an S3-compatible store, through obstore (the extra `s3`).

The catalogue and the key ring stay in the tenant's folder: the store gets ciphertext under
opaque keys, in a prefix of the tenant's id. Credentials, region and endpoint come from the
usual environment (AWS_ACCESS_KEY_ID, AWS_REGION, AWS_ENDPOINT_URL ...), never from the
vault. S3 is strongly consistent and a finished PUT is durable; there is no rename, so
publishing is a copy on the server.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from medvae.errors import AccessError, UsageError
from medvae.vault.bytestore import OBJECTS, QUARANTINE, STAGING, Entry, Stored, checked
from medvae.vault.format import PIECE

if TYPE_CHECKING:
    from obstore.store import S3Store as Bucket

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")


def connect(url: str, tenant_id: bytes) -> S3Store:
    """The store at `s3://BUCKET/PREFIX`, in the part of it that is one tenant's.

    Raises:
        UsageError: the address has another form, or the extra `s3` is not installed.
    """
    parts = urlsplit(url)
    prefix = parts.path.strip("/")
    if not _BUCKET.fullmatch(parts.netloc) or (prefix and not _PREFIX.fullmatch(prefix)):
        raise UsageError(f"{url!r} is not the address of a store: expected s3://BUCKET/PREFIX")
    try:
        from obstore.store import S3Store as Bucket
    except ImportError as error:
        raise UsageError(
            "an S3 store needs the extra s3: pip install 'medvae-private[s3]'"
        ) from error
    inside = "/".join(part for part in (prefix, tenant_id.hex()) if part)
    return S3Store(Bucket(parts.netloc, prefix=inside), url)


class S3Store:
    """A ByteStore over a bucket; see the module."""

    def __init__(self, bucket: Bucket, url: str) -> None:
        self._bucket = bucket
        self._url = url
        self._staged: dict[str, str] = {}

    def stage(self, key: str, pieces: Iterable[memoryview]) -> Stored:
        """Upload under a temporary name, in parts when it is large."""
        path = f"{STAGING}/{secrets.token_hex(16)}"
        checked(key)
        digest, size = hashlib.sha256(), 0

        def counted() -> Iterator[bytes]:
            nonlocal size
            for piece in pieces:
                digest.update(piece)
                size += len(piece)
                yield bytes(piece)

        with self._errors():
            try:
                self._bucket.put(path, counted())
            except FileNotFoundError as error:
                raise AccessError(f"the bucket of the store {self._url} does not exist") from error
        self._staged[key] = path
        return Stored(size, digest.digest())

    def publish(self, keys: Sequence[str]) -> None:
        """Copy to the final names, then drop the temporary ones."""
        for key in keys:
            if self.size(key) is not None:
                self.quarantine(key)
            with self._errors():
                self._bucket.copy(self._staged[key], f"{OBJECTS}/{key}")
        self.discard(keys)

    def discard(self, keys: Sequence[str]) -> None:
        """Delete the temporary names."""
        paths = [self._staged.pop(key) for key in keys if key in self._staged]
        with self._errors():
            for path in paths:
                self._bucket.delete(path)

    def size(self, key: str) -> int | None:
        """From a HEAD request."""
        with self._errors():
            try:
                return int(self._bucket.head(f"{OBJECTS}/{checked(key)}")["size"])
            except FileNotFoundError:
                return None

    def pieces(self, key: str, *, staged: bool = False) -> Iterator[memoryview]:
        """Stream the object."""
        path = self._staged[key] if staged else f"{OBJECTS}/{checked(key)}"
        with self._errors():
            for piece in self._bucket.get(path).stream(min_chunk_size=PIECE):
                yield memoryview(piece)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete one by one; a missing key is no error in S3."""
        with self._errors():
            for key in keys:
                with contextlib.suppress(FileNotFoundError):
                    self._bucket.delete(f"{OBJECTS}/{checked(key)}")

    def entries(self) -> Iterator[Entry]:
        """List the published objects."""
        for meta in self._list(OBJECTS):
            key = meta["path"].split(f"{OBJECTS}/", 1)[1]
            yield Entry(key, int(meta["size"]), time.time() - meta["last_modified"].timestamp())

    def sweep(self, older_than: float = 0.0) -> int:
        """Delete temporary names that are old enough."""
        count = 0
        for meta in self._list(STAGING):
            if time.time() - meta["last_modified"].timestamp() >= older_than:
                with self._errors():
                    self._bucket.delete(meta["path"])
                count += 1
        return count

    def quarantine(self, key: str) -> str:
        """Copy to quarantine/, then delete; the bytes are not touched."""
        name = f"{QUARANTINE}/{key.split('/')[1]}.{int(time.time())}.{secrets.token_hex(4)}"
        with self._errors():
            self._bucket.copy(f"{OBJECTS}/{checked(key)}", name)
            self._bucket.delete(f"{OBJECTS}/{key}")
        return name

    def purge(self) -> None:
        """Delete everything of the tenant."""
        for folder in (OBJECTS, STAGING, QUARANTINE):
            for meta in self._list(folder):
                with self._errors():
                    self._bucket.delete(meta["path"])

    def _list(self, folder: str) -> list[dict[str, Any]]:
        with self._errors():
            return [dict(meta) for page in self._bucket.list(folder) for meta in page]

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except FileNotFoundError:
            raise
        except BaseError as error:
            reason = str(error).splitlines()[0][:200]
            raise AccessError(
                f"the store {self._url} refuses or cannot be reached ({reason}): check the "
                "endpoint, the credentials and the bucket"
            ) from error
