"""Which files are scans, which are label maps of them, which are contrasts of one case: by name.

Understood: images/ beside labels/ (Medical Segmentation Decathlon, nnU-Net), a folder of masks
beside its scan (TotalSegmentator), x_seg, x-label, x_mask, ... beside x, segmentation-7 beside
volume-7, seg beside image, and contrasts as BraTS and nnU-Net name them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from medvae.ingest import picture_files
from medvae.ingest.layout_words import (
    CONTRASTS,
    DERIVED,
    FREESURFER,
    IMAGE_FOLDERS,
    IMAGE_WORDS,
    MASK_FOLDERS,
    MASK_WORDS,
    RAW,
    is_among,
)
from medvae.ingest.names import stem, twins

# Words of a folder of images, beside other words.
_IMAGES = frozenset({"images", "image", "imgs", "volumes", "scans"})
_CHANNEL = re.compile(r"\d{4}")
_GLUED = re.compile(r"([^\W\d_]+)(\d+)")

Tokens = tuple[str, ...]
Case = tuple[str, Tokens]


@dataclass(frozen=True)
class Image:
    """A scan: its name in the tree, its case (folder and tokens), and its contrast or "".

    `named`: the contrast that its name says, also where its case has no other.
    """

    name: str
    tokens: Tokens
    case: Case
    contrast: str = ""
    named: str = ""


@dataclass(frozen=True)
class Mask:
    """A label map of a scan; `structure`: what it shows, where it is one of several."""

    name: str
    structure: str = ""


@dataclass
class Layout:
    """What the names of a tree say.

    Attributes:
        images: scans by name.
        masks: name of a scan -> its label maps.
        contrasts: case -> contrast -> scan, of cases with at least two.
        alone: names of label maps in a folder of masks whose scans are elsewhere.
        twins: names of scans that differ from another one's only in how Unicode spells a letter.
    """

    images: dict[str, Image] = field(default_factory=dict)
    masks: dict[str, list[Mask]] = field(default_factory=dict)
    contrasts: dict[Case, dict[str, str]] = field(default_factory=dict)
    alone: set[str] = field(default_factory=set)
    twins: set[str] = field(default_factory=set)

    @property
    def paired(self) -> set[str]:
        """Names of all label maps that have a scan."""
        return {mask.name for masks in self.masks.values() for mask in masks}

    def structures(self) -> list[str]:
        """What the masks of single structures show, in a fixed order."""
        structures = {mask.structure for masks in self.masks.values() for mask in masks}
        return sorted(structures - {""})


def arrange(
    names: Iterable[str],
    masks: Iterable[str] | None = None,
    channels: Collection[str] = frozenset(),
    *,
    planar: bool = False,
) -> Layout:
    """The layout of a tree.

    Args:
        names: of the tree's volume files.
        masks: of those of a tree of masks given apart; then no other file is a mask.
        channels: contrasts that become channels, in lower case; then each scan that names a
            contrast, one of these or a known one, has it, whether its case has others or not.
        planar: the files are pictures, which have no contrasts.
    """
    layout = Layout()
    names = list(names)
    folders = _mask_folders(names) if masks is None else set()
    mask_names = [n for n in names if _is_mask(n, folders)] if masks is None else list(masks)
    not_scans = set() if masks is not None else set(mask_names)
    scans = [name for name in names if name not in not_scans]
    # The folder of masks given apart has no place in the tree.
    labelled = {
        (_parent(name).lower() if masks is None else "", tokens(name)) for name in mask_names
    }
    images = (
        (
            Image(scan_name, tokens(scan_name), (_parent(scan_name), tokens(scan_name)))
            for scan_name in scans
        )
        if planar
        else _images(scans, labelled, channels)
    )
    for image in images:
        layout.images[image.name] = image
    layout.twins = twins(layout.images)
    for image in layout.images.values():
        if image.contrast:
            layout.contrasts.setdefault(image.case, {})[image.contrast] = image.name
    index = _Index(layout.images.values(), folders, anywhere=masks is not None)
    for name in mask_names:
        case, structure = index.scan_of(name)
        if case is None:
            if index.beside_images(name):
                layout.alone.add(name)
            continue
        for image in _meant(index.of_case(case), name):
            layout.masks.setdefault(image.name, []).append(Mask(name, structure))
    _single_structure(layout)
    return layout


def tokens(name: str) -> Tokens:
    """A file name without its ending in lower-case parts."""
    bare = unicodedata.normalize("NFC", _stem(name)).lower()
    parts = [part for part in re.split(r"[-_. ]+", bare) if part]
    return tuple(own for part in parts for own in _unglued(part))


def _unglued(part: str) -> tuple[str, ...]:
    """A part of a name, in two where a number is glued to a word: img0001 and label0001 are one."""
    glued = None if part in CONTRASTS else _GLUED.fullmatch(part)
    if glued and is_among(glued.group(1), MASK_WORDS | IMAGE_WORDS):
        return glued.groups()
    return (part,)


def contrasts_apart(images: Iterable[Image]) -> dict[str, str]:
    """Scans whose names or folders say different contrasts that no case holds together.

    Returns:
        Name of a scan -> its contrast; none where all are of one.
    """
    found: dict[str, str] = {}
    for image in images:
        folders = (tokens(part) for part in PurePosixPath(image.name).parts[:-1])
        words = [token for own in folders for token in own if token in CONTRASTS]
        if not image.contrast and (words or image.named):
            found[image.name] = image.named or words[-1]
    return found if len(set(found.values())) > 1 else {}


def is_of_freesurfer(name: str, there: set[str]) -> bool:
    """Whether a file in a subject's mri/ folder is a step or a result of FreeSurfer's, no scan.

    Args:
        there: all names of the tree, in lower case.
    """
    path = PurePosixPath(name.lower())
    folders = [
        parent for parent in path.parents if parent.name == "mri" and f"{parent}/orig.mgz" in there
    ]
    return any(path not in {folder / original for original in FREESURFER} for folder in folders)


def _meant(images: list[Image], mask: str) -> list[Image]:
    """Images that a mask names, among those with the same tokens (A and a, x-1 and x_1).

    The contrasts of a case are all meant, unless a mask has the name of one.
    """
    if any(image.contrast for image in images):
        own_tokens = {tokens(mask), _without_word(tokens(mask))}
        return [image for image in images if image.tokens in own_tokens] or images
    own = _stem(mask)
    exact = [image for image in images if _stem(image.name) in own]
    return exact or images


def _is_mask(name: str, folders: Collection[str]) -> bool:
    path = PurePosixPath(name)
    return (
        any(is_among(part, MASK_FOLDERS) for part in path.parts[:-1])
        or any(str(folder) in folders for folder in path.parents)
        or any(is_among(token, MASK_WORDS) for token in tokens(name))
    )


def _mask_folders(names: Iterable[str]) -> set[str]:
    """Folders of label maps by a folder of images beside them, such as train-labels."""
    inside: dict[str, set[str]] = {}
    for name in names:
        for folder in PurePosixPath(name).parents[:-1]:
            inside.setdefault(str(folder.parent), set()).add(folder.name)
    return {
        str(PurePosixPath(parent) / masks)
        for parent, folders in inside.items()
        for masks in folders
        if any(_named_alike(images, masks) for images in folders)
    }


def _stem(name: str) -> str:
    """A file's own name without the ending of its format, of a volume's or a picture's."""
    return picture_files.stem(stem(PurePosixPath(name).name))


