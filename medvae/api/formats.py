"""Which file formats go with which modality: what is written, and the sentence where it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medvae import modality as modalities
from medvae.errors import UsageError
from medvae.options.generate import DRAWN
from medvae.options.release import RELEASED

if TYPE_CHECKING:
    from medvae.config import DataConfig

NAMED = sorted({name for formats in (*DRAWN, *RELEASED) for name in formats})


def chosen(fmt: str | None, data: DataConfig, formats: tuple[tuple[str, ...], ...]) -> str:
    """The format that was asked for, or the default of a model's images.

    Raises:
        UsageError: there is no such format, or none for such images.
    """
    kind = modalities.get(data.modality)
    of_volumes, of_pictures = formats
    fitting = of_pictures if kind.planar else of_volumes
    if fmt is None:
        return fitting[0]
    if data.channels:
        # A picture is one file of three colours.
        only = ("nifti", "dicom") if kind.planar else ()
        fitting = tuple(name for name in fitting if name not in only)
    names = [name for name in NAMED if name in (*of_volumes, *of_pictures)]
    if fmt not in names:
        raise UsageError(f"--format must be {' or '.join(names)}, not {fmt!r}")
    if fmt not in fitting:
        raise UsageError(
            f"{kind.name} is not written as {fmt}: use --format {' or '.join(fitting)}"
        )
    return fmt
