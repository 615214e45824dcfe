"""An entry of the public library, ready for one cohort: template, renderer and public numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from medvae import modality as modalities
from medvae.anatomy import place
from medvae.anatomy.bands import Bands
from medvae.anatomy.collection import AlignedEntry, Entry, Library
from medvae.anatomy.drawing import OutputGrid, Renderer
from medvae.anatomy.drawing.channels import ChannelRenderer
from medvae.anatomy.drawing.classes import ClassRenderer
from medvae.anatomy.drawing.images import ImageRenderer
from medvae.anatomy.drawing.sequences import Contrast
from medvae.anatomy.matching import match
from medvae.anatomy.numbers import Numbers
from medvae.anatomy.organs import distance_subject, distance_template
from medvae.anatomy.parts import Measured
from medvae.anatomy.public import public_numbers
from medvae.anatomy.regions import class_subject, class_template
from medvae.anatomy.registration import Alignment, Settings, Subject, Template, register
from medvae.anatomy.registration.geometry import Array, Box
from medvae.anatomy.scan import LabelMap, Scan, scan_of
from medvae.anatomy.templates import (
    AUTOMATIC_DIGEST,
    CHANNELS_DIGEST,
    DIGEST,
    ReleasedMaps,
    compared,
)
from medvae.cine import is_cine
from medvae.config import DataConfig
from medvae.errors import InputError, UsageError
from medvae.volume import Volume


@dataclass(frozen=True)
class CohortAnatomy:
    """What registers, measures and draws the patients of one cohort; public, all of it.

    Attributes:
        entry: of the library; None: patients are drawn from their own maps (`patients`).
        data: the cohort's declared facts.
        people: alignments of the entry's people, in the template's frame.
        make_template: what a patient is registered to; drawing needs none.
        renderer: how the entry's people look.
        numbers: what public people alone say.
        spacing: [3] voxel size of the entry's people (their median), in mm.
        drawn_spacing: [3] of drawn volumes, where the configuration says one.
        read_person: reads the scan of public person i; None where the entry has no images.
        maps: what was released of the patients' own maps; None with an entry, or before that.
    """

    entry: Entry | None
    data: DataConfig
    people: tuple[Alignment, ...]
    make_template: Callable[[], Template]
    renderer: Renderer
    numbers: Numbers
    place_correlation: Array
    spacing: tuple[float, float, float]
    drawn_spacing: tuple[float, float, float] | None = None
    read_person: Callable[[int], Scan] | None = None
    maps: ReleasedMaps | None = None

    @classmethod
    def open(
        cls,
        library: Library,
        entry: Entry,
        data: DataConfig,
        declared: Mapping[str, Sequence[str]] | None = None,
        spacing: tuple[float, float, float] | None = None,
        contrasts: Sequence[Contrast] = ("t1",),
    ) -> CohortAnatomy:
        """Make an entry ready for a cohort.

        declared: cohort label -> the entry's labels that it stands for, where names do not match.
        spacing: [3] voxel size of drawn volumes, in mm, over the extent of the entry's people;
            None: as `grid` says.
        contrasts: of the cohort's MRI, of each channel where it has some (`contrasts.of`): what
            grey values are expected of the entry's label maps.

        Raises:
            UsageError: the entry does not cover the cohort (see `check_covers`).
            IntegrityError: a file of the entry is damaged.
        """
        matched = check_covers(entry, data, declared, named=True)
        aligned = library.aligned(entry)
        group = aligned.group
        opener = _of_images if entry.kind == "images" else partial(_of_labels, contrasts=contrasts)
        make_template, renderer, person = opener(library, entry, data, matched, aligned)
        centres = [library.person(entry, index).centre for index in range(len(entry.people))]
        figures = (renderer.public_mean, renderer.public_std, renderer.public_within)
        numbers = public_numbers(group.alignments, centres, figures)
        if isinstance(renderer, ClassRenderer | ChannelRenderer) and renderer.related is not None:
            rest = renderer.public_std**2 - renderer.public_within**2
            numbers = numbers.with_error(np.sqrt(rest), np.inf)
        places = [
            place.place_of(pose.affine, at)
            for pose, at in zip(group.alignments, centres, strict=True)
        ]
        spacings = np.median([listed.spacing for listed in entry.people], axis=0)
        x, y, z = (float(s) for s in spacings)
        correlation = place.correlation(np.stack(places), numbers.place, numbers.place_std)
        people = group.alignments
        own = (x, y, z)
        return cls(
            entry,
            data,
            people,
            make_template,
            renderer,
            numbers,
            correlation,
            own,
            drawn_spacing=spacing,
            read_person=person,
        )

    @cached_property
    def template(self) -> Template:
        """What a patient is registered to. Ask for it once before several threads do."""
        return self.make_template()

    @property
    def digest(self) -> str:
        """The digest of the entry, or of the way of drawing from patients' own maps."""
        if self.entry is not None:
            return self.entry.digest
        if not cohort_labels(self.data):
            return AUTOMATIC_DIGEST
        return CHANNELS_DIGEST if self.data.channels else DIGEST

    @property
    def box(self) -> Box:
        """The template's frame."""
        return self.people[0].box

    @property
    def bands(self) -> Bands:
        """Bands of the deformation's coefficients."""
        return Bands.of_basis(self.people[0].basis)

    def measure(self, scan: Scan) -> Measured | None:
        """What one volume shows; None where it cannot be registered, whatever is wrong with it.

        Uses the volume and public things alone.
        """
        try:
            if self.maps is not None:
                scan = self.maps.fine.labelled(scan)
            subject = self._subject(scan)
            if subject is None:
                return None
            pose = register(subject, self.template, self._settings_of(scan))
            figures = self.renderer.measure(scan, pose)
            placed = place.place_of(pose.affine, scan.centre)
        except MemoryError:
            # A matter of the machine: resumed on a larger one, the run goes on.
            raise
        except Exception:  # noqa: BLE001
            # The budget is spent by now, so no patient's voxels may stop the run, and whether they
            # would have is private: the volume counts as none.
            return None
        return Measured(placed, pose.coefficients, figures, scan.category, scan.site)

    def place_labels(self, labels: LabelMap) -> Alignment:
        """The pose of a label map in the template's frame, by its labels alone.

        Raises:
            InputError: it cannot be registered.
        """
        scan = Scan(np.zeros(labels.labels.shape, np.float32), labels.affine, labels.labels)
        subject = self._labels(scan)
        try:
            if subject is None:
                raise ValueError("no label")
            # An image of zeros says nothing of tissues, and would count as one that does.
            template = self.template
            channels = slice(0, len(subject.channels))
            of_labels = replace(
                template, channels=template.channels[channels], stds=template.stds[channels]
            )
            return register(replace(subject, image=None), of_labels, self._settings)
        except (ValueError, np.linalg.LinAlgError) as error:
            raise InputError(
                "its labels cannot be placed on the model's anatomy; give a map of the organ that "
                "the model draws"
            ) from error

    def grid(self, spacing: Sequence[float] | None = None) -> OutputGrid:
        """The grid of drawn volumes.

        The entry's box at `drawn_spacing`; without one the configuration's size and spacing where
        it has a spacing, else the entry's box at the voxel size of its people.

        spacing: another voxel size over the same extent, in mm.
        """
        own: Sequence[float]
        if self.drawn_spacing is not None:
            extent, own = np.asarray(self.box.size), self.drawn_spacing
        elif self.data.spacing is not None:
            extent = np.asarray(self.data.size) * np.asarray(self.data.spacing)
            own = self.data.spacing
        else:
            extent, own = np.asarray(self.box.size), self.spacing
        voxel = np.asarray(own if spacing is None else spacing, np.float64)
        x, y, z = (max(1, round(float(n))) for n in extent / voxel)
        return OutputGrid.of((x, y, z), (float(voxel[0]), float(voxel[1]), float(voxel[2])))

    @property
    def _settings(self) -> Settings:
        fastest = self.people[0].max_frequency or 1 / 40
        if self.maps is None:
            return Settings(max_frequency=fastest)
        return Settings(max_frequency=fastest, angles=self.maps.fine.angles)

    def _settings_of(self, scan: Scan) -> Settings:
        """Of a patient; one without labels is taken to be as upright as the scanner has patients.

        Grey values alone fit a region that is turned nearly as well, and then nothing is right.
        """
        labelled = scan.mask is not None and bool(scan.mask.any())
        return self._settings if labelled else replace(self._settings, angles=(0.0,))

    def _subject(self, scan: Scan) -> Subject | None:
        """What is compared with the template; None where nothing is labelled that should be."""
        return self._labels(scan) if self.maps is None else compared(scan, self.maps.fine)

    def _labels(self, scan: Scan) -> Subject | None:
        """`_subject` without what only an image shows."""
        count = len(cohort_labels(self.data))
        if self.entry is not None and self.entry.kind == "labels":
            return class_subject(scan, count, self.template)
        if scan.mask is None or not scan.mask.any():
            return None
        return distance_subject(scan, count, self.box.edge)


