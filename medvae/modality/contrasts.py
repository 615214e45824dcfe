"""MRI contrasts: their BIDS names, and the words that nnU-Net, BraTS and scanners use for them."""

from __future__ import annotations

from typing import Final

# The end of a BIDS file name (an entity where one is needed, and the suffix) -> words, lower case.
BIDS_NAMES: Final = {
    "T1w": frozenset({"t1", "t1w", "t1n"}),
    "ce-gadolinium_T1w": frozenset({"t1c", "t1ce", "t1gd", "t1post"}),
    "T2w": frozenset({"t2", "t2w"}),
    "FLAIR": frozenset({"flair", "t2f"}),
    "PDw": frozenset({"pd", "pdw"}),
    "T2starw": frozenset({"t2star", "t2starw"}),
}


def bids_name(channel: str) -> str | None:
    """The end of the BIDS name of a channel's file; None where BIDS has none."""
    word = channel.lower()
    return next((name for name, words in BIDS_NAMES.items() if word in words), None)
