"""DIMSE (PS3.7): C-FIND to find studies, C-GET to fetch their series, C-STORE to store."""

from __future__ import annotations

import io
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medvae.errors import AccessError, InputError, MedvaeError, UsageError
from medvae.pacs.association import Line, associate, check_title, require_pynetdicom
from medvae.pacs.contexts import IMAGES, MARKS, PLAIN, storage_contexts
from medvae.pacs.guard import OVERHEAD, Allowance, Guard
from medvae.pacs.hold import Hold, Receiving
from medvae.pacs.instances import Instance, reason_of
from medvae.pacs.peers import Access, Peer, check_uid, tls_of
from medvae.pacs.wanted import Found, Listed, Series, Wanted
from medvae.pacs.web import MOST_STUDIES

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
SUCCESS, NO_ROOM, NOT_STORED = 0x0000, 0xA700, 0x0122
OTHERWISE = "fetch by C-MOVE (--move PORT)"
PENDING = (0xFF00, 0xFF01)
# Stored, but with something changed or left out (PS3.4 B.2.3).
WARNINGS = (0xB000, 0xB006, 0xB007)


@dataclass(frozen=True)
class Dimse:
    """An archive that speaks DIMSE."""

    peer: Peer
    access: Access
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, peer: Peer, access: Access) -> Dimse:
        """The archive at an address.

        Raises:
            UsageError, AccessError: as `tls_of`; or pynetdicom is not installed.
        """
        require_pynetdicom()
        check_title(access.aet)
        return cls(peer, access, tls_of(peer, access))

    def find(self, request: Wanted) -> Found:
        """The studies that match and hold images, at most `request.limit`. Raises as `Web.find`."""
        most = MOST_STUDIES if request.limit is None else request.limit
        uids = self._studies(request)
        listed: list[Listed] = []
        with self._search() as line:
            for uid in uids:
                series = self._series(line, uid, request)
                if not series:
                    if request.studies:
                        raise InputError(
                            f"study {uid} of {self.peer.label} holds no series of "
                            f"{request.modality or ', '.join(IMAGES)}: check --study and --modality"
                        )
                    continue
                if len(listed) == most:
                    return Found(tuple(listed), more=True)
                listed.append(Listed(uid, series=series))
        return Found(tuple(listed))

    def _search(self) -> Any:
        from pynetdicom import build_context

        guard = Guard(self.peer.label, self.access.silence)
        context = build_context(FIND, list(PLAIN))
        return associate(self.peer, self.access, self.tls, [context], guard)

    def _studies(self, request: Wanted) -> list[str]:
        studies: dict[str, None] = {}
        with self._search() as line:
            for study in request.studies or ("",):
                query = query_of(
                    "STUDY",
                    StudyInstanceUID=study,
                    PatientID=request.patient,
                    StudyDate=request.dates,
                    ModalitiesInStudy=request.modality,
                )
                for item in self._matches(line, query):
                    uid = self._uid(item, "StudyInstanceUID")
                    if study and uid != study:
                        raise self._wrong("lists another study than was asked for")
                    studies[uid] = None
                    if len(studies) == MOST_STUDIES:
                        raise self._wrong(f"lists {MOST_STUDIES} studies and more: ask for fewer")
        return list(studies)

    def _series(self, line: Line, study: str, request: Wanted) -> tuple[Series, ...]:
        """The series of a study to fetch; none where it holds no images that were asked for."""
        images = (request.modality,) if request.modality else IMAGES
        query = query_of(
            "SERIES",
            StudyInstanceUID=study,
            SeriesInstanceUID="",
            Modality="",
            NumberOfSeriesRelatedInstances="",
        )
        series: dict[str, Series] = {}
        has_images = False
        for item in self._matches(line, query):
            modality = str(item.get("Modality", "")).strip().upper()
            has_images |= modality in images
            if modality in (*images, *MARKS):
                uid = self._uid(item, "SeriesInstanceUID")
                series[uid] = Series(uid, self._count(item))
        return tuple(series.values()) if has_images else ()

    def _matches(self, line: Line, query: Dataset) -> Iterator[Dataset]:
        for status, item in line.raw.send_c_find(query, FIND):
            code = status.get("Status")
            if code is None or line.guard.problem is not None:
                raise line.guard.problem or AccessError(
                    f"{self.peer.label} ended the association instead of answering a search: "
                    f"have its administrator allow searches to {self.access.aet}"
                )
            if code in PENDING:
                if item is None:
                    raise self._wrong("answers a search with no list")
                yield item
            elif code != SUCCESS:
                raise AccessError(
                    f"{self.peer.label} refuses the search (status {code:04X}): see its own log"
                )

    def _uid(self, item: Dataset, name: str) -> str:
        try:
            return check_uid(str(item.get(name, "")).strip())
        except UsageError as error:
            raise self._wrong("answers a search with no list of UIDs") from error

    def _count(self, item: Dataset) -> int | None:
        count = str(item.get("NumberOfSeriesRelatedInstances") or "").strip()
        return int(count) if count.isascii() and count.isdigit() else None

    def fetch(self, listed: Listed, request: Wanted, hold: Hold) -> None:
        """Put the series of one study into memory, whole or not at all. Raises as `Web.fetch`."""
        from pynetdicom import build_context

        allowance = Allowance(hold.room + hold.room // 32 + OVERHEAD, hold.full)
        guard = Guard(self.peer.label, self.access.silence, allowance)
        contexts = [build_context(GET, list(PLAIN)), *storage_contexts()]
        with hold.study(listed.uid, request.patient) as receiving:
            receipt = Receipt(receiving, guard)
            with associate(
                self.peer,
                self.access,
                self.tls,
                contexts,
                guard,
                store=receipt.store,
                otherwise=OTHERWISE,
            ) as line:
                if not any(
                    context.abstract_syntax == GET for context in line.raw.accepted_contexts
                ):
                    raise self._no_get("does not answer C-GET")
                for series in listed.series:
                    before = receiving.count
                    self._get(line, listed.uid, series.uid, receiving)
                    wrong = series.lacks(receiving.count - before)
                    if wrong:
                        raise self._wrong(wrong)

    def _get(self, line: Line, study: str, series: str, receiving: Receiving) -> None:
        query = query_of("SERIES", StudyInstanceUID=study, SeriesInstanceUID=series)
        for status, _ in line.raw.send_c_get(query, GET):
            code = status.get("Status")
            if code is None or line.guard.problem is not None:
                raise line.guard.problem or self._ended(receiving)
            failed = int(status.get("NumberOfFailedSuboperations") or 0)
            if code in PENDING:
                continue
            if failed:
                raise self._wrong(f"could not send {failed} of the images of a series")
            if code != SUCCESS:
                raise self._wrong(f"did not send a series (status {code:04X})")

    def store(self, batch: Sequence[Instance]) -> dict[str, str]:
        """Store files; the SOP instance UID of each that the peer did not take -> why.

        Raises:
            AccessError: the peer cannot be reached or refuses.
        """
        from pynetdicom import build_context

        pairs = dict.fromkeys((instance.storage, instance.syntax) for instance in batch)
        contexts = [
            build_context(
                storage, list(dict.fromkeys((syntax, *PLAIN))) if syntax in PLAIN else [syntax]
            )
            for storage, syntax in pairs
        ]
        guard = Guard(self.peer.label, self.access.silence)
        lost: dict[str, str] = {}
        with associate(self.peer, self.access, self.tls, contexts, guard) as line:
            for number, instance in enumerate(batch):
                status = _store(line, instance)
                if status is None:
                    # The others would wait for an answer that cannot come.
                    problem = guard.problem or AccessError(
                        f"{self.peer.label} ended the association in the middle of storing: have "
                        f"its administrator allow it to {self.access.aet}, and send again"
                    )
                    if number == 0:
                        raise problem
                    return lost | {rest.uid: str(problem) for rest in batch[number:]}
                if status not in (SUCCESS, *WARNINGS):
                    lost[instance.uid] = reason_of(status)
        return lost

    def _ended(self, receiving: Receiving) -> MedvaeError:
        """Why the archive has left; before the first image it is a refusal of C-GET."""
        if receiving.count:
            return self._wrong("ended the association in the middle of a study")
        return self._no_get("ended the association instead of sending")

    def _no_get(self, what: str) -> AccessError:
        return AccessError(
            f"{self.peer.label} {what}: have its administrator allow C-GET to "
            f"{self.access.aet}, or {OTHERWISE}"
        )

    def _wrong(self, what: str) -> InputError:
        return InputError(f"{self.peer.label} {what}; nothing was stored")


@dataclass
class Receipt:
    """Keeps what one association sends, each instance once."""

    receiving: Receiving
    guard: Guard
    seen: set[str] = field(default_factory=set)

    def store(self, event: Any) -> int:
        """Keep one instance; the status of PS3.4 B.2.3. The first that is refused ends all."""
        try:
            uid = check_uid(str(event.request.AffectedSOPInstanceUID))
            check_uid(str(event.request.AffectedSOPClassUID))
            if uid in self.seen:
                raise InputError(f"{self.guard.label} sent an image twice; nothing was stored")
            self.receiving.add(event.encoded_dataset())
            self.seen.add(uid)
        except MedvaeError as error:
            self.guard.end(error)
            return NO_ROOM
        return SUCCESS


def query_of(level: str, **keys: str) -> Dataset:
    """The identifier of a request at a level (PS3.4 C.4)."""
    from pydicom.dataset import Dataset

    query = Dataset()
    query.SpecificCharacterSet = "ISO_IR 192"
    query.QueryRetrieveLevel = level
    for name, value in keys.items():
        setattr(query, name, value)
    return query


def _store(line: Line, instance: Instance) -> int | None:
    """Send one file; the peer's status, None where it gives none."""
    from pydicom import dcmread

    data = dcmread(io.BytesIO(instance.data))
    accepted = {str(context.abstract_syntax) for context in line.raw.accepted_contexts}
    if instance.storage not in accepted:
        return NOT_STORED
    status = line.raw.send_c_store(data).get("Status")
    return None if line.guard.problem else status
