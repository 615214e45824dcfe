"""`create`: all or nothing, and nothing that the gate refuses."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medvae.config import RunConfig
from medvae.errors import BudgetError, InputError, IntegrityError, UsageError
from medvae.privacy import Mechanism, Plan, epsilon, epsilon_of_loss, epsilon_replace_one
from medvae.release import (
    Check,
    GateInputs,
    Looks,
    PrivacyFacts,
    ReleaseFacts,
    ReleaseResult,
    create,
    verify,
)
from medvae.volume import Volume
from tests.release.made import CT, MECHANISMS, MRI, PRIVATE, Key, facts, synthetic

Make = Callable[..., ReleaseResult]


def nothing_left(folder: Path) -> bool:
    return not any(folder.iterdir())


def never() -> Iterator[Volume]:
    raise AssertionError("a volume was asked for before the gate had passed")
    yield


@pytest.mark.parametrize("data", [MRI, CT], ids=["mri", "ct"])
def test_a_release_holds_what_it_says(make: Make, data: Any) -> None:
    result = make(data, n=4)
    assert result.passed
    assert result.volumes == 4
    assert result.report.is_file()
    assert (result.epsilon, result.delta) == (3.59, 1e-4)
    assert result.files == verify(result.path).files
    card = json.loads((result.path / "card.json").read_text())
    assert card["data"]["volumes"] == 4
    assert card["data"]["label_maps"] == (4 if data.labels else 0)
    assert card["privacy"]["unit"].startswith("the patient")
    assert card["gate"]["passed"]
    assert {"3.59", "0.0001", "118"} <= set((result.path / "CARD.md").read_text().split())


@pytest.mark.parametrize(
    ("grid", "privacy", "says"),
    [
        ({"labels": -1}, {}, "number of labels"),
        ({"label_scheme": None, "labels": 0}, {}, "label scheme"),
        ({"classes": -1}, {}, "number of classes"),
        ({}, {"unit": None}, "who is a patient"),
    ],
)
def test_what_nobody_declared_is_not_released(
    make: Make, tmp_path: Path, grid: dict[str, Any], privacy: dict[str, Any], says: str
) -> None:
    """It could only have been measured on patients, or be a guess."""
    undeclared = CT.model_copy(update=grid)
    with pytest.raises(UsageError, match=f"never declared .*{says}"):
        make(
            CT,
            volumes=never(),
            facts=facts(undeclared, privacy=replace(PRIVATE, **privacy)),
        )
    assert nothing_left(tmp_path)


def test_the_unit_of_files_is_the_file(make: Make) -> None:
    result = make(facts=facts(privacy=replace(PRIVATE, unit="file")))
    card = json.loads((result.path / "card.json").read_text())["privacy"]
    assert card["unit"] == "one file (no patient identifiers were given)"
    texts = [(result.path / name).read_text() for name in ("CARD.md", "README.md", "report.html")]
    for text in texts:
        assert "118 files" in text
        assert "no patient identifiers were given" in text
        assert "each one protected whole" not in text
    assert "assigned to the right patient" not in texts[0]


def test_mechanisms_are_shown_by_their_titles_and_kept_by_their_names(make: Make) -> None:
    result = make()
    rows = json.loads((result.path / "card.json").read_text())["privacy"]["mechanisms"]
    assert [(row["title"], row["name"]) for row in rows] == [
        ("atlas", "atlas"),
        ("dpsgd", "finetune"),
    ]
    assert "| dpsgd | 0.5 | 40 |" in (result.path / "CARD.md").read_text()
    assert "<td>dpsgd</td>" in (result.path / "report.html").read_text()


def test_the_card_says_what_epsilon_and_delta_mean(make: Make) -> None:
    """Figures of the mechanisms, against the privacy package's own functions."""
    result = make()
    card = json.loads((result.path / "card.json").read_text())["privacy"]
    mechanisms = [Mechanism(**one) for one in MECHANISMS]
    loss = card["loss_bound"]
    assert loss["probability"] == 1e-4
    assert 0 <= loss["epsilon"] - epsilon_of_loss(mechanisms, 1e-4) < 2e-3
    assert loss["epsilon"] > card["epsilon"]
    removed, replaced = card["neighbouring_relations"].values()
    assert removed == card["epsilon"]
    assert 0 <= replaced - epsilon_replace_one(mechanisms, 1e-4) < 2e-3
    assert replaced > removed
    assert card["gaussian_dp_mu"] is None, "one mechanism samples patients"
    curve = card["trade_off"]
    rates, found = curve["false_positive_rates"], curve["true_positive_rates"]
    assert (rates[0], rates[-1], len(rates)) == (1e-4, 1, 33)
    assert all(a <= b for a, b in zip(rates, found, strict=True))
    for text in ((result.path / name).read_text() for name in ("CARD.md", "report.html")):
        assert f"e^{loss['epsilon']:g}" in text
        assert f"{replaced:.4g}" in text
        assert "attacks that are known today" not in text
        assert "epsilon 6.2 at delta 1e-05, 2 debits" in text
        assert "other tenants are not linked" in text
    assert (result.path / "trade-off.png").read_bytes().startswith(b"\x89PNG")


