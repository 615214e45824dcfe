"""Generation: lazy, repeatable, the same however the work is shared; pairs with an atlas."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from test_run import KEY, Cohort, Memory, configuration, plan_of, same

from medvae.atlas import Atlas
from medvae.errors import IntegrityError, UsageError
from medvae.generate import generate
from medvae.grid import Gridded
from medvae.model import Artifact, load_model
from medvae.model.prior import coordinates
from medvae.train import train


class Masked(Cohort):
    """The same patients with one label: what is bright."""

    def volumes(self, index: int) -> list[Gridded]:
        return [Gridded(v.image, (v.image > 0.2).astype(np.uint8)) for v in super().volumes(index)]


@pytest.fixture(scope="module")
def model() -> Artifact:
    cfg = configuration(finetune={"steps": 0}, prior={"kind": "structure"})
    return train(cfg, plan_of(cfg, 6), Cohort(6, cfg.data.size), key=KEY)


def test_same_seed_same_voxels_however_the_work_is_shared(model: Artifact) -> None:
    whole = [v.voxels for v in generate(model, 4, seed=9)]
    longer = [v.voxels for v in itertools.islice(generate(model, 100, seed=9), 4)]
    shards = [
        v.voxels for half in ([0, 2], [1, 3]) for v in generate(model, 4, seed=9, indices=half)
    ]
    for i, order in enumerate((0, 2, 1, 3)):
        assert np.array_equal(whole[i], longer[i])
        assert np.array_equal(shards[i], whole[order])
    other = next(generate(model, 1, seed=10)).voxels
    assert not np.array_equal(other, whole[0])


def test_volumes_come_one_at_a_time(model: Artifact) -> None:
    drawn = generate(model, 10**9, seed=1)
    assert next(drawn).shape == (16, 16, 16)


def test_samples_keep_to_the_public_scale_and_geometry(model: Artifact) -> None:
    for volume in generate(model, 3, seed=2):
        assert volume.voxels.dtype == np.int16
        assert volume.voxels.min() >= 0
        assert volume.voxels.max() <= 1000
        assert np.allclose(volume.affine[:3, 3], -7.5)


@pytest.mark.parametrize(("n", "seed"), [(0, 1), (-1, 1), (1, -1), (1, 1 << 64)])
def test_numbers_out_of_range_are_refused(model: Artifact, n: int, seed: int) -> None:
    with pytest.raises(UsageError, match="seed"):
        generate(model, n, seed)


def test_a_prior_of_another_model_is_refused(model: Artifact) -> None:
    broken = Artifact({k: v for k, v in model.tensors.items() if k != "prior.mean"}, model.facts)
    with pytest.raises(IntegrityError, match="prior"):
        generate(broken, 1, 0)


def test_with_an_atlas_image_and_mask_come_as_pairs_and_a_kill_changes_nothing() -> None:
    cfg = configuration(
        data={"labels": 1},
        atlas={"share": 0.6, "samples": 2, "steps": 2},
        finetune={"share": 0.1, "steps": 1},
        prior={"share": 0.3},
        pretrain={"batch": 1},
    )
    cohort, plan = Masked(4, cfg.data.size), plan_of(cfg, 4)
    assert abs(sum(1 for m in plan.mechanisms if m.name.startswith("atlas")) - 5) <= 1
    whole = train(cfg, plan, cohort, key=KEY)
    store = Memory(stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        train(cfg, plan, cohort, key=KEY, checkpoint=store)
    store.stop_after = None
    assert same(train(cfg, plan, cohort, key=KEY, checkpoint=store), whole)
    volumes = list(generate(whole, 2, seed=3))
    for volume in volumes:
        assert volume.mask is not None
        assert set(np.unique(volume.mask)) <= {0, 1}
    assert not np.array_equal(volumes[0].voxels, volumes[1].voxels)


@pytest.fixture(scope="module")
def on_atlas() -> Artifact:
    cfg = configuration(
        data={"labels": 1},
        privacy={"epsilon": 50.0},
        atlas={"share": 0.6, "samples": 0, "steps": 0},
        finetune={"share": 0.0, "steps": 0},
        prior={"share": 0.4, "kind": "atlas"},
    )
    return train(cfg, plan_of(cfg, 20), Masked(20, cfg.data.size), key=KEY)


def test_a_prior_on_the_atlas_moves_its_draws_by_what_was_released(on_atlas: Artifact) -> None:
    tensors = dict(on_atlas.tensors)
    assert not tensors["prior.deviation"].any()
    atlas = Atlas.from_tensors({k: v.numpy() for k, v in on_atlas.part("atlas").items()})
    model = load_model(on_atlas)
    usual = torch.from_numpy(atlas.mean_image())[None, None]
    with torch.no_grad():
        reference = coordinates(model.spatial_latent(model.encode(usual)[0]))[0]
    assert not torch.allclose(tensors["prior.mean"], reference, atol=1e-3)
    # With nothing released, what is drawn is the atlas's own draw, bit for bit but for rounding.
    silent = {"prior.mean": reference, "prior.factor": torch.zeros(0, 0)}
    drawn = next(generate(Artifact(tensors | silent, on_atlas.facts), 1, seed=4)).voxels
    random = np.random.Generator(np.random.Philox(key=[4, 0]))
    own = atlas.sample(random).image
    assert np.abs(drawn - (own + 1.0) * 500.0).max() <= 2.0
    moved = next(generate(on_atlas, 1, seed=4)).voxels
    assert np.abs(moved.astype(float) - drawn).mean() > 5.0
    other = list(generate(on_atlas, 3, seed=4, indices=[2, 0]))
    assert np.array_equal(other[1].voxels, moved)


@pytest.mark.parametrize(
    ("template", "kind", "residual_prior"),
    [
        ("none", "auto", "structure"),
        ("mni152", "auto", "atlas"),
        ("mni152", "structure", "structure"),
    ],
)
def test_the_residual_prior_decides_which_mechanisms_the_plan_has(
    template: str, kind: str, residual_prior: str
) -> None:
    cfg = configuration(
        atlas={"share": 0.5, "public": template},
        prior={"share": 0.5, "kind": kind},
        finetune={"share": 0.0},
    )
    assert cfg.residual_prior == residual_prior
    planned = {one.name for one in plan_of(cfg, 50).mechanisms}
    assert ("prior.shells" in planned) == (residual_prior == "structure")
    assert {"prior.mean", "prior.covariance"} <= planned


@pytest.mark.parametrize(
    "sections",
    [
        {"atlas": {"share": 0.0}, "prior": {"share": 0.5, "kind": "atlas"}},
        {
            "data": {"modality": "ct"},
            "atlas": {"share": 0.5},
            "finetune": {"share": 0.0},
            "prior": {"share": 0.5, "kind": "atlas"},
        },
    ],
)
def test_a_prior_on_an_atlas_that_it_cannot_add_to_is_refused(sections: dict) -> None:
    with pytest.raises(ValidationError, match=r"prior\.kind"):
        configuration(**sections)


class Classed(Cohort):
    """Procedural patients of two classes; class 1 has a bright block in the middle."""

    def volumes(self, index: int) -> list[Gridded]:
        found = []
        for volume in super().volumes(index):
            image = volume.image.copy()
            image[5:11, 5:11, 5:11] = 0.9 if index % 2 else -0.9
            found.append(Gridded(image, None, index % 2))
        return found


@pytest.fixture(scope="module", params=["whole", "atlas alone"])
def classed(request: pytest.FixtureRequest) -> Artifact:
    alone = request.param == "atlas alone"
    cfg = configuration(
        data={"labels": 0, "classes": 2},
        privacy={"epsilon": 50.0},
        atlas={"share": 1.0 if alone else 0.6, "samples": 0, "steps": 0},
        finetune={"share": 0.0, "steps": 0},
        prior={"share": 0.0 if alone else 0.4},
    )
    return train(cfg, plan_of(cfg, 30), Classed(30, cfg.data.size), key=KEY)


def test_a_class_is_drawn_as_asked_and_looks_like_it(classed: Artifact) -> None:
    middle = np.s_[6:10, 6:10, 6:10]
    levels = []
    for category in (0, 1):
        drawn = list(generate(classed, 6, seed=1, category=category))
        assert {volume.category for volume in drawn} == {category}
        levels.append(np.mean([volume.voxels[middle].mean() for volume in drawn]))
    assert levels[1] > levels[0] + 150
    # Left to itself, both come, and a volume does not depend on how the work is shared.
    free = list(generate(classed, 12, seed=1))
    assert {volume.category for volume in free} == {0, 1}
    (again,) = generate(classed, 12, seed=1, indices=[7])
    assert again.category == free[7].category
    assert np.array_equal(again.voxels, free[7].voxels)


def test_a_class_that_is_not_there_is_refused(classed: Artifact, model: Artifact) -> None:
    with pytest.raises(UsageError, match=r"--class must be in 0\.\.1, not 2"):
        generate(classed, 1, 0, category=2)
    with pytest.raises(UsageError, match="this model has none"):
        generate(model, 1, 0, category=0)


def test_classes_are_planned_for_and_charged_only_where_there_are_any() -> None:
    shares: dict[str, dict[str, object]] = {
        "atlas": {"share": 0.5},
        "finetune": {"share": 0.2},
        "prior": {"share": 0.3},
    }
    plain, classes = (configuration(**shares, data={"classes": k}) for k in (0, 2))
    names = [
        # Which statistics have a centre of their own depends on their share.
        [m.name for m in plan_of(cfg, 30).mechanisms if not m.name.endswith(".centre")]
        for cfg in (plain, classes)
    ]
    assert "atlas-classes" not in names[0]
    assert sorted(names[1]) == sorted([*names[0], "atlas-classes"])
    assert plan_of(classes, 30).epsilon <= 8.0


class Solid(Cohort):
    """CT of two grey values alone: a wall on one side or another of air-filled ground."""

    def volumes(self, index: int) -> list[Gridded]:
        place = np.stack(np.meshgrid(*(np.linspace(-1, 1, 16),) * 3, indexing="ij"))
        noise = np.random.default_rng(index).normal(0, 0.02, (16, 16, 16))
        body = place[index % 3] * (1 if index % 2 else -1) > 0.2
        return [Gridded((np.where(body, 0.04, -0.85) + noise).astype(np.float32), None)]


def test_the_whole_pipeline_keeps_the_grey_values_of_ct() -> None:
    cfg = configuration(
        data={"labels": 0, "modality": "ct"},
        privacy={"epsilon": 50.0},
        atlas={"share": 0.6, "samples": 0, "steps": 0},
        finetune={"share": 0.0, "steps": 0},
        prior={"share": 0.4},
    )
    made = train(cfg, plan_of(cfg, 30), Solid(30, cfg.data.size), key=KEY)
    seen = np.stack([volume.voxels for volume in generate(made, 32, seed=1)]).astype(float)
    # The mean over patients lies between the two nearly everywhere; volumes do not.
    assert (np.abs(seen + 850) < 150).mean() > 0.25
    assert (np.abs(seen - 40) < 100).mean() > 0.25
    assert ((seen > -600) & (seen < -250)).mean() < 0.2
