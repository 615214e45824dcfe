"""What the name of a file says of its format, and which files belong to one image."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

NIFTI = (".nii.gz", ".nii")
# One file an image: NRRD, MetaImage, MGH (FreeSurfer).
SINGLE = (*NIFTI, ".nrrd", ".mha", ".mgh.gz", ".mgh", ".mgz")
# A text header beside a file of voxels.
DETACHED = (".nhdr", ".mhd")
# A binary header beside a file of voxels: NIfTI pairs and Analyze.
HEADERS, VOXELS = (".hdr", ".hdr.gz"), (".img", ".img.gz")
# Endings of the files of voxels that text headers name; they have the header's own stem.
BESIDE = (".raw", ".raw.gz", ".zraw", ".bin", ".dat", ".img", ".gz")
VOLUMES = (*SINGLE, *DETACHED)


def is_volume(name: str) -> bool:
    """Whether the name (not the content) is that of a volume, or of a text header of one."""
    return name.lower().endswith(VOLUMES)


def last(name: str) -> str:
    """The last part of a file's name in its source; `pathlib` takes ten times as long."""
    return name.rpartition("/")[2]


def stem(name: str) -> str:
    """A file name without the ending of its format."""
    own = name.lower()
    for ending in (*VOLUMES, *HEADERS):
        if own.endswith(ending):
            return name[: -len(ending)]
    return name


def voxel_names(header: str) -> list[str]:
    """What files beside a header may be called, in lower case, that hold its voxels.

    Empty for a file that is no header.
    """
    own = header.lower()
    if own.endswith(DETACHED):
        return [stem(own) + ending for ending in BESIDE]
    return [
        stem(own) + there for here, there in zip(HEADERS, VOXELS, strict=True) if own.endswith(here)
    ]


def twins(names: Iterable[str]) -> set[str]:
    """Those that differ from another one only in how Unicode spells a letter."""
    spellings: dict[str, set[str]] = {}
    for name in names:
        spellings.setdefault(unicodedata.normalize("NFC", name), set()).add(name)
    return set().union(*(same for same in spellings.values() if len(same) > 1))
