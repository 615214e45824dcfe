"""What the first pass over DICOM files keeps of each: to which series and place it belongs."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from medvae.ingest.placed import Traits
from medvae.ingest.records import printable
from medvae.ingest.subjects import clean_subject

if TYPE_CHECKING:
    from medvae.ingest.trees import File

# What distinguishes images of one place, in the order in which it is tried.
TRAITS = (
    "image type",
    "processing",
    "echo number",
    "echo time",
    "b-value",
    "direction of diffusion",
    "time point",
    "inversion time",
    "flip angle",
    "sequence",
    "contrast agent",
    "kernel",
    "tube voltage",
    "series number",
    "frame of reference",
    "acquisition number",
    "slice thickness",
    "trigger time",
    "acquisition time",
    "content time",
    "instance number",
)
# Those before this one distinguish scans; slices of one scan may differ in the others.
OF_PASSES = TRAITS.index("acquisition number")
BY = Traits(
    TRAITS,
    # Writers give slices of one scan several words of processing (with NORM and without).
    of_scans=frozenset({*TRAITS[:OF_PASSES], "slice thickness"} - {"processing"}),
    of_passes=frozenset({"acquisition number"}),
    clocks=frozenset({"acquisition time", "content time"}),
    counters=frozenset({"instance number"}),
)
PERSON = ("name", "birth date", "sex", "issuer", "spelling", "placeholder")
# Numbers beyond this are damage; `nan` is beyond it, too.
FARTHEST = 1e6
MOST_REFERENCES = 64
MOST_CONTRASTS = 32
MOST_SCANS = 10_000
# What slices that have all else in common differ in.
OWN = ("position", "moment", "traits")


@dataclass(frozen=True, slots=True)
class Slice:
    """One file: a slice, or a whole volume where it holds several frames.

    Attributes:
        subject: PatientID.
        skip: why it can be part of no volume; empty where it can.
        whole: it is a volume by itself, of several frames.
        mosaic: it holds all slices of one time beside one another.
        doubtful: its description names something else than a scan of anatomy.
        key: digest that the second pass compares, so that a file cannot change in between.
        study, series, alike: digests of the study, of the series, and of what slices of one
            scan share whatever their series; empty where the header names none.
        size: rows, columns and frames.
        spacing, orientation, position, thickness: as in the header, millimetres; None where
            they are not there.
        traits: one value for each of `TRAITS`.
        person: digests for each of `PERSON`, empty where the header says nothing.
        marks: how it marks a series instead of being part of one; empty where it does not.
        refers: the digests of the series that it marks.
        space: digest of the frame of reference; empty where the header names none.
        contrasts: that its series description names, where channels are asked for.
        counted: of how many slices the header says that its scan is; 0 where it does not.
        moment: its number or time among the phases of a moving image; None where none is named.
        scans: of each scan in a whole file what distinguishes it, and why it is not to be read.
    """

    file: File
    subject: str
    modality: str
    skip: str
    whole: bool
    mosaic: bool
    doubtful: bool
    key: str
    study: str
    series: str
    alike: str
    size: tuple[int, ...]
    spacing: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    position: tuple[float, ...] | None
    thickness: float | None
    traits: tuple[str, ...]
    person: tuple[str, ...]
    marks: str = ""
    refers: tuple[str, ...] = ()
    space: str = ""
    contrasts: tuple[str, ...] = ()
    scans: tuple[tuple[str, str], ...] = ()
    counted: int = 0
    moment: float | None = None

    @property
    def is_flat(self) -> bool:
        """Whether it is one slice and no more."""
        return not self.whole and not self.mosaic


@dataclass
class Known:
    """The last summary that was checked, but for what `OWN` names, and its slice."""

    facts: dict[str, Any] | None = None
    slice_: Slice | None = None


def slice_of(file: File, summary: dict[str, Any], known: Known) -> Slice:
    """A file's summary, as the worker sends it, checked like any other input.

    What is the same as in the summary before, as it is of most slices, was checked there.

    Raises:
        KeyError, TypeError, ValueError: it is not what a worker that works sends.
    """
    own = {name: summary[name] for name in OWN}
    facts = {name: value for name, value in summary.items() if name not in OWN}
    if known.slice_ is None or facts != known.facts:
        known.slice_, known.facts = _checked(file, summary), facts
        return known.slice_
    moment = _numbers(own["moment"], 1)
    return replace(
        known.slice_,
        file=file,
        position=_numbers(own["position"], 3),
        traits=_traits(own["traits"]),
        moment=None if moment is None else moment[0],
    )


def _checked(file: File, summary: dict[str, Any]) -> Slice:
    """A summary of which nothing was checked before. Raises as `slice_of`."""
    thickness = _numbers(summary["thickness"], 1)
    if summary["whole"] and not summary["scans"]:
        raise ValueError
    return Slice(
        file,
        clean_subject(str(summary["subject"])),
        _short(summary["modality"]),
        printable(str(summary["skip"])),
        bool(summary["whole"]),
        bool(summary["mosaic"]),
        bool(summary["doubtful"]),
        _short(summary["key"]),
        _short(summary["study"]),
        _short(summary["series"]),
        _short(summary["alike"]),
        tuple(int(n) for n in summary["size"][:3]),
        _numbers(summary["spacing"], 2),
        _numbers(summary["orientation"], 6),
        _numbers(summary["position"], 3),
        None if thickness is None else thickness[0],
        _traits(summary["traits"]),
        tuple(_short(fact) for _, fact in zip(PERSON, summary["person"], strict=True)),
        _short(summary["marks"]),
        tuple(_short(reference) for reference in summary["refers"][:MOST_REFERENCES]),
        _short(summary["space"]),
        tuple(_short(contrast) for contrast in summary["contrasts"][:MOST_CONTRASTS]),
        tuple(
            (_short(split_by), printable(str(refusal)))
            for split_by, refusal in summary["scans"][:MOST_SCANS]
        ),
        int(summary["counted"]),
        None if (moment := _numbers(summary["moment"], 1)) is None else moment[0],
    )


def is_single(slices: list[Slice]) -> bool:
    """Whether these are one slice and no more."""
    return len(slices) == 1 and slices[0].is_flat


def _traits(values: Any) -> tuple[str, ...]:
    return tuple(_short(trait) for _, trait in zip(TRAITS, values, strict=True))


def _short(text: Any) -> str:
    # Most are the same in many files.
    return sys.intern(str(text)[:64])


def _numbers(values: Any, count: int) -> tuple[float, ...] | None:
    if values is None:
        return None
    numbers = tuple(float(value) for value in values)
    if len(numbers) != count or not all(abs(number) <= FARTHEST for number in numbers):
        raise ValueError
    return numbers
