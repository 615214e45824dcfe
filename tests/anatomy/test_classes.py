"""Label maps of a whole region: registration by shares, measuring and drawing grey values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from medvae.anatomy.collection import AlignedEntry, Group, PersonMaps, align
from medvae.anatomy.drawing import OutputGrid, Pose
from medvae.anatomy.drawing.classes import ClassRenderer
from medvae.anatomy.drawing.expected import SCANNER
from medvae.anatomy.drawing.soft import SoftLabels
from medvae.anatomy.drawing.texture import field, patches
from medvae.anatomy.drawing.tissues import textbook
from medvae.anatomy.matching import match
from medvae.anatomy.numbers import Numbers
from medvae.anatomy.regions import class_subject, class_template
from medvae.anatomy.registration import register
from medvae.anatomy.registration.geometry import affine_points
from medvae.anatomy.scan import Scan
from tests.anatomy.phantoms import ORGANS, grid

SCHEME = {1: "white matter", 2: "left putamen", 3: "right putamen", 4: "lateral ventricle"}
COHORT = {1: "ventricles", 2: "white matter"}
# Grey values of white matter, putamen and ventricle.
GREYS = {1: 0.6, 2: 0.1, 3: 0.1, 4: -0.7}


def labels(stretch: float, spacing: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """The phantom's organs as labels, wider by `stretch` along the first axis; and their affine."""
    affine, shape = grid((spacing,) * 3)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    found = np.zeros(shape, np.int16)
    for number, (centre, half) in enumerate(ORGANS, 1):
        size = np.array(half) * [stretch, 1.0, 1.0]
        found[(((points - centre) / size) ** 2).sum(axis=-1) < 1.0] = number
    return found, affine


def scan(stretch: float, *, gain: float = 0.0, noise: float = 0.0, masked: bool = True) -> Scan:
    """A patient of whom the cohort's labels are known."""
    maps, affine = labels(stretch)
    image = np.full(maps.shape, -1.0, np.float32)
    for number, grey in GREYS.items():
        image[maps == number] = grey
    random = np.random.default_rng(3)
    image += noise * random.standard_normal(image.shape).astype(np.float32) * (maps > 0)
    ramp = np.linspace(-gain, gain, len(image), dtype=np.float32)
    image = (image + 1.0) * np.exp(ramp)[:, None, None] - 1.0
    mask = np.zeros(maps.shape, np.uint8)
    mask[maps == 4], mask[maps == 1] = 1, 2
    return Scan(np.clip(image, -1.0, 1.0), affine, mask if masked else None)


@pytest.fixture(scope="module")
def people() -> list[PersonMaps]:
    return [PersonMaps(*labels(stretch)) for stretch in (0.95, 1.0, 1.05)]


@pytest.fixture(scope="module")
def aligned(people) -> AlignedEntry:
    return align(people, "labels", SCHEME)


@pytest.fixture(scope="module")
def group(aligned) -> Group:
    return aligned.group


@pytest.fixture(scope="module")
def renderer(people, aligned) -> ClassRenderer:
    return ClassRenderer(people.__getitem__, aligned, SCHEME, match(COHORT, SCHEME))


def registered(renderer: ClassRenderer, patient: Scan):
    template = class_template(renderer)
    return register(class_subject(patient, len(COHORT), template), template)


def figure(renderer: ClassRenderer, figures: np.ndarray, name: str) -> float:
    return float(figures[list(renderer.names).index(name)])


def test_sides_are_one_tissue_and_shares_sum_to_one(renderer):
    names = renderer.components.names
    assert set(names) >= {"air", "white matter", "putamen", "lateral ventricle"}
    np.testing.assert_allclose(renderer.class_shares.sum(axis=0), 1.0, atol=1e-5)
    for numbers in (renderer.public_mean, renderer.public_std):
        assert numbers.shape == (len(renderer.names),)
    assert (renderer.public_std > 0).all()
    assert renderer.public_correlation.shape == (len(renderer.names),) * 2


