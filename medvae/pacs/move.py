"""C-MOVE (PS3.4 C.4.2): the archive is asked to send a study to our own storage service."""

from __future__ import annotations

from dataclasses import dataclass

from medvae.errors import AccessError, MedvaeError
from medvae.pacs.association import Line, associate
from medvae.pacs.contexts import PLAIN
from medvae.pacs.destination import Destination
from medvae.pacs.dimse import PENDING, SUCCESS, Dimse, query_of
from medvae.pacs.guard import Guard
from medvae.pacs.hold import Hold, Receiving
from medvae.pacs.wanted import Listed, Wanted

MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
UNKNOWN_DESTINATION = 0xA801


@dataclass(frozen=True)
class Mover(Dimse):
    """An archive that speaks DIMSE and answers no C-GET; `destination` receives from it."""

    destination: Destination

    def fetch(self, listed: Listed, request: Wanted, hold: Hold) -> None:
        """Put the series of one study into memory, whole or not at all. Raises as `Web.fetch`.

        `hold` is that of the destination.
        """
        from pynetdicom import build_context

        guard = Guard(self.peer.label, self.access.silence)
        contexts = [build_context(MOVE, list(PLAIN))]
        with (
            self.destination.study(listed.uid, request.patient, guard) as receiving,
            associate(self.peer, self.access, self.tls, contexts, guard) as line,
        ):
            before = 0
            for series in listed.series:
                self._move(line, listed.uid, series.uid, receiving)
                now = receiving.count
                if now == before:
                    raise self._wrong(
                        f"says that it sent a series, and nothing came to {self._to} (have its "
                        "administrator check the address that it has for that title)"
                    )
                wrong = series.lacks(now - before)
                if wrong:
                    raise self._wrong(wrong)
                before = now

    def _move(self, line: Line, study: str, series: str, receiving: Receiving) -> None:
        query = query_of("SERIES", StudyInstanceUID=study, SeriesInstanceUID=series)
        for status, _ in line.raw.send_c_move(query, self.access.aet, MOVE):
            code = status.get("Status")
            if code is None or line.guard.problem is not None:
                raise line.guard.problem or self._ended(receiving)
            if code in PENDING:
                continue
            failed = int(status.get("NumberOfFailedSuboperations") or 0)
            if code == UNKNOWN_DESTINATION:
                raise self._unknown()
            if failed:
                raise self._wrong(
                    f"could not send {failed} of the images of a series to {self._to}"
                )
            if code != SUCCESS:
                raise self._unknown(f" (status {code:04X})")

    @property
    def _to(self) -> str:
        """What the archive has to know: our title, and the address that it stands for."""
        return f"{self.access.aet} at port {self.destination.port}"

    def _ended(self, receiving: Receiving) -> MedvaeError:
        return super()._ended(receiving) if receiving.count else self._unknown()

    def _unknown(self, status: str = "") -> AccessError:
        return AccessError(
            f"{self.peer.label} does not send to {self._to}{status}: have its administrator enter "
            "that title with this machine's address and port"
        )
