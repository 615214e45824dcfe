"""Which contrast of MRI a cohort's images are: what grey values to expect of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from medvae.anatomy.drawing.sequences import Contrast
from medvae.errors import UsageError
from medvae.modality.contrasts import bids_name

# An agent makes vessels and some lesions brighter, and leaves tissues as they are.
_OF_BIDS: Final[dict[str, Contrast]] = {
    "T1w": "t1",
    "ce-gadolinium_T1w": "t1",
    "T2w": "t2",
    "FLAIR": "flair",
    "PDw": "pd",
}


def contrasts_of(
    channels: Sequence[str], contrast: Contrast, declared: Mapping[str, Contrast]
) -> tuple[Contrast, ...]:
    """The contrast of each channel; of images without channels the one of all.

    Args:
        channels: their names.
        contrast: of images without channels.
        declared: channel -> its contrast, where its name does not say it.

    Raises:
        UsageError: nobody says what a channel is, or a channel is named that there is not.
    """
    unknown = [name for name in declared if name not in channels]
    if unknown:
        have = ", ".join(channels) or "no channels"
        raise UsageError(
            f"anatomy.contrasts names {unknown[0][:40]}, and the data set has {have}; leave it out"
        )
    if not channels:
        return (contrast,)
    found = [declared.get(name) or _OF_BIDS.get(bids_name(name) or "") for name in channels]
    known = tuple(each for each in found if each is not None)
    if len(known) < len(found):
        name = channels[found.index(None)]
        raise UsageError(
            f"nobody has said which contrast of MRI the channel {name} is; set anatomy.contrasts "
            f"to {{{name}: t1}}, or t2, pd or flair in its place"
        )
    return known