def test_people_of_one_scanner_are_alike_and_what_is_not_known_is_as_contrasts_are(renderer):
    count, std = renderer.greys_apart, renderer.public_std
    public = public_numbers_of(renderer)
    for noise in (0.0, 0.5, np.inf):
        matrix = renderer.correlation_of(public.with_error(0.9 * std, noise))
        np.testing.assert_allclose(np.diag(matrix), 1.0)
        assert np.linalg.eigvalsh(matrix)[0] > -1e-9
    # All of the deviation is what people differ by, or none of it is.
    exact = renderer.correlation_of(public.with_error(1e-9 * std, 0.5))[:count, :count]
    np.testing.assert_allclose(exact[~np.eye(count, dtype=bool)], SCANNER, atol=1e-6)
    unknown = renderer.correlation_of(public.with_error(std, np.inf))
    np.testing.assert_allclose(unknown, renderer.public_correlation, atol=1e-6)


def public_numbers_of(renderer: ClassRenderer) -> Numbers:
    figures = (renderer.public_mean, renderer.public_std, renderer.public_within)
    return Numbers(np.zeros(12), np.ones(12), np.zeros((3, 1)), np.ones((3, 1)), *figures)


def test_the_template_has_a_channel_a_cohort_label(renderer, people):
    template = class_template(renderer)
    assert len(template.channels) == len(COHORT)
    ventricle = float(template.channels[0].sum()) * template.grid.voxel_volume
    known = np.mean([(one.labels == 4).sum() * 8.0 for one in people])
    assert ventricle == pytest.approx(known, rel=0.1)


def test_grey_values_are_found_without_the_shading(renderer):
    patient = scan(1.03, gain=0.2, noise=0.06)
    figures = renderer.measure(patient, registered(renderer, patient))
    assert figures.shape == (len(renderer.names),)
    assert figure(renderer, figures, "mean of white matter") == pytest.approx(0.6, abs=0.1)
    assert figure(renderer, figures, "mean of putamen") == pytest.approx(0.1, abs=0.1)
    assert figure(renderer, figures, "mean of lateral ventricle") == pytest.approx(-0.7, abs=0.1)
    assert figure(renderer, figures, "mean of air") == pytest.approx(-1.0, abs=0.02)
    # The ramp is the first half wave along the first axis, falling from 1 to -1.
    assert figure(renderer, figures, "shading 1 0 0") < -0.08


def test_without_a_mask_the_large_tissues_are_found(renderer):
    patient = scan(1.03, gain=0.2, noise=0.06, masked=False)
    figures = renderer.measure(patient, registered(renderer, patient))
    assert figure(renderer, figures, "mean of white matter") == pytest.approx(0.6, abs=0.1)
    assert figure(renderer, figures, "mean of air") == pytest.approx(-1.0, abs=0.02)


def test_a_structure_beside_the_field_of_view_is_not_told(renderer):
    patient = scan(1.0)
    found = registered(renderer, patient)
    cut = replace(patient, image=patient.image[:30], mask=patient.mask[:30])
    whole, part = renderer.measure(patient, found), renderer.measure(cut, found)
    assert np.isfinite(figure(renderer, whole, "mean of lateral ventricle"))
    assert np.isnan(figure(renderer, part, "mean of lateral ventricle"))
    assert np.isfinite(figure(renderer, part, "mean of putamen"))


@pytest.mark.parametrize("value", [-1.0, 0.3])
def test_a_flat_image_raises_nothing(renderer, value):
    patient = scan(1.0)
    found = registered(renderer, patient)
    flat = Scan(np.full_like(patient.image, value), patient.affine, patient.mask)
    renderer.measure(flat, found)
    renderer.measure(replace(flat, mask=np.zeros_like(patient.mask)), found)


def drawn(renderer, group, spacing, *, seed=0, figures=None):
    extent = 150.0
    wanted = OutputGrid.of(tuple(round(extent / s) for s in spacing), spacing)
    pose = Pose(group.alignments[1], group.alignments[1])
    looks = renderer.public_mean if figures is None else figures
    return renderer.draw(1, pose, wanted, looks, np.random.default_rng(seed))


