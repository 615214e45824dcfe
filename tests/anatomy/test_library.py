"""The public anatomy library: what it keeps, refuses and notices."""

from __future__ import annotations

import hashlib
import json
import shutil

import nibabel
import numpy as np
import pytest
import SimpleITK

from medvae import api
from medvae.anatomy.collection import Library
from medvae.anatomy.collection.alignment import shown
from medvae.anatomy.collection.labels import without_side
from medvae.api import anatomy_files
from medvae.api.anatomy_choice import check_other_people
from medvae.errors import InputError, IntegrityError, NotFoundError, UsageError
from medvae.progress import SILENT
from tests.anatomy.conftest import SCHEME, write

FACTS = {"licence": "CC0", "source": "made up"}


@pytest.fixture(scope="module")
def vault(tmp_path_factory, label_maps, images):
    root = tmp_path_factory.mktemp("library") / "vault"
    api.add_anatomy(label_maps, "bodies", label_scheme=SCHEME, vault=root, **FACTS)
    api.add_anatomy(images, "hearts", consent="given", vault=root, **FACTS)
    return root


@pytest.fixture
def copy(vault, tmp_path):
    return shutil.copytree(vault, tmp_path / "vault")


def test_an_entry_keeps_source_licence_consent_digests_and_geometry(vault, label_maps):
    listed = api.list_anatomy(vault).entries
    assert [(e.name, e.kind, e.people, e.consent) for e in listed] == [
        ("bodies", "labels", 2, None),
        ("hearts", "images", 1, "given"),
    ]
    facts = api.show_anatomy("bodies", vault)
    assert (facts.licence, facts.source) == ("CC0", "made up")
    file = facts.files[0]
    assert file.spacing_mm == pytest.approx([5.0, 5.0, 5.0])
    source = (label_maps / "person_1.nii.gz").read_bytes()
    assert file.sources == {"person_1.nii.gz": hashlib.sha256(source).hexdigest()}
    assert facts.alignment.channels == ("body", "core", "lens")


def test_maps_read_back_with_labels_and_image(vault, images):
    library = Library(vault)
    entry = library.entry("hearts")
    maps = library.person(entry, 0)
    assert maps.image is not None
    assert maps.image.shape == maps.labels.shape
    assert set(np.unique(maps.labels)) == {0, 1, 2, 3, 4}
    assert maps.spacing == pytest.approx((5.0, 5.0, 10.0))
    assert entry.label_scheme == {n: f"label {n}" for n in (1, 2, 3, 4)}


def test_people_are_aligned_to_their_mean(vault):
    library = Library(vault)
    aligned = library.aligned(library.entry("bodies"))
    group = aligned.group
    linear = [np.linalg.inv(found.affine)[:3, :3] for found in group.alignments]
    np.testing.assert_allclose(np.mean(linear, axis=0), np.eye(3), atol=1e-9)
    total = sum(found.coefficients for found in group.alignments)
    np.testing.assert_allclose(total, 0.0, atol=1e-9)
    # A sharp mean: few voxels of the body are of no clear class.
    body = group.template.channels.sum(axis=0) > 0.9
    assert (group.template.channels.max(axis=0)[body] > 0.75).mean() > 0.8


def test_the_same_people_give_the_same_bits(vault, label_maps, tmp_path):
    api.add_anatomy(label_maps, "bodies", label_scheme=SCHEME, vault=tmp_path, **FACTS)
    again = api.list_anatomy(tmp_path).entries[0]
    assert again.digest == api.list_anatomy(vault).entries[0].digest


def test_a_whole_library_verifies(vault):
    result = api.verify_anatomy(vault)
    assert result.damaged == ()
    assert result.entries == ("bodies", "hearts")
    assert result.objects == 3 + 4


def _read(library, name):
    entry = library.entry(name)
    for index in range(len(entry.people)):
        library.person(entry, index)
    library.aligned(entry)


@pytest.mark.parametrize(
    "file", ["0001.safetensors.gz", "0002.safetensors.gz", "alignment.safetensors", "entry.json"]
)
@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_damage_is_noticed(copy, file, how):
    path = copy / "anatomy" / "bodies" / file
    data = path.read_bytes()
    if how == "flipped":
        at = data.index(b"CC0") if file == "entry.json" else len(data) // 2
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    elif how == "cut":
        path.write_bytes(data[:-7])
    else:
        path.unlink()
    damaged = api.verify_anatomy(copy).damaged
    assert [one.object for one in damaged] == [f"bodies/{file}"]
    with pytest.raises(IntegrityError):
        _read(Library(copy), "bodies")


