"""From the files of one series to volumes: it is split only where one stack cannot hold it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from medvae.ingest.placed import alike, same_direction, same_spacing
from medvae.ingest.scans import FEWEST_OF_A_STACK, is_stack, scans
from medvae.ingest.slices import BY, OF_PASSES, Slice, is_single


@dataclass
class Piece:
    """Slices that make one volume.

    Attributes:
        split_by: what distinguishes it from the other volumes of its series; empty where the
            series is one volume.
        refusal: why it is not to be read; empty where it is.
        joined: it is put together from series of one slice each.
        interleaved: slices of several acquisition numbers, or runs of numbers, alternate in it.
        scan: which of the scans of its one file it is (`Slice.scans`).
        moment: as `medvae.ingest.scans.Scan`.
    """

    slices: list[Slice]
    split_by: str = ""
    refusal: str = ""
    joined: bool = False
    interleaved: bool = False
    scan: int = 0
    moment: float | None = None


def volumes(series: Sequence[Slice]) -> list[Piece]:
    """The volumes of one series."""
    flat = [slice_ for slice_ in series if not slice_.whole]
    files = [slice_ for slice_ in series if slice_.whole]
    other = "file" if len(files) + bool(flat) > 1 else ""
    pieces = [
        Piece([file], split_by or other, refusal, scan=at)
        for file in files
        for at, (split_by, refusal) in enumerate(file.scans)
    ]
    return pieces + [
        Piece(
            scan.images,
            scan.split_by,
            scan.refusal,
            interleaved=scan.interleaved,
            moment=scan.moment,
        )
        for scan in scans(flat, BY)
    ]


def joined(pieces: Sequence[Piece]) -> list[Piece]:
    """Pieces, those of several series that are one scan put together.

    Some scanners and anonymisers give each slice, or each part of a scan, a series of its own.
    Slices are one scan where they are of one study, alike in all that the header says, and
    evenly spaced; parts of several slices also have to name one frame of reference.
    """
    alike_pieces: dict[tuple[Hashable, ...], list[Piece]] = {}
    rest = []
    for piece in pieces:
        first = piece.slices[0]
        if piece.refusal or piece.split_by or not _may_be_part(piece.slices):
            rest.append(piece)
        else:
            same = (
                first.subject,
                first.modality,
                first.study,
                first.alike,
                first.size,
                first.traits[:OF_PASSES],
                is_single(piece.slices),
            )
            alike_pieces.setdefault(same, []).append(piece)
    for group in alike_pieces.values():
        rest += _together(group)
    return rest


def _may_be_part(slices: list[Slice]) -> bool:
    """Whether slices may be a part of a scan that has several series."""
    first = slices[0]
    if not first.study or not all(slice_.is_flat for slice_ in slices):
        return False
    return is_single(slices) or bool(first.space)


def _together(group: list[Piece]) -> list[Piece]:
    """Pieces that are alike in their headers, by the plane and stack that their slices form."""
    own = {id(slice_): piece for piece in group for slice_ in piece.slices}
    planes = alike(
        [piece.slices[0] for piece in group],
        lambda a, b: same_direction(a, b) and same_spacing(a, b),
    )
    result = []
    for plane in planes:
        of_plane = [own[id(first)] for first in plane]
        slices = [slice_ for piece in of_plane for slice_ in piece.slices]
        if len(of_plane) > 1 and len(slices) >= FEWEST_OF_A_STACK and is_stack(slices):
            result.append(Piece(slices, joined=True))
        else:
            result += of_plane
    return result
