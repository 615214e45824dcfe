"""DICOM files to be sent, and what an archive answers to them."""

from __future__ import annotations

import io
from dataclasses import dataclass

from medvae.errors import InputError

# Failure reasons of PS3.18 I.2.2 and statuses of PS3.4 B.2.3, by their first digits.
REASONS = {
    "A7": "it has no room",
    "A9": "it says that the file is not of its class",
    "C": "it cannot understand the file",
    "0110": "it could not process the file",
    "0122": "it does not store this class",
    "0124": "it does not allow this",
}


@dataclass(frozen=True)
class Instance:
    """A file.

    Attributes:
        name: as the release names it.
        data: the whole file, preamble included.
        storage, uid, syntax: its SOP class, SOP instance and transfer syntax UIDs.
    """

    name: str
    data: bytes
    storage: str
    uid: str
    syntax: str

    @classmethod
    def of(cls, name: str, data: bytes) -> Instance:
        """The instance in a file. Raises InputError where it is no DICOM file."""
        from pydicom import dcmread
        from pydicom.errors import InvalidDicomError

        try:
            meta = dcmread(io.BytesIO(data), specific_tags=[], stop_before_pixels=True).file_meta
            uids = (
                meta.MediaStorageSOPClassUID,
                meta.MediaStorageSOPInstanceUID,
                meta.TransferSyntaxUID,
            )
        except (InvalidDicomError, AttributeError, ValueError, EOFError) as error:
            raise InputError(f"{name} is no DICOM file") from error
        return cls(name, data, *map(str, uids))


def reason_of(status: int) -> str:
    """What a status that is none of success means, in words and with its number."""
    code = f"{status:04X}"
    words = [what for start, what in REASONS.items() if code.startswith(start)]
    return f"{words[0] if words else 'it refused the file'} (status {code})"