def test_mu_where_every_patient_is_in_every_step(make: Make) -> None:
    only = MECHANISMS[:1]
    cost = epsilon([Mechanism(**one) for one in only], 1e-4)
    plan = replace(PRIVATE, mechanisms=only, epsilon=cost)
    card = make(facts=facts(privacy=plan)).path / "card.json"
    assert json.loads(card.read_text())["privacy"]["gaussian_dp_mu"] == pytest.approx(
        1 / 1.2, abs=1e-3
    )


@pytest.mark.parametrize(
    ("looks", "says"),
    [
        (Looks(0, 0), "neither evaluate nor audit was run on patients of this tenant"),
        (Looks(3, 1), "evaluate was run 3 times and audit once on patients of this tenant, and"),
    ],
)
def test_the_card_says_how_often_patients_were_looked_at(
    make: Make, looks: Looks, says: str
) -> None:
    result = make(facts=facts(privacy=replace(PRIVATE, looks=looks)))
    card = json.loads((result.path / "card.json").read_text())["privacy"]
    assert any(says in one for one in card["assumptions"])
    assert card["looks"] == {"evaluate": looks.evaluate, "audit": looks.audit}
    assert says in (result.path / "CARD.md").read_text()


def test_a_template_declared_public_is_no_average_of_patients_either(make: Make) -> None:
    config = {"atlas": {"public": "head.nii.gz", "public_digest": "ab" * 32}}
    text = (make(facts=facts(config=config)).path / "CARD.md").read_text()
    assert "no scan of one of them, and no average or model of them either" in text


def test_a_public_model_needs_no_budget(make: Make) -> None:
    result = make(facts=facts(privacy=PrivacyFacts("public")))
    assert result.epsilon is None
    assert "No patient" in (result.path / "CARD.md").read_text()
    assert "epsilon" not in json.loads((result.path / "card.json").read_text())["privacy"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"training": "unprotected"}, "without differential privacy"),
        ({"epsilon": None}, "finite epsilon"),
        ({"epsilon": math.inf}, "finite epsilon"),
        ({"epsilon": math.nan}, "finite epsilon"),
        ({"epsilon": 0.0}, "finite epsilon"),
        ({"epsilon": -1.0}, "finite epsilon"),
        ({"epsilon": 9.0}, "above the plan's target"),
        ({"planned_epsilon": None}, "nobody says what epsilon"),
        ({"tenant_limit": 3.0}, "above the tenant's limit"),
        ({"tenant_limit": None}, "nobody says what epsilon"),
        ({"tenant_limit": math.nan}, "above the tenant's limit"),
        ({"delta": None}, "delta"),
        ({"delta": 0.0}, "delta"),
        ({"delta": 1.0}, "delta"),
        ({"debited": False}, "no debit"),
        ({"debited": None}, "no debit"),
        ({"account": None}, "no debit"),
        ({"looks": None}, "nobody counted"),
        ({"patients": None}, "how many patients"),
        ({"mechanisms": ()}, "which mechanisms"),
        ({"mechanisms": ({"name": "atlas"},)}, "cannot be accounted for"),
        ({"mechanisms": ({**MECHANISMS[0], "noise_multiplier": 0.0},)}, "cannot be accounted for"),
        ({"epsilon": 3.5}, r"claims epsilon 3\.5, but its mechanisms compose to 3\.58"),
    ],
)
def test_the_privacy_gate(make: Make, tmp_path: Path, change: dict[str, Any], says: str) -> None:
    with pytest.raises(BudgetError, match=says):
        make(volumes=never(), facts=facts(privacy=replace(PRIVATE, **change)))
    assert nothing_left(tmp_path)


def test_a_limit_that_was_asked_for(make: Make, tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="the limit asked for, 3"):
        make(volumes=never(), gate=GateInputs(epsilon_limit=3.0))
    assert nothing_left(tmp_path)


@pytest.mark.parametrize("text", ["a\nb", "a\tb", "a\x1b[2J", "", "x" * 201])
def test_names_are_one_printable_line(text: str) -> None:
    with pytest.raises(UsageError):
        facts(name=text)
    with pytest.raises(UsageError, match="one line"):
        facts(label_names=(text or "\0",))


