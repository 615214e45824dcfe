"""The worker's view of its input files: descriptors it is handed, members of archives.

Nothing of an archive is ever written out: a member is unpacked into memory, up to a limit.
"""

from __future__ import annotations

import io
import os
import socket
import stat
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from medvae.errors import InputError
from medvae.ingest import wire
from medvae.ingest.records import Limits
from medvae.ingest.tars import Tar, is_tar

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Inputs:
    """Fetches the files of a job as they are asked for, a few at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._archive: tuple[tuple[int, ...], Zip | Tar] | None = None

    def of(self, job: dict[str, Any], limits: Limits) -> Iterator[BinaryIO]:
        """The files of a job, in order; each is closed when the next is asked for.

        Raises:
            InputError: an archive is damaged, or a member of it cannot be unpacked.
        """
        left = int(job["files"])
        while left:
            wire.send(self._sock, {"next": min(left, wire.BATCH)})
            head, _ = wire.receive(self._sock, most_body=0, most_head=wire.MOST_REQUEST)
            if "gone" in head:
                raise InputError("a file of it cannot be opened")
            members: list[str | None] = head["members"]
            if not members:
                raise wire.ClosedError
            waiting = wire.receive_files(self._sock, len(members))
            left -= len(members)
            try:
                for member in members:
                    with os.fdopen(waiting.pop(0), "rb") as file:
                        yield file if member is None else self._member(file, member, limits)
            finally:
                for descriptor in waiting:
                    os.close(descriptor)

    def _member(self, file: BinaryIO, member: str, limits: Limits) -> BinaryIO:
        facts = os.fstat(file.fileno())
        key = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)
        if self._archive is None or self._archive[0] != key:
            self._archive = None
            self._archive = key, opened(os.fdopen(os.dup(file.fileno()), "rb"), limits)
        return self._archive[1].unpack(member, limits)


class Zip:
    """A zip archive. Raises as `open_archive`."""

    def __init__(self, file: BinaryIO, limits: Limits) -> None:
        self._zip = open_archive(file, limits)

    def names(self) -> list[str]:
        """The name of each plain file, as often as it is there."""
        members = []
        for member in self._zip.infolist():
            mode = member.external_attr >> 16
            if member.filename and not member.is_dir() and not (mode and stat.S_ISLNK(mode)):
                members.append(member.filename)
        return sorted(members)

    def unpack(self, name: str, limits: Limits) -> BinaryIO:
        """One member, in memory. Raises as `unpack`."""
        return unpack(self._zip, name, limits)


def opened(file: BinaryIO, limits: Limits) -> Zip | Tar:
    """An archive, of the kind that its first bytes say.

    Raises:
        InputError: it is none, damaged, or built to explode.
    """
    return Tar(file, limits) if is_tar(file) else Zip(file, limits)


def open_archive(file: BinaryIO, limits: Limits) -> zipfile.ZipFile:
    """Open a zip archive, refusing those that are built to explode.

    Raises:
        InputError: not a zip archive, too many members, or members that overlap.
    """
    size = os.fstat(file.fileno()).st_size
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InputError("the zip archive is damaged or not a zip archive") from error
    members = archive.infolist()
    if len(members) > limits.members:
        raise InputError(f"the zip archive lists more than {limits.members} files")
    # Members that share their bytes are how a few kilobytes claim petabytes.
    if sum(member.compress_size for member in members) > size:
        raise InputError("the zip archive's members overlap, which only a zip bomb needs")
    return archive


def unpack(archive: zipfile.ZipFile, name: str, limits: Limits) -> BinaryIO:
    """One member, in memory.

    Raises:
        InputError: encrypted, damaged, packed by a method other than deflate, too large.
    """
    member = archive.getinfo(name)
    if member.file_size > limits.file_bytes:
        raise InputError(f"it unpacks to more than {limits.file_bytes} bytes")
    if member.flag_bits & 0x1:
        raise InputError("it is encrypted inside the zip archive: unpack it first")
    if member.compress_type not in METHODS:
        raise InputError("it is packed by a method other than deflate: pack the archive again")
    data = io.BytesIO()
    try:
        with archive.open(member) as stream:
            while chunk := stream.read(1 << 20):
                data.write(chunk)
                if data.tell() > member.file_size:
                    raise InputError("it unpacks to more than the zip archive declares")
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        ValueError,
        NotImplementedError,
    ) as error:
        raise InputError("it is damaged inside the zip archive") from error
    if data.tell() != member.file_size:
        raise InputError("it is cut short inside the zip archive")
    data.seek(0)
    return data


def members_job(
    job: dict[str, Any], files: Iterator[BinaryIO], limits: Limits
) -> tuple[dict[str, Any], bytes]:
    """List the files of an archive as packed names, links and folders left out."""
    return {"ok": {}}, wire.pack_names(opened(next(files), limits).names())


def content_job(
    job: dict[str, Any], files: Iterator[BinaryIO], limits: Limits
) -> tuple[dict[str, Any], bytes]:
    """The first `most` bytes of a small text file, unparsed."""
    return {"ok": {}}, next(files).read(int(job["most"]))
