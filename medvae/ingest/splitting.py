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
        interleaved: slices of several acquisition numbers alternate in it.
        scan: which of the scans of its one file it is (`Slice.scans`).
    """

    slices: list[Slice]
    split_by: str = ""
    refusal: str = ""
    joined: bool = False
    interleaved: bool = False
    scan: int = 0


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
        Piece(scan.images, scan.split_by, scan.refusal, interleaved=scan.interleaved)
        for scan in scans(flat, BY)
    ]


def joined(pieces: Sequence[Piece]) -> list[Piece]:
    """Pieces, those that are single slices of one scan put together.

    Some scanners and anonymisers give each slice a series of its own. Slices are one scan
    where they are of one study, alike in all that the header says, and evenly spaced.
    """
    single: dict[tuple[Hashable, ...], list[Piece]] = {}
    rest = []
    for piece in pieces:
        first = piece.slices[0]
        if not is_single(piece.slices) or piece.refusal or piece.split_by or not first.study:
            rest.append(piece)
        else:
            same = (
                first.subject,
                first.modality,
                first.study,
                first.alike,
                first.size,
                first.traits[:OF_PASSES],
            )
            single.setdefault(same, []).append(piece)
    for group in single.values():
        slices = [piece.slices[0] for piece in group]
        planes = alike(slices, lambda a, b: same_direction(a, b) and same_spacing(a, b))
        for plane in planes:
            if len(plane) >= FEWEST_OF_A_STACK and is_stack(plane):
                rest.append(Piece(plane, joined=True))
            else:
                rest += [Piece([slice_]) for slice_ in plane]
    return rest