def test_a_file_too_many_and_another_entrys_facts_are_noticed(copy):
    (copy / "anatomy" / "hearts" / "more.nii").write_bytes(b"x")
    shutil.copy(copy / "anatomy/hearts/entry.json", copy / "anatomy/bodies/entry.json")
    found = {one.object for one in api.verify_anatomy(copy).damaged}
    assert found == {"hearts/more.nii", "bodies/entry.json"}


def _unchanged(root):
    return sorted(p.name for p in (root / "anatomy").iterdir()) if root.exists() else []


@pytest.mark.parametrize(
    ("change", "error", "word"),
    [
        ({"licence": " "}, UsageError, "--licence"),
        ({"source": ""}, UsageError, "--source"),
        ({"name": "Bad Name"}, UsageError, "not a name"),
        ({"name": "hearts"}, UsageError, "exists already"),
        ({"label_scheme": "1=body"}, InputError, "(2, 3, 4)"),
        ({"label_scheme": "none"}, UsageError, "names no label"),
        ({"label_scheme": "40000=x"}, UsageError, "32767"),
        ({"folder": "nowhere"}, InputError, "not a folder"),
    ],
)
def test_what_cannot_be_added_is_refused_and_leaves_nothing(copy, label_maps, change, error, word):
    given = {"folder": label_maps, "name": "new", **FACTS} | change
    before = _unchanged(copy)
    with pytest.raises(error, match=word.replace("(", r"\(").replace(")", r"\)")):
        api.add_anatomy(**given, vault=copy)
    assert _unchanged(copy) == before


@pytest.mark.parametrize(
    ("file", "voxels", "word"),
    [
        ("maps/a.nii.gz", None, "a.nii.gz"),
        ("maps/a.nii", np.full((4, 4, 4), 0.5, np.float32), "whole numbers"),
        ("maps/a.nii", np.full((4, 4, 4), -1, np.int16), "whole numbers"),
        ("maps/a.nii", np.zeros((4, 4, 4), np.int16), "shows no label"),
        ("images/a.nii", np.ones((4, 4, 4), np.int16), "no file of that name in labels"),
        ("x/labels.txt", None, "holds no volume file"),
        ("a_T1w.nii", np.ones((4, 4, 4), np.int16), "no partner"),
    ],
)
def test_files_that_do_not_fit_are_named(tmp_path, file, voxels, word):
    folder = tmp_path / "public"
    path = folder / file
    if voxels is None:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"this is no image" * 40)
    else:
        write(path, voxels, np.eye(4))
    if file.startswith("images"):
        write(folder / "labels" / "b.nii", voxels, np.eye(4))
    if file == "a_T1w.nii":
        write(folder / "b_dseg.nii", voxels, np.eye(4))
    with pytest.raises(InputError, match=word):
        api.add_anatomy(folder, "new", vault=tmp_path / "vault", **FACTS)


@pytest.mark.parametrize(
    ("names", "kind", "people"),
    [
        (("a.nii", "b.nii.gz"), "labels", {("a.nii", None), ("b.nii.gz", None)}),
        (("images/a.nii", "labels/a.nii"), "images", {("labels/a.nii", "images/a.nii")}),
        (
            ("imagesTr/a_0000.nii", "labelsTr/a.nii"),
            "images",
            {("labelsTr/a.nii", "imagesTr/a_0000.nii")},
        ),
        (("a.nii", "a_dseg.nii"), "images", {("a_dseg.nii", "a.nii")}),
        (
            ("sub-1/anat/sub-1_T1w.nii", "sub-1/anat/sub-1_desc-x_dseg.nii"),
            "images",
            {("sub-1/anat/sub-1_desc-x_dseg.nii", "sub-1/anat/sub-1_T1w.nii")},
        ),
        (("a_dseg.nii",), "labels", {("a_dseg.nii", None)}),
    ],
)
def test_layouts(tmp_path, names, kind, people):
    for name in names:
        write(tmp_path / name, np.ones((2, 2, 2), np.int16), np.eye(4))
    found, listed = anatomy_files.find(tmp_path)
    assert found == kind
    assert {(one.labels.name, one.image.name if one.image else None) for one in listed} == people


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mgz"])
def test_label_maps_of_other_formats_read_as_nifti_does(tmp_path, ending):
    labels = np.zeros((4, 5, 6), np.int16)
    labels[1:3, 2:4, 3] = 300
    affine = np.diag([-2.0, -2.0, 3.0, 1.0])
    write(tmp_path / "a" / "x.nii", labels, affine)
    (tmp_path / "b").mkdir()
    if ending == ".mgz":
        nibabel.MGHImage(labels, affine).to_filename(tmp_path / "b" / "x.mgz")
    else:
        image = SimpleITK.GetImageFromArray(labels.T)
        image.SetSpacing([2.0, 2.0, 3.0])
        SimpleITK.WriteImage(image, str(tmp_path / "b" / f"x{ending}"))
    maps = []
    for folder in ("a", "b"):
        kind, (person,) = anatomy_files.find(tmp_path / folder)
        assert (kind, person.id) == ("labels", "x")
        with anatomy_files.Reader() as reader:
            maps.append(reader.read(person)[0])
    assert np.array_equal(maps[0].labels, maps[1].labels)
    assert np.allclose(maps[0].affine, maps[1].affine)


