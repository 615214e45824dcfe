"""A DICOM release into an image archive (PACS)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from medvae.api.links import access_of
from medvae.api.results import SendResult, Unsent
from medvae.errors import IntegrityError, MedvaeError, UsageError
from medvae.options.archives import SendOptions
from medvae.options.flags import called_with
from medvae.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medvae.pacs.instances import Instance
    from medvae.release.manifest import Entry

DICOM = ".dcm"
# Files are sent in messages of so many bytes, so that one that fails costs little.
BATCH_BYTES = 32 << 20


class Sink(Protocol):
    """What files are stored in."""

    def store(self, batch: Sequence[Instance]) -> dict[str, str]:
        """Store files; SOP instance UID of each that was not taken -> why."""


@called_with(SendOptions)
def send(options: SendOptions) -> SendResult:
    """Store the DICOM files of a release in an image archive; needs no vault.

    The release is verified first, and each file once more as it is read for sending. Nothing
    but a release is sent: its signed list is what says that the files are synthetic. To send
    one again does no harm: files keep their UIDs.

    Args:
        peer: https:// and the address of a DICOMweb service, or AETITLE@HOST:PORT (DIMSE).
        public_key: the signer's key; without it any signer's release is sent that is unchanged.
        link: how to reach the archive (see `Session.pull`).

    Raises:
        NotFoundError: the folder is not there.
        IntegrityError: it is no release, is not as it was signed, or awaits approval.
        UsageError: it holds no DICOM, or `peer` or `link` cannot be right.
        AccessError: the archive cannot be reached or refuses, and nothing was sent.
    """
    from medvae.pacs import peers
    from medvae.pacs.archive import archive_of

    root, there = Path(options.folder), peers.parse(options.peer)
    sink = archive_of(there, access_of(options.link))
    signer, listed = _verified(root, options)
    names = [name for name in listed if name.endswith(DICOM)]
    if not names:
        raise UsageError(f"{root} holds no DICOM: create the release with --format dicom")
    failed = _stored(sink, root, names, listed, options.progress)
    return SendResult(
        release=root,
        peer=there.label,
        sent=len(names) - len(failed),
        failed=tuple(failed),
        signer=signer,
    )


def _verified(root: Path, options: SendOptions) -> tuple[str, Mapping[str, Entry]]:
    """The signer of a release, and its files as they were signed. Raises as `send`."""
    from medvae.release import check

    trusted = None if options.public_key is None else check.read_key(Path(options.public_key))
    checked, listed = check.check_files(root, trusted, options.progress)
    if not checked.unchanged or checked.valid is False:
        problem = checked.problems[0] if checked.problems else "it is not as it was signed"
        if checked.unchanged:
            raise IntegrityError(f"{root} is not sent: {problem}")
        raise IntegrityError(
            f"{root} is not sent, since it is no release that is as it was signed: {problem}"
        )
    return checked.signer or "", listed


def _stored(
    sink: Sink,
    root: Path,
    names: list[str],
    listed: Mapping[str, Entry],
    progress: Progress,
) -> list[Unsent]:
    """Store files; those that were not taken, with the reason.

    Raises:
        AccessError: as soon as the archive fails before it has taken a file.
    """
    progress.start("send", len(names))
    failed: list[Unsent] = []
    done = 0
    for batch in _batches(root, names, listed):
        try:
            lost = sink.store(batch)
        except MedvaeError as error:
            if done == len(failed):
                raise
            rest = names[done:]
            failed += [Unsent(name, str(error)) for name in rest]
            break
        failed += [
            Unsent(instance.name, lost[instance.uid]) for instance in batch if instance.uid in lost
        ]
        done += len(batch)
        progress.advance(done)
    progress.finish()
    return failed


def _batches(root: Path, names: list[str], listed: Mapping[str, Entry]) -> Iterator[list[Instance]]:
    batch: list[Instance] = []
    for name in names:
        if (
            batch
            and sum(len(instance.data) for instance in batch) + listed[name].size > BATCH_BYTES
        ):
            yield batch
            batch = []
        batch.append(_read(root, name, listed[name]))
    yield batch


def _read(root: Path, name: str, entry: Entry) -> Instance:
    """A file as it was signed, whatever has been put there since it was verified."""
    from medvae.pacs.instances import Instance
    from medvae.release import manifest

    with open(manifest.open_regular(root / name), "rb") as file:  # noqa: PTH123
        data = file.read(entry.size + 1)
    if len(data) != entry.size or hashlib.sha256(data).hexdigest() != entry.sha256:
        raise IntegrityError(f"{name} of {root} was changed while it was being sent")
    return Instance.of(name, data)
