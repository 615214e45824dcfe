"""What an archive sends, in anonymous memory and never on a disk.

One sealed memory file a study, which is an uncompressed tar archive of its instances under
numbers of our own: the process that parses scans reads it like any archive, and one that was
taken over by a scan meets the instances of no other study.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from medvae.errors import AccessError, InputError

GIB = 1024**3
# What a tar archive adds to a member: a header, and zeros up to a whole block.
BLOCK = 512


@dataclass(frozen=True)
class Study:
    """A whole study.

    Attributes:
        uid: the StudyInstanceUID that each instance has to carry.
        patient: the PatientID that each has to carry; empty where any will do.
        descriptor: of the archive.
        members: names of the instances in it.
        size: bytes of the instances.
    """

    uid: str
    patient: str
    descriptor: int
    members: tuple[str, ...]
    size: int


class Hold:
    """Studies in memory, up to a limit; `close` frees all of it.

    Args:
        limit: bytes of all studies together.

    Raises:
        AccessError: the system has no anonymous memory files (they need Linux).
    """

    def __init__(self, limit: int) -> None:
        if not hasattr(os, "memfd_create"):
            raise AccessError(
                "this system has no anonymous memory files, in which received scans are kept: "
                "receive on Linux"
            )
        self._limit = limit
        self._used = 0
        self.studies: list[Study] = []

    @property
    def room(self) -> int:
        """Bytes that may still come."""
        return max(0, self._limit - self._used)

    def full(self) -> InputError:
        """The error of one byte more than there is room for."""
        return InputError(
            f"the studies are larger than the {self._limit / GIB:.3g} GiB of --memory-limit in "
            "which they are kept: fetch fewer at a time, or raise it"
        )

    def open(self) -> Receiving:
        """A study to be filled, which `keep` keeps or its `drop` frees."""
        return Receiving(self)

    def keep(self, receiving: Receiving, uid: str, patient: str = "") -> None:
        """Keep a whole study."""
        self.studies.append(receiving.finish(uid, patient))

    @contextlib.contextmanager
    def study(self, uid: str, patient: str = "") -> Iterator[Receiving]:
        """A study to be filled; it is kept only if the block ends without an error."""
        receiving = self.open()
        try:
            yield receiving
            self.keep(receiving, uid, patient)
        except BaseException:
            receiving.drop()
            raise

    def take(self, size: int) -> None:
        """Count bytes. Raises InputError where there is no room for them."""
        if size > self.room:
            raise self.full()
        self._used += size

    def close(self) -> None:
        """Free the memory."""
        for study in self.studies:
            os.close(study.descriptor)
        self.studies.clear()
        self._used = 0


class Receiving:
    """A study that is being filled."""

    def __init__(self, hold: Hold) -> None:
        self._hold = hold
        self._descriptor = os.memfd_create("medvae", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._file = os.fdopen(os.dup(self._descriptor), "wb")
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        self._members: list[str] = []
        self._size = 0

    @property
    def count(self) -> int:
        """Instances so far."""
        return len(self._members)

    @property
    def room(self) -> int:
        """Bytes that the next instance may have."""
        return self._hold.room

    def add(self, instance: bytes | bytearray | memoryview) -> None:
        """Keep one instance, a DICOM file. Raises InputError where there is no room for it."""
        size = len(instance)
        self._hold.take(size + 2 * BLOCK)
        member = tarfile.TarInfo(f"{self.count + 1:08d}.dcm")
        member.size = size
        self._tar.addfile(member, io.BytesIO(instance))
        self._members.append(member.name)
        self._size += size

    def finish(self, uid: str, patient: str) -> Study:
        """The study, which nothing can change any more."""
        self._tar.close()
        self._file.close()
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
        fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, seals)
        return Study(uid, patient, self._descriptor, tuple(self._members), self._size)

    def drop(self) -> None:
        """Free the memory of a study that did not come whole."""
        for file in (self._tar, self._file):
            with contextlib.suppress(OSError, ValueError):
                file.close()
        os.close(self._descriptor)