def _of_images(
    library: Library,
    entry: Entry,
    data: DataConfig,
    own: Sequence[Sequence[int]],
    aligned: AlignedEntry,
) -> tuple[Callable[[], Template], Renderer, Callable[[int], Scan] | None]:
    """Template and renderer of images with labels, and the reader of a person."""

    def person(index: int) -> Scan:
        maps = library.person(entry, index)
        table = np.zeros(max(entry.label_scheme) + 1, np.uint8)
        for label, numbers in enumerate(own, 1):
            table[list(numbers)] = label
        assert maps.image is not None
        volume = Volume(np.asarray(maps.image), maps.affine, data.modality)
        return scan_of(volume, data, table[np.clip(maps.labels, 0, None)])

    group = aligned.group
    channel = {number: at for at, number in enumerate(entry.label_scheme)}
    channels = [[channel[number] for number in numbers] for numbers in own]
    absolute = modalities.get(data.modality).scaling.absolute
    renderer = ImageRenderer(person, group.alignments, cohort_labels(data), absolute=absolute)
    return partial(distance_template, group.template, channels), renderer, person


def _of_labels(
    library: Library,
    entry: Entry,
    data: DataConfig,
    own: Sequence[Sequence[int]],
    aligned: AlignedEntry,
    contrasts: Sequence[Contrast],
) -> tuple[Callable[[], Template], Renderer, Callable[[int], Scan] | None]:
    """Template and renderer of label maps of a whole region; there is nobody's image."""
    absolute = modalities.get(data.modality).scaling.absolute
    first = ClassRenderer(
        lambda index: library.person(entry, index),
        aligned,
        entry.label_scheme,
        own,
        window=data.window if absolute else None,
        contrast=contrasts[0],
    )
    template = partial(class_template, first)
    if not data.channels:
        return template, first, None
    others = [first.of_contrast(contrast) for contrast in contrasts[1:]]
    return template, ChannelRenderer(data.channels, [first, *others]), None


