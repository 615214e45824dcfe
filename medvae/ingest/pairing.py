"""Which masks go with which image of a tree, given apart or in the tree itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from medvae.errors import InputError, UsageError
from medvae.ingest import bids, layouts, names, picture_files
from medvae.ingest.layout_names import Mask
from medvae.ingest.layouts import Layout
from medvae.ingest.notices import Notices
from medvae.ingest.numbering import MOST_STRUCTURES, numbering
from medvae.ingest.pairs import Neighbours, Pair
from medvae.ingest.records import printable
from medvae.ingest.trees import File, SingleFile, Tree

EVERY_CONTRAST = "all"


@dataclass(frozen=True)
class Masks:
    """The masks of one image, each the files that hold it.

    `numbers`: their labels, where each shows one structure; `undecided`: several would do, and
    none was taken.
    """

    files: tuple[tuple[File, ...], ...] = ()
    numbers: tuple[int, ...] = ()
    optional: bool = False
    undecided: bool = False


@dataclass
class Pairing:
    """The masks of a tree's images.

    Attributes:
        masks: a tree of masks given apart, or None.
        is_bids: whether the tree is a BIDS data set.
        contrast: the contrast to take of cases with several, "all", or None.
        scheme: label number -> name, to number masks of single structures by.
        channels: names of the contrasts that become channels of one volume; none: no file does.
        planar: images and masks are pictures.
    """

    tree: Tree
    masks: Tree | None
    is_bids: bool
    contrast: str | None
    scheme: Mapping[str, str] | None
    channels: Sequence[str] = ()
    planar: bool = False

    def __post_init__(self) -> None:
        self._beside = Neighbours(self.tree)
        self._beside_masks = self._beside if self.masks is None else Neighbours(self.masks)

    @cached_property
    def layout(self) -> Layout:
        """What the names of volume files say, of a tree that is no BIDS data set."""
        names = [] if self.is_bids else _image_names(self.tree, self.planar)
        mask_names = None if self.masks is None else _image_names(self.masks, self.planar)
        channels = {channel.lower() for channel in self.channels}
        return layouts.arrange(names, mask_names, channels, planar=self.planar)

    def check_contrasts(self, has_table: bool) -> None:
        """Refuse cases with several contrasts of which nobody said what to do with them.

        Args:
            has_table: a table says whose each file is.

        Raises:
            UsageError: so it is, or no case has the contrast that was asked for.
        """
        contrast, cases = self.contrast, self.layout.contrasts
        if self.channels:
            return
        if contrast == EVERY_CONTRAST or not cases or (contrast is None and has_table):
            return
        existing = sorted({name for contrasts in cases.values() for name in contrasts})
        if contrast is None or contrast.lower() not in existing:
            raise UsageError(
                f"{printable(self.tree.label)} has several contrasts a case "
                f"({printable(', '.join(existing))}); say which is meant with --contrast NAME, "
                f"--contrast {EVERY_CONTRAST} to keep each as a volume of the case, or --channels "
                "with several names to make them the channels of one volume"
            )

    @cached_property
    def paired(self) -> set[str]:
        return self.layout.paired

    def of(self, file: File) -> Masks:
        """The masks of an image.

        Raises:
            InputError: it is not clear which they are.
        """
        if self.is_bids and self.masks is None:
            own = bids.segmentations_for(file.name, self.siblings(file))
            files = own or bids.segmentations_for(file.name, self._derivatives)
            only = files[0] if len(files) == 1 else None
            parts = (self._beside.parts(only),) if only else ()
            return Masks(parts, optional=True, undecided=len(files) > 1)
        tree = self.tree if self.masks is None else self.masks
        if self.masks is not None:
            for name in _may_be_called(file.name or PurePosixPath(file.source).name):
                if same := self.masks.find(name):
                    self._check_only(same)
                    self._check_meant(file, name)
                    return Masks((self._beside_masks.parts(same),))
            if self.is_bids:
                files = bids.segmentations_for(file.name, list(_files(self.masks)))
                parts = (self._beside_masks.parts(files[0]),) if len(files) == 1 else ()
                return Masks(parts, undecided=len(files) > 1)
            if isinstance(self.tree, SingleFile | Pair):
                single = self.masks.find("")
                return Masks((self._beside_masks.parts(single),) if single else ())
        return self._named_masks(tree, self.layout.masks.get(file.name, []))

    def _check_meant(self, file: File, mask: str) -> None:
        """Refuse a mask that may be of several images, and of none by its path.

        Raises:
            InputError: it is such a mask.
        """
        if mask != file.name and (count := self._called[mask]) > 1:
            raise InputError(
                f"the mask {printable(mask)} has the name of {count} images: put it into a "
                "folder that is named like that of its image"
            )

    @cached_property
    def _called(self) -> Counter[str]:
        """How many images a mask may be of, by its name."""
        return Counter(name for file in _files(self.tree) for name in _may_be_called(file.name))

    def _check_only(self, mask: File) -> None:
        """Refuse a mask beside one of the same name in another format. Raises InputError."""
        same = {
            file.name
            for file in self._beside_masks.files(mask)
            if names.is_volume(file.name) and names.stem(file.name) == names.stem(mask.name)
        }
        if len(same) > 1:
            raise InputError(_several(same))

    def _named_masks(self, tree: Tree, named: list[Mask]) -> Masks:
        files = {mask: match for mask in named if (match := tree.find(mask.name))}
        if len(files) == 1 and not named[0].structure:
            return Masks(tuple(map(self._beside_masks.parts, files.values())))
        if not all(mask.structure for mask in files):
            raise InputError(_several({mask.name for mask in files}))
        numbered = {mask: file for mask, file in files.items() if mask.structure in self._numbers}
        if files and not numbered:
            raise InputError("the label scheme names none of the structures that it has masks of")
        return Masks(
            tuple(map(self._beside_masks.parts, numbered.values())),
            tuple(self._numbers[mask.structure] for mask in numbered),
        )

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """Structure -> label.

        Raises:
            InputError: there are more structures than a mask can hold labels.
        """
        numbers = numbering(self.layout.structures(), self.scheme)
        if len(numbers) > MOST_STRUCTURES:
            raise InputError(
                f"the source has masks of {len(numbers)} structures, and a volume holds at most "
                f"{MOST_STRUCTURES} labels: name those to keep with --label-scheme"
            )
        return numbers

    @cached_property
    def _derivatives(self) -> list[File]:
        """Label maps among the derivatives of a BIDS data set."""
        return [
            file
            for file in self.tree.walk()
            if isinstance(file, File)
            and file.name.startswith("derivatives/")
            and names.is_volume(file.name)
        ]

    def is_other_contrast(self, contrast: str) -> bool:
        """Whether a contrast is another than the one that was asked for."""
        choice = self.contrast
        return (
            bool(contrast) and choice not in (None, EVERY_CONTRAST) and contrast != choice.lower()
        )

    def is_of_freesurfer(self, file: File) -> bool:
        """Whether a file is one of the steps and results beside FreeSurfer's scan."""
        return layouts.is_of_freesurfer(file.name, self._there)

    @cached_property
    def _there(self) -> set[str]:
        return {file.name.lower() for file in self.tree.walk() if isinstance(file, File)}

    def siblings(self, file: File) -> list[File]:
        return self._beside.files(file)

    def parts(self, file: File) -> tuple[File, ...]:
        """The files that hold an image of the tree, header first."""
        return self._beside.parts(file)

    def holds_voxels(self, file: File) -> bool:
        """Whether a file may be the voxels of a header beside it."""
        return self._beside.holds_voxels(file)

    def add_notices(self, notices: Notices) -> None:
        """What the names of masks left open, once the tree was walked."""
        layout = self.layout
        few = len(layout.structures()) <= MOST_STRUCTURES
        for name, image in layout.images.items():
            source = File(self.tree, name).source
            if self.masks is not None and not self._has_mask(name):
                notices.add("unmasked", source)
            if few and any(mask.structure for mask in layout.masks.get(name, ())):
                text = ",".join(f"{n}={structure}" for structure, n in self._numbers.items())
                notices.add("structures", source, printable(text))
            if self.is_other_contrast(image.contrast or image.named):
                notices.add("contrast", source)
        if self.masks is not None and not self.is_bids:
            for name in _image_names(self.masks, self.planar):
                if name not in self.paired:
                    notices.add("orphan", File(self.masks, name).source)

    def _has_mask(self, name: str) -> bool:
        try:
            return bool(self.of(File(self.tree, name)).files)
        except InputError:
            return True


def _may_be_called(image: str) -> list[str]:
    """What a mask given apart may be called: as its image, less its first folder, or all."""
    names = (image, image.partition("/")[2], PurePosixPath(image).name)
    return [name for name in dict.fromkeys(names) if name]


def _files(tree: Tree) -> Iterator[File]:
    return (file for file in tree.walk() if isinstance(file, File))


def _several(masks: set[str]) -> str:
    return f"it has more than one mask ({', '.join(sorted(map(printable, masks)))}): keep one"


def _image_names(tree: Tree, planar: bool) -> list[str]:
    """Names of volumes (for a pair, of its header) without FreeSurfer's own results.

    planar: names of pictures instead.
    """
    image_names = [file.name for file in tree.walk() if isinstance(file, File) and file.name]
    if planar:
        return [name for name in image_names if picture_files.is_picture(name)]
    there = {name.lower() for name in image_names}
    return [
        name
        for name in image_names
        if (names.is_volume(name) or not there.isdisjoint(names.voxel_names(name)))
        and not layouts.is_of_freesurfer(name, there)
    ]
