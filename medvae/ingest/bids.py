"""What names say in a BIDS data set (Brain Imaging Data Structure 1.10)."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from medvae import modality as modalities
from medvae.ingest.layout_words import CONTRASTS
from medvae.ingest.names import stem
from medvae.ingest.trees import File, Tree
from medvae.modality import Modality

SUBJECT = re.compile(r"^sub-([A-Za-z0-9]+)$")
NAMED = re.compile(r"^sub-([A-Za-z0-9]+)_")
# Folders of a data set that hold no scans of it, and what it was made of.
NO_SCANS, SOURCE = ("derivatives", "code", "stimuli"), "sourcedata"
# Suffixes in anat/ that are not scans.
NOT_SCANS = ("dseg", "probseg", "mask", "defacemask")
# Suffixes of masks that people mean as label maps, or as something else.
OTHER_MASKS = ("mask", "msk", "seg", "roi")
# Suffixes of quantitative maps that do not end in "map".
MAPS = ("MTsat",)
# Entities that a segmentation has and its scan has not.
OF_SEGMENTATIONS = ("space", "label", "desc", "atlas", "seg", "res", "den", "hemi")


def is_dataset(tree: Tree, top: set[str]) -> bool:
    """Whether these names at the top of a tree are those of a BIDS data set."""
    return tree.find("dataset_description.json") is not None or any(
        SUBJECT.match(name) for name in top
    )


def subject_of(name: str) -> str | None:
    """The `sub-` label of a file, from its own name or a folder's; None without one."""
    path = PurePosixPath(name)
    named = NAMED.match(path.name)
    if named:
        return named.group(1)
    subjects = [m.group(1) for part in path.parts[:-1] if (m := SUBJECT.match(part))]
    return subjects[0] if subjects else None


def is_of_two(name: str) -> bool:
    """Whether a file and a folder that it is in name different subjects."""
    named = NAMED.match(PurePosixPath(name).name)
    folders = {m.group(1) for part in PurePosixPath(name).parts[:-1] if (m := SUBJECT.match(part))}
    return len(folders | ({named.group(1)} if named else set())) > 1


def is_source(name: str) -> bool:
    """Whether a file is of what a data set was made of: of the same people, under other names."""
    return name.partition("/")[0] == SOURCE


def is_scan(name: str) -> bool:
    """Whether a NIfTI name is that of a scan of some modality."""
    return bool(_modalities(name)) and not is_segmentation(name)


def _modalities(name: str) -> list[Modality]:
    """Those that have images in the file's folder."""
    folder = PurePosixPath(name).parent.name
    return [modality for modality in modalities.registered() if folder in modality.bids.read]


def is_segmentation(name: str) -> bool:
    """Whether a NIfTI name is that of a mask or segmentation."""
    return _suffix(PurePosixPath(name).name) in NOT_SCANS


def is_other_mask(name: str) -> bool:
    """Whether a volume's name is that of a mask that is read as no label map (no `_dseg`)."""
    return _suffix(PurePosixPath(name).name).lower() in OTHER_MASKS


def scan_folders() -> str:
    """The folders that scans lie in, in words."""
    folders = {folder for modality in modalities.registered() for folder in modality.bids.read}
    return ", ".join(f"{folder}/" for folder in sorted(folders))


def may_be(name: str, modality: str) -> bool:
    """Whether a scan of that modality may lie in the file's folder."""
    return modality in [candidate.name for candidate in _modalities(name)]


def is_weighted(name: str) -> bool:
    """Whether the suffix is one that only MRI has, such as T1w."""
    return _suffix(PurePosixPath(name).name).lower() in CONTRASTS


def modality_of(name: str) -> str | None:
    """From the suffix, where one modality alone has it; else from the folder.

    Everything in anat/ is MRI but for CT.
    """
    folder, suffix = PurePosixPath(name).parent.name, _suffix(PurePosixPath(name).name).lower()
    for modality in modalities.registered():
        if modality.bids.suffixes == (suffix,):
            return modality.name
    return next(
        (modality.name for modality in modalities.registered() if modality.bids.folder == folder),
        None,
    )


def segmentations_for(name: str, siblings: list[File]) -> list[File]:
    """The `_dseg` files among `siblings` whose entities are those of the scan `name`.

    Where one carries the plain name, that one alone.
    """
    entities = _entities(PurePosixPath(name).name)
    fitting = [
        file
        for file in siblings
        if _suffix(PurePosixPath(file.name).name) == "dseg"
        and _entities(PurePosixPath(file.name).name) == entities
        and _named_suffixes(PurePosixPath(file.name).name) <= {_suffix(PurePosixPath(name).name)}
    ]
    plain = [file for file in fitting if stem(file.name).endswith("_".join(entities) + "_dseg")]
    return plain or fitting


def suffix(name: str) -> str:
    """The suffix of a file, such as T1w."""
    return _suffix(PurePosixPath(name).name)


def no_scan(name: str) -> str:
    """Why an image in a folder of scans is none: a map or a part of a complex image; or empty."""
    own = PurePosixPath(name).name
    if _suffix(own).endswith("map") or _suffix(own) in MAPS:
        return f"it is a quantitative map ({_suffix(own)}), not a scan"
    part = re.search(r"_part-(phase|real|imag)_", own)
    return f"it is the {part.group(1)} part of a complex image, not a scan" if part else ""


def _suffix(name: str) -> str:
    return stem(name).rpartition("_")[2]


def _named_suffixes(name: str) -> set[str]:
    """Parts of a segmentation's name that are the suffix of the scan it was made of."""
    return {part for part in stem(name).split("_")[1:-1] if "-" not in part}


def _entities(name: str) -> list[str]:
    parts = stem(name).split("_")[:-1]
    return [p for p in parts if p.partition("-")[0] not in OF_SEGMENTATIONS and "-" in p]
