"""Odd files that hospitals have: each is read right, told, or refused in a sentence."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
from ingest_makers import AFFINE, is_sentence, nifti, patched, save

from medvae.errors import InputError
from medvae.ingest import Ingested, Quarantined, read

SHAPE = (20, 22, 18)
GRID = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij"))
RADIUS = np.sqrt((GRID**2).sum(axis=0))
LABELS = (RADIUS < 0.6).astype(np.uint8) + (RADIUS < 0.3)
Files = dict[str, bytes]


def head(seed: int = 0) -> np.ndarray:
    """[20, 22, 18] an image that is smooth inside of a ball, with noise."""
    noise = np.random.default_rng(seed).normal(0, 15, SHAPE)
    inside = 400 + 200 * np.sin(4 * GRID[0] + seed)
    return np.clip(np.where(RADIUS < 0.8, inside, 0) + noise, 0, None).astype(np.int16)


def of_kind(kind: type, *, add: int = 0) -> bytes:
    """A scan of another type of whole numbers."""
    values = head().astype(kind) + kind(add)
    return nibabel.Nifti1Image(values, AFFINE, dtype=kind).to_bytes()


def mask(values: np.ndarray, slope: float = 1.0) -> Files:
    """A scan and a label map beside it, with a slope in its header."""
    return {
        "x.nii.gz": SCAN,
        "x_label.nii.gz": patched(nifti(values), 112, struct.pack("<ff", slope, 0)),
    }


def metaimage(spacing: str = "1 1 1", more: bytes = b"") -> bytes:
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nTransformMatrix = 1 0 0 0 1 0 0 0 1\n"
        f"Offset = 0 0 0\nElementSpacing = {spacing}\nDimSize = 20 22 18\n"
        "ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    return header.encode() + head().tobytes(order="F") + more


SCAN, MASK, BALL = nifti(head()), nifti(LABELS), (LABELS > 0).astype(np.uint8)
PROBABILITY = np.clip(1.5 - RADIUS, 0, 1).astype(np.float32)
FORK = b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(200)

# What is read right, without a note: files -> the numbers in the mask, or None.
RIGHT: dict[str, tuple[Files, list[int] | None]] = {
    "gz with garbage behind": ({"x.nii.gz": gzip.compress(SCAN) + b"garbage"}, None),
    "gz in two": ({"x.nii.gz": gzip.compress(SCAN[:999]) + gzip.compress(SCAN[999:])}, None),
    "gz with zeros behind": ({"x.nii.gz": gzip.compress(SCAN) + bytes(512)}, None),
    "nii that is gz": ({"x.nii": gzip.compress(SCAN)}, None),
    "gz that is nii": ({"x.nii.gz": SCAN}, None),
    "fourth axis of 1": ({"x.nii": nifti(head()[..., None])}, None),
    "fourth axis of 0": ({"x.nii": patched(nifti(head()[..., None]), 48, bytes(2))}, None),
    "fifth axis of 1": ({"x.nii": nifti(head()[..., None, None])}, None),
    "capital endings": ({"X.NII": SCAN}, None),
    "long name": ({"é" * 100 + ".nii": SCAN}, None),
    "name of a command": ({"-rf $(x) '.nii": SCAN}, None),
    "int64": ({"x.nii": of_kind(np.int64)}, None),
    "uint64": ({"x.nii": of_kind(np.uint64)}, None),
    "MetaImage with a byte behind": ({"x.mha": metaimage(more=b"x")}, None),
    "resource forks": (
        {"x.nii.gz": SCAN, "x_seg.nii.gz": MASK, "._x.nii.gz": FORK, "._x_seg.nii.gz": FORK},
        [0, 1, 2],
    ),
    "labels as double": (mask(LABELS.astype(np.float64)), [0, 1, 2]),
    "labels nearly whole": (mask(LABELS * np.float32(0.9999)), [0, 1, 2]),
    "labels of 255 over 255": (mask(BALL * 255, 1 / 255), [0, 1]),
    "empty mask": (mask(LABELS * 0), [0]),
    "mask in German": ({"x.nii.gz": SCAN, "x_Maske.nii.gz": MASK}, [0, 1, 2]),
    "mask in decomposed Spanish": ({"x.nii.gz": SCAN, "x_ma\u0301scara.nii.gz": MASK}, [0, 1, 2]),
    "mask in front": ({"x.nii.gz": SCAN, "seg_x.nii.gz": MASK}, [0, 1, 2]),
    "mask of another ending": ({"x.nii": SCAN, "x_seg.nii.gz": gzip.compress(MASK)}, [0, 1, 2]),
}
# What is read with a note.
TOLD: dict[str, tuple[Files, str]] = {
    "one slice": ({"x.nii": nifti(head()[:, :1])}, "volumes of a single slice"),
    "no side": ({"x.nii": patched(SCAN, 252, bytes(4))}, "which side is left"),
    "intercept alone": (
        {"x.nii": patched(SCAN, 112, struct.pack("<ff", 0, 5))},
        "intercept (scl_inter) but no slope",
    ),
    "some not finite": (
        {"x.nii": nifti(np.where(RADIUS < 1, head(), np.nan).astype(np.float32))},
        "not finite numbers",
    ),
    "a map of probability": ({"x.nii": nifti(PROBABILITY)}, "fractions from 0 to 1"),
    "grey matter of SPM": ({"c1.nii": SCAN, "mc1.nii": nifti(head(1))}, "results of processing"),
    "brain of FSL": ({"s.nii": SCAN, "s_brain.nii": nifti(head(1))}, "results of processing"),
    "fast of FSL": ({"s.nii": SCAN, "s_fast_pve_0.nii": nifti(head(1))}, "results of processing"),
    "standard of FSL": (
        {"s.nii": SCAN, "s_to_std_sub.nii": nifti(head(1))},
        "results of processing",
    ),
    "bias of a scan": ({"s.nii": SCAN, "s_bias.nii": nifti(head(1))}, "results of processing"),
    "stripped": ({"s.nii": SCAN, "s_strip.nii": nifti(head(1))}, "results of processing"),
    "CT by name": ({"P1_CT.nii": SCAN}, "names say ct, though --modality says otherwise"),
    "warped by ANTs": ({"s.nii": SCAN, "sWarped.nii": nifti(head(1))}, "results of processing"),
}
# What is refused: files -> which one, and why.
REFUSED: dict[str, tuple[Files, str, str]] = {
    "numbers below 0 called unsigned": (
        {"x.nii": nifti((head().astype(int) - 40).astype(np.uint16))},
        "x.nii",
        "where numbers below 0 are called unsigned",
    ),
    "uint64 beyond": ({"x.nii": of_kind(np.uint64, add=2**60)}, "x.nii", "no scanner gives"),
    "gz twice": ({"x.nii.gz": gzip.compress(gzip.compress(SCAN))}, "x.nii.gz", "compressed twice"),
    "gz cut": ({"x.nii.gz": gzip.compress(SCAN)[:-99]}, "x.nii.gz", "cut short"),
    "cut": ({"x.nii": SCAN[:-99]}, "x.nii", "truncated"),
    "empty": ({"x.nii.gz": b""}, "x.nii.gz", "it is empty"),
    "empty DICOM": ({"x.dcm": b""}, "x.dcm", "it is empty"),
    "web page": ({"x.nii.gz": b"<!DOCTYPE html>"}, "x.nii.gz", "failed download"),
    "pointer": ({"x.nii.gz": b"version https://git-lfs"}, "x.nii.gz", "Git LFS"),
    "DICOM as nii": ({"x.nii": bytes(128) + b"DICM" + bytes(99)}, "x.nii", "it is DICOM"),
    "header of a pair": ({"x.hdr": patched(SCAN, 344, b"ni1")}, "x.hdr", "put its .img file"),
    "nii as DICOM": ({"x.dcm": SCAN}, "x.dcm", "it is NIfTI: name it .nii"),
    "nii.gz without an ending": ({"x": gzip.compress(SCAN)}, "x", "it is NIfTI: name it .nii.gz"),
    "NRRD as mha": ({"x.mha": b"NRRD0004\n"}, "x.mha", "it is NRRD"),
    "mha as NRRD": ({"x.nrrd": metaimage()}, "x.nrrd", "it is MetaImage"),
    "zip as DICOM": ({"x.dcm": b"PK\3\4" + bytes(99)}, "x.dcm", "it is a zip archive"),
    "bzip2": ({"x.nii.bz2": b"BZh91AY"}, "x.nii.bz2", "compressed by bzip2"),
    "spreadsheet": ({"people.xlsx": b"PK\3\4"}, "people.xlsx", "spreadsheet"),
    "four times": ({"x.nii": nifti(np.stack([head()] * 4, -1))}, "x.nii", "series of volumes"),
    "vectors": ({"x.nii": nifti(np.zeros((*SHAPE, 1, 3), np.float32))}, "x.nii", "values a voxel"),
    "128 bits": ({"x.nii": patched(SCAN, 70, struct.pack("<h", 1536))}, "x.nii", "128 bits"),
    "nothing finite": ({"x.nii": nifti(np.full(SHAPE, np.nan, "f4"))}, "x.nii", "finite number"),
    "axis of 0": ({"x.nii": patched(SCAN, 44, bytes(2))}, "x.nii", "20 x 0 x 18"),
    "axis of -5": ({"x.nii": patched(SCAN, 44, b"\xfb\xff")}, "x.nii", "20 x -5 x 18"),
    "slope of infinity": (
        {"x.nii": patched(SCAN, 112, struct.pack("<f", np.inf))},
        "x.nii",
        "scale is not a finite number",
    ),
    "geometry of zeros": ({"x.nii": patched(SCAN, 280, bytes(48))}, "x.nii", "impossible"),
    "MetaImage of spacing 0": ({"x.mha": metaimage("0 1 1")}, "x.mha", "impossible"),
    "labels resampled": (mask(PROBABILITY), "x.nii.gz", "not whole numbers from 0 to 255"),
    "labels of 1000": (mask(LABELS.astype("i2") * 999), "x.nii.gz", "not whole numbers"),
    "labels below 0": (mask(LABELS.astype("i2") - 1), "x.nii.gz", "not whole numbers"),
    "labels of 25.5": (mask(BALL * 255, 0.1), "x.nii.gz", "not whole numbers"),
    "mask of another size": (mask(LABELS[:, :, :-1]), "x.nii.gz", "its size is 20 x 22 x 17"),
    "two masks": (
        {"x.nii.gz": SCAN, "x_seg.nii.gz": MASK, "x_mask.nii.gz": MASK},
        "x.nii.gz",
        "more than one mask",
    ),
    **{
        f"mask named {name}": ({"x.nii.gz": SCAN, name: MASK}, name, "it is a label map")
        for name in ("x_tumor.nii.gz", "xSeg.nii.gz", "x_Mask_v2.nii.gz")
    },
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Ingested | Quarantined]]:
    """All of one reading, by case."""
    root = tmp_path_factory.mktemp("odd")
    for case, (files, *_) in (RIGHT | REFUSED).items():
        for name, data in files.items():
            (root / case).mkdir(exist_ok=True)
            (root / case / name).write_bytes(data)
    found: dict[str, list[Ingested | Quarantined]] = {}
    for result in read([root], modality="mri"):
        found.setdefault(Path(result.source).relative_to(root).parts[0], []).append(result)
    return found


@pytest.mark.parametrize("case", RIGHT)
def test_what_is_odd_is_read_right(
    results: dict[str, list[Ingested | Quarantined]], case: str
) -> None:
    (result,) = results[case]
    assert isinstance(result, Ingested), result
    # MetaImage has x and y the other way round.
    expected = head()[::-1, ::-1] if result.source.endswith(".mha") else head()
    assert np.array_equal(result.volume.voxels, expected)
    labels = None if result.volume.mask is None else np.unique(result.volume.mask).tolist()
    assert labels == RIGHT[case][1]


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_refused_in_a_sentence(
    results: dict[str, list[Ingested | Quarantined]], case: str
) -> None:
    _, name, reason = REFUSED[case]
    refused = [one for one in results[case] if isinstance(one, Quarantined)]
    assert [Path(one.source).name for one in refused] == [name]
    assert reason in is_sentence(refused[0].reason)
    # Nothing of it is a volume but the scan beside a mask that it has no part in.
    others = [Path(one.source).name for one in results[case] if isinstance(one, Ingested)]
    assert others in ([], ["x.nii.gz"])
    assert all(one.volume.mask is None for one in results[case] if isinstance(one, Ingested))


@pytest.mark.parametrize("case", TOLD)
def test_what_is_doubtful_is_told(tmp_path: Path, case: str) -> None:
    files, note = TOLD[case]
    for name, data in files.items():
        save(tmp_path / name, data)
    notes: list[str] = []
    found = list(read([tmp_path], modality="mri", notes=notes.append))
    assert len(found) == len(files)
    assert all(isinstance(one, Ingested) for one in found)
    assert [one for one in notes if note in one], notes


def test_images_of_other_names_are_no_results_of_processing(tmp_path: Path) -> None:
    for seed, name in enumerate(("case1", "case11", "p_2019", "p_2020", "art", "part2", "x-y")):
        save(tmp_path / f"{name}.nii", nifti(head(seed)))
    notes: list[str] = []
    assert len(list(read([tmp_path], modality="mri", notes=notes.append))) == 7
    assert not [one for one in notes if "processing" in one]


TABLES = {
    "blank lines": "\n\nfilename,subject\na.nii,P1\n\nd/b.nii,P2\n",
    "no endings": "filename,subject\na,P1\nb,P2\n",
    "semicolons": "filename;subject\na.nii;P1\nb.nii;P2\n",
    "formulas of a spreadsheet": 'filename,subject\na.nii,"=""P1"""\nb.nii,"=""P2"""\n',
    "classes of a spreadsheet": "filename,subject,class\na.nii,P1,1.0\nb.nii,P2,0.0\n",
}


