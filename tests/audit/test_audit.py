"""A generator that leaks is caught, one that does not is not, and the verdict is calibrated."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from medvae.audit import Report, audit
from medvae.audit.copies import _judge
from medvae.config import DataConfig
from medvae.errors import InputError
from medvae.volume import Volume

SIZE = (16, 20, 14)
DATA = DataConfig(modality="mri", size=SIZE)
Pairs = list[tuple[str, Volume]]
Image = npt.NDArray[np.float32]


def anatomy(random: np.random.Generator) -> Image:
    """One person: what all share, and smooth variation of one's own."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in SIZE], indexing="ij")
    shared = np.cos(3 * axes[0]) + 2 * (sum(a**2 for a in axes) < 0.7)
    return (shared + 6 * ndimage.gaussian_filter(random.normal(size=SIZE), 1.5)).astype(np.float32)


def volume(image: Image) -> Volume:
    return Volume(image.astype(np.float32), np.eye(4), "mri")


def people(n: int, seed: int, prefix: str = "p") -> Pairs:
    """n people, every third one with a second, slightly different scan."""
    random = np.random.default_rng(seed)
    pairs: Pairs = []
    for index in range(n):
        image = anatomy(random)
        pairs.append((f"{prefix}{index}", volume(image)))
        if index % 3 == 0:
            again = image + 0.1 * random.normal(size=SIZE)
            pairs.append((f"{prefix}{index}", volume(again)))
    return pairs


def fresh(n: int, seed: int) -> list[Volume]:
    random = np.random.default_rng(seed)
    return [volume(anatomy(random)) for _ in range(n)]


def outcome(report: Report) -> dict[str, bool]:
    return {finding.name: finding.passed for finding in report.findings}


MEMBERS, OTHERS = people(40, 1), people(40, 2, "o")


@pytest.mark.parametrize("seed", range(10, 14))
def test_an_independent_generator_passes(seed: int) -> None:
    report = audit(fresh(24, seed), MEMBERS, data=DATA, others=OTHERS)
    assert outcome(report) == {"whole copies": True, "copied parts": True, "closest record": True}
    assert report.passed
    # There is no model to attack, and volumes alone do not measure membership.
    assert report.not_run[0].startswith("membership")


def test_averages_are_near_everybody_and_nobodys_copy() -> None:
    """Blurry volumes correlate with each patient more than patients do with one another."""
    mean = np.mean([v.voxels for _, v in MEMBERS], axis=0)
    random = np.random.default_rng(5)
    made = [volume(mean + 0.2 * (anatomy(random) - mean)) for _ in range(24)]
    assert outcome(audit(made, MEMBERS, data=DATA))["whole copies"]


def copies(change: Callable[[Image, np.random.Generator], Image]) -> Iterator[Volume]:
    """Twenty honest volumes, and four that are changed copies of members."""
    yield from fresh(20, 77)
    random = np.random.default_rng(78)
    for index in (3, 11, 17, 29):
        yield volume(change(MEMBERS[index][1].voxels, random))


def noise(amount: float) -> Callable[[Image, np.random.Generator], Image]:
    return lambda image, random: image + amount * random.normal(size=SIZE).astype(np.float32)


def half(image: Image, random: np.random.Generator) -> Image:
    """The upper half of a member, blended into somebody new."""
    weight = np.clip((np.arange(SIZE[2]) - SIZE[2] / 2) / 2 + 0.5, 0, 1)
    return (weight * image + (1 - weight) * anatomy(random)).astype(np.float32)


LEAKS: dict[str, Callable[[Image, np.random.Generator], Image]] = {
    "exact": lambda image, _: image,
    "noise": noise(0.5),
    "contrast": lambda image, _: image * 37.0 + 400.0,
    "inverted order": lambda image, _: image[::-1].copy(),
    "blurred": lambda image, _: ndimage.gaussian_filter(image, 0.7),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_copies_are_caught(leak: str) -> None:
    report = audit(copies(LEAKS[leak]), MEMBERS, data=DATA)
    (finding,) = [f for f in report.findings if f.name == "whole copies"]
    assert not finding.passed
    assert not report.passed
    assert finding.details["caught"] == 4
    assert finding.statistic > finding.threshold
    assert "4 of 24" in finding.sentence


def test_a_copied_half_is_caught() -> None:
    findings = outcome(audit(copies(half), MEMBERS, data=DATA))
    assert not findings["copied parts"]


def test_a_model_that_leans_towards_its_members_lies_near_them() -> None:
    """Too weak for a copy, but it tells who was there."""
    random = np.random.default_rng(9)
    made = [volume(0.5 * v.voxels + 0.5 * anatomy(random)) for _, v in MEMBERS]
    report = audit(made, MEMBERS, data=DATA, others=OTHERS)
    (finding,) = [f for f in report.findings if f.name == "closest record"]
    assert not finding.passed
    assert finding.statistic > finding.threshold


def test_duplicates_among_the_patients_do_not_hide_a_copy() -> None:
    """The same person under two names, unnoticed: common in real collections."""
    twice = [*MEMBERS, *((f"dup{i}", MEMBERS[i][1]) for i in range(6))]
    report = audit(copies(noise(0.3)), twice, data=DATA)
    (finding,) = [f for f in report.findings if f.name == "whole copies"]
    # Copies of somebody who is there once are still caught.
    assert finding.details["caught"] >= 3


def test_the_false_alarm_rate_is_what_it_says() -> None:
    """Ratios of nobody's copies, drawn as theory has it: about one audit in a hundred fails."""
    random = np.random.default_rng(0)
    alarms = 0
    for _ in range(2000):
        usual = np.exp(-0.05 * random.exponential(size=(1, 60)))
        seen = np.exp(-0.05 * random.exponential(size=(1, 30)))
        alarms += not _judge("x", "y", seen, usual).passed
    # The scale is estimated on 60 patients, which costs some of the level.
    assert alarms / 2000 < 0.05


def test_what_cannot_be_run_is_said_and_too_little_is_refused() -> None:
    report = audit(fresh(4, 1), MEMBERS, data=DATA)
    assert "never saw" in report.not_run[0]
    assert report.to_json()["release_ok"] is False
    assert report.to_json()["power"]["whole copies"]["distance_ratio"] < 1
    assert {"name", "statistic", "threshold", "passed", "sentence"} <= set(
        report.to_json()["findings"][0]
    )
    with pytest.raises(InputError, match="no synthetic volume"):
        audit([], MEMBERS, data=DATA)
    with pytest.raises(InputError, match="at least 8 patients"):
        audit(fresh(2, 1), MEMBERS[:5], data=DATA)
    assert not Report(()).passed
