"""The map of patients and epsilon to what pays: simulated people, kept rows, verdicts."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from medvae.cosines import planned
from medvae.cosines.basis import Basis
from medvae.cosines.parts import GAINS

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import bench_network  # noqa: E402
from pictures import candidates, pays, simulated, statistics, worlds  # noqa: E402
from pictures.budget import one_shot  # noqa: E402


@pytest.mark.parametrize("kind", sorted(worlds.KINDS))
def test_a_world_has_the_same_first_people_and_others_in_another_part(kind: str) -> None:
    world = worlds.World(kind, 16, 0)
    few, many, others = world.people(20, 0), world.people(60, 0), world.people(60, 1)
    np.testing.assert_array_equal(few.images, many.images[:20])
    assert not {one.tobytes() for one in many.images} & {one.tobytes() for one in others.images}
    assert 0.1 < many.classes.mean() < 0.65
    elsewhere = worlds.World(kind, 16, 1).people(60, 0)
    near, far = (
        abs(one.images.mean(0) - many.images.mean(0)).mean() for one in (others, elsewhere)
    )
    assert near < 0.7 * far


@pytest.mark.parametrize("kind", sorted(worlds.KINDS))
def test_the_ill_differ_from_the_others_by_more_than_chance(kind: str) -> None:
    people = worlds.World(kind, 16, 0).people(1500, 0)

    def apart(classes: np.ndarray) -> float:
        means = [people.images[classes == own].mean(axis=0) for own in (0, 1)]
        return float(np.abs(means[1] - means[0]).max())

    chance = [apart(np.random.default_rng(n).permutation(people.classes)) for n in range(5)]
    assert apart(people.classes) > 1.5 * max(chance)


def test_samples_are_what_the_product_draws() -> None:
    people = worlds.World("lesions", 16, 0).people(60, 0)
    release = one_shot(planned.mechanisms(Basis.of(people.data)), len(people), 8.0, 0)
    model = statistics.fitted(people, release)
    samples = statistics.sampled(model, people, 7, 3)
    random = np.random.default_rng([3, 1])
    chosen = [model.pick(random) or 0 for _ in range(7)]
    drawn = np.stack([model.draw(random, own)[None, ..., 0] for own in chosen])
    np.testing.assert_array_equal(samples.images, people.like(drawn, np.array(chosen)).images)


def test_what_is_left_out_is_not_measured_and_gives_its_budget_to_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    people, seen = worlds.World("organs", 16, 0).people(40, 0), []

    def fitted(train: object, release: object) -> object:
        seen.append({one.name for one in release.plan.mechanisms})  # type: ignore[attr-defined]
        seen.append(release.plan.epsilon)  # type: ignore[attr-defined]
        return model

    model = statistics.fitted(
        people, one_shot(planned.mechanisms(Basis.of(people.data)), 40, 8.0, 0)
    )
    monkeypatch.setattr(candidates.statistics, "fitted", fitted)
    bare = candidates.without(GAINS, planned.MARGINALS, borders=False)(people, 8.0, 9, 0)
    names, epsilon = seen
    assert names == {"cosines-powers", "cosines-means", "cosines-seconds"}
    assert epsilon == pytest.approx(8.0, rel=1e-3)
    assert len(model.numbers.borders)
    assert not np.array_equal(bare.images, statistics.sampled(model, people, 9, 0).images)


def test_a_row_that_is_kept_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, made = tmp_path / "new" / "rows.jsonl", []

    def row(point: simulated.Point, *_: object) -> dict[str, object]:
        made.append(point.method)
        return point.described() | {"auc": 0.5}

    monkeypatch.setattr(simulated, "_row", row)
    wanted = simulated.points(quick=True)
    first = list(simulated.rows(wanted, kept))
    assert made == [point.method for point in wanted]
    lines = kept.read_text(encoding="utf-8").splitlines(keepends=True)
    # A stop in the midst of the last line.
    kept.write_text("".join(lines[:-1]) + lines[-1][:9] + "\n", encoding="utf-8")
    assert list(simulated.rows(wanted, kept)) == first
    assert made[len(wanted) :] == [wanted[-1].method]


def test_the_map_has_each_candidate_at_each_point() -> None:
    wanted = simulated.points(quick=False)
    assert len(set(wanted)) == len(wanted)
    assert {point.method for point in wanted} == {simulated.REAL, *candidates.CANDIDATES}
    for patients in simulated.PATIENTS:
        for epsilon in simulated.EPSILONS:
            here = [one for one in wanted if (one.patients, one.epsilon) == (patients, epsilon)]
            found = {one.method for one in here} - set(candidates.SLOW)
            assert found == set(candidates.CANDIDATES) - set(candidates.SLOW)


def _rows(product: float, other: float, distance: float, method: str = "x") -> list[pays.Row]:
    found = []
    for seed in range(4):
        shift = 0.01 * seed
        world = {"kind": "organs", "edge": 16, "seed": seed, "patients": 50}
        found += [
            world | {"method": simulated.REAL, "epsilon": None, "auc": 0.9, "frechet": 1.0},
            world
            | {"method": candidates.ALL, "epsilon": 1.0, "auc": product + shift, "frechet": 10.0},
            world
            | {"method": method, "epsilon": 1.0}
            | {"auc": other + shift + 0.001 * (-1) ** seed, "frechet": 10.0 * distance},
        ]
    return found


@pytest.mark.parametrize(
    ("other", "distance", "said"),
    [
        (0.72, 3.0, "better"),
        (0.68, 0.2, "worse"),
        (0.705, 1.05, "even"),
        (0.7, 0.8, "better"),
        (0.7, 1.5, "worse"),
    ],
)
def test_the_verdict_goes_by_auc_first_and_by_distance_where_that_is_even(
    other: float, distance: float, said: str
) -> None:
    found = {row["method"]: row for row in pays.compared(_rows(0.7, other, distance))}
    assert found["x"]["worlds"] == 4
    assert found["x"]["gain"] == pytest.approx(other - 0.7)
    assert found["x"]["distance"] == pytest.approx(distance)
    assert pays.verdict(found["x"]) == said
    assert pays.verdict(found[candidates.ALL]) == "even"


def test_one_world_proves_nothing() -> None:
    (_, own) = pays.compared(_rows(0.7, 0.9, 0.1)[:3])
    assert math.isinf(own["error"])
    assert pays.verdict(own) == "even"


def test_a_quick_map_is_made_through_the_same_path(tmp_path: Path) -> None:
    outcome = bench_network.main(quick=True, chart=True, rows=tmp_path / "rows.jsonl")
    assert [row["method"] for row in outcome["map"]] == [candidates.ALL, "plain Gaussian"]
    assert 0 < outcome["map"][0]["auc"] < 1 < outcome["map"][1]["distance"]
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 3
    json.dumps(outcome, allow_nan=False)
