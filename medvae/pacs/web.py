"""DICOMweb (PS3.18): QIDO-RS to find studies, WADO-RS to fetch them, STOW-RS to store."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from medvae.errors import InputError, NotFoundError
from medvae.escape import escaped
from medvae.pacs.hold import Hold, Receiving
from medvae.pacs.http import MOST_LISTED, Answer, Http
from medvae.pacs.instances import Instance, reason_of
from medvae.pacs.multipart import TooLargeError, boundary_of, parts
from medvae.pacs.peers import LONGEST_UID, UID, Access, Peer
from medvae.pacs.wanted import Found, Listed, Wanted

JSON = "application/dicom+json"
# Any transfer syntax: as it is stored, without a lossy one being made for us.
INSTANCES = 'multipart/related; type="application/dicom"; transfer-syntax=*'
STUDY_UID, STUDY_INSTANCES = "0020000D", "00201208"
# Referenced and failed SOP sequences of a storing answer, and what is in their items.
STORED, FAILED, STORED_UID, REASON = "00081199", "00081198", "00081155", "00081197"
PAGE = 200
# What comes of reading a list where something else was sent.
NOT_JSON = (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError)
MOST_STUDIES = 100_000


@dataclass(frozen=True)
class Web:
    """A DICOMweb service."""

    peer: Peer
    http: Http

    @classmethod
    def of(cls, peer: Peer, access: Access) -> Web:
        """The service of a peer.

        Raises:
            UsageError, AccessError: as `tls_of`.
        """
        return cls(peer, Http(peer, access))

    def find(self, request: Wanted) -> Found:
        """The studies that match, at most `request.limit`.

        Raises:
            AccessError: the peer cannot be reached or refuses.
            InputError: its answer is no list of studies, or of others than were asked for.
            NotFoundError: it has no such service.
        """
        queries = [{"StudyInstanceUID": uid} for uid in request.studies] or [{}]
        most = MOST_STUDIES if request.limit is None else request.limit
        listed: dict[str, Listed] = {}
        for query in queries:
            for study in self._pages(query | _filters(request)):
                if query and study.uid != query["StudyInstanceUID"]:
                    raise self._wrong("lists another study than was asked for")
                if len(listed) == most and study.uid not in listed:
                    return Found(tuple(listed.values()), more=True)
                listed.setdefault(study.uid, study)
        return Found(tuple(listed.values()))

    def _pages(self, query: dict[str, str]) -> Iterator[Listed]:
        uids: set[str] = set()
        while True:
            page = self._page(query | {"limit": str(PAGE), "offset": str(len(uids))})
            new = [study for study in page if study.uid not in uids]
            yield from new
            uids |= {study.uid for study in new}
            # Some services give fewer than they were asked for, some the same again.
            if not new:
                return

    def _page(self, query: dict[str, str]) -> list[Listed]:
        path = "/studies?" + urlencode(query | {"includefield": STUDY_INSTANCES})
        with self.http.ask("GET", path, {"Accept": JSON}) as answer:
            self.http.check(answer)
            if answer.status == 204:
                return []
            if "json" not in answer.header("Content-Type").lower():
                raise self._wrong("answers a search with something else than JSON")
            try:
                listed = json.loads(answer.all(MOST_LISTED))
                return [_listed(fields) for fields in listed]
            except InputError as error:
                raise self._wrong(f"cannot be searched: {error}") from error
            except NOT_JSON as error:
                raise self._wrong("answers a search with no list of studies") from error

    def fetch(self, listed: Listed, request: Wanted, hold: Hold) -> None:
        """Put one study into memory, whole or not at all.

        Raises:
            AccessError: the peer cannot be reached or refuses.
            InputError: the study came in part, as something else, or is too large.
        """
        path = f"/studies/{listed.uid}"
        with (
            hold.study(listed.uid, request.patient) as receiving,
            self.http.ask("GET", path, {"Accept": INSTANCES}) as answer,
        ):
            if answer.status == 404:
                raise NotFoundError(f"{self.peer.label} lists a study that it does not have")
            self.http.check(answer)
            try:
                _receive(answer, receiving)
            except TooLargeError as error:
                raise hold.full() from error
            except InputError as error:
                raise self._wrong(f"sent no whole study: {error}") from error
            wrong = listed.lacks(receiving.count)
            if wrong:
                raise self._wrong(wrong)

    def store(self, batch: Sequence[Instance]) -> dict[str, str]:
        """Store files; the SOP instance UID of each that the peer did not take -> why.

        A file counts as stored only where the answer lists it as such.

        Raises:
            AccessError: the peer cannot be reached or refuses.
            InputError: its answer is none of STOW-RS.
        """
        boundary = secrets.token_hex(16)
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        body = (
            b"".join(_part(instance, boundary) for instance in batch)
            + f"--{boundary}--\r\n".encode()
        )
        headers = {"Content-Type": kind, "Accept": JSON}
        with self.http.ask("POST", "/studies", headers, body) as answer:
            if answer.status != 409:  # none of them was stored, and the answer says why
                self.http.check(answer)
            try:
                reply = json.loads(answer.all(MOST_LISTED))
                stored = {str(item[STORED_UID]["Value"][0]) for item in _items(reply, STORED)}
                failed = {
                    str(item[STORED_UID]["Value"][0]): reason_of(int(item[REASON]["Value"][0]))
                    for item in _items(reply, FAILED)
                }
            except NOT_JSON as error:
                raise InputError(
                    f"{self.peer.label} does not say what it has stored: send again, or see its "
                    "own log"
                ) from error
        lost = {instance.uid: "the archive does not list it as stored" for instance in batch}
        return {uid: failed.get(uid, why) for uid, why in lost.items() if uid not in stored}

    def _wrong(self, what: str) -> InputError:
        return InputError(f"{self.peer.label} {what}; nothing was stored")


def _receive(answer: Answer, receiving: Receiving) -> None:
    boundary = boundary_of(answer.header("Content-Type"))
    for kind, instance in parts(answer.read, boundary, lambda: receiving.room):
        if kind not in ("", "application/dicom"):
            raise InputError(f"a part of it is {escaped(kind[:60])} and not application/dicom")
        receiving.add(instance)


def _part(instance: Instance, boundary: str) -> bytes:
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n"
    return head.encode() + instance.data + b"\r\n"


def _items(reply: dict[str, Any], sequence: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = reply.get(sequence, {}).get("Value", [])
    return items


def _filters(request: Wanted) -> dict[str, str]:
    named = {
        "PatientID": request.patient,
        "StudyDate": request.dates,
        "ModalitiesInStudy": request.modality,
    }
    return {name: value for name, value in named.items() if value}


def _listed(item: dict[str, Any]) -> Listed:
    """A study of an answer. Raises KeyError, TypeError, IndexError, ValueError."""
    uid = str(item[STUDY_UID]["Value"][0]).strip()
    if len(uid) > LONGEST_UID or not UID.fullmatch(uid):
        raise ValueError
    count = item.get(STUDY_INSTANCES, {}).get("Value")
    return Listed(uid, int(count[0]) if count else None)
