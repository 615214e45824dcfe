"""The scan that a label map is of, by folder and by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from medvae.ingest.layout_names import (
    Case,
    Image,
    Tokens,
    folder_of,
    named_alike,
    tokens,
    without_mask_word,
)
from medvae.ingest.layout_words import (
    DERIVED,
    IMAGE_FOLDERS,
    IMAGE_WORDS,
    MASK_FOLDERS,
    RAW,
    is_among,
)


class CaseIndex:
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
            for folder in {folder_of(image.name), *(["*"] if anywhere else [])}:
                table = self._by.setdefault(folder, {})
                for variant in (own, image.case[1], channel):
                    for key in {variant, _plain(variant)}:
                        table.setdefault(key, set()).add(image.case)

    def of_case(self, case: Case) -> list[Image]:
        """The scans of a case, one for each contrast."""
        return self._cases[case]

    def beside_images(self, name: str) -> bool:
        """Whether the mask is in a folder of masks that has a folder of images beside it."""
        return any(beside and folder in self._by for folder, beside in self._folders(name))

    def scan_of(self, name: str) -> tuple[Case | None, str]:
        """The case of a label map, and the structure that it shows if it is of one."""
        words = without_mask_word(tokens(name))
        for folder, beside in self._folders(name):
            table = self._by.get(folder)
            if table is None:
                continue
            if case := _only(table.get(words) or table.get(_plain(words)) if words else None):
                return case, ""
            case, structure = _of_structure(table, words)
            if case is not None:
                return case, structure
            cases = set().union(*table.values())
            if folder != "*" and not beside and (case := _only(cases)):
                # Of masks given apart only those in a case's own folder are surely of it.
                within = folder != "." if self._anywhere else folder_of(name) != folder
                if not words or within:
                    return case, "_".join(words)
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


def _of_structure(table: Mapping[Tokens, set[Case]], words: Tokens) -> tuple[Case | None, str]:
    """The case whose name a label map's begins with; what follows it is the structure."""
    for length in range(len(words) - 1, 0, -1):
        rest = words[length:]
        # x_b is another case, and x_oar_l one of its structures.
        is_structure = len(rest[0]) > 2 and all(part.isalpha() for part in rest)
        if is_structure and (case := _only(table.get(words[:length]))):
            return case, "_".join(rest)
    return None, ""


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
    return named_alike(images, masks)


def _plain(own: Tokens) -> Tokens:
    return tuple(token for token in own if not is_among(token, IMAGE_WORDS))


def _only(cases: set[Case] | None) -> Case | None:
    return next(iter(cases)) if cases and len(cases) == 1 else None
