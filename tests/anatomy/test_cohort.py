"""An entry made ready for a cohort: what it measures of a patient, and what it draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from medvae.anatomy import place
from medvae.anatomy.cohort import CohortAnatomy, check_covers
from medvae.anatomy.collection import Library
from medvae.anatomy.drawing import OutputGrid, Pose, pose
from medvae.anatomy.drawing.layers import QUANTILES, Layers
from medvae.anatomy.model import AnatomyModel
from medvae.anatomy.scan import Scan, scan_of
from medvae.api import add_anatomy
from medvae.config import DataConfig
from medvae.errors import InputError, UsageError
from medvae.volume import Volume
from tests.anatomy.cohorts import NAMES, SCHEME, SPACING, add_people, scan
from tests.anatomy.conftest import person, write

DATA = DataConfig(label_scheme=NAMES, labels=4)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    vault = tmp_path_factory.mktemp("cohort")
    add_people(vault / "vault", vault / "files")
    return Library(vault / "vault")


@pytest.fixture(scope="module")
def cohort(library):
    return CohortAnatomy.open(library, library.entry("people"), DATA)


def dice(mask, other, label):
    both = (mask == label) & (other == label)
    return 2.0 * both.sum() / max((mask == label).sum() + (other == label).sum(), 1)


def own_pose(cohort, index, centre):
    """A public person as he or she lies in the scanner, the middle of the scan at the origin."""
    found = cohort.people[index]
    placed = place.affine_of(place.place_of(found.affine, centre))
    return Pose(replace(found, affine=placed), found)


def test_figures_of_images_go_together_as_in_its_people(cohort):
    related = cohort.renderer.related
    np.testing.assert_array_equal(related.covariance, cohort.renderer.public_correlation)
    assert set(related.kinds) == {0}


def test_a_public_person_in_the_own_pose_and_greys_is_the_own_scan(library, cohort):
    maps = library.person(cohort.entry, 1)
    volume = Volume(maps.image, maps.affine, "mri", maps.labels.astype(np.uint8))
    own = scan_of(volume, DATA)
    centred = own.affine.copy()
    centred[:3, 3] -= own.centre
    grid = OutputGrid(centred, own.image.shape)
    figures = cohort.renderer.measure(own, cohort.people[1])
    image, mask = cohort.renderer.draw(
        1, own_pose(cohort, 1, own.centre), grid, figures, np.random.default_rng(0)
    )
    assert np.abs(image - own.image).mean() < 0.02
    assert min(dice(mask, own.mask, label) for label in range(1, 5)) > 0.97


def roughness(image):
    """What a Gaussian of one voxel takes away, inside of the image."""
    fine = image - ndimage.gaussian_filter(image, 1.0)
    return float(fine[3:-3, 3:-3, 3:-3].std())


def test_between_voxels_an_image_keeps_its_noise(library, cohort):
    """Linear interpolation of neighbours half a voxel away takes most of it."""
    maps = library.person(cohort.entry, 1)
    own = scan_of(Volume(maps.image, maps.affine, "mri", maps.labels.astype(np.uint8)), DATA)
    between = own.affine.copy()
    between[:3, 3] += between[:3, :3].sum(axis=1) / 2.0 - own.centre
    coarse = between @ np.diag([2.0, 2.0, 2.0, 1.0])
    figures = cohort.renderer.measure(own, cohort.people[1])
    pose = own_pose(cohort, 1, own.centre)

    def drawn(renderer, affine, shape):
        grid = OutputGrid(affine, shape)
        return renderer.draw(1, pose, grid, figures, np.random.default_rng(0))[0]

    shape = tuple(n - 1 for n in own.image.shape)
    fine, linear = (
        roughness(drawn(renderer, between, shape))
        for renderer in (cohort.renderer, cohort.renderer.with_linear_images())
    )
    known = roughness(own.image)
    assert fine > 0.8 * known
    assert linear < 0.6 * known
    # A coarser voxel shows the mean of its place, and so less noise than a point of it.
    half = tuple(n // 2 for n in own.image.shape)
    apart = roughness(drawn(cohort.renderer, between, shape)[::2, ::2, ::2])
    assert roughness(drawn(cohort.renderer, coarse, half)) < 0.9 * apart


def test_a_model_of_an_earlier_version_draws_as_it_did(cohort):
    arrays = AnatomyModel(cohort, cohort.numbers).to_arrays()
    assert arrays["splines"] == 1.0
    del arrays["splines"]
    older = AnatomyModel.read(cohort, arrays)
    assert older.to_arrays()["splines"] == 0.0
    again = AnatomyModel.read(cohort, older.to_arrays())
    first, second = (model.draw(np.random.default_rng(4))[0] for model in (older, again))
    np.testing.assert_array_equal(first, second)
    today = AnatomyModel(cohort, cohort.numbers).draw(np.random.default_rng(4))[0]
    assert roughness(today) > roughness(first)


def test_drawn_volumes_do_not_depend_on_slabs(cohort, monkeypatch):
    model = AnatomyModel(cohort, cohort.numbers)
    first = model.draw(np.random.default_rng(3))
    monkeypatch.setattr(pose, "SLAB_VOXELS", 1000)
    image, mask = model.draw(np.random.default_rng(3))
    # Coordinates are rounded by slab: nothing that can be seen.
    np.testing.assert_allclose(image, first[0], atol=1e-3)
    assert (mask != first[1]).mean() < 1e-3


def test_drawn_people_have_all_labels_and_the_drawn_greys(cohort):
    model = AnatomyModel(cohort, cohort.numbers)
    for seed in range(4):
        image, mask = model.draw(np.random.default_rng(seed))
        assert image.shape == mask.shape == cohort.grid().shape
        assert {0, 1, 2, 3} <= set(np.unique(mask))
        assert image.min() >= -1.0
        assert image.max() <= 1.0
        # The left core is bright, the background dark.
        assert image[mask == 2].mean() > 0.4 > -0.4 > image[mask == 0].mean()


def test_the_voxel_size_is_free_and_the_anatomy_the_same(cohort):
    model = AnatomyModel(cohort, cohort.numbers)
    coarse = model.draw_volume(np.random.default_rng(5))
    fine = model.draw_volume(np.random.default_rng(5), cohort.grid((3.0, 3.0, 4.5)))
    volumes = [
        (mask == 1).sum() * abs(np.linalg.det(affine[:3, :3])) for _, mask, affine in (coarse, fine)
    ]
    assert fine[0].size > 6 * coarse[0].size
    assert abs(volumes[0] / volumes[1] - 1.0) < 0.05


def test_a_spacing_of_the_configuration_is_the_grid(library):
    data = DataConfig(label_scheme=NAMES, labels=4, size=(24, 16, 8), spacing=(5.0, 5.0, 10.0))
    made = CohortAnatomy.open(library, library.entry("people"), data)
    assert made.grid().shape == (24, 16, 8)
    np.testing.assert_allclose(made.grid().spacing, [5.0, 5.0, 10.0])
    assert made.grid((10.0, 10.0, 10.0)).shape == (12, 8, 8)


def test_a_spacing_of_drawn_volumes_keeps_the_extent_of_the_people(library, cohort):
    made = CohortAnatomy.open(
        library, library.entry("people"), DATA, spacing=(12.0, 12.0, 12.0)
    ).grid()
    np.testing.assert_allclose(made.spacing, 12.0)
    extent, own = np.asarray(made.shape) * made.spacing, cohort.grid()
    np.testing.assert_allclose(extent, np.asarray(own.shape) * own.spacing, atol=12.0)


def test_one_public_person_is_a_library_too(tmp_path):
    """Such as the one head of `anatomy fetch`: what people differ by is then the public law."""
    add_people(tmp_path / "vault", tmp_path / "files", count=1)
    library = Library(tmp_path / "vault")
    made = CohortAnatomy.open(library, library.entry("people"), DATA)
    assert made.numbers.shape_std.min() > 0.0
    found = made.measure(scan(5))
    assert found is not None
    assert found.shape.shape == made.people[0].coefficients.shape
    _, mask = AnatomyModel(made, made.numbers).draw(np.random.default_rng(0))
    assert {0, 1, 2, 3} <= set(np.unique(mask))


def test_a_patient_is_measured_and_the_greys_are_the_patients(cohort):
    found = cohort.measure(scan(31, contrast=0.5))
    names = list(cohort.renderer.names)
    core = names.index("mean of Left-Core"), names.index("mean of Right-Core")
    public = cohort.renderer.public_mean
    # The root of a grey value brings the darker core nearer to the brighter one.
    assert found.figures[core[1]] > public[core[1]] + 0.1
    assert np.isfinite(found.place).all()
    assert found.shape.shape == cohort.numbers.shape.shape


@pytest.mark.parametrize(
    "what", ["no mask", "empty", "one voxel", "half", "upside down", "constant", "thin"]
)
def test_whatever_a_patient_holds_nothing_is_raised(cohort, what):
    own = scan(32)
    mask, image = own.mask.copy(), own.image.copy()
    if what == "empty":
        mask[:] = 0
    if what == "one voxel":
        mask[:] = 0
        mask[3, 3, 3] = 2
    if what == "half":
        mask, image = mask[: len(mask) // 2], image[: len(image) // 2]
    if what == "upside down":
        mask, image = mask[:, :, ::-1], image[:, :, ::-1]
    if what == "constant":
        image[:] = 0.0
    if what == "thin":
        mask, image = mask[:, :, 8:9], image[:, :, 8:9]
    found = cohort.measure(Scan(image, own.affine, None if what == "no mask" else mask))
    if what in ("no mask", "empty"):
        assert found is None
    elif found is not None:
        assert np.isfinite(found.place).all()
        assert np.isfinite(found.shape).all()


def test_measuring_gives_the_same_bits(cohort):
    first, second = cohort.measure(scan(33)), cohort.measure(scan(33))
    np.testing.assert_array_equal(first.shape, second.shape)
    np.testing.assert_array_equal(first.figures, second.figures)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"label_scheme": {"1": "Spleen"}, "labels": 1}, "Spleen"),
        ({"label_scheme": {}, "labels": 0}, "labels"),
    ],
)
def test_an_entry_that_does_not_cover_the_cohort_says_why(library, change, word):
    data = DataConfig.model_validate(DATA.model_dump() | change)
    with pytest.raises(UsageError, match=word):
        check_covers(library.entry("people"), data)


def test_some_of_the_entrys_labels_are_enough(library):
    data = DataConfig(label_scheme={"7": "lens", "9": "body"}, labels=2)
    assert check_covers(library.entry("people"), data) == ((4,), (1,))


@pytest.mark.parametrize("what", ["nan", "flat"])
def test_a_volume_that_is_none_is_refused(what):
    voxels = np.full((4, 4, 4), np.nan, np.float32)
    affine = np.eye(4)
    if what == "flat":
        voxels, affine = np.zeros((4, 4, 4), np.float32), np.diag([1.0, 1.0, 0.0, 1.0])
    with pytest.raises(InputError):
        scan_of(Volume(voxels, affine, "mri"), DATA)


def test_layers_are_what_a_repainted_picture_has():
    rng = np.random.default_rng(0)
    mask = np.zeros((20, 20, 20), np.uint8)
    mask[5:15, 5:15, 5:15] = 1
    image = np.clip(rng.normal(-0.5, 0.15, mask.shape) + 0.8 * mask, -1, 1).astype(np.float32)
    inside = np.ones(mask.shape, bool)
    own = Layers.measure(image, mask, inside, 1, absolute=False)
    wanted = Layers(np.array([0.6]), np.array([0.05]), own.quantiles * 0.5 - 0.3)
    painted = own.repaint(image, (mask == 1)[None].astype(np.float32), wanted)
    found = Layers.measure(painted, mask, inside, 1, absolute=False)
    np.testing.assert_allclose(found.figures, wanted.figures, atol=0.02)


def test_an_absolute_scale_keeps_its_background():
    image = np.linspace(-1, 1, 1000, dtype=np.float32).reshape(10, 10, 10)
    layers = Layers.measure(image, None, np.ones(image.shape, bool), 0, absolute=True)
    assert len(layers.quantiles) == 0
    painted = layers.repaint(image, np.zeros((0, *image.shape), np.float32), layers)
    np.testing.assert_array_equal(painted, image)
    assert len(QUANTILES) == 9


def test_what_fails_on_a_patients_voxels_counts_as_none_but_a_lack_of_memory_does_not(
    cohort, monkeypatch
):
    def failing(error):
        def register(*_, **__):
            raise error

        return register

    monkeypatch.setattr("medvae.anatomy.cohort.register", failing(IndexError("of a patient")))
    assert cohort.measure(scan(34)) is None
    monkeypatch.setattr("medvae.anatomy.cohort.register", failing(MemoryError()))
    with pytest.raises(MemoryError):
        cohort.measure(scan(34))


def test_an_image_alone_places_a_patient_as_a_mask_does(tmp_path):
    for seed in range(3):
        write(tmp_path / "maps" / f"p{seed}.nii.gz", *person(20 + seed, SPACING))
    add_anatomy(
        tmp_path / "maps", "region", licence="free", source="made up", label_scheme=SCHEME,
        vault=tmp_path / "vault",
    )  # fmt: skip
    library = Library(tmp_path / "vault")
    entry = library.entry("region")
    bare = CohortAnatomy.open(library, entry, DataConfig())
    labelled = CohortAnatomy.open(library, entry, DataConfig(label_scheme=NAMES, labels=4))
    with pytest.raises(UsageError, match="needs a cohort with labels"):
        check_covers(entry, DataConfig())
    for seed in range(3):
        own = scan(70 + seed, 0.7)
        without = bare.measure(replace(own, mask=None))
        wanted = labelled.measure(own)
        assert without is not None
        assert wanted is not None
        off = (without.place - wanted.place) / labelled.numbers.place_std
        assert np.abs(off).max() < 1.5
        # What is learnt of the labels' volumes is nothing, and no number is kept for it.
        assert len(without.figures) < len(wanted.figures)
