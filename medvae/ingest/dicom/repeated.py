"""The next slice of a scan, read by what it has in common with the one before.

Of the files of a scan only few elements differ. Where one was read by pydicom, and the next has the
same elements with the same bytes but for those of `VARYING`, pydicom would read the next one to the
same data set, these apart: it is made of the first one's. All else is left to pydicom.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medvae.ingest.dicom.files import CHARACTER_SET, MARK, OF_META, PIXELS, VARYING, as_tags
from medvae.ingest.dicom.values import text

# Group, element, value representation and length; the length of those that have a longer one.
HEAD = struct.Struct("<HH2sH")
LONG_LENGTH = struct.Struct("<I")
# Group, element, length: the form without value representations.
IMPLICIT_HEAD = struct.Struct("<HHI")
LONGEST_HEAD = HEAD.size + LONG_LENGTH.size
# Value representations by the length of their heads (PS3.5 7.1.2).
SHORT = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
BEGIN = 132
META, META_GROUP = 2, b"\2\0"
META_LENGTH = 0x0002_0000
# Of sequences whose length is not said (PS3.5 7.5).
UNKNOWN = 0xFFFF_FFFF
DELIMITERS = 0xFFFE
ITEM, SEQUENCE_END = 0xFFFE_E000, 0xFFFE_E0DD
ITEM_END = b"\xfe\xff\x0d\xe0\0\0\0\0"
DEEPEST = 16
NOWHERE = 1 << 62
PIXEL_DATA = 0x7FE0_0010
# What may differ: of pixels there are checks of their own.
FREE = frozenset({*map(int, VARYING), META_LENGTH, *PIXELS})
# Of what varies and is read by itself: value representations that are plain text.
POSITION, TRIGGER_TIME, ACQUISITION_TIME = 0x0020_0032, 0x0018_1060, 0x0008_0032
CONTENT_TIME, INSTANCE_NUMBER = 0x0008_0033, 0x0020_0013
PLAIN = {
    POSITION: b"DS",
    TRIGGER_TIME: b"DS",
    ACQUISITION_TIME: b"TM",
    CONTENT_TIME: b"TM",
    INSTANCE_NUMBER: b"IS",
}
# Lengths of values that are known of a scan: numbers of slices grow by a digit, times hardly.
MOST_FORMS = 8
# Bytes that the head of the next file may have more, and the longest head.
MORE = 1 << 10
MOST_HEAD = 1 << 18


class Element(NamedTuple):
    """An element as it is stored: its value is `size` bytes from byte `at` of the file on.

    kind: its value representation; empty where the file does not say it.
    """

    tag: int
    kind: bytes
    at: int
    size: int


def elements(head: bytes, implicit: bool) -> list[Element]:
    """The elements of a file in little endian, the last one its pixels.

    None of them where the file is in another form or has none of pixels, or where its meta
    information is not as long as it says.
    """
    listed: list[Element] = []
    at, end, meta_end = BEGIN, len(head) - LONGEST_HEAD, 0
    while at <= end:
        begin = at
        element = _element(head, at, implicit and bool(meta_end or head[at : at + 2] != META_GROUP))
        if element is None or element.tag >> 16 == DELIMITERS:
            return []
        if not meta_end and element.tag >> 16 != META:
            meta_end = begin
        listed.append(element)
        if element.tag in PIXELS:
            return listed if _meta_end(head, listed[0]) == meta_end else []
        at = _end(head, element, implicit, 0)
    return []


def _element(head: bytes, at: int, implicit: bool) -> Element | None:
    """The element whose head begins at byte `at`; None where that has another form."""
    group, number, kind, size = HEAD.unpack_from(head, at)
    tag = group << 16 | number
    if implicit:
        _, _, size = IMPLICIT_HEAD.unpack_from(head, at)
        return Element(tag, b"", at + IMPLICIT_HEAD.size, size)
    if kind in SHORT:
        return Element(tag, kind, at + HEAD.size, size)
    if kind in LONG:
        (size,) = LONG_LENGTH.unpack_from(head, at + HEAD.size)
        return Element(tag, kind, at + LONGEST_HEAD, size)
    return None


def _end(head: bytes, element: Element, implicit: bool, depth: int) -> int:
    """Where an element ends; behind the head where it cannot be determined."""
    if element.size != UNKNOWN:
        return element.at + element.size
    if depth > DEEPEST or not (_holds_items(element.tag) if implicit else element.kind == b"SQ"):
        return NOWHERE
    at = element.at
    while at + IMPLICIT_HEAD.size <= len(head):
        item = _element(head, at, implicit=True)
        assert item is not None
        if item.tag == SEQUENCE_END:
            return NOWHERE if item.size else item.at
        if item.tag != ITEM:
            return NOWHERE
        at = item.at + item.size
        if item.size == UNKNOWN:
            at = _end_of_item(head, item.at, implicit, depth)
    return NOWHERE


@functools.lru_cache
def _holds_items(tag: int) -> bool:
    """Whether pydicom takes an element of unknown length for a sequence, if it begins as one."""
    return not dictionary_has_tag(tag) or dictionary_VR(tag) == "SQ"


def _end_of_item(head: bytes, at: int, implicit: bool, depth: int) -> int:
    """Where the elements of an item of unknown length end, from byte `at` on."""
    while at + LONGEST_HEAD <= len(head):
        if head[at : at + IMPLICIT_HEAD.size] == ITEM_END:
            return at + IMPLICIT_HEAD.size
        element = _element(head, at, implicit)
        if element is None or element.tag >> 16 == DELIMITERS:
            return NOWHERE
        at = _end(head, element, implicit, depth + 1)
    return NOWHERE


def _meta_end(head: bytes, first: Element) -> int:
    """Where the meta information ends by its first element; 0 where that does not say it."""
    if first.tag != META_LENGTH or first.size != LONG_LENGTH.size:
        return 0
    (size,) = LONG_LENGTH.unpack_from(head, first.at)
    return first.at + LONG_LENGTH.size + int(size)


class Form:
    """A head but for the values that may differ; where all else is equal, these are at its places.

    To compare one takes a tenth of the time of looking for the elements.
    """

    def __init__(self, stored: list[Element], fixed: npt.NDArray[np.intp], head: bytes) -> None:
        self.stored = stored
        self._fixed = fixed
        self._end = stored[-1].at
        self._content = self._of(head)

    def fits(self, head: bytes) -> bool:
        """Whether a head is of this form."""
        return len(head) >= self._end and self._of(head) == self._content

    def _of(self, head: bytes) -> bytes:
        return np.frombuffer(head, np.uint8, self._end).take(self._fixed).tobytes()


def form_of(head: bytes, listed: list[Element], tags: frozenset[int]) -> Form | None:
    """The form of a head, of its elements; None where some have no length of their own."""
    fixed = np.ones(listed[-1].at, bool)
    fixed[: BEGIN - len(MARK)] = False
    for element in listed:
        if element.size == UNKNOWN:
            return None
        if element.tag not in tags or (element.tag in FREE and element.tag != META_LENGTH):
            fixed[element.at : element.at + element.size] = False
    stored = [element for element in listed if element.tag in tags]
    return Form(stored, np.flatnonzero(fixed), head)


class Repeated:
    """A file that pydicom has read, to read others by that repeat it."""

    def __init__(
        self,
        data: Dataset,
        head: bytes,
        stored: list[Element],
        tags: frozenset[int],
        pixels: bool,
    ) -> None:
        self._pixels, self._tags = pixels, tags
        self._values = dict(data.items())
        self._meta, self._encoding = data.file_meta, data.original_encoding
        self._head = stored[-1].at + MORE
        self._pixel_size = stored[-1].size
        self._expected = _expected(head, stored)
        self._forms: list[Form] = []
        kinds = {element.tag: element.kind for element in stored}
        self.is_plain = all(kinds.get(tag, b"") in (b"", kind) for tag, kind in PLAIN.items())

    def read(self, file: BinaryIO) -> Dataset | None:
        """The data set of the next file, read from its beginning; None where pydicom has to."""
        varied = self.varying(file)
        return None if varied is None else self.dataset(varied)

    def varying(self, file: BinaryIO) -> dict[int, tuple[int, bytes]] | None:
        """What of `VARYING` is in the next file: where it begins and its bytes, by tag.

        None where pydicom has to read the file; what is empty in both files is left out.
        """
        head = file.read(self._head)
        stored = self._stored(head)
        if stored is None:
            return None
        varied: dict[int, tuple[int, bytes]] = {}
        for tag, _, at, size in stored:
            if tag not in VARYING or (tag == PIXEL_DATA and not self._pixels):
                continue
            value = self._pixels_at(file, at, size) if tag == PIXEL_DATA else head[at : at + size]
            element = self._values[BaseTag(tag)]
            if not size and not element.value:
                continue  # empty in both
            if not value or not isinstance(element, RawDataElement):
                return None
            varied[tag] = at, value
        return varied

    def dataset(self, varied: dict[int, tuple[int, bytes]]) -> Dataset:
        """The data set of a file that varies so (see `varying`)."""
        values = dict(self._values)
        for tag, (at, value) in varied.items():
            element = values[BaseTag(tag)]
            assert isinstance(element, RawDataElement), "varying has looked"
            values[element.tag] = element._replace(length=len(value), value=value, value_tell=at)
        data = Dataset(values)
        data.set_original_encoding(*self._encoding)
        data.file_meta = self._meta
        return data

    def _stored(self, head: bytes) -> list[Element] | None:
        """Elements with one of `tags`, of a head that repeats the first file's; None of another."""
        for form in self._forms:
            if form.fits(head):
                return form.stored
        listed = elements(head, self._encoding[0] is True)
        stored = [element for element in listed if element.tag in self._tags]
        if not stored or _expected(head, stored) != self._expected:
            return None
        if len(self._forms) < MOST_FORMS and (new := form_of(head, listed, self._tags)):
            self._forms.append(new)
        return stored

    def _pixels_at(self, file: BinaryIO, at: int, size: int) -> bytes:
        """Pixels of the size of the other file's that end their file; else nothing."""
        if size != self._pixel_size:
            return b""
        file.seek(at)
        value = file.read(size + 1)
        return value if len(value) == size else b""


