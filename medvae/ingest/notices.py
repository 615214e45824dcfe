"""What a user should know of what was taken: one line a kind, with a count and an example."""

from __future__ import annotations

import threading

# Kind -> what is counted, and what to do about it.
KINDS = {
    "split": (
        "volumes that share a series with others, distinguished by {detail}",
        "check that each is a scan",
    ),
    "interleaved": (
        "volumes in which slices of several acquisitions or runs of instance numbers alternate",
        "check that each is one scan",
    ),
    "named": (
        "volumes whose series description names a projection, a map or a localizer",
        "check that they are scans of anatomy",
    ),
    "joined": (
        "volumes put together from several series of one study that are alike in all else",
        "check that each is one scan",
    ),
    "frames": (
        "moving images with more frames than were asked for",
        "evenly spread ones were taken; --frames with their number keeps all",
    ),
    "single": (
        "volumes of a single slice",
        "slices of one scan belong in one series: export them so, or leave them out",
    ),
    "sparse": (
        "volumes whose slices are at least twice as far apart as they are thick",
        "check that no slice is missing; what is between them was not scanned",
    ),
    "negative": (
        "volumes of MRI or PET with many voxels below 0, which magnitudes and uptake do not have",
        "check that they are no phase images, no CT and not normalised",
    ),
    "partial": (
        "volumes with fewer slices than their headers count",
        "check that the whole series was given",
    ),
    "derived": (
        "volumes marked as DERIVED, computed from other images",
        "check that they show anatomy as a scanner does",
    ),
    "real": ("volumes that are the real part of complex images", "their zero is not air"),
    "attenuated": (
        "volumes of PET whose header does not name a correction for attenuation",
        "uptake in the middle of the body is too low: leave them out",
    ),
    "mosaic": ("volumes taken out of Siemens mosaics", "their slices are as the header says"),
    "framed": (
        "volumes whose segmentation names another frame of reference than their images",
        "check that it marks the right anatomy",
    ),
    "upright": (
        "volumes scanned with a tilted gantry, whose slices were shifted upright",
        "they are interpolated",
    ),
    "sheared": (
        "volumes whose axes were not at right angles and were brought there",
        "they are interpolated",
    ),
    "sideless": (
        "volumes whose NIfTI header does not say which side is left (neither sform nor qform), so "
        "that their axes were taken to run to the left, to the front and to the head",
        "say how their axes run with --orientation",
    ),
    "resized": (
        "volumes whose NIfTI header gives two voxel sizes (pixdim and sform), of which that of "
        "sform was used",
        "check their size",
    ),
    "unscaled": (
        "volumes whose NIfTI header has an intercept (scl_inter) but no slope (scl_slope), so that "
        "both were ignored",
        "check their intensities",
    ),
    "sizes": (
        "volumes whose voxels or field of view are of another size than those of people's scans",
        "check the unit of length in their headers",
    ),
    "fraction": (
        "images of fractions from 0 to 1 of which many are nearly 1, as in maps of probability",
        "check that they are scans",
    ),
    "processed": (
        "images that are named like results of processing another image beside them",
        "two of one person count as two: leave out all but one, or name whose they are in a table "
        "(--subjects)",
    ),
    "holes": (
        "volumes with voxels that are not finite numbers, which count as outside of the image",
        "check that no tissue is among them",
    ),
    "evened": (
        "volumes with slices at uneven distances, resampled to the narrowest one",
        "slices between those of the scanner are interpolated",
    ),
    "padding": (
        "volumes whose padding value is also one of tissue",
        "nothing of them was masked",
    ),
    "several": (
        "patients whose PatientID comes with several {detail}",
        "two people may count as one: name each in a table (--subjects)",
    ),
    "nobody": (
        "patients whose PatientID stands for nobody, such as ANONYMOUS or 0",
        "all under it count as one: name each in a table (--subjects)",
    ),
    "alike": (
        "patients whose PatientIDs {detail}",
        "one person may count several times: name each once in a table (--subjects)",
    ),
    "spellings": (
        "pairs of subjects of a table that differ in spelling only, such as on {detail}",
        "one person may count twice: write each in one way",
    ),
    "placeholder": (
        "subjects of a table that stand for nobody, such as ANONYMOUS or 0 (on {detail})",
        "all under one count as one: name each",
    ),
    "zeros": (
        "BIDS data sets with subjects whose labels differ in leading zeros or case only ({detail})",
        "one person may count several times: name each once in a table (--subjects)",
    ),
    "contested": (
        "volumes of a study or series that the table gives to several patients",
        "a study is of one patient: check the table",
    ),
    "unmasked": (
        "images without a mask among those of --labels",
        "name a mask like its image, or with _seg, _mask or -label behind that name",
    ),
    "undecided": (
        "images with several label maps, none of which was kept",
        "give the one that is meant with --labels",
    ),
    "participants": (
        "files participants.tsv that are no table in UTF-8 with each column once",
        "no age or sex was kept",
    ),
    "participant": (
        "participants with two ages or sexes in participants.tsv",
        "neither was kept",
    ),
    "described": (
        "files participants.json that are no description of columns in UTF-8",
        "no age or sex was kept",
    ),
    "aged": (
        "files participants.json whose unit of age is not years, months, weeks or days",
        "no age was kept",
    ),
    "orphan": ("masks of --labels without an image", "compare the names"),
    "structures": (
        "volumes with masks of single structures, numbered {detail} in one label map",
        "declare these labels with --label-scheme",
    ),
    "overlap": (
        "volumes whose masks of single structures share voxels, so that none of them was kept",
        "name those to keep with --label-scheme",
    ),
    "manifold": (
        "volumes with several masks, one of which has several labels, so that none was kept",
        "keep the one that is meant, or give it with --labels",
    ),
    "segments": (
        "volumes labelled by the numbers that their segmentation gives to named segments",
        "a number may be another structure in another file: name them with --label-scheme",
    ),
    "fractions": (
        "volumes whose segmentation holds fractions",
        "a voxel is labelled where more than half of it is the segment's",
    ),
    "apart": (
        "images whose names or folders say several contrasts ({detail}), and no patient",
        "those of one person count as several: name whose they are in a table (--subjects), or "
        "give those of one contrast",
    ),
    "suffixes": (
        "BIDS data sets with scans of several suffixes ({detail})",
        "take one with --contrast, or make them channels with --channels",
    ),
    "before": (
        "files in sourcedata/ of BIDS data sets, of which the scans were made",
        "they were left out: to read them instead, give that folder alone",
    ),
    "unread": (
        "masks of BIDS data sets that are no segmentations (_dseg)",
        "they were left out: name those that are meant _dseg",
    ),
    "nameless": (
        "images whose names say no contrast, though one was asked for with --contrast",
        "they were taken: leave those of other contrasts out",
    ),
    "misnamed": (
        "images whose names say {detail}, though --modality says otherwise",
        "they were read as --modality says: leave out those that are of another",
    ),
    "contrast": ("images of another contrast than --contrast", "they were left out"),
    "channel": ("images that are none of the --channels", "they were left out"),
    "numbered": (
        "images whose channel is the number in their names, in the order of --channels",
        "check the order, as no dataset.json names the channels",
    ),
    "regridded": (
        "volumes of which a channel was resampled onto the grid of the first, as headers place it",
        "what is there is interpolated, and patients may have moved between the scans",
    ),
    "masked": (
        "volumes of which several channels have label maps",
        "those of the first such channel were kept",
    ),
    "adni": (
        "images whose patient is the ADNI identifier in their path",
        "give --subjects if it is another",
    ),
    "burned": (
        "pictures whose pixels were kept as they are",
        "names and dates that are written into a picture are not found: look at them",
    ),
    "windowless": (
        "radiographs without a window, of which all bits were taken",
        "look whether they are too dark (--dry-run --sheet)",
    ),
    "opaque": (
        "pictures with a transparency channel that hides nothing",
        "the channel was left out",
    ),
    "deep": ("pictures of 16 bits a colour", "8 bits a colour were kept"),
    "grey": ("grey pictures among photographs", "they have three equal colours"),
    "soft": (
        "CT volumes without a voxel below -200 HU, though air is -1000",
        "check that they are in Hounsfield units",
    ),
}
# What the answer of a worker may hold.
FROM_WORKER = frozenset(
    {
        "derived",
        "frames",
        "windowless",
        "real",
        "mosaic",
        "attenuated",
        "padding",
        "soft",
        "overlap",
        "manifold",
        "segments",
        "fractions",
        "upright",
        "evened",
    }
    | {"opaque", "deep", "grey", "sheared", "sideless", "resized", "unscaled", "sizes", "holes"}
    | {"single", "fraction", "sparse", "negative"}
)


class Notices:
    """Counts by kind; may be used by several threads at once."""

    def __init__(self) -> None:
        self._sources: dict[tuple[str, str], list[str]] = {}
        self._lock = threading.Lock()

    def add(self, kind: str, source: str, detail: str = "") -> None:
        """Note that `source` is of a kind of `KINDS`; `detail` is what its words ask for."""
        if kind not in KINDS:
            raise KeyError(kind)
        with self._lock:
            self._sources.setdefault((kind, detail), []).append(source)

    def lines(self) -> list[str]:
        """One sentence a kind and detail, in the order of `KINDS`."""
        order = list(KINDS)
        keys = sorted(self._sources, key=lambda key: (order.index(key[0]), key[1]))
        return [self._line(*key) for key in keys]

    def _line(self, kind: str, detail: str) -> str:
        what, advice = KINDS[kind]
        sources = self._sources[kind, detail]
        example = sources[0] if len(sources) == 1 else f"{len(sources)}, such as {sources[0]}"
        return f"{what.format(detail=detail)}: {example}; {advice}"
