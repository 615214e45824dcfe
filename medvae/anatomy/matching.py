"""Which labels of a library entry each label of a cohort stands for, by their names.

Names are compared without case and punctuation. A name that says a side matches that side alone,
one without a side both. What atlases call differently is one by a public table of synonyms; names
of groups ("deep grey matter") match the structures of the group that no narrower name of the same
cohort has. Nothing here looks at a patient.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medvae.anatomy.synonyms import GROUPS, SYNONYMS
from medvae.errors import UsageError

# How many of the entry's names an error lists.
_NAMED = 6
# Ranks of a label's own name, and of what the user declared.
_OWN, _DECLARED = 0, -1
_SIDES = {"left": "left", "right": "right", "lh": "left", "rh": "right", "l": "left", "r": "right"}


@dataclass(frozen=True)
class _Name:
    """A structure and its side; no side: both, or in the middle."""

    structure: str
    side: str | None = None

    @classmethod
    def of(cls, text: str) -> _Name:
        words = _words(text)
        phrase = " ".join(words)
        if phrase.isdigit():
            return cls(f"label {phrase}")
        if phrase in _SYNONYMS:
            words = _SYNONYMS[phrase].split()
        side = None
        for at in (0, -1):
            if side is None and len(words) > 1 and words[at] in _SIDES:
                side = _SIDES[words.pop(at)]
        phrase = " ".join(words)
        return cls(_SYNONYMS.get(phrase, phrase), side)


def match(
    cohort: Mapping[int, str],
    entry: Mapping[int, str],
    declared: Mapping[str, Sequence[str]] | None = None,
) -> tuple[tuple[int, ...], ...]:
    """For each label of the cohort, in order, the numbers of the entry's labels.

    Args:
        cohort: number -> name.
        entry: number -> name.
        declared: cohort label -> names of the entry's labels, where their names differ.

    Raises:
        UsageError: a cohort label matches nothing, two of them match one label of the entry, or
            something declared does not exist.
    """
    declared_numbers = _declared(cohort, entry, declared or {})
    names = {number: _Name.of(text) for number, text in entry.items()}
    claims: dict[str, dict[int, int]] = {}
    for text in cohort.values():
        ranks = declared_numbers.get(text)
        claims[text] = _claims(_Name.of(text), names) if ranks is None else ranks
    result = []
    for text in cohort.values():
        own = tuple(number for number in sorted(claims[text]) if _has(text, number, claims, entry))
        if not own:
            raise UsageError(_unmatched(text, entry))
        result.append(own)
    return tuple(result)


def _words(text: str) -> list[str]:
    """Lower case, no punctuation, one spelling, singular."""
    words = re.sub(r"[^a-z0-9]+", " ", text.lower()).split()
    return [_singular("gray" if word == "grey" else word) for word in words]


def _singular(word: str) -> str:
    plural = len(word) > 4 and word.endswith("s") and not word.endswith(("ss", "us", "is"))
    return word[:-1] if plural else word


def _plain(text: str) -> str:
    return " ".join(_words(text))


_SYNONYMS = {_plain(name): _plain(other) for name, other in SYNONYMS.items()}
_GROUPS = {_plain(name): group for name, group in GROUPS.items()}
_MEMBERS = {name: frozenset(map(_plain, group.members)) for name, group in _GROUPS.items()}


def _claims(sought: _Name, names: Mapping[int, _Name]) -> dict[int, int]:
    """Number of each label that a name stands for -> rank of the claim."""
    claims = {}
    for number, name in names.items():
        rank = _rank(sought, name)
        if rank is not None:
            claims[number] = rank
    return claims


def _rank(sought: _Name, name: _Name) -> int | None:
    if sought.side is not None and sought.side != name.side:
        return None
    if sought.structure == name.structure:
        return _OWN
    # The left ventricle is the heart's; only "ventricles" are the brain's.
    if sought.structure not in _GROUPS or (sought.side and sought.structure == "ventricle"):
        return None
    group = _GROUPS[sought.structure]
    if name.structure in _MEMBERS[sought.structure]:
        return group.rank
    if group.pattern is not None and group.pattern.search(name.structure):
        return group.rank
    return None


def _has(
    text: str, number: int, claims: Mapping[str, Mapping[int, int]], entry: Mapping[int, str]
) -> bool:
    """Whether this cohort label, not another, has a label of the entry."""
    rank = claims[text][number]
    for other, claim in claims.items():
        if other == text or number not in claim:
            continue
        if claim[number] < rank:
            return False
        if claim[number] == rank:
            raise UsageError(
                f"the cohort's labels {text} and {other} both match the label {entry[number]} of "
                "the anatomy entry; say under anatomy.labels which entry labels each stands for"
            )
    return True


def _declared(
    cohort: Mapping[int, str], entry: Mapping[int, str], declared: Mapping[str, Sequence[str]]
) -> dict[str, dict[int, int]]:
    by_plain_text = {_plain(text): text for text in cohort.values()}
    numbers_declared = {}
    for label, names in declared.items():
        if _plain(label) not in by_plain_text:
            raise UsageError(
                f"anatomy.labels names {label}, which is no label of the cohort; it has "
                f"{_some(tuple(cohort.values()))}"
            )
        numbers: dict[int, int] = {}
        for name in names:
            own = [number for number, text in entry.items() if _plain(text) == _plain(name)]
            if not own:
                raise UsageError(
                    f"anatomy.labels gives {label} the label {name}, which the anatomy entry "
                    f"lacks; it has {_some(tuple(entry.values()))}"
                )
            numbers |= dict.fromkeys(own, _DECLARED)
        numbers_declared[by_plain_text[_plain(label)]] = numbers
    return numbers_declared


def _unmatched(text: str, entry: Mapping[int, str]) -> str:
    return (
        f"the anatomy entry has no label for {text}: it has {_some(tuple(entry.values()))}; "
        "declare which of its labels are meant in the configuration "
        f"(anatomy.labels: {{{text}: [NAME, ...]}}) or choose another entry"
    )


def _some(names: Sequence[str]) -> str:
    hidden = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {hidden} more" if hidden > 0 else "")
