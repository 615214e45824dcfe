"""The private run of the cosine model: what a patient can move, resuming, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from medvae.audit.means import Means
from medvae.config import RunConfig
from medvae.config_files import load_config
from medvae.cosines import planned
from medvae.cosines.marginals import LEVELS
from medvae.errors import UsageError
from medvae.generate import generate
from medvae.grid import Gridded
from medvae.model import Artifact, load_model
from medvae.privacy import NoiseSource, Plan, StageRequest, make_plan
from medvae.progress import SILENT
from medvae.train import cosines as cosine_stage
from medvae.train import stage_requests, train
from medvae.train.cosines import fit
from medvae.train.release import PlannedRelease
from tests.train.test_run import Memory

SIZE = (12, 10, 1)


class Cohort:
    """Pictures of two classes; the second one is brighter on the left."""

    def __init__(self, count: int, channels: int = 3, pictures: int = 1, seed: int = 9) -> None:
        random = np.random.default_rng(seed)
        self.subjects = [f"p{i:03d}" for i in range(count)]
        self.held: list[list[Gridded]] = []
        shape = (channels, *SIZE) if channels > 1 else SIZE
        for _ in range(count):
            own = []
            for _ in range(pictures):
                category = int(random.integers(2))
                image = random.normal(0.0, 0.2, shape).cumsum(axis=-3) * 0.5
                image[..., :5, :, :] += 0.3 * category
                own.append(Gridded(np.clip(image, -1, 1).astype(np.float32), None, category))
            self.held.append(own)

    def __len__(self) -> int:
        return len(self.subjects)

    def volumes(self, index: int) -> list[Gridded]:
        return self.held[index]

    def scans(self, index: int) -> list[object]:
        raise AssertionError("nothing asks for them")


def configuration(modality: str = "photo", epsilon: float = 8.0) -> RunConfig:
    return load_config(
        modality,
        [
            f"data.size={list(SIZE)}",
            "data.classes=2",
            "data.labels=0",
            "data.label_scheme={}",
            f"privacy.epsilon={epsilon}",
        ],
    )


def plan_of(cfg: RunConfig, patients: int) -> Plan:
    requests = [StageRequest(*one) for one in stage_requests(cfg, patients)]
    return make_plan(
        requests,
        patients=patients,
        epsilon=cfg.privacy.epsilon,
        delta=1e-5,
        constants=cfg.public(),
    )


def trained(cohort: Cohort, cfg: RunConfig, **options: object) -> Artifact:
    return train(cfg, plan_of(cfg, len(cohort)), cohort, key=bytes(32), **options)


@pytest.mark.parametrize(("modality", "channels"), [("photo", 3), ("xray", 1)])
def test_a_run_ends_in_an_artifact_that_draws_pictures(modality: str, channels: int) -> None:
    cfg = configuration(modality)
    artifact = Artifact.from_bytes(trained(Cohort(60, channels), cfg).to_bytes())
    assert artifact.facts["stages"] == ["cosines"]
    drawn = list(generate(artifact, 40, 5))
    assert {volume.shape for volume in drawn} == {SIZE}
    assert {len(volume.channels) for volume in drawn} == {channels if channels > 1 else 0}
    assert {volume.category for volume in drawn} == {0, 1}
    again = next(iter(generate(artifact, 40, 5, indices=[7])))
    np.testing.assert_array_equal(again.voxels, drawn[7].voxels)
    left = [np.mean(v.voxels[..., :5, :, :]) for v in generate(artifact, 40, 6, category=1)]
    right = [np.mean(v.voxels[..., :5, :, :]) for v in generate(artifact, 40, 6, category=0)]
    assert np.mean(left) > np.mean(right)
    with pytest.raises(UsageError, match=r"--class must be in 0..1"):
        generate(artifact, 1, 0, category=2)
    with pytest.raises(UsageError, match="holds statistics and no network"):
        load_model(artifact)


@pytest.mark.parametrize(("patients", "epsilon"), [(12, 1.0), (60, 8.0), (400, 20.0)])
def test_how_many_coefficients_are_kept_is_known_before_a_patient_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, patients: int, epsilon: float
) -> None:
    cfg = configuration("xray", epsilon)
    plan = plan_of(cfg, patients)
    found: dict[str, int] = {}

    def parts_of(*given):  # type: ignore[no-untyped-def]
        parts = planned.parts_of(*given)
        found.update({part.name: len(part.kept) for part in parts if hasattr(part, "kept")})
        return parts

    monkeypatch.setattr(cosine_stage, "parts_of", parts_of)
    counted = cosine_stage.counts(cfg, plan)
    # Whoever the patients are: others, and such as show nothing.
    for seed, dark in ((0, False), (1, False), (2, True)):
        cohort = Cohort(patients, 1, seed=seed)
        if dark:
            for volume in (one for own in cohort.held for one in own):
                volume.image[...] = -1.0
        artifact = train(cfg, plan, cohort, key=bytes([seed]) * 32)
        assert list(found.values()) == list(counted[1:])
        said = artifact.facts["model"]
        assert (said["coefficients"], said["with_covariance"]) == (counted[0], counted[2])


@pytest.mark.parametrize("wild", ["bright", "nan", "none", "many"])
def test_a_patient_moves_a_release_by_no_more_than_the_clip(wild: str) -> None:
    cfg = configuration()
    plan = plan_of(cfg, 30)

    def first(cohort: Cohort) -> tuple[np.ndarray, float]:
        seen = {}

        class Recorded(PlannedRelease):
            def __call__(self, name, vectors, *, clip, dimension):  # type: ignore[no-untyped-def]
                seen[name] = super().__call__(name, vectors, clip=clip, dimension=dimension), clip
                if len(seen) == 1:
                    return seen[name][0]
                raise StopIteration

        with pytest.raises(StopIteration):
            fit(cfg, cohort, Recorded(plan, NoiseSource(bytes(32), "")), progress=SILENT)
        return next(iter(seen.values()))

    without, with_patient = Cohort(30), Cohort(30)
    without.held[4] = []
    one = with_patient.held[4][0]
    with_patient.held[4] = {
        "bright": [Gridded(one.image * 1e6, None, 1)],
        "nan": [Gridded(one.image * np.nan, None, 1)],
        "none": [],
        "many": with_patient.held[4] * 50,
    }[wild]
    (a, clip), (b, _) = first(without), first(with_patient)
    moved = float(np.linalg.norm(a - b)) * plan.patients
    assert moved <= clip * (1 + 1e-9)
    assert (moved > 0) == (wild != "none")


def test_a_patient_counts_once_however_many_pictures_there_are() -> None:
    cfg = configuration()
    cohort, doubled = Cohort(40), Cohort(40)
    doubled.held = [images * 3 for images in doubled.held]
    one, other = trained(cohort, cfg), trained(doubled, cfg)
    for name, values in one.part("cosines").items():
        np.testing.assert_allclose(
            values.numpy(), other.part("cosines")[name].numpy(), atol=1e-6, err_msg=name
        )


def test_a_run_that_was_killed_after_its_stage_does_not_measure_again() -> None:
    cfg, store = configuration(), Memory()
    first = trained(Cohort(30), cfg, checkpoint=store)
    nobody = Cohort(30)
    nobody.held = []
    again = trained(nobody, cfg, checkpoint=store)
    assert first.to_bytes() == again.to_bytes()


def test_less_budget_gives_fewer_coefficients() -> None:
    kept = [
        len(trained(Cohort(40), configuration(epsilon=eps)).part("cosines")["kept"])
        for eps in (40.0, 8.0, 0.5)
    ]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] > kept[2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cosines.share": 0.0, "atlas.share": 1.0}, "learnt by cosines alone"),
        ({"cosines.share": 0.5, "atlas.share": 0.5}, "the whole budget, or 0"),
    ],
)
def test_pictures_are_learnt_by_cosines_alone(change: dict[str, float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_config("photo", [f"{key}={value}" for key, value in change.items()])


def test_of_enough_people_all_statistics_are_of_scores_of_grey_values() -> None:
    cfg, cohort = configuration("xray"), Cohort(400, 1)
    assert trained(Cohort(30, 1), cfg).facts["model"]["histogram"] is False
    artifact = trained(cohort, cfg)
    assert artifact.facts["model"]["histogram"] is True
    assert artifact.facts["model"]["borders"] is True
    drawn = np.concatenate([v.voxels.ravel() for v in generate(artifact, 300, 1)]) / 127.5 - 1.0
    real = np.concatenate([one.image.ravel() for own in cohort.held for one in own])
    for level in LEVELS:
        assert np.mean(drawn <= level) == pytest.approx(np.mean(real <= level), abs=0.08)
    # An audit measures a patient as the release did: means of all differ from it by noise alone.
    means = Means(artifact, plan_of(cfg, len(cohort)))
    vectors = [means.vectors(one) for own in cohort.held for one in own]
    for name, mean in means.by_name.items():
        clipped = [own[name] * min(1.0, mean.clip / np.linalg.norm(own[name])) for own in vectors]
        error = (np.mean(clipped, axis=0) - mean.released) / mean.sigma
        assert np.sqrt(np.mean(error**2)) < 1.8, name
