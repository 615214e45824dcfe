"""From the slices of one series to volumes: it is split only where one stack cannot hold it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from medvae.ingest import stacks
from medvae.ingest.slices import (
    OF_PASSES,
    OF_SCANS,
    TRAITS,
    Slice,
    along_normal,
    is_single,
    thicknesses,
)

# A localizer has few slices in each of its planes, a reformatted volume many.
MOST_OF_A_LOCALIZER = 20
# Planes further apart than this are different views, not an unsteady header.
OTHER_VIEW = np.cos(np.radians(30))
FEWEST_JOINED = 3


@dataclass
class Piece:
    """Slices that make one volume.

    Attributes:
        split_by: what distinguishes it from the other volumes of its series; empty where the
            series is one volume.
        refusal: why it is not to be read; empty where it is.
        joined: it is put together from series of one slice each.
        interleaved: slices of several acquisition numbers alternate in it.
    """

    slices: list[Slice]
    split_by: str = ""
    refusal: str = ""
    joined: bool = False
    interleaved: bool = False


def volumes(series: list[Slice]) -> list[Piece]:
    """The volumes of one series."""
    pieces = [Piece([one]) for one in series if one.whole]
    flat = [one for one in series if not one.whole]
    for same_size in _parts(flat, lambda one: one.size):
        for same_plane in _alike(same_size, _same_direction):
            for stack in _alike(same_plane, _same_spacing):
                pieces += _split(stack)
    if planes := _planes_of_a_localizer(pieces):
        refusal = f"its slices are in {planes} planes, as those of a localizer are"
        pieces = [piece for piece in pieces if piece.slices[0].whole]
        pieces.append(Piece(flat, refusal=refusal))
    elif len(pieces) > 1:
        _explain(pieces)
    return pieces


def joined(pieces: list[Piece]) -> list[Piece]:
    """Pieces, those that are single slices of one scan put together.

    Some scanners and anonymisers give each slice a series of its own. Slices are one scan
    where they are of one study, alike in all that the header says, and evenly spaced.
    """
    single: dict[tuple[Hashable, ...], list[Piece]] = {}
    rest = []
    for piece in pieces:
        one = piece.slices[0]
        if not is_single(piece.slices) or piece.refusal or piece.split_by or not one.study:
            rest.append(piece)
        else:
            same = one.subject, one.modality, one.study, one.alike, one.size, one.traits[:OF_PASSES]
            single.setdefault(same, []).append(piece)
    for group in single.values():
        slices = [piece.slices[0] for piece in group]
        planes = _alike(slices, lambda a, b: _same_direction(a, b) and _same_spacing(a, b))
        for plane in planes:
            if len(plane) >= FEWEST_JOINED and _is_stack(plane):
                rest.append(Piece(plane, joined=True))
            else:
                rest += [Piece([one]) for one in plane]
    return rest


def _explain(pieces: list[Piece]) -> None:
    """Say of each piece of a series what distinguishes it, and refuse what is no volume."""
    flat = [piece for piece in pieces if not piece.slices[0].whole]
    longest = max((len(piece.slices) for piece in flat), default=0)
    main = max(pieces, key=lambda piece: len(piece.slices))
    for piece in pieces:
        piece.split_by = piece.split_by or _difference(piece, main)
        if is_single(piece.slices) and longest >= FEWEST_JOINED:
            piece.refusal = (
                f"it is a single slice of another {piece.split_by} than the {longest} slices of "
                "its series"
            )
    if sum(not piece.refusal for piece in pieces) == 1:
        main.split_by = ""


def _planes_of_a_localizer(pieces: list[Piece]) -> int:
    """In how many planes slices are, where they are few and about as many in two planes; else 0."""
    counts = sorted(_views(pieces).values(), reverse=True)
    few = len(counts) > 1 and counts[0] < MOST_OF_A_LOCALIZER and 3 * counts[1] >= counts[0]
    return len(counts) if few else 0


def _difference(piece: Piece, main: Piece) -> str:
    if piece is main:
        others = ""
    elif piece.slices[0].whole:
        others = "file"
    elif piece.slices[0].size != main.slices[0].size:
        others = "size"
    elif not _same_direction(piece.slices[0], main.slices[0]):
        others = "direction"
    elif not _same_spacing(piece.slices[0], main.slices[0]):
        others = "pixel spacing"
    else:
        others = "position"
    return others


def _views(pieces: list[Piece]) -> dict[int, int]:
    """How many slices there are in each clearly different plane."""
    normals: list[stacks.Positions] = []
    counts: dict[int, int] = {}
    for piece in pieces:
        if piece.slices[0].orientation is None or piece.slices[0].whole:
            continue
        normal = _normal(piece.slices[0])
        near = (i for i, view in enumerate(normals) if abs(float(normal @ view)) > OTHER_VIEW)
        index = next(near, len(normals))
        if index == len(normals):
            normals.append(normal)
        counts[index] = counts.get(index, 0) + len(piece.slices)
    return counts


def _normal(one: Slice) -> stacks.Positions:
    orientation = np.array(one.orientation)
    normal = np.cross(orientation[:3], orientation[3:])
    return normal / max(float(np.sqrt(normal @ normal)), 1e-9)


def _split(stack: list[Slice]) -> list[Piece]:
    """A series of one size and plane: one stack, or distinguished by a trait that makes stacks."""
    if any(one.position is None or one.orientation is None for one in stack):
        return [Piece(stack)]
    stack = sorted(stack, key=_order(stack))
    indices: Sequence[int] = range(len(TRAITS))
    if _is_stack(stack):
        indices = [index for index in indices if _interleaves_scans(stack, index)]
        if not indices:
            return [Piece(stack, interleaved=_is_interleaved(stack, OF_PASSES))]
    for index in indices:
        parts = _parts(stack, _trait(index))
        if len(parts) > 1 and _overlap(stack, parts) and _is_better(stack, parts):
            pieces = [piece for part in parts for piece in _split(part)]
            for piece in pieces:
                piece.split_by = piece.split_by or TRAITS[index]
            return pieces
    return [Piece(stack)]


def _trait(index: int) -> Callable[[Slice], str]:
    return lambda one: one.traits[index]


def _order(stack: list[Slice]) -> Callable[[Slice], float]:
    places = dict(zip(map(id, stack), along_normal(stack).tolist(), strict=True))
    return lambda one: places[id(one)]


def _is_stack(stack: list[Slice]) -> bool:
    """Whether slices with a place are evenly spaced, each at a place of its own."""
    if any(one.position is None or one.orientation is None for one in stack):
        return False
    stack = sorted(stack, key=_order(stack))
    along = along_normal(stack)
    return not stacks.clashes(along) and not stacks.problem(along, thicknesses(stack))


def _interleaves_scans(stack: list[Slice], index: int) -> bool:
    """Whether an even stack is several scans, which a trait distinguishes."""
    if not _is_interleaved(stack, index):
        return False
    return TRAITS[index] in OF_SCANS or _is_overlapping(stack)


def _is_interleaved(stack: list[Slice], index: int) -> bool:
    """Whether slices alike in a trait are even stacks, with slices between those of the others."""
    parts = _parts(stack, _trait(index))
    if len(parts) < 2 or not _overlap(stack, parts):
        return False
    return all(len(part) > 1 and _is_stack(part) for part in parts)


def _is_overlapping(stack: list[Slice]) -> bool:
    """Whether slices are thicker than the steps between them, or of unknown thickness.

    Interleaved acquisitions with such slices excited the same tissue twice; those of one scan
    in several passes are as thin as the steps.
    """
    thinnest = float(np.nanmin([*thicknesses(stack), np.inf]))
    return thinnest > stacks.GAP * float(np.median(np.diff(along_normal(stack))))


def _overlap(stack: list[Slice], parts: list[list[Slice]]) -> bool:
    """Whether parts are images of the same places, not pieces that follow one another."""
    along = along_normal(stack)
    if stacks.clashes(along):
        return len(parts) <= stacks.most_at_one_place(along)
    ranges = sorted((min(a), max(a)) for part in parts if (a := along_normal(part)).size)
    lengths = [high - low for low, high in ranges]
    return all(one[1] - two[0] > 0.5 * min(lengths) > 0 for one, two in pairwise(ranges))


def _is_better(stack: list[Slice], parts: list[list[Slice]]) -> bool:
    if all(_is_stack(part) for part in parts):
        return True
    before = stacks.clashes(along_normal(stack))
    after = sum(stacks.clashes(np.sort(along_normal(part))) for part in parts)
    return after < before


def _parts(slices: list[Slice], key: Callable[[Slice], Hashable]) -> list[list[Slice]]:
    parts: dict[Hashable, list[Slice]] = {}
    for one in slices:
        parts.setdefault(key(one), []).append(one)
    return list(parts.values())


def _alike(slices: list[Slice], same: Callable[[Slice, Slice], bool]) -> list[list[Slice]]:
    """Groups of slices that are alike to the first of each."""
    groups: list[list[Slice]] = []
    for one in slices:
        for group in groups:
            if same(group[0], one):
                group.append(one)
                break
        else:
            groups.append([one])
    return groups


def _same_direction(one: Slice, other: Slice) -> bool:
    if one.orientation is None or other.orientation is None:
        return one.orientation is other.orientation
    pairs = zip(one.orientation, other.orientation, strict=True)
    return max(abs(a - b) for a, b in pairs) <= stacks.SAME_DIRECTION


def _same_spacing(one: Slice, other: Slice) -> bool:
    if one.spacing is None or other.spacing is None:
        return one.spacing is other.spacing
    pairs = zip(one.spacing, other.spacing, strict=True)
    return max(abs(a - b) for a, b in pairs) <= stacks.SAME_SPACING * max(one.spacing)
