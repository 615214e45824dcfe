"""Members of tar archives, plain or packed by gzip, bzip2 or xz (in the sandboxed worker only).

Nothing is ever written out, no link or device of an archive is followed or made, and a member's
name is only ever compared.
"""

from __future__ import annotations

# Loaded by `tarfile` on first use, which the confined process could not do.
import bz2  # noqa: F401
import gzip  # noqa: F401
import io
import lzma
import tarfile
import zlib
from typing import BinaryIO

from medvae.errors import InputError
from medvae.ingest.records import Limits

PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")
USTAR_AT, USTAR = 257, b"ustar"
DAMAGED = (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError)


def is_tar(file: BinaryIO) -> bool:
    """Whether the file begins as a tar archive or as packed data (never as a zip archive)."""
    start = file.read(USTAR_AT + len(USTAR))
    file.seek(0)
    return start.startswith(PACKED) or start[USTAR_AT:] == USTAR


class Tar:
    """A tar archive, read from its start to its end once to know its members.

    Raises:
        InputError: it is none, damaged, or has too many members.
    """

    def __init__(self, file: BinaryIO, limits: Limits) -> None:
        self._members: dict[str, tarfile.TarInfo] = {}
        self._names: list[str] = []
        try:
            self._tar = tarfile.open(fileobj=file, mode="r:*")  # noqa: SIM115
            for count, member in enumerate(self._tar, start=1):
                if count > limits.members:
                    raise InputError(f"the tar archive lists more than {limits.members} files")
                # A sparse member claims zeros that the archive does not hold, as a bomb would.
                if member.isreg() and not member.issparse():
                    self._members[member.name] = member
                    self._names.append(member.name)
        except DAMAGED as error:
            raise InputError("the tar archive is damaged or not a tar archive") from error

    def names(self) -> list[str]:
        """The name of each plain file, as often as it is there, in the order of the archive."""
        return self._names

    def unpack(self, name: str, limits: Limits) -> BinaryIO:
        """One member, in memory.

        Raises:
            InputError: it is too large, damaged or cut short.
        """
        member = self._members[name]
        if member.size > limits.file_bytes:
            raise InputError(f"it unpacks to more than {limits.file_bytes} bytes")
        try:
            stream = self._tar.extractfile(member)
            data = b"" if stream is None else stream.read()
        except DAMAGED as error:
            raise InputError("it is damaged inside the tar archive") from error
        if len(data) != member.size:
            raise InputError("it is cut short inside the tar archive")
        return io.BytesIO(data)
