"""What reading yields, and the limits it keeps to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from medvae.errors import MedvaeError
from medvae.escape import escaped

if TYPE_CHECKING:
    from medvae.volume import Volume

GIB = 1024**3
LONGEST_TEXT = 400


@dataclass(frozen=True)
class Ingested:
    """A volume that may be kept.

    Attributes:
        source: the file or series as the user named it: for messages, never to be stored.
        subject: the patient's identifier at the source: to be turned into a pseudonym,
            never to be stored.
        volume: de-identified by construction, axes closest to RAS+.
        own_subject: the subject is only the file's own name: the unit of privacy is the file.
        several: the name stands for several files, the contrasts of one case.
        study: keyed digest of the DICOM study (of the series where none is named), by which
            studies are compared between readings; empty for other files.
        by_table: a table of the user names the subject.
    """

    source: str
    subject: str
    volume: Volume
    own_subject: bool = False
    several: bool = False
    study: str = ""
    by_table: bool = False


@dataclass(frozen=True)
class Quarantined:
    """Something that was not taken, and why in one sentence (never quoting its content)."""

    source: str
    reason: str


@dataclass(frozen=True)
class Limits:
    """Bounds on what one file or series may cost the reading process.

    Attributes:
        memory: bytes of address space beyond what the bare process has (RLIMIT_AS).
        cpu_seconds: processor time a job (RLIMIT_CPU).
        wall_seconds: time a job, waiting for storage included; then the process is killed.
        voxels: most voxels in a volume (2**29 is 512 x 512 x 2048).
        file_bytes: largest single file or unpacked archive member.
        members: most files in a zip archive.
    """

    memory: int = 6 * GIB
    cpu_seconds: int = 300
    wall_seconds: float = 900.0
    voxels: int = 2**29
    file_bytes: int = 4 * GIB
    members: int = 500_000


DEFAULT_LIMITS = Limits()


class WorkerDiedError(MedvaeError):
    """The reading process crashed or was stopped at a limit; the message says which."""


def printable(text: str) -> str:
    """Text that is safe to show: control and unpaired characters escaped, length bounded.

    File names are the attacker's to choose: a newline or a terminal escape in one must
    not be able to forge a line of output.
    """
    return escaped(text[:LONGEST_TEXT]) + ("..." if len(text) > LONGEST_TEXT else "")
