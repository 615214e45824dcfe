"""Why sources were refused: each reason once, with a count."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from medvae.api.results import Reason, Refused
from medvae.errors import InputError

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
MOST_SHOWN = 4


class NothingUsableError(InputError):
    """No source could be used; the JSON object of the error lists all of them."""

    def __init__(self, sentence: str, refused: Sequence[Refused]) -> None:
        super().__init__(sentence)
        self._refused = tuple(refused)

    @property
    def details(self) -> Mapping[str, object]:
        return {
            "quarantined": [refused.to_json() for refused in self._refused],
            "reasons": [reason.to_json() for reason in reasons(self._refused)],
        }


def reasons(refused: Sequence[Refused]) -> tuple[Reason, ...]:
    """The reasons, most frequent first; those that differ in numbers alone count as one."""
    by_reason: dict[str, list[Refused]] = {}
    for refusal in refused:
        by_reason.setdefault(_NUMBER.sub("#", refusal.reason), []).append(refusal)
    ordered = sorted(by_reason.values(), key=len, reverse=True)
    return tuple(Reason(len(alike), alike[0].reason, alike[0].source) for alike in ordered)


def nothing(sources: Sequence[object], refused: Sequence[Refused]) -> NothingUsableError:
    """The error of an ingest that could use no source."""
    where = ", ".join(str(source) for source in sources)
    if not refused:
        return NothingUsableError(
            f"no scan was found in {where}; expected NIfTI files, DICOM series or a BIDS folder", ()
        )
    causes = reasons(refused)
    listed = "; ".join(cause.line for cause in causes[:MOST_SHOWN])
    more = sum(cause.count for cause in causes[MOST_SHOWN:])
    rest = f"; and {more} more for other reasons (see --json)" if more else ""
    return NothingUsableError(f"nothing usable in {where}: {listed}{rest}", refused)