def test_facts_of_a_sealed_model(make: Make) -> None:
    """What a model says of itself becomes the card, and nothing else of it does."""
    config = RunConfig.model_validate(
        {"data": MRI.model_dump(), "privacy": {"epsilon": 4.0, "unit": "patient"}}
    )
    mechanisms = tuple(Mechanism(**one) for one in MECHANISMS[:1])
    plan = Plan(epsilon(mechanisms, 1e-4), 1e-4, 118, mechanisms, {"clip": 1.0})
    sealed = {
        "format": 2,
        "kind": "private",
        "plan": json.loads(plan.to_json()),
        "config": config.public(),
        "model": {"name": "conv"},
        "loss_on_patients": 0.123456789,
    }
    told = ReleaseFacts.from_model(
        sealed,
        n=3,
        seed=5,
        debited=True,
        tenant_limit=20.0,
        account=PRIVATE.account,
        looks=PRIVATE.looks,
    )
    release = make(facts=told).path
    card = json.loads((release / "card.json").read_text())
    assert card["privacy"]["epsilon"] == plan.epsilon
    assert card["privacy"]["plan_digest"] == plan.digest().hex()
    assert card["privacy"]["cross_check_epsilon"] == pytest.approx(plan.epsilon, abs=0.002)
    assert "closed form" in card["privacy"]["accountant"]
    assert "PLD" in card["privacy"]["cross_check_accountant"]
    assert card["configuration"] == config.public()
    for path in release.rglob("*"):
        assert path.is_dir() or b"0.1234567" not in path.read_bytes()


def test_a_sealed_model_that_was_tampered_with() -> None:
    config = RunConfig.model_validate({"data": MRI.model_dump()}).public()
    mechanisms = tuple(Mechanism(**one) for one in MECHANISMS)
    plan = json.loads(Plan(epsilon(mechanisms, 1e-4), 1e-4, 118, mechanisms).to_json())
    for broken in (
        {"format": 2, "kind": "private", "config": config, "plan": {**plan, "epsilon": 1.0}},
        {"format": 2, "kind": "private", "config": config, "plan": None},
        {"format": 2, "kind": "private", "plan": plan},
        {"kind": "secret", "config": config, "plan": plan},
        {"config": config},
        {},
    ):
        with pytest.raises(IntegrityError):
            ReleaseFacts.from_model(broken, n=1, seed=0)
    unprotected = ReleaseFacts.from_model({"kind": "unprotected", "config": config}, n=1, seed=0)
    assert unprotected.privacy.training == "unprotected"
    for old in ({"format": 1}, {}):
        with pytest.raises(BudgetError, match="coarser grid"):
            ReleaseFacts.from_model(
                {**old, "kind": "private", "config": config, "plan": plan}, n=1, seed=0
            )