@pytest.mark.parametrize("spacing", [(1.5, 1.5, 1.5), (2.0, 2.0, 2.0), (2.0, 2.0, 8.0)])
def test_a_person_in_its_own_place_is_drawn_as_it_is(renderer, group, people, spacing):
    image, mask = drawn(renderer, group, spacing)
    assert image.dtype == np.float32
    assert mask.dtype == np.uint8
    assert image.min() >= -1.0
    assert image.max() <= 1.0
    volume = np.prod(spacing)
    for number, own in ((1, 4), (2, 1)):
        known = (people[1].labels == own).sum() * 8.0
        assert (mask == number).sum() * volume == pytest.approx(known, rel=0.1)
    looks = renderer.public_mean
    apart = figure(renderer, looks, "mean of white matter")
    apart -= figure(renderer, looks, "mean of lateral ventricle")
    # Half of it, for slices of 8 mm show both.
    assert image[mask == 2].mean() - image[mask == 1].mean() > 0.5 * apart > 0.25
    assert image[0].mean() < -0.9


def test_a_draw_is_the_same_whatever_the_slabs(renderer, group, monkeypatch):
    image, mask = drawn(renderer, group, (2.0, 2.0, 2.0))
    monkeypatch.setattr("medvae.anatomy.drawing.pose.SLAB_VOXELS", 75 * 75 * 7)
    other, labels_ = drawn(renderer, group, (2.0, 2.0, 2.0))
    np.testing.assert_array_equal(mask, labels_)
    np.testing.assert_allclose(image, other, atol=1e-5)
    changed, _ = drawn(renderer, group, (2.0, 2.0, 2.0), seed=1)
    assert np.abs(changed - image).max() > 0.1


def test_what_is_drawn_is_measured_again(renderer, group):
    """Figures mean the same on both sides."""
    looks = renderer.public_mean.copy()
    names = list(renderer.names)
    looks[names.index("mean of putamen")] = -0.2
    looks[names.index("fine deviation within putamen")] = 0.12
    looks[names.index("coarse deviation within putamen")] = 0.02
    image, mask = drawn(renderer, group, (2.0, 2.0, 2.0), figures=looks)
    wanted = OutputGrid.of((75, 75, 75), (2.0, 2.0, 2.0))
    again = renderer.measure(Scan(image, wanted.affine, mask), group.alignments[1])
    assert figure(renderer, again, "mean of putamen") == pytest.approx(-0.2, abs=0.12)
    assert figure(renderer, again, "fine deviation within putamen") == pytest.approx(0.12, abs=0.04)


def test_soft_labels_are_shares_and_keep_volumes():
    index = np.stack(np.meshgrid(*[np.arange(24)] * 3, indexing="ij"), axis=-1)
    maps = (((index - 11.5) ** 2).sum(axis=-1) < 36.0).astype(np.uint8)
    soft = SoftLabels(maps, np.eye(4), 2)
    affine = np.diag([0.5, 0.5, 0.5, 1.0])
    points = affine_points(affine, (48, 48, 48), torch.device("cpu")).flatten(1)
    shares = soft.mixtures(points)
    assert float(shares.sum(dim=1).sub(1.0).abs().max()) < 1e-5
    assert float(shares[:, 1].sum()) / 8.0 == pytest.approx(float(maps.sum()), rel=0.01)
    label, mixed = soft.at(points)
    pure = label != 255
    assert set(mixed.tolist()) == set(torch.nonzero(~pure).ravel().tolist())
    sure = shares[pure].gather(1, label[pure].long()[:, None])
    assert float(sure.min()) > 0.999


def test_fields_have_variance_one_at_any_spacing():
    random = np.random.default_rng(5)
    for spacing in (1.0, 2.0, 4.0):
        for width in (1.6, 4.0, (3.5, 3.5, 14.0)):
            values = field((40, 40, 40), np.full(3, spacing), width, random)
            assert values.shape == (40, 40, 40)
            assert float(values.std()) == pytest.approx(1.0, abs=0.25)


def test_a_field_is_as_wide_along_each_axis_as_asked():
    values = field((64, 64, 64), np.full(3, 1.0), (3.0, 3.0, 12.0), np.random.default_rng(6))
    steps = [float((np.diff(values, axis=axis) ** 2).mean()) for axis in range(3)]
    assert steps[0] == pytest.approx(steps[1], rel=0.2)
    assert steps[0] > 8.0 * steps[2]


