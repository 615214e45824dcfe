"""Channel names that a user asks for, and how files and series name the same contrasts."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from medvae import modality as modalities
from medvae.errors import InputError, UsageError
from medvae.ingest import layout_names
from medvae.ingest.layout_words import CONTRASTS, MODALITIES
from medvae.ingest.records import printable
from medvae.modality.contrasts import BIDS_NAMES
from medvae.volume import LONGEST_CHANNEL, MOST_CHANNELS

_OF_MODALITY = tuple(
    frozenset(word for word, name in MODALITIES.items() if name == modality)
    for modality in ("ct", "pet")
)
SYNONYMS = (*BIDS_NAMES.values(), *_OF_MODALITY)
_T1, _T2 = BIDS_NAMES["T1w"], BIDS_NAMES["T2w"]
# Words of a series description that say that a contrast agent was given.
_ENHANCED = frozenset({"c", "ce", "gad", "gado", "gd", "km", "post", "postcontrast"})
_NAME = re.compile(rf"[A-Za-z0-9]{{1,{LONGEST_CHANNEL}}}")
MOST_JSON = 1 << 20


def checked(names: Sequence[str]) -> tuple[str, ...]:
    """Channel names as a user gives them.

    Raises:
        UsageError: fewer than 2 or more than 8, one twice, or one of other characters than
            letters and digits.
    """
    if not 2 <= len(names) <= MOST_CHANNELS:
        raise UsageError(
            f"--channels needs 2 to {MOST_CHANNELS} names with commas between them, such as "
            f"t1,t2,flair, not {len(names)}; --contrast takes a single one"
        )
    for name in names:
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"--channels {printable(name)!r} is no channel: use letters and digits, at most "
                f"{LONGEST_CHANNEL} of them"
            )
    if len({name.lower() for name in names}) < len(names):
        raise UsageError(f"--channels names one channel twice: {', '.join(names)}")
    return tuple(names)


def modalities_of(
    modality: str | None, channels: Sequence[str]
) -> tuple[str | None, tuple[str, ...]]:
    """`--modality` as the one of all volumes, and as those of their channels; one of the two.

    Raises:
        UsageError: there is no such modality, or not one for each channel.
    """
    if modality is None:
        return None, ()
    if "," not in modality:
        return modalities.usable(modality).name, ()
    names = tuple(modalities.usable(name.strip()).name for name in modality.split(","))
    if len(names) != len(channels):
        raise UsageError(
            f"--modality {printable(modality)} is of {len(names)} channels, and --channels names "
            f"{len(channels)}: give one modality for all, or one for each channel in their order"
        )
    if any(modalities.get(name).planar for name in names):
        raise UsageError(
            f"--modality {printable(modality)}: pictures cannot be channels of a volume"
        )
    return (names[0], ()) if len(set(names)) == 1 else (None, names)


def modality_of(channel: str) -> str | None:
    """The modality that a channel is called after; None where its name says none."""
    return MODALITIES.get(channel.lower())


def modality_in(name: str) -> str | None:
    """The modality that a file's name says, to be compared with a guess."""
    named = {MODALITIES[token] for token in layout_names.tokens(name) if token in MODALITIES}
    return named.pop() if len(named) == 1 else None


def candidates(contrasts: Sequence[Collection[str]], channels: Sequence[str]) -> list[list[int]]:
    """For each channel the places of the files that may be it.

    A file of exactly that name comes before those of a synonym, and is no other channel.

    Args:
        contrasts: of each file, those that its name may stand for, in lower case.
    """
    lowered = [name.lower() for name in channels]
    exact = [[at for at, names in enumerate(contrasts) if name in names] for name in lowered]
    taken = {at for places in exact for at in places}
    return [
        places
        or [at for at, names in enumerate(contrasts) if at not in taken and _alike(name, names)]
        for name, places in zip(lowered, exact, strict=True)
    ]


def _alike(name: str, names: Collection[str]) -> bool:
    return any(name in group and not group.isdisjoint(names) for group in SYNONYMS)


def of_description(text: str, channels: Collection[str]) -> list[str]:
    """Contrasts that a series description names as words, of the known ones and of `channels`.

    FLAIR counts as FLAIR, whatever it is weighted by, and T1 with a contrast agent as t1ce.
    """
    words = set(re.findall(r"[a-z0-9]+", text.lower()))
    contrasts = words & (CONTRASTS | {name.lower() for name in channels})
    if "flair" in contrasts:
        contrasts -= _T1 | _T2
    if contrasts & _T1 and words & _ENHANCED:
        contrasts = contrasts - _T1 | {"t1ce"}
    return sorted(contrasts)


def of_bids(suffix: str, entities: Collection[str]) -> str:
    """The contrast of a BIDS image: its suffix, of T1w with a contrast agent t1ce."""
    name = suffix.lower()
    enhanced = any(entity.startswith("ce-") for entity in entities)
    return "t1ce" if enhanced and name in _T1 else name


def numbered(data: bytes) -> dict[str, str]:
    """nnU-Net's dataset.json: number in file names ("0000") -> channel, in lower case.

    Raises:
        InputError: it is not such a table.
    """
    refusal = InputError(
        "dataset.json does not name its channels: expected channel_names with a name for each "
        "number, such as 0: T1"
    )
    try:
        facts = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_once)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise refusal from error
    # "modality" in nnU-Net v1 and in the Medical Segmentation Decathlon.
    names = None
    if isinstance(facts, Mapping):
        names = facts.get("channel_names") or facts.get("modality")
    if not isinstance(names, Mapping) or not all(
        isinstance(key, str) and key.isascii() and key.isdigit() and len(key) <= 4 for key in names
    ):
        raise refusal
    numbered = {f"{int(key):04d}": str(name).strip().lower() for key, name in names.items()}
    if len(numbered) < len(names):
        raise InputError("dataset.json names a channel twice: keep one name for each number")
    return numbered


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, refused where a key occurs twice: json would keep the last one silently."""
    if len({key for key, _ in pairs}) < len(pairs):
        raise InputError("dataset.json has a key twice: keep one")
    return dict(pairs)
