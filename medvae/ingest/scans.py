"""From slices or frames with a place to stacks: split only where one stack cannot hold them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic

import numpy as np

from medvae.ingest import stacks
from medvae.ingest.passes import clock, of_a_cycle, one_after_another, runs
from medvae.ingest.placed import (
    P,
    Placed,
    Traits,
    alike,
    along_normal,
    parted,
    same_direction,
    same_spacing,
    thicknesses,
)

# A localizer has few slices in each of its planes, a reformatted volume many.
MOST_OF_A_LOCALIZER = 20
# Planes further apart than this are different views, not an unsteady header.
OTHER_VIEW = np.cos(np.radians(30))
# So many other slices of a series show that a single one is a stray.
FEWEST_OF_A_STACK = 3


@dataclass
class Scan(Generic[P]):
    """Images that make one volume.

    Attributes:
        split_by: what distinguishes it from the others; empty where there are none.
        refusal: why it is not to be read; empty where it is.
        interleaved: images of several passes alternate in it.
        moment: where in time it is among the others, in any unit; None where that is not known.
    """

    images: list[P]
    split_by: str = ""
    refusal: str = ""
    interleaved: bool = False
    moment: float | None = None


def scans(images: Sequence[P], traits: Traits) -> list[Scan[P]]:
    """The stacks that images of one series are; strays and localizers are refused.

    Args:
        images: in any order; those without a place are left together.
    """
    result: list[Scan[P]] = []
    for same_size in parted(images, lambda image: image.size):
        for same_plane in alike(same_size, same_direction):
            for stack in alike(same_plane, same_spacing):
                result += _split(stack, traits)
    if planes := _planes_of_a_localizer(result):
        refusal = f"its slices are in {planes} planes, as those of a localizer are"
        return [Scan(list(images), refusal=refusal)]
    if len(result) > 1:
        _explain(result)
    return result


def is_stack(images: Sequence[Placed]) -> bool:
    """Whether images with a place are evenly spaced, each at a place of its own."""
    if any(image.position is None or image.orientation is None for image in images):
        return False
    images = sorted(images, key=_order(images))
    along = along_normal(images)
    return not stacks.clashes(along) and not stacks.problem(along, thicknesses(images))


def difference(images: Sequence[Placed], main: Sequence[Placed]) -> str:
    """What distinguishes the first of some images from the first of others."""
    image, other = images[0], main[0]
    if image.size != other.size:
        return "size"
    if not same_direction(image, other):
        return "direction"
    return "position" if same_spacing(image, other) else "pixel spacing"


def _explain(scans: Sequence[Scan[P]]) -> None:
    """Say of each scan of a series what distinguishes it, and refuse what is no volume."""
    main = max(scans, key=lambda scan: len(scan.images))
    longest = len(main.images)
    for scan in scans:
        if scan is not main:
            scan.split_by = scan.split_by or difference(scan.images, main.images)
        if len(scan.images) == 1 and scan.images[0].is_flat and longest >= FEWEST_OF_A_STACK:
            scan.refusal = (
                f"it is a single slice of another {scan.split_by} than the {longest} slices of "
                "its series"
            )
    if sum(not scan.refusal for scan in scans) == 1:
        main.split_by = ""


def _planes_of_a_localizer(scans: Sequence[Scan[P]]) -> int:
    """In how many planes images are, where they are few and about as many in two planes; else 0."""
    counts = sorted(_views(scans).values(), reverse=True)
    few = len(counts) > 1 and counts[0] < MOST_OF_A_LOCALIZER and 3 * counts[1] >= counts[0]
    return len(counts) if few else 0


def _views(scans: Sequence[Scan[P]]) -> dict[int, int]:
    """How many images there are in each clearly different plane."""
    normals: list[stacks.Positions] = []
    counts: dict[int, int] = {}
    for scan in scans:
        if scan.images[0].orientation is None:
            continue
        normal = _normal(scan.images[0])
        near = (i for i, view in enumerate(normals) if abs(float(normal @ view)) > OTHER_VIEW)
        index = next(near, len(normals))
        if index == len(normals):
            normals.append(normal)
        counts[index] = counts.get(index, 0) + len(scan.images)
    return counts


def _normal(image: Placed) -> stacks.Positions:
    orientation = np.array(image.orientation)
    normal = np.cross(orientation[:3], orientation[3:])
    return normal / max(float(np.sqrt(normal @ normal)), 1e-9)


def _split(stack: list[P], traits: Traits) -> list[Scan[P]]:
    """Images of one size and plane: one stack, or distinguished by a trait that makes stacks."""
    if any(image.position is None or image.orientation is None for image in stack):
        return [Scan(stack)]
    stack = sorted(stack, key=_order(stack))
    names = [(at, name) for at, name in enumerate(traits.names) if name not in traits.counters]
    if is_stack(stack):
        names = [(at, name) for at, name in names if _interleaves_scans(stack, at, name, traits)]
        if not names:
            return _of_runs(stack, traits) if _is_overlapping(stack) else [_whole(stack, traits)]
    for at, name in names:
        parts = parted(stack, _trait(at))
        apart = name in traits.apart or _overlap(stack, parts)
        if len(parts) > 1 and apart and _is_better(stack, parts):
            return _of_parts(parts, at, name, traits)
    return _of_passes(stack, traits) or _of_runs(stack, traits)


def _of_parts(parts: list[list[P]], at: int, name: str, traits: Traits) -> list[Scan[P]]:
    """The scans of images of several values of a trait."""
    result = []
    moments = clock([part[0].traits[at] for part in parts]) if name in traits.clocks else None
    for number, part in enumerate(parts):
        for scan in _split(part, traits):
            scan.split_by = scan.split_by or name
            if scan.moment is None and moments is not None:
                scan.moment = float(moments[number])
            result.append(scan)
    return result


def _whole(stack: list[P], traits: Traits) -> Scan[P]:
    """An even stack of one scan, and whether it was made in several passes."""
    alternate = any(
        _is_interleaved(stack, at)
        for at, name in enumerate(traits.names)
        if name in traits.of_passes
    )
    counted = any(
        _are_scans(stack, runs(stack, at))
        for at, name in enumerate(traits.names)
        if name in traits.counters
    )
    return Scan(stack, interleaved=alternate or counted)


def _of_passes(stack: list[P], traits: Traits) -> list[Scan[P]]:
    """Scans of the same places, distinguished by the order of their images; none of others."""
    for names, passes_of in (
        (traits.timed, of_a_cycle),
        (traits.clocks | traits.counters, one_after_another),
    ):
        for at, name in enumerate(traits.names):
            passes = passes_of(stack, at) if name in names else []
            if passes and all(is_stack(one) for one in passes):
                return [Scan(one, name, moment=float(n)) for n, one in enumerate(passes)]
    return []


def _of_runs(stack: list[P], traits: Traits) -> list[Scan[P]]:
    """Scans between one another's places, distinguished by the order of their images; else one."""
    for at, name in enumerate(traits.names):
        if name in traits.counters | traits.clocks:
            found = runs(stack, at)
            if _are_scans(stack, found):
                return [Scan(one, name, moment=float(n)) for n, one in enumerate(found)]
    return [_whole(stack, traits) if is_stack(stack) else Scan(stack)]


