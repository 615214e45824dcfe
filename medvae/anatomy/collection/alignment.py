"""Group-wise alignment of an entry's people, as it is cached beside them.

Label maps of a whole region are compared by the shares of their classes (both sides of a
structure are one class), images with labels by the signed distances of their labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from medvae.anatomy.collection.entries import EntryKind
from medvae.anatomy.collection.groupwise import (
    DISTANCE_STD_MM,
    SHARE_STD,
    VOXELS_PER_EDGE,
    Group,
    align_group,
)
from medvae.anatomy.collection.labels import classes
from medvae.anatomy.collection.people import PersonMaps
from medvae.anatomy.registration import Alignment, Box, Subject, Template, signed_distances
from medvae.anatomy.registration.subject import class_shares
from medvae.errors import IntegrityError
from medvae.progress import SILENT, Progress

FILE = "alignment.safetensors"
# Public constants. The largest classes that a whole region is aligned by.
MOST_CLASSES = 24
# Beyond so many mm from a border a distance says nothing more.
DISTANCE_LIMIT_MM = 20.0
# The outermost plane of an anatomy that ends within the scan is small beside its largest one;
# above this part of it, the field of view has cut the anatomy off.
CUT_OFF = 0.25


@dataclass(frozen=True)
class AlignedEntry:
    """A group in one frame.

    Attributes:
        channels: names of the template's channels.
        group: the mean template and one alignment a person.
    """

    channels: tuple[str, ...]
    group: Group

    def to_bytes(self) -> bytes:
        """Safetensors of template, affine maps and coefficients."""
        template, people = self.group.template, self.group.alignments
        tensors = {
            "template": np.ascontiguousarray(template.channels, np.float32),
            "box": np.array([template.box.low, template.box.size]),
            "distances": np.array([template.kind == "distances"]),
            "affines": np.stack([person.affine for person in people]),
            "coefficients": np.stack([person.coefficients for person in people]),
            "max_frequency": np.array([people[0].max_frequency]),
            "fit": np.array([[person.cost, person.overlap] for person in people]),
            "channels": np.frombuffer("\n".join(self.channels).encode(), np.uint8),
        }
        return save(tensors)

    @classmethod
    def from_bytes(cls, data: bytes) -> AlignedEntry:
        """Read back `to_bytes`.

        Raises:
            IntegrityError: the bytes are not such an alignment.
        """
        try:
            tensors = load(data)
            (low, size), frequency = tensors["box"].tolist(), float(tensors["max_frequency"][0])
            box = Box(tuple(low), tuple(size))
            names = tuple(tensors["channels"].tobytes().decode().split("\n"))
            distances = bool(tensors["distances"][0])
            std = DISTANCE_STD_MM if distances else SHARE_STD
            template = Template(
                box,
                tensors["template"],
                "distances" if distances else "shares",
                np.full(len(names), std),
            )
            people = tuple(
                Alignment(box, frequency, affine, cosines, float(cost), float(overlap))
                for affine, cosines, (cost, overlap) in zip(
                    tensors["affines"], tensors["coefficients"], tensors["fit"], strict=True
                )
            )
        except (SafetensorError, KeyError, ValueError) as error:
            raise IntegrityError("the alignment of an anatomy entry cannot be read") from error
        return cls(names, Group(template, people))


def align(
    people: Sequence[PersonMaps],
    kind: EntryKind,
    scheme: Mapping[int, str],
    progress: Progress = SILENT,
) -> AlignedEntry:
    """Align the people of an entry to their own mean.

    Raises:
        ValueError: nobody shows any label of the scheme.
    """
    if kind == "images":
        subjects = [_by_distances(person, tuple(scheme)) for person in people]
        names = tuple(scheme.values())
        return AlignedEntry(names, align_group(subjects, "distances", DISTANCE_LIMIT_MM, progress))
    volumes, spacing = _survey(people, scheme)
    shown_classes = [name for name in volumes if volumes[name] > 0]
    names = tuple(sorted(sorted(shown_classes, key=lambda n: -volumes[n])[:MOST_CLASSES]))
    index = {name: at for at, name in enumerate(names)}
    of_label = classes(scheme)
    index_of_label = {number: index[name] for number, name in of_label.items() if name in index}
    subjects = [_by_shares(person, index_of_label, len(names), spacing) for person in people]
    return AlignedEntry(names, align_group(subjects, "shares", DISTANCE_LIMIT_MM, progress))


def _by_distances(person: PersonMaps, numbers: Sequence[int]) -> Subject:
    maps = signed_distances(person.labels, numbers, person.spacing, DISTANCE_LIMIT_MM)
    return Subject(person.affine, maps)


def _by_shares(
    person: PersonMaps, class_of_label: Mapping[int, int], count: int, spacing: float
) -> Subject:
    # One class more: whatever else is labelled still belongs to the body.
    numbers = {int(n): class_of_label.get(int(n), count) for n in np.unique(person.labels) if n}
    maps, affine = class_shares(person.labels, person.affine, numbers, count + 1, spacing)
    return Subject(affine, maps[:count], inside=shown(maps.sum(axis=0) > 0.5))


def _survey(
    people: Sequence[PersonMaps], scheme: Mapping[int, str]
) -> tuple[dict[str, float], float]:
    """Volume of each class over all people, in mm^3, and voxels of about the template's size.

    The latter from how far the anatomy of the median person reaches, in mm.
    """
    of_label = classes(scheme)
    volumes = dict.fromkeys(of_label.values(), 0.0)
    edges = []
    for person in people:
        counts = np.bincount(person.labels.ravel(), minlength=max(scheme) + 1)
        voxel = float(np.prod(person.spacing))
        for number, name in of_label.items():
            volumes[name] += float(counts[number]) * voxel
        ends = [_ends(person.labels > 0, axis) for axis in range(3)]
        spans = [last - first + 1 for first, last in ends]
        edges.append((float(np.prod(spans)) * voxel) ** (1.0 / 3.0))
    return volumes, float(np.median(edges)) / VOXELS_PER_EDGE


def shown(body: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """[X, Y, Z] False beyond the planes where the field of view has cut the body off."""
    inside = np.ones(body.shape, bool)
    for axis in range(3):
        areas = body.sum(axis=tuple(other for other in range(3) if other != axis))
        first, last = _ends(body, axis)
        across = np.moveaxis(inside, axis, 0)
        if areas[first] > CUT_OFF * areas.max():
            across[:first] = False
        if areas[last] > CUT_OFF * areas.max():
            across[last + 1 :] = False
    return inside


def _ends(body: npt.NDArray[np.bool_], axis: int) -> tuple[int, int]:
    """First and last plane along an axis that shows the body; all planes where none does."""
    planes = np.flatnonzero(body.any(axis=tuple(other for other in range(3) if other != axis)))
    return (int(planes[0]), int(planes[-1])) if len(planes) else (0, body.shape[axis] - 1)