def test_image_and_labels_on_two_grids_are_refused(tmp_path):
    ones = np.ones((4, 4, 4), np.int16)
    write(tmp_path / "p" / "a.nii", ones, np.eye(4))
    write(tmp_path / "p" / "a_dseg.nii", ones, np.diag([1.0, 1.0, 2.0, 1.0]))
    with pytest.raises(InputError, match="one grid"):
        api.add_anatomy(tmp_path / "p", "new", vault=tmp_path / "vault", **FACTS)


def test_an_interrupted_add_leaves_nothing_and_can_be_repeated(images, tmp_path):
    class Interrupted:
        def start(self, stage, total):
            if stage.startswith("aligning"):
                raise KeyboardInterrupt

        advance = finish = staticmethod(lambda *_: None)

    for progress in (Interrupted(), Interrupted()):
        with pytest.raises(KeyboardInterrupt):
            api.add_anatomy(images, "h", vault=tmp_path, progress=progress, **FACTS)
        assert list((tmp_path / "anatomy").iterdir()) == []
    # A killed process leaves its folder; the next add clears it.
    (tmp_path / "anatomy" / ".adding-dead").mkdir()
    api.add_anatomy(images, "h", vault=tmp_path, progress=SILENT, **FACTS)
    assert [path.name for path in (tmp_path / "anatomy").iterdir()] == ["h"]


def test_one_add_at_a_time(copy, images):
    with (
        Library(copy).adding("first"),
        pytest.raises(UsageError, match="another medvae adds"),
    ):
        api.add_anatomy(images, "second", vault=copy, **FACTS)


def test_an_entry_that_is_not_there_is_not_found(vault, tmp_path):
    with pytest.raises(NotFoundError, match="bodies, hearts"):
        api.show_anatomy("livers", vault)
    assert api.list_anatomy(tmp_path / "empty").entries == ()
    assert api.verify_anatomy(tmp_path / "empty").objects == 0


def test_an_ingested_patient_is_not_public(vault, label_maps, images, tmp_path):
    clinic = api.create_tenant(
        tmp_path / "v", "clinic", identity=tmp_path / "key", recovery=tmp_path / "spare"
    )
    library = Library(vault)
    bodies, hearts = library.entry("bodies"), library.entry("hearts")
    check_other_people(clinic.tenant, bodies, library)
    clinic.ingest([images], "own", modality="mri", label_scheme="none", files_are_patients=True)
    check_other_people(clinic.tenant, bodies, library)
    with pytest.raises(UsageError, match="heart of the anatomy entry hearts"):
        check_other_people(clinic.tenant, hearts, library)


def test_a_plane_that_cuts_the_body_off_is_the_edge_of_what_is_known():
    index = np.indices((20, 20, 20)) - 9.5
    body = (index**2).sum(axis=0) < 64
    assert shown(body).all()
    body[:, :, :7] = False
    assert not shown(body)[:, :, :7].any()
    assert shown(body)[:, :, 7:].all()


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("Left-Cerebral-Cortex", "cerebral-cortex"),
        ("right putamen", "putamen"),
        ("lung_left", "lung"),
        ("Skull", "skull"),
        ("L Kidney", "kidney"),
        ("Brain-Stem", "brain-stem"),
        ("lateral ventricle", "lateral ventricle"),
    ],
)
def test_sides_are_one_class(name, plain):
    assert without_side(name) == plain


def test_entry_text_is_readable_json(vault):
    text = json.loads((vault / "anatomy" / "bodies" / "entry.json").read_text())
    assert text["entry"]["licence"] == "CC0"