def _are_scans(stack: list[P], parts: list[list[P]]) -> bool:
    """Whether parts are even stacks that lie between one another."""
    return len(parts) > 1 and _overlap(stack, parts) and all(is_stack(part) for part in parts)


def _trait(at: int) -> Callable[[Placed], str]:
    return lambda image: image.traits[at]


def _order(stack: Sequence[Placed]) -> Callable[[Placed], float]:
    places = dict(zip(map(id, stack), along_normal(stack).tolist(), strict=True))
    return lambda image: places[id(image)]


def _interleaves_scans(stack: list[P], at: int, name: str, traits: Traits) -> bool:
    """Whether an even stack is several scans, which a trait distinguishes."""
    if not _is_interleaved(stack, at):
        return False
    return name in traits.of_scans or _is_overlapping(stack)


def _is_interleaved(stack: list[P], at: int) -> bool:
    """Whether images alike in a trait are even stacks, with images between those of the others."""
    # Each of them has to have several images.
    if not 1 < len({image.traits[at] for image in stack}) <= len(stack) // 2:
        return False
    parts = parted(stack, _trait(at))
    if not _overlap(stack, parts):
        return False
    return all(len(part) > 1 and is_stack(part) for part in parts)


def _is_overlapping(stack: Sequence[Placed]) -> bool:
    """Whether slices are thicker than the steps between them, or of unknown thickness.

    Interleaved acquisitions with such slices excited the same tissue twice; those of one scan
    in several passes are as thin as the steps.
    """
    thinnest = float(np.nanmin([*thicknesses(stack), np.inf]))
    return thinnest > stacks.GAP * stacks.median(np.diff(along_normal(stack)))


def _overlap(stack: Sequence[P], parts: Sequence[Sequence[P]]) -> bool:
    """Whether parts are images of the same places, not pieces that follow one another."""
    along = along_normal(stack)
    if stacks.clashes(along):
        return len(parts) <= stacks.most_at_one_place(along)
    ranges = sorted((min(a), max(a)) for part in parts if (a := along_normal(part)).size)
    lengths = [high - low for low, high in ranges]
    return all(first[1] - two[0] > 0.5 * min(lengths) > 0 for first, two in pairwise(ranges))


def _is_better(stack: Sequence[P], parts: Sequence[Sequence[P]]) -> bool:
    if all(is_stack(part) for part in parts):
        return True
    before = stacks.clashes(along_normal(stack))
    after = sum(stacks.clashes(np.sort(along_normal(part))) for part in parts)
    return after < before
