"""File names of a tree as words: what a scan and its label map have in common, and their case."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import PurePosixPath

from medvae.ingest import picture_files
from medvae.ingest.layout_words import (
    CONTRASTS,
    IMAGE_WORDS,
    MASK_FOLDERS,
    MASK_WORDS,
    is_among,
)
from medvae.ingest.names import stem

# Words of a folder of images, beside other words.
_IMAGES = frozenset({"images", "image", "imgs", "volumes", "scans"})
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


def tokens(name: str) -> Tokens:
    """A file name without its ending in lower-case parts."""
    bare = unicodedata.normalize("NFC", own_name(name)).lower()
    parts = [part for part in re.split(r"[-_. ]+", bare) if part]
    return tuple(own for part in parts for own in _unglued(part))


def _unglued(part: str) -> tuple[str, ...]:
    """A part of a name, in two where a number is glued to a word: img0001 and label0001 are one."""
    glued = None if part in CONTRASTS else _GLUED.fullmatch(part)
    if glued and is_among(glued.group(1), MASK_WORDS | IMAGE_WORDS):
        return glued.groups()
    return (part,)


def without_mask_word(own: Tokens) -> Tokens:
    """Tokens of a label map without the last word that says that it is one."""
    for place in range(len(own) - 1, -1, -1):
        if is_among(own[place], MASK_WORDS):
            return own[:place] + own[place + 1 :]
    return own


def named_alike(images: str, masks: str) -> bool:
    """Whether folders such as train-images and train-labels differ in these words alone."""
    image, mask = tokens(images), tokens(masks)
    own = tuple(token for token in image if token not in _IMAGES)
    other = tuple(token for token in mask if not is_among(token, MASK_FOLDERS))
    return len(own) < len(image) and len(other) < len(mask) and own == other


def own_name(name: str) -> str:
    """A file's own name without the ending of its format, of a volume's or a picture's."""
    return picture_files.stem(stem(PurePosixPath(name).name))


def folder_of(name: str) -> str:
    """The folder of a file in its tree; "." for the top."""
    return str(PurePosixPath(name).parent)