def _expected(head: bytes, stored: list[Element]) -> list[tuple[int, bytes, bytes | None]]:
    """What both files must have: tags, value representations, values that do not vary."""
    return [(t, kind, None if t in FREE else head[at : at + size]) for t, kind, at, size in stored]


def repeated(
    file: BinaryIO, data: Dataset, tags: Sequence[str | int], *, pixels: bool
) -> Repeated | None:
    """What to read later files by, of one that `files.read_dataset` has read to `data`.

    None where it is in another form, or not read to what is stored in it. To be asked before any
    value of `data` is.
    """
    implicit = data.original_encoding == (True, True)
    if not implicit and data.original_encoding != (False, True):
        return None
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    if text(data.file_meta, "TransferSyntaxUID") != syntax:
        return None
    file.seek(0)
    head = file.read(MOST_HEAD)
    if head[128:BEGIN] != MARK:
        return None
    of_data = frozenset(map(int, as_tags(tuple(tags)))) | {int(CHARACTER_SET)}
    kept = of_data | frozenset(map(int, OF_META)) | {META_LENGTH, *PIXELS}
    stored = [element for element in elements(head, implicit) if element.tag in kept]
    read = [
        element
        for element in stored
        if element.tag >> 16 != META and (pixels or element.tag not in PIXELS)
    ]
    if not read or len(read) != len(data):
        return None
    of_tags = dict(data.items())  # asked one by one, pydicom decodes what is empty
    if not all(_is_of(element, of_tags.get(BaseTag(element.tag))) for element in read):
        return None
    return Repeated(data, head, stored, kept, pixels)


def _is_of(stored: Element, element: DataElement | RawDataElement | None) -> bool:
    """Whether an element was read from what is stored."""
    if not isinstance(element, RawDataElement):
        return stored.tag == CHARACTER_SET and element is not None
    kind = (element.VR or "").encode("ascii")
    own = kind, element.value_tell, element.length, len(element.value or b"")
    return own == (stored.kind, stored.at, stored.size, stored.size)