def cohort_labels(data: DataConfig) -> tuple[str, ...]:
    """Names of the cohort's labels 1..L."""
    scheme = data.label_scheme or {}
    return tuple(scheme[str(number)] for number in data.label_numbers if str(number) in scheme)


def check_covers(
    entry: Entry,
    data: DataConfig,
    declared: Mapping[str, Sequence[str]] | None = None,
    *,
    named: bool = False,
) -> tuple[tuple[int, ...], ...]:
    """For each label of the cohort, the entry's label numbers.

    named: somebody says that the entry shows the cohort's region. Label maps of a whole region are
        then enough to read scans without masks by; nothing else says that they fit.

    Raises:
        UsageError: the cohort has no labels, or the entry lacks one of them.
    """
    scheme = {int(number): name for number, name in (data.label_scheme or {}).items()}
    names = {number: scheme[number] for number in data.label_numbers if number in scheme}
    if not names and (entry.kind != "labels" or not named):
        raise UsageError(
            f"the anatomy entry {entry.name} needs a cohort with labels; declare them (medvae "
            "dataset declare --label-scheme) and ingest masks, or set anatomy.library to none"
        )
    if data.channels and (entry.kind != "labels" or data.modalities or data.modality != "mri"):
        raise UsageError(
            f"the anatomy entry {entry.name} cannot be drawn in the channels "
            f"{', '.join(data.channels)}: label maps of a whole region are, in contrasts of MRI; "
            "leave anatomy.library out and use -c contrasts"
        )
    if is_cine(data.channels):
        raise UsageError(
            f"the anatomy entry {entry.name} cannot be drawn in frames, for it does not move; "
            "leave anatomy.library out and use -c contrasts"
        )
    if entry.kind == "labels" and data.modality not in ("mri", "ct"):
        raise UsageError(
            f"the anatomy entry {entry.name} holds label maps, which are drawn as MRI or CT, not "
            f"as {data.modality}; set anatomy.library to none"
        )
    return match(names, entry.label_scheme, declared)