def _parent(name: str) -> str:
    return str(PurePosixPath(name).parent)


def _images(
    names: list[str], labelled: set[tuple[str, Tokens]], channels: Collection[str]
) -> Iterable[Image]:
    """Scans with their contrast, where their case has another one in the same folder."""
    cases: dict[Case, list[tuple[str, Tokens, str]]] = {}
    for name in names:
        own = tokens(name)
        contrast = _contrast(name, own, labelled, channels)
        rest = list(own)
        if contrast:
            del rest[len(rest) - 1 - rest[::-1].index(contrast)]
        cases.setdefault((_parent(name), tuple(rest)), []).append((name, own, contrast))
    for case, members in cases.items():
        names_of = {contrast for _, _, contrast in members}
        several = len(names_of) == len(members) > 1 and "" not in names_of
        # A mask of the case, not of one of them, says that they are one patient's.
        several = several and (_channels(names_of) or (_labels(case[0]), case[1]) in labelled)
        several = bool(channels) or several
        for name, own, contrast in members:
            word = "" if contrast.isdigit() else contrast
            yield (
                Image(name, own, case, contrast, word)
                if several and contrast
                else Image(name, own, (_parent(name), own), "", word)
            )


def _contrast(
    name: str, own: Tokens, labelled: set[tuple[str, Tokens]], channels: Collection[str]
) -> str:
    if words := [token for token in own if token in CONTRASTS or token in channels]:
        return words[-1]
    folder = PurePosixPath(name).parent
    if is_among(folder.name, IMAGE_FOLDERS) and len(own) > 1 and _CHANNEL.fullmatch(own[-1]):
        labels = _labels(str(folder))
        # img_0003 with a mask of that name is a patient, not a channel.
        if not {(labels, own), ("", own)} & labelled:
            return own[-1]
    return ""


def _labels(folder: str) -> str:
    """The folder of label maps beside one of images, in lower case."""
    path = PurePosixPath(folder)
    return str(path.parent / path.name.lower().replace("images", "labels")).lower()


def _channels(contrasts: set[str]) -> bool:
    """Whether numbered contrasts are channels: 0000, 0001, ... without a gap, at most 16."""
    numbered = sorted(contrast for contrast in contrasts if _CHANNEL.fullmatch(contrast))
    return not numbered or (
        len(numbered) == len(contrasts) <= 16
        and numbered == [f"{n:04d}" for n in range(len(numbered))]
    )