def test_a_further_check_that_failed(make: Make, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'steward' failed: not yet"):
        make(volumes=never(), gate=GateInputs(checks=[Check("steward", False, "not yet")]))
    assert nothing_left(tmp_path)


def spoiled(kind: str) -> Iterator[Volume]:
    """Three good volumes, the second one spoiled."""
    first, second, third = synthetic(3, MRI)
    yield first
    voxels, mask = second.voxels, second.mask
    assert mask is not None
    floats = voxels.astype(np.float32)
    floats[0, 0, 0] = {"nan": np.nan, "inf": np.inf}.get(kind, 0.0)
    ranged = voxels.copy()
    ranged[0, 0, 0] = 1001 if kind == "high" else -1
    yield {
        "nan": lambda: second.with_voxels(floats),
        "inf": lambda: second.with_voxels(floats),
        "constant": lambda: second.with_voxels(np.full_like(voxels, 7)),
        "high": lambda: second.with_voxels(ranged),
        "low": lambda: second.with_voxels(ranged),
        "copy": lambda: first,
        "grid": lambda: replace(second, voxels=voxels[1:], mask=mask[1:]),
        "spacing": lambda: replace(second, affine=np.eye(4)),
        "modality": lambda: replace(second, modality="ct"),
        "meta": lambda: replace(second, meta={"echo_time": 4.2}),
        "class": lambda: replace(second, meta={"class": 1}),
        "mask": lambda: replace(second, mask=None),
        "label": lambda: replace(second, mask=mask + np.uint8(1)),
    }[kind]()
    yield third


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("nan", "not finite"),
        ("inf", "not finite"),
        ("constant", "constant"),
        ("high", "outside the public range"),
        ("low", "outside the public range"),
        ("copy", "identical to synthetic volume 1"),
        ("grid", "public grid"),
        ("spacing", "mm"),
        ("modality", "is ct"),
        ("meta", "echo_time"),
        ("class", "of class 1, and the model has 0 classes"),
        ("mask", "all volumes have a mask or none"),
        ("label", "label 3"),
    ],
)
def test_the_voxel_gate(make: Make, tmp_path: Path, kind: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        make(volumes=spoiled(kind))
    assert "synthetic volume 2" in str(caught.value)
    assert nothing_left(tmp_path)


def test_the_number_of_volumes(make: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gave no volume"):
        make(n=0)
    with pytest.raises(InputError, match="5 volumes were asked for and 3 came"):
        make(facts=facts(volumes=5))
    assert nothing_left(tmp_path)


def test_a_target_that_is_not_free(make: Make, tmp_path: Path) -> None:
    target = tmp_path / "taken"
    target.mkdir()
    (target / "mine").write_text("keep me")
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, says in (("taken", "not empty"), ("file", "not a folder"), ("link", "not a folder")):
        with pytest.raises(UsageError, match=says):
            make(volumes=never(), out=tmp_path / name)
    assert (target / "mine").read_text() == "keep me"
    (tmp_path / "empty").mkdir()
    assert make(out=tmp_path / "empty").passed


def test_an_interrupt_on_the_way_leaves_nothing(make: Make, tmp_path: Path) -> None:
    def interrupted() -> Iterator[Volume]:
        yield from synthetic(2, MRI)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(volumes=interrupted())
    assert nothing_left(tmp_path)


def _slow(folder: Path) -> None:
    def volumes() -> Iterator[Volume]:
        yield from synthetic(1, MRI)
        (folder / "started").write_text("")
        time.sleep(60)

    key = Key()
    create(volumes(), folder / "out", facts=facts(), sign=key.sign, public_key=key.public)


def test_what_a_killed_run_left_is_cleared_but_not_what_another_still_builds(
    make: Make, tmp_path: Path
) -> None:
    process = multiprocessing.get_context("fork").Process(target=_slow, args=(tmp_path,))
    process.start()
    while not (tmp_path / "started").exists():
        time.sleep(0.02)
        assert process.is_alive()
    (left,) = tmp_path.glob(".out.partial-*")
    make(out=tmp_path / "out")
    assert left.exists(), "another process still builds there"
    (tmp_path / "out").rename(tmp_path / "first")
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    make(out=tmp_path / "out")
    assert not left.exists()


def test_a_wrong_signature_is_noticed_before_anything_is_published(
    make: Make, tmp_path: Path
) -> None:
    with pytest.raises(IntegrityError, match="does not verify"):
        make(sign=Key(2).sign)
    assert nothing_left(tmp_path)


def test_the_folder_can_be_read_by_others_and_is_hidden_until_done(
    make: Make, tmp_path: Path
) -> None:
    def volumes() -> Iterator[Volume]:
        for volume in synthetic(2, MRI):
            assert not (tmp_path / "release").exists()
            (staging,) = tmp_path.iterdir()
            assert staging.name.startswith(".")
            assert staging.stat().st_mode & 0o077 == 0
            yield volume

    release = make(volumes=volumes()).path
    assert release.stat().st_mode & 0o777 == 0o755
    assert all(p.stat().st_mode & 0o777 == 0o644 for p in release.rglob("*") if p.is_file())


def test_memory_does_not_grow_with_the_number_of_volumes(make: Make, tmp_path: Path) -> None:
    """Volumes that went past are given back, but for the few that the report shows."""
    import weakref

    alive: list[weakref.ref[Volume]] = []

    def volumes() -> Iterator[Volume]:
        for volume in synthetic(30, MRI):
            alive.append(weakref.ref(volume))
            yield volume
            assert sum(ref() is not None for ref in alive) <= 11

    assert make(volumes=volumes()).volumes == 30


def test_a_canary_in_private_inputs_is_nowhere_in_the_release(make: Make, tmp_path: Path) -> None:
    """Facts have no field for what is private; what a run knows besides does not get in."""
    canary = "ZZCANARY7731"
    os.environ["MEDVAE_TEST_CANARY"] = canary
    home = tmp_path / canary
    home.mkdir()
    try:
        release = make(out=home / "release").path
    finally:
        del os.environ["MEDVAE_TEST_CANARY"]
    for path in release.rglob("*"):
        assert canary not in path.name
        if path.is_file():
            data = path.read_bytes()
            assert canary.encode() not in data, path
            assert str(tmp_path).encode() not in data, path