def test_textbooks_order_tissues():
    names = ["white matter", "cerebral cortex", "lateral ventricle", "cortical bone", "air", "xyz"]
    means, stds = textbook(names)
    assert list(means[:5]) == sorted(means[:5], reverse=True)
    assert (means[5], stds[5]) == (0.0, 0.3)
    hounsfield, _ = textbook(names, (-1000.0, 1000.0))
    assert hounsfield[3] == hounsfield.max()
    assert hounsfield[4] == -1.0
    # Blood and fat depend on the sequence.
    assert textbook(["vein"])[1][0] > textbook(["cortex"])[1][0]


def test_textbooks_read_the_spellings_of_atlases():
    plain = textbook(["white matter", "soft tissue", "ventral dc", "lateral ventricle"])
    atlas = textbook(
        [
            "left-cerebral-white-matter",
            "Soft_Nonbrain_Tissue",
            "Left-VentralDC",
            "Left-Lateral-Ventricle",
        ]
    )
    np.testing.assert_array_equal(plain, atlas)


def test_the_coat_of_a_region_has_no_patches(renderer):
    coat, divided = renderer.components.near_surface, renderer.components.divided
    assert set(coat) <= set(divided)
    weights = renderer._adds(renderer._expected.mean)[np.isin(renderer.components.classes, coat)]
    assert (weights[:, 2:4] == 0.0).all()
    assert len(coat) == 0 or (weights[:, 4] > 0.0).all()


def test_a_cut_goes_on_but_not_the_labels_of_the_cohort():
    maps = np.ones((10, 10, 10), np.uint8)
    maps[:, 4:6, 4:6] = 2
    # The other end is a tip: the anatomy ends there.
    maps[6:] = 0
    maps[6, 4:6, 4:6] = 1
    soft = SoftLabels(maps, np.eye(4), 3, np.array([False, False, True]))
    points = torch.tensor([[0.0, 5.0, 5.0], [-4.0, 5.0, 5.0], [9.0, 5.0, 5.0]]).T
    assert soft.mixtures(points).argmax(dim=1).tolist() == [2, 1, 0]


def test_patches_have_variance_one():
    values = np.random.default_rng(2).standard_normal(100_000).astype(np.float32)
    found = patches(values)
    assert float(found.std()) == pytest.approx(1.0, abs=0.01)
    assert float((np.abs(found) == np.abs(found).max()).mean()) > 0.5


def test_the_edge_of_the_body_does_not_darken_its_outermost_tissue(renderer, group):
    """At 2 mm, white matter of the phantom has many voxels that are partly air."""
    image, mask = drawn(renderer, group, (2.0, 2.0, 2.0))
    wanted = OutputGrid.of((75, 75, 75), (2.0, 2.0, 2.0))
    again = renderer.measure(Scan(image, wanted.affine, mask), group.alignments[1])
    known = figure(renderer, renderer.public_mean, "mean of white matter")
    assert figure(renderer, again, "mean of white matter") == pytest.approx(known, abs=0.1)
    assert figure(renderer, again, "fine deviation within white matter") < 0.1


def test_a_ct_has_hounsfield_units_and_no_shading(people, aligned, group):
    window = (-100.0, 100.0)
    ct = ClassRenderer(people.__getitem__, aligned, SCHEME, match(COHORT, SCHEME), window)
    assert not any(name.startswith("shading") for name in ct.names)
    image, mask = drawn(ct, group, (3.0, 3.0, 3.0))
    # White matter has 28 HU.
    assert float(np.median(image[mask == 2])) == pytest.approx(0.28, abs=0.1)
    assert image[0].max() < -0.95
    wanted = OutputGrid.of((50, 50, 50), (3.0, 3.0, 3.0))
    again = ct.measure(Scan(image, wanted.affine, mask), group.alignments[1])
    assert figure(ct, again, "mean of white matter") == pytest.approx(0.28, abs=0.1)
