"""Which files are scans, which are label maps of them, which are contrasts of one case: by name.

Understood: images/ beside labels/ (Medical Segmentation Decathlon, nnU-Net), a folder of masks
beside its scan (TotalSegmentator), x_seg, x-label, x_mask, ... beside x, segmentation-7 beside
volume-7, seg beside image, and contrasts as BraTS and nnU-Net name them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from medvae.ingest.layout_index import CaseIndex
from medvae.ingest.layout_names import (
    Case,
    Image,
    Mask,
    Tokens,
    folder_of,
    named_alike,
    own_name,
    tokens,
    without_mask_word,
)
from medvae.ingest.layout_words import (
    CONTRASTS,
    FREESURFER,
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    MASK_WORDS,
    is_among,
)
from medvae.ingest.names import twins

_CHANNEL = re.compile(r"\d{4}")


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
    names = list(names)
    folders = _mask_folders(names) if masks is None else set()
    mask_names = [n for n in names if _is_mask(n, folders)] if masks is None else list(masks)
    not_scans = set() if masks is not None else set(mask_names)
    scans = [name for name in names if name not in not_scans]
    # The folder of masks given apart has no place in the tree.
    labelled = {
        (folder_of(name).lower() if masks is None else "", tokens(name)) for name in mask_names
    }
    images = _pictures(scans) if planar else _images(scans, labelled, channels)
    layout = Layout({image.name: image for image in images})
    layout.twins = twins(layout.images)
    for image in layout.images.values():
        if image.contrast:
            layout.contrasts.setdefault(image.case, {})[image.contrast] = image.name
    _pair(layout, mask_names, CaseIndex(layout.images.values(), folders, masks is not None))
    return layout


def _pair(layout: Layout, masks: Iterable[str], index: CaseIndex) -> None:
    """Fill in `masks` and `alone` of a layout whose images are known."""
    for name in masks:
        case, structure = index.scan_of(name)
        if case is None:
            if index.beside_images(name):
                layout.alone.add(name)
            continue
        for image in _meant(index.of_case(case), name):
            layout.masks.setdefault(image.name, []).append(Mask(name, structure))
    _single_structure(layout)


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
        own_tokens = {tokens(mask), without_mask_word(tokens(mask))}
        return [image for image in images if image.tokens in own_tokens] or images
    own = own_name(mask)
    exact = [image for image in images if own_name(image.name) in own]
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
        if any(named_alike(images, masks) for images in folders)
    }


def _pictures(names: Iterable[str]) -> Iterable[Image]:
    """Pictures, each a case of its own, without a contrast."""
    return (Image(name, tokens(name), (folder_of(name), tokens(name))) for name in names)


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
        cases.setdefault((folder_of(name), tuple(rest)), []).append((name, own, contrast))
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
                else Image(name, own, (folder_of(name), own), "", word)
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


def _single_structure(layout: Layout) -> None:
    """Masks that all show one structure are label maps like any other."""
    if len(layout.structures()) == 1 and all(len(masks) == 1 for masks in layout.masks.values()):
        for name, (mask,) in layout.masks.items():
            layout.masks[name] = [Mask(mask.name)]