class _Index:
    """Scans by folder and by the tokens that a label map of theirs may have."""

    def __init__(self, images: Iterable[Image], masks: set[str], anywhere: bool) -> None:
        self._anywhere = anywhere
        self._masks = masks
        self._cases: dict[Case, list[Image]] = {}
        self._by: dict[str, dict[Tokens, set[Case]]] = {}
        for image in images:
            self._cases.setdefault(image.case, []).append(image)
            own = image.tokens
            channel = own[:-1] if own[-1:] == ("0000",) else own
            for folder in {_parent(image.name), *(["*"] if anywhere else [])}:
                table = self._by.setdefault(folder, {})
                for variant in (own, image.case[1], channel):
                    for key in {variant, _plain(variant)}:
                        table.setdefault(key, set()).add(image.case)

    def of_case(self, case: Case) -> list[Image]:
        return self._cases[case]

    def beside_images(self, name: str) -> bool:
        """Whether the mask is in a folder of masks that has a folder of images beside it."""
        return any(beside and folder in self._by for folder, beside in self._folders(name))

    def scan_of(self, name: str) -> tuple[Case | None, str]:
        """The case of a label map, and the structure that it shows if it is of one."""
        case_of_name = _without_word(tokens(name))
        for folder, beside in self._folders(name):
            table = self._by.get(folder)
            if table is None:
                continue
            if case := _only(
                table.get(case_of_name) or table.get(_plain(case_of_name)) if case_of_name else None
            ):
                return case, ""
            for length in range(len(case_of_name) - 1, 0, -1):
                rest = case_of_name[length:]
                # x_b is another case, and x_oar_l one of its structures.
                named = len(rest[0]) > 2 and all(part.isalpha() for part in rest)
                if named and (case := _only(table.get(case_of_name[:length]))):
                    return case, "_".join(rest)
            cases = set().union(*table.values())
            if folder != "*" and not beside and (case := _only(cases)):
                # Of masks given apart only those in a case's own folder are surely of it.
                within = folder != "." if self._anywhere else _parent(name) != folder
                if not case_of_name or within:
                    return case, "_".join(case_of_name)
        return None, ""

    def _folders(self, name: str) -> list[tuple[str, bool]]:
        """Where the scan of a label map may be, and whether that is a folder of images."""
        parts = PurePosixPath(name).parts[:-1]
        folders = [("/".join(parts) or ".", False)]
        for place, part in enumerate(parts):
            if is_among(part, MASK_FOLDERS) or "/".join(parts[: place + 1]) in self._masks:
                head, tail = parts[:place], parts[place + 1 :]
                folders.append(("/".join(head + tail) or ".", False))
                folders += [
                    (folder, True)
                    for folder in self._by
                    if _is_beside(PurePosixPath(folder).parts, head, tail, part.lower())
                ]
            elif part.lower() == DERIVED:
                folders.append(("/".join((*parts[:place], RAW, *parts[place + 1 :])), True))
        return [*folders, ("*", False)] if self._anywhere else folders


def _is_beside(folder: Tokens, head: Tokens, tail: Tokens, masks: str) -> bool:
    """Whether a folder is head/images/tail, of the same part of a data set as the masks."""
    place = len(head)
    if (
        len(folder) != place + 1 + len(tail)
        or folder[:place] != head
        or folder[place + 1 :] != tail
    ):
        return False
    images = folder[place].lower()
    parts = [end for end in ("tr", "ts", "val", "va") if masks == f"labels{end}"]
    if is_among(images, IMAGE_FOLDERS):
        return not parts or images == f"images{parts[0]}"
    return _named_alike(images, masks)


def _named_alike(images: str, masks: str) -> bool:
    """Whether folders such as train-images and train-labels differ in these words alone."""
    image, mask = tokens(images), tokens(masks)
    own = tuple(token for token in image if token not in _IMAGES)
    other = tuple(token for token in mask if not is_among(token, MASK_FOLDERS))
    return len(own) < len(image) and len(other) < len(mask) and own == other


def _plain(own: Tokens) -> Tokens:
    return tuple(token for token in own if not is_among(token, IMAGE_WORDS))


def _without_word(own: Tokens) -> Tokens:
    """Tokens of a label map without the last word that says that it is one."""
    for place in range(len(own) - 1, -1, -1):
        if is_among(own[place], MASK_WORDS):
            return own[:place] + own[place + 1 :]
    return own


def _only(cases: set[Case] | None) -> Case | None:
    return next(iter(cases)) if cases and len(cases) == 1 else None


def _single_structure(layout: Layout) -> None:
    """Masks that all show one structure are label maps like any other."""
    if len(layout.structures()) == 1 and all(len(masks) == 1 for masks in layout.masks.values()):
        for name, (mask,) in layout.masks.items():
            layout.masks[name] = [Mask(mask.name)]