@pytest.mark.parametrize("text", TABLES.values(), ids=TABLES)
def test_a_table_as_people_write_it_is_read(tmp_path: Path, text: str) -> None:
    save(tmp_path / "a.nii", nifti(head()))
    save(tmp_path / "d/b.nii", nifti(head(1)))
    (tmp_path / "subjects.csv").write_text(text)
    column = "class" if "class" in text else None
    found = list(read([tmp_path], modality="mri", class_column=column))
    assert [one.subject for one in found if isinstance(one, Ingested)] == ["P1", "P2"]
    if column:
        assert [one.volume.meta["class"] for one in found if isinstance(one, Ingested)] == [1, 0]


def test_a_name_that_stands_for_two_files_gives_neither_a_patient(tmp_path: Path) -> None:
    for seed, name in enumerate(("d/a.nii", "e/a.nii", "e/b.nii")):
        save(tmp_path / name, nifti(head(seed)))
    (tmp_path / "subjects.csv").write_text("filename,subject\na.nii,P1\nb.nii,P2\n")
    found = list(read([tmp_path], modality="mri"))
    assert [one.subject for one in found if isinstance(one, Ingested)] == ["P2"]
    refused = [one.reason for one in found if isinstance(one, Quarantined)]
    assert ["stands for 2 files" in one for one in refused] == [True, True]


