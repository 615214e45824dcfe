"""The command-line contract: verbs, JSON keys and exit codes that others build on."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.cli.conftest import BY_FILE, DECLARED, QUICK, Clinic


def test_tenant_create_writes_a_private_identity_and_a_recovery_key(clinic: Clinic) -> None:
    identity = clinic.root / "key"
    assert identity.stat().st_mode & 0o777 == 0o600
    assert (clinic.root / "spare").stat().st_mode & 0o777 == 0o600
    assert [t["tenant"] for t in clinic("tenant", "list").json["tenants"]] == ["clinic"]


@pytest.mark.parametrize(
    ("passphrase", "words"),
    [
        (None, "MEDVAE_PASSPHRASE is not set"),
        ("", "MEDVAE_PASSPHRASE is empty"),
        ("a", "has 1 characters and can be guessed"),
        ("seven words that nobody would guess", ""),
    ],
)
def test_tenant_create_says_what_its_passphrase_is_worth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passphrase: str | None, words: str
) -> None:
    if passphrase is None:
        monkeypatch.delenv("MEDVAE_PASSPHRASE", raising=False)
    else:
        monkeypatch.setenv("MEDVAE_PASSPHRASE", passphrase)
    made = Clinic(tmp_path)("tenant", "create", "one", "--recovery-out", tmp_path / "spare")
    assert words in made.err
    assert (made.err == "") == (words == "")


def test_ingest_counts_patients_not_files(journey: Clinic) -> None:
    shown = journey("dataset", "show", "phantoms").json
    assert (shown["subjects"], shown["volumes"], shown["masks"]) == (10, 12, 12)
    # Other tests of the shared journey may have ingested data sets of their own.
    listed = [one["dataset"] for one in journey("dataset", "list").json["datasets"]]
    assert "phantoms" in listed
    for version in ("9", "\u00b2", "9" * 5000, "-1", "x"):
        refused = journey("dataset", "show", f"phantoms@{version}", ok=False)
        assert refused.code == 7
        assert "has no version" in refused.err


def test_ingesting_the_same_files_again_makes_no_new_version(clinic: Clinic, scans: Path) -> None:
    first = clinic("ingest", scans, "-d", "d", *DECLARED).json
    again = clinic("ingest", scans, "-d", "d", *DECLARED).json
    assert first["quarantined"] == again["quarantined"] == []
    assert (first["version"], again["version"], again["added"]) == (1, 1, 0)


def test_plan_names_every_stage_and_spends_nothing(journey: Clinic) -> None:
    before = journey("budget").json
    planned = journey("plan", "-c", QUICK, "-d", "phantoms", "--epsilon", "4").json
    assert 3.9 < planned["epsilon"] <= 4.0
    assert {"atlas", "finetune", "prior"} <= {
        re.split("[.-]", s["name"])[0] for s in planned["stages"]
    }
    assert all(stage["noise_multiplier"] > 0 for stage in planned["stages"])
    assert planned["expected"]["page"] == "docs/benchmarks/utility.md"
    assert journey("budget").json == before


def test_train_spends_what_it_says(journey: Clinic) -> None:
    budget = journey("budget", "-d", "phantoms").json
    model = journey("model", "show", "first").json
    assert model["epsilon"] == pytest.approx(budget["spent"], abs=0.05)
    assert budget["remaining"] == pytest.approx(budget["limit"] - budget["spent"])
    assert len(budget["events"]) == 1


def test_figures_of_patients_say_that_they_are_not_for_release(journey: Clinic) -> None:
    planned = journey("plan", "-c", QUICK, "-d", "phantoms").json
    for figures in (
        journey("budget").json,
        journey("dataset", "show", "phantoms").json,
        planned["coverage"],
        journey("evaluate", "first", "--against", "phantoms", "-n", "2", "--no-downstream").json,
    ):
        assert figures["releasable"] is False


def test_resuming_a_finished_run_costs_nothing(journey: Clinic) -> None:
    before = journey("budget").json
    again = journey("train", "-c", QUICK, "-d", "phantoms", "--name", "first", "--resume").json
    assert again["model"] == "first"
    assert journey("budget").json == before


def test_nothing_is_spent_on_a_run_that_cannot_begin(journey: Clinic) -> None:
    """There is no refund, so whatever can be refused is refused before the debit."""
    before = journey("budget").json
    asked = ("train", "-c", QUICK, "-d", "phantoms", "--name", "refused", "--epsilon", "1")
    journey("pretrain", "-c", QUICK, "--name", "public", "--set", "pretrain.steps=1")
    for wrong, code in (
        (("--set", "data.modality=ct"), 2),
        (("--device", "gpu:7"), 2),
        (("--init", "public", "--set", "model.preset=small"), 2),
        (("--init", "first"), 2),
        (("--init", "nothing"), 7),
        (("--resume",), 7),
    ):
        assert journey(*asked, *wrong, ok=False).code == code
        assert journey("budget").json == before
    assert (
        journey(
            "train", "-c", QUICK, "-d", "phantoms", "--name", "refused", "--resume", ok=False
        ).code
        == 7
    )


def test_resuming_with_another_configuration_is_refused(journey: Clinic) -> None:
    asked = ("train", "-c", QUICK, "-d", "phantoms", "--name", "first", "--resume")
    assert journey(*asked, "--epsilon", "3", ok=False).code == 2
    assert journey(*asked, "--init", "other", ok=False).code == 2


def test_an_interrupt_is_one_sentence(journey: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("medvae.api.accounts.budget", stop)
    got = journey("budget", ok=False)
    assert got.code == got.json["exit_code"] == 130
    assert "interrupted" in got.err


def test_a_release_in_dicom_has_structures_where_they_are_asked_for(
    journey: Clinic, tmp_path: Path
) -> None:
    ask = ("release", "create", "first", "-n", "2", "--structures", "-o", tmp_path / "r")
    refused = journey(*ask, ok=False)
    assert (refused.code, "add --format dicom" in refused.err) == (2, True)
    journey(*ask, "--format", "dicom")
    names = {path.name for path in (tmp_path / "r" / "structures").iterdir()}
    assert names == {"SYNTH0001_RTSTRUCT.dcm", "SYNTH0002_RTSTRUCT.dcm"}
    assert journey("release", "verify", tmp_path / "r").json["unchanged"]


def test_generate_writes_dicom_or_refuses(journey: Clinic, tmp_path: Path) -> None:
    import pydicom

    made = journey("generate", "first", "-n", "1", "-o", tmp_path / "d", "--format", "dicom").json
    # A file a slice, and the segmentation over them.
    assert len(made["files"]) == 16 + 1
    assert pydicom.dcmread(made["files"][-1]).SegmentSequence[0].SegmentLabel == "outer"
    assert pydicom.dcmread(made["files"][0]).PatientIdentityRemoved == "YES"
    asked = ("generate", "first", "-n", "1", "-o", tmp_path / "w", "--format", "wat")
    assert journey(*asked, ok=False).code == 2


def test_an_interrupted_generate_leaves_the_folder_free(
    journey: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medvae import release

    wrote = release.write_nifti
    calls = []

    def once(*args: object, **kwargs: object) -> object:
        calls.append(args)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return wrote(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(release, "write_nifti", once)
    asked = ("generate", "first", "-n", "3", "-o", tmp_path / "out", "--seed", "1")
    assert journey(*asked, ok=False).code == 130
    monkeypatch.setattr(release, "write_nifti", wrote)
    journey(*asked)


def test_the_same_scan_cannot_open_a_second_account(
    clinic: Clinic, scans: Path, tmp_path: Path
) -> None:
    clinic("ingest", scans, "-d", "d", *DECLARED)
    (tmp_path / "copy").mkdir()
    for source in (scans / "images").iterdir():
        (tmp_path / "copy" / f"renamed-{source.name}").write_bytes(source.read_bytes())
    again = clinic("ingest", tmp_path / "copy", "-d", "renamed", *BY_FILE, ok=False)
    assert again.code == 3
    assert "another patient" in again.err


def test_the_secret_of_a_finished_run_is_gone(journey: Clinic) -> None:
    from medvae import api

    session = api.open(journey.root / "vault", "clinic", identity=journey.root / "key")
    assert session.tenant.names("run-secret") == []
    assert session.tenant.names("checkpoint") == []


def test_the_same_seed_gives_the_same_voxels(journey: Clinic, tmp_path: Path) -> None:
    files = [
        journey("generate", "first", "-n", "2", "-o", tmp_path / name, "--seed", "5").json["files"]
        for name in "ab"
    ]
    other = journey("generate", "first", "-n", "2", "-o", tmp_path / "c", "--seed", "6").json
    voxels = [nib.load(group[0]).get_fdata() for group in (*files, other["files"])]
    assert np.array_equal(voxels[0], voxels[1])
    assert not np.array_equal(voxels[0], voxels[2])
    assert voxels[0].shape == (16, 24, 16)


def test_reconstruct_keeps_grid_and_geometry(journey: Clinic, scans: Path, tmp_path: Path) -> None:
    source = next((scans / "images").glob("*.nii.gz"))
    out = tmp_path / "rec.nii.gz"
    figures = journey("reconstruct", "first", "-i", source, "-o", out).json
    assert np.allclose(nib.load(out).affine, nib.load(source).affine)
    assert nib.load(out).shape == nib.load(source).shape
    assert figures["psnr"] > 10
    assert "ms_ssim" in figures
    assert -1 <= figures["ssim"] <= 1


def test_release_is_signed_and_a_changed_byte_is_refused(journey: Clinic, tmp_path: Path) -> None:
    folder = tmp_path / "release"
    made = journey("release", "create", "first", "-n", "3", "-o", folder).json
    assert made["passed"]
    assert 0 < made["epsilon"] <= 8
    good = journey("release", "verify", folder).json
    assert (good["valid"], good["unchanged"], good["trusted"]) == (None, True, False)
    key = tmp_path / "hospital.pem"
    key.write_bytes((folder / "signer.pem").read_bytes())
    known = journey("release", "verify", folder, "--public-key", key).json
    assert (known["valid"], known["unchanged"], known["trusted"]) == (True, True, True)
    assert known["signer"] == good["signer"] == made["signer"]
    victim = max(folder.rglob("*.nii.gz"))
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(bytes(data))
    bad = journey("release", "verify", folder, ok=False)
    assert bad.code == 4
    assert bad.json["valid"] is False
    assert not bad.json["unchanged"]


def test_evaluate_and_audit_answer(journey: Clinic) -> None:
    metrics = journey("evaluate", "first", "--against", "phantoms", "-n", "4").json["metrics"]
    assert {"reconstruction_psnr", "intensity_jensen_shannon"} <= set(metrics)
    audited = journey("audit", "first", "-n", "4", ok=False).json
    assert isinstance(audited["passed"], bool)
    assert audited["findings"]


def test_audit_takes_a_model_or_the_engine(journey: Clinic) -> None:
    assert journey("audit", ok=False).code == 2
    assert journey("audit", "first", "--engine", ok=False).code == 2


def test_the_log_tells_the_journey(journey: Clinic) -> None:
    events = {event["event"] for event in journey("log").json["events"]}
    assert {"ingest", "train"} <= events
    assert journey("log", "verify").json["valid"]


def test_verify_finds_a_flipped_byte_and_train_refuses(clinic: Clinic, scans: Path) -> None:
    clinic("ingest", scans, "-d", "d", *DECLARED)
    assert clinic("verify", "--read-data").json["damaged"] == []
    objects = [
        p for p in (clinic.root / "vault").rglob("*") if p.is_file() and p.stat().st_size > 9000
    ]
    victim = max(p for p in objects if p.suffix not in (".db", ".sqlite", ".db-wal"))
    data = bytearray(victim.read_bytes())
    data[5000] ^= 0x10
    victim.write_bytes(bytes(data))
    found = clinic("verify", ok=False)
    assert found.code == 4
    assert len(found.json["damaged"]) == 1
    refused = clinic("train", "-c", QUICK, "-d", "d", "--name", "r", ok=False)
    assert refused.code == 4
    assert clinic("budget").json["spent"] == 0


@pytest.mark.parametrize("epsilon", ["0", "-1", "nan", "inf"])
def test_an_epsilon_that_is_none_is_a_usage_error(journey: Clinic, epsilon: str) -> None:
    asked = ("-c", QUICK, "-d", "phantoms", f"--epsilon={epsilon}")
    assert journey("plan", *asked, ok=False).code == 2
    assert journey("train", *asked, "--name", "none", ok=False).code == 2


def test_a_budget_is_not_passed(journey: Clinic) -> None:
    before = journey("budget").json
    asked = ("-c", QUICK, "-d", "phantoms", "--name", "over")
    assert journey("train", *asked, "--epsilon", "21", ok=False).code == 6
    refused = journey("train", *asked, "--epsilon", "19", ok=False)
    assert refused.code == 6
    assert len(refused.err.splitlines()) == 1
    assert journey("budget").json == before
    assert all(m["model"] != "over" for m in journey("model", "list").json["models"])


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("dataset", "show", "nothing"), 7),
        (("model", "show", "nothing"), 7),
        (("generate", "nothing", "-n", "1", "-o", "x"), 7),
        (("train", "-c", QUICK, "-d", "nothing", "--name", "r"), 7),
        (("train", "-c", "no-such.yaml", "-d", "phantoms", "--name", "r"), 2),
        (("train", "-c", QUICK, "-d", "phantoms", "--name", "r", "--set", "privacy.epsilom=1"), 2),
        (("train", "-c", QUICK, "-d", "phantoms", "--name", "first"), 2),
        (("generate", "first", "-n", "0", "-o", "x"), 2),
        (("tenant", "create", "big", "--epsilon-limit", "5000"), 2),
        (("tenant",), 2),
        (("tenant", "list", "--vault="), 2),
        (("budget", "--tenant", "--json"), 2),
        (("decode", "first", "-i", "x", "-o", "/proc/x/y.nii"), 2),
        (("tenant", "create", "clinic"), 2),
        (("tenant", "create", "../up"), 2),
        (("tenant", "erase", "clinic"), 2),
        (("-t", "ghost", "budget"), 7),
        (("ingest", "/no/such/place", "-d", "d"), 3),
    ],
)
def test_errors_are_one_sentence_with_their_code(
    journey: Clinic, words: tuple[str, ...], code: int
) -> None:
    got = journey(*words, ok=False)
    assert got.code == code, got.err
    assert words == ("tenant",) or len(got.err.strip().splitlines()) == 1
    assert "Traceback" not in got.err
    assert got.json["exit_code"] == code


def test_another_identity_does_not_open_a_tenant(journey: Clinic, tmp_path: Path) -> None:
    stranger = Clinic(tmp_path)
    stranger("tenant", "create", "other", "--recovery-out", tmp_path / "spare")
    got = journey("--identity", tmp_path / "key", "budget", ok=False)
    assert got.code == 5


def test_good_files_are_kept_and_bad_ones_listed(
    clinic: Clinic, scans: Path, tmp_path: Path
) -> None:
    good = next((scans / "images").glob("*.nii.gz"))
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "good.nii.gz").write_bytes(good.read_bytes())
    (tmp_path / "mixed" / "cut.nii.gz").write_bytes(good.read_bytes()[:800])
    (tmp_path / "mixed" / "empty.nii.gz").write_bytes(b"")
    (tmp_path / "mixed" / "text.nii").write_text("not an image")
    got = clinic("ingest", tmp_path / "mixed", "-d", "mixed", *BY_FILE).json
    assert got["volumes"] == 1
    refused = {Path(q["source"]).name for q in got["quarantined"]}
    assert refused == {"cut.nii.gz", "empty.nii.gz", "text.nii"}
    (tmp_path / "mixed" / "good.nii.gz").unlink()
    nothing = clinic("ingest", tmp_path / "mixed", "-d", "none", *BY_FILE, ok=False)
    assert nothing.code == 3
    assert [d["dataset"] for d in clinic("dataset", "list").json["datasets"]] == ["mixed"]


def test_nothing_of_a_patient_lies_in_the_open(journey: Clinic, scans: Path) -> None:
    """Names of files and patients, and runs of raw voxels, are nowhere under the vault."""
    image = next((scans / "images").glob("*.nii.gz"))
    raw = np.asarray(nib.load(image).dataobj).astype("<i2").tobytes()
    needles = [b"CANARY-PATIENT", b"CANARY-FILE", raw[4000:4064], b"phantoms"]
    for path in journey.root.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not any(needle in data for needle in needles), path


def test_help_is_quick_and_light() -> None:
    code = (
        "import sys\nfrom medvae.cli.main import run\nrun(['--help'])\nprint(sorted(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not any(f"'{heavy}'" in out.stdout for heavy in ("torch", "monai", "numpy", "pydicom"))
    # Processor seconds: those of the clock are the other processes' too.
    took = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "medvae", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(took) < 0.5


def test_global_options_may_stand_anywhere(journey: Clinic) -> None:
    from medvae.cli.settings import hoist, settings

    assert hoist(["budget", "--json", "-t", "a", "--vault=/v", "-d", "x"]) == ["budget", "-d", "x"]
    assert (settings.json, settings.tenant, settings.vault) == (True, "a", "/v")
    assert json.loads(journey("budget").out)
