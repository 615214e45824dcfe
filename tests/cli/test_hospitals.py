"""Hospitals with a vault each make one model, from files of released numbers."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from medvae.model import Artifact
from medvae.privacy import Plan, epsilon
from tests.anatomy.cohorts import add_people
from tests.cli.conftest import QUICK, Clinic
from tests.cli.spoiled_statistics import WRONG
from tests.cli.test_continued import MRI, cohort

# What no hospital states is written all the same, to be refused.
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")

FEW = ("--set", "atlas.samples=2", "--set", "atlas.steps=1")
HOSPITALS = {"north": (range(10), "20"), "south": (range(20, 28), "16")}
FILE = "statistics.safetensors"


def tenant(root: Path, name: str) -> Clinic:
    """A vault with a library of the same public people."""
    made = Clinic(root / name)
    made.root.mkdir()
    made("tenant", "create", name, "--recovery-out", made.root / "spare", "--epsilon-limit", 50)
    add_people(made.root / "vault", made.root / "public")
    return made


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> dict[str, Clinic]:
    """Two hospitals that have exported what they released, and an office without patients."""
    root = tmp_path_factory.mktemp("hospitals")
    made = {name: tenant(root, name) for name in (*HOSPITALS, "office")}
    for name, (seeds, spent) in HOSPITALS.items():
        own = made[name]
        own("ingest", cohort(own.root / "scans", seeds, core=0.3), "-d", "d", *MRI)
        own("train", "-c", QUICK, "-d", "d", "--name", "m", *FEW, "--epsilon", spent)
        own("model", "export", "m", "-o", own.root / "given", "--format", "statistics")
    return made


def given(world: dict[str, Clinic], name: str) -> Path:
    return world[name].root / "given" / FILE


def artifact(clinic: Clinic, name: str, out: Path) -> Artifact:
    clinic("model", "export", name, "-o", out)
    return Artifact.from_bytes((out / "model.safetensors").read_bytes())


@pytest.fixture(scope="module")
def joined(world) -> dict[str, Any]:
    """Both hospitals as one model, in the office."""
    keys = [
        word
        for name in HOSPITALS
        for word in ("--public-key", given(world, name).parent / "signer.pem")
    ]
    files = [given(world, name) for name in HOSPITALS]
    return world["office"]("model", "join", *files, "--as", "both", *keys).json


def plans(world: dict[str, Clinic]) -> list[Plan]:
    return [
        Plan.from_json(world[name]("model", "show", "m").json["facts"]["plan"])
        for name in HOSPITALS
    ]


def test_a_joint_model_costs_what_the_dearer_hospital_does_and_all_for_who_is_in_both(
    world, joined
) -> None:
    first, second = plans(world)
    assert joined["epsilon"] == first.epsilon > second.epsilon
    everything = [*first.mechanisms, *second.mechanisms]
    assert joined["everywhere"] == pytest.approx(epsilon(everything, first.delta), rel=1e-9)
    assert joined["patients"] == 18
    assert {one["tenant"] for one in joined["hospitals"]} == set(HOSPITALS)
    assert all(one["known"] for one in joined["hospitals"])
    office = world["office"]
    assert office("budget").json["events"] == []
    listed = next(one for one in office("model", "list").json["models"] if one["model"] == "both")
    assert (listed["private"], listed["epsilon"]) == (True, first.epsilon)
    events = [one["event"] for one in office("log").json["events"]]
    assert events[-1] == "model join" or "model join" in events


def test_order_of_files_changes_no_bit_and_one_file_is_that_hospitals_model(
    world, joined, tmp_path
) -> None:
    office = world["office"]
    files = [given(world, name) for name in HOSPITALS]
    keys = ("--public-key", files[0].parent / "signer.pem")
    keys += ("--public-key", files[1].parent / "signer.pem")
    office("model", "join", *reversed(files), "--as", "turned", *keys)
    ways = [artifact(office, name, tmp_path / name).to_bytes() for name in ("both", "turned")]
    assert ways[0] == ways[1]
    # The folder of an export does as well as the file in it.
    office("model", "join", files[0].parent, "--as", "one")
    own = artifact(world["north"], "m", tmp_path / "m").part("anatomy")
    one = artifact(office, "one", tmp_path / "one").part("anatomy")
    both = artifact(office, "both", tmp_path / "again").part("anatomy")
    assert {name for name in own if not name.startswith("released.")} == set(one)
    for name, values in one.items():
        assert torch.equal(values, own[name]), name
    assert not torch.equal(both["place"], one["place"])


@pytest.mark.slow
def test_own_models_are_joined_by_name_and_one_hospitals_trainings_are_composed(
    world, tmp_path
) -> None:
    """Nobody says that two models of one hospital have different patients."""
    north = world["north"]
    north("train", "-c", QUICK, "-d", "d", "--name", "again", *FEW, "--epsilon", "6")
    before = north("budget").json
    done = north("model", "join", "m", "again", "--as", "twice").json
    assert north("budget").json == before
    own = [
        Plan.from_json(north("model", "show", name).json["facts"]["plan"])
        for name in ("m", "again")
    ]
    both = epsilon([one for plan in own for one in plan.mechanisms], own[0].delta)
    assert done["epsilon"] == pytest.approx(both, rel=1e-9)
    assert done["epsilon"] > own[0].epsilon
    # Who withdraws is in the joint model, too.
    erased = north("subject", "erase", "s9", "--yes").json
    assert {"m", "again", "twice"} <= set(erased["models"])


def test_a_release_of_a_joint_model_states_each_hospital_and_no_debit_of_its_own(
    world, joined, tmp_path
) -> None:
    office, out = world["office"], tmp_path / "release"
    office("generate", "both", "-n", "1", "-o", tmp_path / "drawn", "--seed", "1")
    made = office("release", "create", "both", "-n", "2", "-o", out, "--seed", "1").json
    assert made["epsilon"] == joined["epsilon"]
    assert office("release", "verify", out).json["unchanged"]
    card = json.loads((out / "card.json").read_text())
    privacy = card["privacy"]
    assert privacy["patients"] == 18
    assert "at most 18 patients of 2 hospitals" in privacy["summary"]
    assert privacy["trust_model"].startswith("local to each of 2 hospitals")
    assert f"{privacy['epsilon_in_all_hospitals']:.4g} at the same delta" in privacy["composition"]
    assert {one["name"] for one in privacy["hospitals"]} == set(HOSPITALS)
    assert "has not seen its ledger" in privacy["assumptions"][-1]
    (ledger,) = (one for one in card["gate"]["checks"] if one["name"] == "ledger")
    assert "were not seen here" in ledger["detail"]
    text = (out / "CARD.md").read_text()
    assert "hospital 1" in text
    assert "at this tenant" not in text.replace("**", "")


def test_a_joint_model_whose_hospital_broke_its_promise_is_never_released(
    world, joined, tmp_path
) -> None:
    """The gate trusts no figure that it can compute, though the model is sealed."""
    from medvae.errors import BudgetError
    from medvae.release import PrivacyFacts

    facts = artifact(world["office"], "both", tmp_path / "m").facts
    assert PrivacyFacts.from_model(facts).epsilon == joined["epsilon"]
    for change, reason in (
        ({"epsilon": 1.0}, "its plan says"),
        ({"debited": False}, "were charged"),
        ({"limit": 3.0}, "above its limit"),
    ):
        wrong = facts | {"hospitals": [facts["hospitals"][0] | change, *facts["hospitals"][1:]]}
        with pytest.raises(BudgetError, match=reason):
            PrivacyFacts.from_model(wrong)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("audit", "both"), "does not hold the patients"),
        (("model", "nearest", "both"), "does not hold the patients"),
        (("model", "shift", "both"), "has no sites"),
        (("model", "export", "both", "-o", "x", "--format", "statistics"), "was joined"),
    ],
)
def test_what_needs_patients_of_the_tenant_is_refused_in_a_sentence(
    world, joined, words, reason
) -> None:
    got = world["office"](*words, ok=False)
    assert got.code == 2
    assert reason in got.err
    assert got.err.strip().count("\n") == 0


def test_a_joint_model_is_not_trained_on_but_can_be_made_smaller(world, joined) -> None:
    office = world["office"]
    office("ingest", cohort(office.root / "scans", range(40, 44)), "-d", "e", *MRI)
    got = office("train", "-c", QUICK, "-d", "e", "--name", "on", *FEW, "--init", "both", ok=False)
    assert (got.code, "was joined from several hospitals" in got.err) == (2, True)
    office("model", "compress", "both", "--to", "small", "--weights", "bf16")
    shown = office("model", "show", "small").json
    assert (shown["private"], shown["epsilon"]) == (True, joined["epsilon"])
    assert "does not hold the patients" in office("audit", "small", ok=False).err


@pytest.mark.parametrize("kind", WRONG)
def test_a_file_that_is_not_one_is_refused_in_a_sentence_and_nothing_is_written(
    world, tmp_path, kind
) -> None:
    office = world["office"]
    spoil, code, reason = WRONG[kind]
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(spoil(given(world, "south").read_bytes()))
    before = office("model", "list").json
    got = office("model", "join", given(world, "north"), wrong, "--as", "bad", ok=False)
    assert (got.code, reason in got.err) == (code, True), got.err
    assert got.err.strip().count("\n") == 0
    assert office("model", "list").json == before


def test_one_hospital_twice_is_refused_however_often_it_exported(world, tmp_path) -> None:
    north, office = world["north"], world["office"]
    north("model", "export", "m", "-o", tmp_path / "later", "--format", "statistics")
    for other in (given(world, "north"), tmp_path / "later"):
        got = office("model", "join", given(world, "north"), other, "--as", "bad", ok=False)
        assert (got.code, "is joined once" in got.err) == (2, True), got.err


def test_files_are_known_by_the_keys_that_were_given(world, tmp_path) -> None:
    office, files = world["office"], [given(world, name) for name in HOSPITALS]
    key = files[0].parent / "signer.pem"
    got = office("model", "join", *files, "--as", "bad", "--public-key", key, ok=False)
    assert (got.code, "whose key was not given" in got.err) == (5, True), got.err
    done = office("model", "join", *files, "--as", "unknown").json
    assert not any(one["known"] for one in done["hospitals"])
    office("release", "create", "unknown", "-n", "1", "-o", tmp_path / "r", "--seed", "1")
    card = json.loads((tmp_path / "r" / "card.json").read_text())
    assert "was not checked" in card["privacy"]["assumptions"][-1]


def test_what_is_no_file_waits_for_nobody(world, tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for source, code in ((tmp_path / "pipe", 3), (tmp_path / "none", 7)):
        assert world["office"]("model", "join", source, "--as", "bad", ok=False).code == code


@pytest.mark.parametrize("missing", [True, False])
def test_an_entry_that_is_not_here_or_shows_a_patient_is_refused(world, tmp_path, missing) -> None:
    if missing:
        made = Clinic(tmp_path)
        made("tenant", "create", "bare", "--recovery-out", tmp_path / "spare")
        reason, code = "which this vault's library must hold", 7
    else:
        made = tenant(tmp_path, "shown")
        scans = made.root / "scans"
        shutil.copytree(made.root / "public", scans)
        made("ingest", scans, "-d", "d", "--files-are-patients", *MRI)
        reason, code = "is an ingested patient", 2
    got = made("model", "join", given(world, "north"), "--as", "bad", ok=False)
    assert (got.code, reason in got.err) == (code, True), got.err


def test_a_limit_of_the_tenant_holds_for_what_it_joins(world, tmp_path) -> None:
    made = Clinic(tmp_path)
    made("tenant", "create", "low", "--recovery-out", tmp_path / "spare", "--epsilon-limit", 5)
    got = made("model", "join", given(world, "north"), "--as", "bad", ok=False)
    assert (got.code, "above the limit 5" in got.err) == (6, True), got.err


@pytest.mark.slow
def test_models_without_statistics_are_not_exported(world, tmp_path) -> None:
    north = world["north"]
    north("model", "compress", "m", "--to", "less", "--weights", "bf16")
    north("pretrain", "-c", QUICK, "--name", "open", "--set", "pretrain.steps=1")
    north("train", "-c", QUICK, "-d", "d", "--name", "on", *FEW, "--epsilon", "2", "--init", "m")
    atlas = ("--set", "anatomy.library=none", "--epsilon", "1")
    north("train", "-c", QUICK, "-d", "d", "--name", "atlas", *FEW, *atlas)
    for name, reason in (
        ("less", "is compressed"),
        ("open", "is a public one"),
        ("on", "goes on from"),
        ("atlas", "has no anatomy"),
    ):
        asked = ("model", "export", name, "-o", tmp_path / name, "--format", "statistics")
        got = north(*asked, ok=False)
        assert (got.code, reason in got.err) == (2, True), got.err
        assert not (tmp_path / name).exists()