def test_one_name_in_two_sources_is_not_one_patient(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        save(tmp_path / name / "1.nii", nifti(head(seed)))
    table = tmp_path / "t.csv"
    table.write_text("filename,subject\n1.nii,P1\n")
    for sources in ([tmp_path / "a", tmp_path / "b"], [tmp_path / "a/1.nii", tmp_path / "b/1.nii"]):
        found = list(read(sources, subjects=table, modality="mri"))
        assert ["stands for 2 files" in getattr(one, "reason", "") for one in found] == [True] * 2


def test_subjects_that_differ_in_spelling_are_told(tmp_path: Path) -> None:
    for seed, name in enumerate("abcd"):
        save(tmp_path / f"{name}.nii", nifti(head(seed)))
    rows = "a.nii,1\nb.nii,1.0\nc.nii,P-7\nd.nii,p7\n"
    (tmp_path / "subjects.csv").write_text(f"filename,subject\n{rows}")
    notes: list[str] = []
    assert len(list(read([tmp_path], modality="mri", notes=notes.append))) == 4
    told = [one for one in notes if "differ in spelling" in one]
    assert ["lines 2 and 3" in told[0], "lines 4 and 5" in told[1]] == [True, True]


def test_a_column_given_twice_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.nii", nifti(head()))
    (tmp_path / "subjects.csv").write_text("filename,subject,Subject\na.nii,P1,P2\n")
    with pytest.raises(InputError, match="two columns subject"):
        list(read([tmp_path], modality="mri"))
