"""Several contrasts of one subject: one anatomy, measured and drawn in each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medvae.anatomy.cohort import check_covers
from medvae.anatomy.collection import Entry
from medvae.anatomy.collection.entries import FileDigest
from medvae.anatomy.contrasts import contrasts_of
from medvae.anatomy.drawing import OutputGrid, Pose, classes
from medvae.anatomy.drawing.channels import ChannelRenderer
from medvae.anatomy.drawing.pairs import MOST_TOGETHER, root
from medvae.anatomy.drawing.texture import textures
from medvae.anatomy.scan import Scan
from medvae.cine import frame_names
from medvae.config import DataConfig
from medvae.errors import UsageError
from tests.anatomy.test_classes import (
    aligned,
    figure,
    group,
    people,
    public_numbers_of,
    registered,
    renderer,
    scan,
)

__all__ = ["aligned", "group", "people", "renderer"]
GRID = OutputGrid.of((75, 75, 75), (2.0, 2.0, 2.0))
PAIR = "correlation of t1 and flair within tissues"


@pytest.fixture(scope="module")
def both(renderer) -> ChannelRenderer:
    return ChannelRenderer(("t1", "flair"), [renderer, renderer.of_contrast("flair")])


def drawn(both, group, figures, seed=0, grid=GRID):
    pose = Pose(group.alignments[1], group.alignments[1])
    return both.draw(1, pose, grid, figures, np.random.default_rng(seed))


def test_each_contrast_has_its_own_figures_and_labels_have_one_size(both, renderer):
    names = list(both.names)
    assert len(set(names)) == len(names)
    assert names[-1] == PAIR
    volumes = [name for name in names if name.startswith("volume of label")]
    assert len(volumes) == 2
    assert len(names) == 2 * len(renderer.names) - len(volumes) + 1
    for numbers in (both.public_mean, both.public_std, both.public_within):
        assert numbers.shape == (len(names),)
    white = [figure(both, both.public_mean, f"{c}: mean of white matter") for c in ("t1", "flair")]
    own = [figure(r, r.public_mean, "mean of white matter") for r in both._renderers]
    assert white == own
    assert white[0] != white[1]
    # Grey values come first, for they are released apart.
    assert all(" mean of " in name for name in names[: both.greys_apart])
    assert not any(" mean of " in name for name in names[both.greys_apart :])


def test_kinds_are_those_of_one_contrast_and_none_is_on_both_sides_of_the_greys(both):
    kinds = both.related.kinds
    assert not set(kinds[: both.greys_apart]) & set(kinds[both.greys_apart :])
    for prefix in ("t1:", "flair:"):
        own = np.array([name.startswith(prefix) for name in both.names])
        assert not set(kinds[own]) & set(kinds[~own])
    covariance = both.related.covariance
    assert np.linalg.eigvalsh(covariance)[0] > -1e-9
    joined = both.correlation_of(public_numbers_of(both).with_error(0.9 * both.public_std, 0.5))
    np.testing.assert_allclose(np.diag(joined), 1.0)
    assert np.linalg.eigvalsh(joined)[0] > -1e-9


def test_both_contrasts_show_the_same_subject(both, group):
    images, mask = drawn(both, group, both.public_mean)
    assert images.shape == (2, *GRID.shape)
    for number, tissue in ((1, "lateral ventricle"), (2, "white matter")):
        for channel, image in zip(("t1", "flair"), images, strict=True):
            known = figure(both, both.public_mean, f"{channel}: mean of {tissue}")
            assert float(np.median(image[mask == number])) == pytest.approx(known, abs=0.25)
    # Seen alone, the first contrast is what its own renderer draws.
    _, alone = both.first.draw(
        1,
        Pose(group.alignments[1], group.alignments[1]),
        GRID,
        both.first.public_mean,
        np.random.default_rng(0),
    )
    np.testing.assert_array_equal(mask, alone)


@pytest.mark.parametrize("wanted", [-0.7, 0.0, 0.7])
def test_what_goes_together_is_drawn_and_measured_again(both, group, wanted):
    figures = both.public_mean.copy()
    names = list(both.names)
    figures[names.index(PAIR)] = wanted
    for channel in ("t1", "flair"):
        for tissue in ("white matter", "putamen"):
            figures[names.index(f"{channel}: fine deviation within {tissue}")] = 0.15
    images, mask = drawn(both, group, figures)
    patient = Scan(images[0], GRID.affine, mask, further=(images[1],))
    again = both.measure(patient, group.alignments[1])
    assert figure(both, again, PAIR) == pytest.approx(wanted, abs=0.25)
    assert figure(both, again, "flair: mean of putamen") == pytest.approx(
        figure(both, figures, "flair: mean of putamen"), abs=0.15
    )


def test_a_patient_is_measured_in_each_contrast_as_in_that_alone(both, renderer):
    patient = scan(1.03, noise=0.05)
    found = registered(renderer, patient)
    two = both.measure(replace(patient, further=(-patient.image,)), found)
    one = both.first.measure(patient, found)
    np.testing.assert_array_equal(two[both._own[0]], one)
    assert figure(both, two, "flair: mean of white matter") == pytest.approx(-0.6, abs=0.1)
    assert figure(both, two, PAIR) < -0.9


def test_a_flat_channel_and_another_number_of_channels_raise_nothing(both, renderer):
    patient = scan(1.0)
    found = registered(renderer, patient)
    flat = np.full_like(patient.image, 0.2)
    figures = both.measure(replace(patient, further=(flat,)), found)
    assert figures.shape == (len(both.names),)
    assert np.isnan(both.measure(patient, found)).all()


def test_what_components_add_lies_in_memory_as_ever(both, group, monkeypatch):
    """Last bits of products depend on it: models of one channel draw what they drew before."""
    seen = []
    monkeypatch.setattr(classes, "_add", lambda drawn, *rest: seen.append(rest[2]))
    pose = Pose(group.alignments[1], group.alignments[1])
    both.first.draw(1, pose, GRID, both.first.public_mean, np.random.default_rng(0))
    assert seen[0].T.is_contiguous()
    assert not seen[0].is_contiguous()


def test_correlations_that_are_impossible_together_become_possible():
    pairs = ((0, 1), (0, 2), (1, 2))
    own = root(pairs, np.array([0.95, 0.95, -0.95]))
    np.testing.assert_allclose((own**2).sum(axis=1), 1.0)
    # And possible ones stay.
    own = root(pairs, np.array([0.5, 0.2, 0.1]))
    np.testing.assert_allclose((own @ own.T)[[0, 0, 1], [1, 2, 2]], [0.5, 0.2, 0.1])
    assert abs(root(((0, 1),), np.array([3.0]))[1, 0]) <= MOST_TOGETHER + 1e-9


def test_textures_are_correlated_as_asked():
    together = root(((0, 1),), np.array([0.6]))
    made = textures((48, 48, 48), np.full(3, 2.0), together, np.random.default_rng(3))
    for one, other in zip(made[0][:1], made[1][:1], strict=True):
        assert float(np.corrcoef(one.ravel(), other.ravel())[0, 1]) == pytest.approx(0.6, abs=0.05)
    alone = textures((16, 16, 16), np.full(3, 2.0), np.eye(1), np.random.default_rng(3))
    again = textures((16, 16, 16), np.full(3, 2.0), np.eye(2), np.random.default_rng(3))
    np.testing.assert_array_equal(alone[0][0], again[0][0])


def test_the_contrast_of_a_channel_is_its_name_or_declared():
    assert contrasts_of((), "t2", {}) == ("t2",)
    assert contrasts_of(("t1", "t1ce", "t2f", "PD"), "t1", {}) == ("t1", "t1", "flair", "pd")
    assert contrasts_of(("t1", "stir"), "t1", {"stir": "t2"}) == ("t1", "t2")
    with pytest.raises(UsageError, match="contrast of MRI the channel stir is"):
        contrasts_of(("t1", "stir"), "t1", {})
    with pytest.raises(UsageError, match="names dwi, and the data set has t1, t2"):
        contrasts_of(("t1", "t2"), "t1", {"dwi": "t2"})


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        ("images", {"modality": "mri", "channels": ("t1", "t2")}),
        ("labels", {"modality": "ct", "channels": ("ct", "pet"), "modalities": ("ct", "pet")}),
        ("labels", {"modality": "mri", "channels": frame_names(3)}),
    ],
)
def test_who_names_an_entry_that_cannot_be_drawn_reads_to_leave_it_out(kind, facts):
    """The advice to use -c contrasts alone was no help to who did."""
    file = FileDigest.of("alignment", b"")
    entry = Entry("heads", kind, "made up", "free", None, {1: "body"}, (), file)
    scheme = {"labels": 1, "label_scheme": {"1": "body"}}
    data = DataConfig().model_copy(update=scheme | facts)
    with pytest.raises(UsageError, match=r"leave anatomy\.library out and use -c contrasts"):
        check_covers(entry, data, named=True)
