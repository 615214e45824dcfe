"""Whose is each file, which mask goes with it, and which layouts are understood."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ingest_makers import (
    dicomdir,
    is_sentence,
    nifti,
    one,
    refusal,
    save,
    series,
    taken,
    voxels,
    write,
)

from medvae.errors import InputError, UsageError
from medvae.ingest import Ingested, Limits, Quarantined, read
from medvae.progress import Silent

GOOD = nifti()
MASK = nifti((voxels() % 3).astype(np.uint8))


def folder(root: Path, **files: bytes) -> Path:
    for name, data in files.items():
        save(root / name.replace("__", "/").replace("_nii", ".nii"), data)
    return root


def table(root: Path, text: str) -> Path:
    (root / "subjects.csv").write_text(text, encoding="utf-8")
    return root


def test_a_table_at_the_top_says_whose_each_file_is(tmp_path: Path) -> None:
    folder(tmp_path, a_nii=GOOD, b_nii=GOOD, sub__c_nii=GOOD, deep__p7__d_nii=GOOD)
    table(tmp_path, "\ufefffilename;subject\na.nii;P1\nb.nii; P1 \nsub/c.nii;P2\np7;P3\n")
    found = {Path(r.source).name: r.subject for r in taken(tmp_path, modality="mri")}
    assert found == {"a.nii": "P1", "b.nii": "P1", "c.nii": "P2", "d.nii": "P3"}


def test_table_and_files_that_do_not_fit_are_listed_and_the_rest_kept(tmp_path: Path) -> None:
    folder(tmp_path, a_nii=GOOD, b_nii=GOOD, c_nii=GOOD, d_nii=GOOD)
    table(tmp_path, "filename,subject\na.nii,P1\nb.nii,\ngone.nii,P2\nd.nii,P3\nd.nii,P4\n")
    results = list(read([tmp_path], modality="mri"))
    assert [r.subject for r in results if isinstance(r, Ingested)] == ["P1"]
    reasons = {
        Path(r.source).name: is_sentence(r.reason) for r in results if isinstance(r, Quarantined)
    }
    assert "line 3" in reasons["b.nii"]
    assert "no subject" in reasons["b.nii"]
    assert "does not name it" in reasons["c.nii"]
    assert "lines 5 and 6" in reasons["d.nii"]
    assert "line 4" in reasons["subjects.csv"]
    assert "gone.nii" in reasons["subjects.csv"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"name,patient\na.nii,P\n",
        b"filename\na.nii\n",
        b"\xff\xfe\x00",
        b'filename,subject\n"a',
        b'filename,subject\na\0.nii,\0\n"x',
    ],
)
def test_what_is_no_table_stops_the_read_before_any_file(tmp_path: Path, data: bytes) -> None:
    folder(tmp_path, a_nii=GOOD)
    csv = tmp_path / "given.csv"
    csv.write_bytes(data)
    with pytest.raises(InputError, match="filename"):
        list(read([tmp_path], subjects=csv))
    csv.rename(tmp_path / "subjects.csv")
    with pytest.raises(InputError, match="filename"):
        list(read([tmp_path]))


def test_a_table_with_rows_of_any_length_is_read(tmp_path: Path) -> None:
    folder(tmp_path, a_nii=GOOD, b_nii=GOOD)
    table(tmp_path, "filename,subject\n\na.nii,P1,,\nb.nii,Doe, Jane\nlonely\n")
    results = list(read([tmp_path], modality="mri"))
    assert [r.subject for r in results if isinstance(r, Ingested)] == ["P1"]
    # A cell too many means that the others may be out of place.
    assert any("line 4" in r.reason for r in results if isinstance(r, Quarantined))


def test_a_named_column_becomes_the_label(tmp_path: Path) -> None:
    folder(tmp_path, a_nii=GOOD, b_nii=GOOD, c_nii=GOOD)
    table(tmp_path, "filename,subject,grade\na.nii,P1,3\nb.nii,P2,high\nc.nii,P3,nan\n")
    labels = [
        r.volume.meta.get("label") for r in taken(tmp_path, modality="mri", label_column="grade")
    ]
    assert labels == [3, "high", None]
    assert all(r.volume.meta == {} for r in taken(tmp_path, modality="mri"))
    with pytest.raises(InputError, match="size is missing"):
        list(read([tmp_path], label_column="size"))


def test_a_named_column_becomes_the_class(tmp_path: Path) -> None:
    names = "abcdefg"
    folder(tmp_path, **{f"{name}_nii": GOOD for name in names})
    cells = ("0", " 12 ", "", "-1", "1.5", "high", "16")
    rows = "".join(f"{n}.nii,P{n},{cell}\n" for n, cell in zip(names, cells, strict=True))
    table(tmp_path, f"filename,subject,Grade\n{rows}")
    found = list(read([tmp_path], modality="mri", class_column="Grade"))
    kept = {r.subject: r.volume.category for r in found if isinstance(r, Ingested)}
    assert kept == {"Pa": 0, "Pb": 12, "Pc": None}
    refused = [r.reason for r in found if isinstance(r, Quarantined)]
    assert len(refused) == 4
    assert all("gives it no class: expected a whole number" in r for r in refused)
    assert not any("high" in r for r in refused)
    # Without the option nothing of the column stays.
    assert all(r.volume.meta == {} for r in taken(tmp_path, modality="mri"))
    with pytest.raises(InputError, match="size is missing"):
        list(read([tmp_path], class_column="size"))


def test_two_classes_of_one_file_are_refused(tmp_path: Path) -> None:
    folder(tmp_path, a_nii=GOOD)
    table(tmp_path, "filename,subject,grade\na.nii,P1,0\na.nii,P1,1\n")
    (found,) = list(read([tmp_path], modality="mri", class_column="grade"))
    assert isinstance(found, Quarantined)
    assert "different classes" in found.reason


def test_a_site_is_a_short_name_or_nothing(tmp_path: Path) -> None:
    names = [f"{letter}.nii" for letter in "abcdef"]
    folder(tmp_path, **{name.replace(".", "_"): GOOD for name in names})
    cells = ("north", " St-Mary_2.x ", "", "a b", "x" * 33, "-x")
    rows = "".join(f"{n},P{n},{cell}\n" for n, cell in zip(names, cells, strict=True))
    table(tmp_path, f"filename,subject,Hospital\n{rows}")
    found = list(read([tmp_path], modality="mri", site_column="hospital"))
    kept = {r.subject: r.volume.site for r in found if isinstance(r, Ingested)}
    assert kept == {"Pa.nii": "north", "Pb.nii": "St-Mary_2.x", "Pc.nii": None}
    refused = [r.reason for r in found if isinstance(r, Quarantined)]
    assert len(refused) == 3
    assert all("names no site: expected up to 32 letters" in r for r in refused)
    assert all(r.volume.meta == {} for r in taken(tmp_path, modality="mri"))
    with pytest.raises(InputError, match="site is missing"):
        list(read([tmp_path], site_column="site"))


def test_two_sites_of_one_file_are_refused(tmp_path: Path) -> None:
    folder(tmp_path, a_nii=GOOD)
    table(tmp_path, "filename,subject,site\na.nii,P1,a\na.nii,P1,b\n")
    (found,) = list(read([tmp_path], modality="mri", site_column="site"))
    assert isinstance(found, Quarantined)
    assert "different sites" in found.reason


def test_two_labels_of_one_file_are_refused(tmp_path: Path) -> None:
    folder(tmp_path, a_nii=GOOD)
    table(tmp_path, "filename,subject,grade\na.nii,P1,low\na.nii,P1,high\n")
    (found,) = list(read([tmp_path], modality="mri", label_column="grade"))
    assert isinstance(found, Quarantined)
    assert "different labels" in found.reason
    # Nobody asked for the column: the lines agree.
    assert one(tmp_path, modality="mri").subject == "P1"


@pytest.mark.parametrize("name", ["Subjects.csv", "SUBJECTS.CSV", "subjects.tsv", "Subjects.TSV"])
def test_the_table_is_found_in_any_spelling(tmp_path: Path, name: str) -> None:
    folder(tmp_path, a_nii=GOOD, b_nii=GOOD)
    between = "\t" if name.lower().endswith("tsv") else ","
    lines = ("filename,subject", "a.nii,P1", "b.nii,P1")
    (tmp_path / name).write_text("\n".join(lines).replace(",", between))
    assert {r.subject for r in taken(tmp_path, modality="mri")} == {"P1"}
    (tmp_path / "subjects.csv").write_text("filename,subject\n")
    if name != "subjects.csv":
        with pytest.raises(InputError, match="keep one"):
            list(read([tmp_path], modality="mri"))


@pytest.mark.parametrize(("disk", "written"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_one_name_in_two_spellings_of_unicode(tmp_path: Path, disk: Any, written: Any) -> None:
    save(tmp_path / unicodedata.normalize(disk, "Müller/Ärzte.nii"), GOOD)
    table(tmp_path, "filename,subject\n" + unicodedata.normalize(written, "Müller/Ärzte.nii,P1"))
    assert one(tmp_path, modality="mri").subject == "P1"


def test_a_table_may_say_that_a_subject_is_a_file(tmp_path: Path) -> None:
    folder(tmp_path, a_nii=GOOD, b_nii=GOOD)
    table(tmp_path, "filename,subject,unit\na.nii,F1,file\nb.nii,P1,patient\n")
    found = {r.subject: r.own_subject for r in taken(tmp_path, modality="mri")}
    assert found == {"F1": True, "P1": False}


def test_without_a_table_each_file_is_a_subject_and_the_user_is_told(tmp_path: Path) -> None:
    folder(tmp_path, x__scan_nii=GOOD, y__scan_nii=GOOD)
    notes: list[str] = []
    assert {r.subject for r in taken(tmp_path, modality="mri", notes=notes.append)} == {
        "x/scan",
        "y/scan",
    }
    assert any("unit of privacy" in note for note in notes)


def test_masks_lie_beside_images(tmp_path: Path) -> None:
    for images, labels in (("images", "labels"), ("imagesTr", "labelsTr")):
        root = tmp_path / images
        save(root / images / "a.nii.gz", GOOD)
        save(root / images / "case_0000.nii.gz", GOOD)
        save(root / images / "alone.nii.gz", GOOD)
        save(root / labels / "a.nii.gz", MASK)
        save(root / labels / "case.nii.gz", MASK)
        save(root / labels / "orphan.nii.gz", MASK)
        save(root / images / "misfit.nii.gz", GOOD)
        save(root / labels / "misfit.nii.gz", nifti(np.zeros((2, 2, 2), np.uint8)))
        save(root / images / "moved.nii.gz", GOOD)
        save(root / labels / "moved.nii.gz", nifti(voxels() % 3, np.diag([1.5, 2, 2.6, 1])))
        save(root / images / "odd.nii.gz", GOOD)
        save(root / labels / "odd.nii.gz", nifti(np.full((7, 8, 9), 0.5, np.float32)))
        results = {Path(r.source).name: r for r in read([root], modality="mri")}
        for name, masked in (("a", True), ("case_0000", True), ("alone", False)):
            result = results.pop(f"{name}.nii.gz")
            assert isinstance(result, Ingested), result
            assert (result.volume.mask is not None) is masked
            if masked:
                assert np.array_equal(result.volume.mask, voxels() % 3)
        assert set(results) == {f"{n}.nii.gz" for n in ("orphan", "misfit", "moved", "odd")}
        assert all(isinstance(r, Quarantined) for r in results.values())


def test_masks_are_turned_with_their_image(tmp_path: Path) -> None:
    affine = np.diag([-1.0, 1, -2, 1])[:, [1, 0, 2, 3]]
    save(tmp_path / "images/a.nii", nifti(voxels(), affine))
    save(tmp_path / "labels/a.nii", nifti((voxels() > 500).astype(np.uint8), affine))
    volume = one(tmp_path, modality="mri").volume
    assert np.array_equal(volume.mask, volume.voxels > 500)


def test_masks_given_apart(tmp_path: Path) -> None:
    save(tmp_path / "scans/a.nii", GOOD)
    save(tmp_path / "masks/a.nii", MASK)
    assert (
        one(tmp_path / "scans", labels=tmp_path / "masks", modality="mri").volume.mask is not None
    )
    alone = one(tmp_path / "scans/a.nii", labels=tmp_path / "masks/a.nii", modality="mri")
    assert alone.volume.mask is not None


def bids(root: Path) -> Path:
    save(root / "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz", GOOD)
    save(root / "sub-01/ses-a/anat/sub-01_ses-a_dseg.nii.gz", MASK)
    save(root / "sub-01/ses-b/anat/sub-01_ses-b_FLAIR.nii.gz", GOOD)
    save(root / "sub-02/anat/sub-02_ct.nii.gz", nifti(voxels() - 100))
    save(root / "sub-02/func/sub-02_task-rest_bold.nii.gz", nifti(voxels((3, 3, 3, 2))))
    save(root / "derivatives/x/sub-02/anat/sub-02_desc-y_T1w.nii.gz", GOOD)
    (root / "dataset_description.json").write_text("{}")
    (root / "participants.tsv").write_text(
        "participant_id\tage\tsex\nsub-01\t47\tF\nsub-02\t93\tx\n"
    )
    return root


def test_bids(tmp_path: Path) -> None:
    results = list(read([bids(tmp_path)], demographics=True))
    found = [r for r in results if isinstance(r, Ingested)]
    assert [(r.subject, r.volume.modality, r.volume.mask is not None) for r in found] == [
        ("01", "mri", True),
        ("01", "mri", False),
        ("02", "ct", False),
    ]
    assert found[0].volume.meta == {"age_group": "40-49", "sex": "F"}
    assert found[2].volume.meta == {"age_group": "90+"}
    (left,) = [r for r in results if isinstance(r, Quarantined)]
    assert "anat/" in left.reason
    assert all(r.volume.meta == {} for r in read([tmp_path]) if isinstance(r, Ingested))


def test_what_a_bids_data_set_was_made_of_is_left_out_and_told(tmp_path: Path) -> None:
    write(bids(tmp_path / "x") / "sourcedata/sub-01", series())
    save(tmp_path / "x/sourcedata/sub-01/anat/sub-01_T1w.nii.gz", nifti(voxels(seed=3)))
    notes: list[str] = []
    results = list(read([tmp_path / "x"], notes=notes.append))
    assert [r.subject for r in results if isinstance(r, Ingested)] == ["01", "01", "02"]
    assert [note for note in notes if note.startswith("files in sourcedata/")] != []
    alone = [one for one in read([tmp_path / "x/sourcedata"]) if isinstance(one, Ingested)]
    assert sorted(one.subject for one in alone) == ["01", "PAT-1"]


def zipped(root: Path) -> Path:
    path = root.parent / f"{root.name}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for file in sorted(root.rglob("*")):
            if file.is_file():
                out.write(file, file.relative_to(root))
    return path


def tarred(root: Path, ending: str, packing: str) -> Path:
    path = root.parent / f"{root.name}.{ending}"
    with tarfile.open(path, f"w:{packing}") as out:
        for file in sorted(root.rglob("*")):
            if file.is_file():
                out.add(file, file.relative_to(root))
    return path


def pairs(root: Path) -> Path:
    save(root / "images/a.nii.gz", GOOD)
    save(root / "labels/a.nii.gz", MASK)
    return table(root, "filename,subject\na.nii.gz,P9\n")


def dicom(root: Path) -> Path:
    write(root / "one", series())
    return write(root / "two/deep", series(patient="PAT-2", series="1.2.9", modality="MR"))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_tar_archive_gives_nothing_but_its_plain_files(tmp_path: Path, workers: int) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as out:
        for name, kind, target in (
            ("../out.nii", tarfile.REGTYPE, ""),
            ("/root.nii", tarfile.REGTYPE, ""),
            ("link.nii", tarfile.SYMTYPE, "/etc/passwd"),
            ("hard.nii", tarfile.LNKTYPE, "../out.nii"),
            ("pipe.nii", tarfile.FIFOTYPE, ""),
            ("z/last.nii", tarfile.REGTYPE, ""),
            ("a/first.nii", tarfile.REGTYPE, ""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            member.size = len(GOOD) if kind == tarfile.REGTYPE else 0
            out.addfile(member, io.BytesIO(GOOD))
    results = list(read([path], modality="mri", workers=workers))
    refused = [r.reason for r in results if isinstance(r, Quarantined)]
    assert refused == ["its name leads out of the archive"] * 2
    assert [r.subject for r in results if isinstance(r, Ingested)] == ["z/last", "a/first"]


def test_damaged_and_overlarge_tar_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    for data in (b"", b"\x1f\x8b" + b"x" * 99, gzip.compress(b"no tar" * 999)):
        path.write_bytes(data)
        assert "archive" in refusal(path)
    with tarfile.open(tmp_path / "b.tar", "w") as out:
        member = tarfile.TarInfo("a.nii")
        member.size = len(GOOD)
        out.addfile(member, io.BytesIO(GOOD))
    whole = (tmp_path / "b.tar").read_bytes()
    bomb = nifti(np.zeros((40, 40, 40), np.int16))
    with tarfile.open(path, "w:gz") as out:
        member = tarfile.TarInfo("a.nii")
        member.size = len(bomb)
        out.addfile(member, io.BytesIO(bomb))
    assert "more than" in refusal(path, limits=Limits(file_bytes=len(bomb) - 1))
    (tmp_path / "b.tar").write_bytes(whole[:700])
    is_sentence(refusal(tmp_path / "b.tar", modality="mri"))
    assert "more than 0 files" in refusal(tmp_path / "b.tar", limits=Limits(members=0))


@pytest.mark.parametrize("layout", [bids, pairs, dicom])
def test_an_archive_is_read_as_the_folder_it_was_made_of(
    tmp_path: Path, layout: Callable[[Path], Path]
) -> None:
    root = tmp_path / "source"
    layout(root)

    def facts(results: Any) -> list[tuple[Any, ...]]:
        return [
            (r.subject, r.volume.to_bytes()) if isinstance(r, Ingested) else (r.reason,)
            for r in results
        ]

    expected = facts(read([root], modality=None if layout is not pairs else "mri"))
    modality = None if layout is not pairs else "mri"
    assert facts(read([zipped(root)], modality=modality)) == expected
    for ending, packing in (("tar", ""), ("tar.gz", "gz"), ("tgz", "gz"), ("tar.xz", "xz")):
        path = tarred(root, ending, packing)
        assert facts(read([path], modality=modality)) == expected
    assert any(len(fact) == 2 for fact in expected)


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom dislikes such file ids
def test_dicomdir_lists_what_is_read_and_leads_nowhere_else(tmp_path: Path) -> None:
    write(tmp_path / "secret", series(patient="SECRET", series="9.9"))
    secret = next((tmp_path / "secret").iterdir())
    root = tmp_path / "disc"
    names = [["IMG", f.name] for f in sorted(write(root / "IMG", series()).iterdir())]
    write(root / "UNLISTED", series(patient="OTHER", series="8.8"))
    traps = [
        ["..", "secret", secret.name],
        ["IMG", "..", "..", "secret", secret.name],
        [f"../secret/{secret.name}"],
        [str(secret)],
        ["", "etc", "passwd"],
        ["IMG", "GONE"],
    ]
    results = list(read([dicomdir(root, names + traps)]))
    assert [r.subject for r in results if isinstance(r, Ingested)] == ["PAT-1"]
    listed = {"/".join(trap) for trap in traps}  # one name in two spellings is read once
    assert len([r for r in results if isinstance(r, Quarantined)]) == len(listed)
    # As a folder, everything in it is read, and the DICOMDIR itself passed over.
    assert {r.subject for r in taken(root)} == {"PAT-1", "OTHER"}


def test_a_table_can_name_dicom_folders(tmp_path: Path) -> None:
    dicom(tmp_path)
    table(tmp_path, "filename,subject\none,A\ntwo/deep,B\n")
    assert [r.subject for r in taken(tmp_path)] == ["A", "B"]


def test_several_sources_at_once_and_files_of_other_kinds(tmp_path: Path) -> None:
    root = folder(tmp_path / "a", a_nii=GOOD)
    (root / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0 JFIF")
    (root / "README.md").write_text("hello")
    (root / ".hidden").write_text("hello")
    (root / "notes.txt").write_text("Jane Doe, born 1971")
    results = list(read([root, write(tmp_path / "b", series())], modality=None))
    assert sum(isinstance(r, Ingested) for r in results) == 2
    left = {Path(r.source).name: r.reason for r in results if isinstance(r, Quarantined)}
    assert set(left) == {"photo.jpg", "notes.txt"}
    assert "--modality xray or photo" in left["photo.jpg"]
    assert not any("Jane" in reason for reason in left.values())


def test_arguments_that_cannot_be_right(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one of mri, ct, pet, xray, photo"):
        read([tmp_path], modality="sonogram")
    with pytest.raises(UsageError, match="workers"):
        read([tmp_path], workers=0)
    with pytest.raises(InputError, match="does not exist"):
        read([tmp_path / "nowhere"])
    assert list(read([tmp_path])) == []
    assert refusal(save(tmp_path / "x.txt", b"words"))


def test_more_workers_give_the_same_in_the_same_order(tmp_path: Path) -> None:
    for number in range(12):
        save(
            tmp_path / f"{number:02d}.nii.gz", nifti(voxels(seed=number)) if number % 5 else b"junk"
        )
    one_by_one = [(r.source, isinstance(r, Ingested)) for r in read([tmp_path], modality="mri")]
    together = [
        (r.source, isinstance(r, Ingested)) for r in read([tmp_path], modality="mri", workers=3)
    ]
    assert one_by_one == together
    assert len(together) == 12


def test_nothing_is_called_done_where_nothing_is_usable(tmp_path: Path) -> None:
    class Listener(Silent):
        finished = 0

        def finish(self, note: str = "") -> None:
            self.finished += 1

    listener = Listener()
    (tmp_path / "x.dcm").write_bytes(b"no scan")
    list(read([tmp_path], progress=listener))
    assert listener.finished == 0
    save(tmp_path / "x.nii", nifti())
    list(read([tmp_path], modality="mri", progress=listener))
    assert listener.finished == 1


def test_progress_counts_every_file(tmp_path: Path) -> None:
    folder(tmp_path, a_nii=GOOD, b_nii=b"junk")
    write(tmp_path / "ct", series())
    seen: list[int] = []

    class Listener:
        def start(self, stage: str, total: int) -> None:
            self.total = total

        def advance(self, done: int, note: str = "") -> None:
            seen.append(done)

        def finish(self, note: str = "") -> None: ...

    listener = Listener()
    list(read([tmp_path], modality="ct", progress=listener))
    assert listener.total == 7
    assert seen[-1] == 7
    assert seen == sorted(seen)
    shutil.rmtree(tmp_path)
