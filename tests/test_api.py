"""Every verb of the command line is a method of the session or a function of the API."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from medvae import api, demo
from medvae.api import results
from medvae.api.results.base import as_json
from medvae.cli.app import build
from tests.cli.conftest import Clinic

# Where each verb is, for programs. A new verb fails the test until it is entered here.
SESSION = {
    "audit": "audit",
    "budget": "budget",
    "dataset declare": "datasets.declare",
    "dataset delete": "datasets.delete",
    "dataset export": "datasets.export",
    "dataset list": "datasets.list",
    "dataset preview": "datasets.preview",
    "dataset show": "datasets.show",
    "decode": "decode",
    "encode": "encode",
    "evaluate": "evaluate",
    "generate": "generate",
    "ingest": "ingest",
    "keys add": "keys.add",
    "keys list": "keys.list",
    "keys remove": "keys.remove",
    "keys reseal": "keys.reseal",
    "keys rotate": "keys.rotate",
    "log": "log.events",
    "log anchor": "log.anchor",
    "log export": "log.export",
    "log verify": "log.verify",
    "model compress": "models.compress",
    "model export": "models.export",
    "model join": "models.join",
    "model list": "models.list",
    "model nearest": "models.nearest",
    "model shift": "models.shift",
    "model show": "models.show",
    "plan": "plan",
    "pretrain": "pretrain",
    "pull": "pull",
    "listen": "listen",
    "reconstruct": "reconstruct",
    "release approve": "releases.approve",
    "release create": "releases.create",
    "release list": "releases.list",
    "release recall": "releases.recall",
    "repair": "repair",
    "subject erase": "datasets.erase_subject",
    "train": "train",
    "verify": "verify",
}
API = {
    "anatomy add": "add_anatomy",
    "anatomy fetch": "fetch_anatomy",
    "anatomy list": "list_anatomy",
    "anatomy show": "show_anatomy",
    "anatomy verify": "verify_anatomy",
    "config copy": "copy_config",
    "config explain": "explain_config",
    "config list": "configs",
    "config show": "config_text",
    "doctor": "examine",
    "keys new": "new_identity",
    "keys recover": "recover_tenant",
    "release verify": "verify_release",
    "send": "send_release",
    "stitch": "stitch",
    "tenant create": "create_tenant",
    "tenant erase": "erase_tenant",
    "tenant list": "tenants",
    "work": "work",
}


def verbs() -> set[str]:
    found = set()
    for name, command in build().commands.items():  # type: ignore[attr-defined]
        below: dict[str, Any] = getattr(command, "commands", {})
        found |= {f"{name} {verb}" for verb in below}
        if not below or getattr(command, "invoke_without_command", False):
            found.add(name)
    return found


def test_every_verb_is_there_for_programs() -> None:
    assert verbs() == {*SESSION, *API, "demo"}
    assert callable(demo.run)
    session = api.Session(None, None)  # type: ignore[arg-type]
    for name in SESSION.values():
        verb = attrgetter(name)(session)
        assert callable(verb), name
        assert verb.__doc__, name
    for name in API.values():
        assert name in api.__all__
        assert getattr(api, name).__doc__, name


def test_every_exported_name_is_there() -> None:
    assert all(getattr(api, name) is not None for name in api.__all__)


def test_tenants_and_keys_from_a_program(tmp_path: Path) -> None:
    """The same journey of keys as on the command line, without it."""
    vault, key = tmp_path / "vault", tmp_path / "key"
    session = api.create_tenant(vault, "clinic", identity=key, recovery=tmp_path / "spare")
    assert [one.tenant for one in api.tenants(vault)] == ["clinic"]
    epoch = session.keys.rotate().epoch
    made = api.new_identity(tmp_path / "colleague")
    added = session.keys.add(made.public, "Ada")
    assert added.added in {one.fingerprint for one in session.keys.list()}
    assert session.keys.remove(added.added).epoch > epoch
    assert session.keys.reseal().resealed >= 0
    assert session.repair().lost == ()
    assert any("keys rotate" in line for line in session.log.export())
    recovered = api.recover_tenant(
        vault, "clinic", recovery=tmp_path / "spare", identity=tmp_path / "new"
    )
    again = api.open(vault, "clinic", identity=recovered.identity)
    assert again.log.verify().valid
    assert api.erase_tenant(vault, "clinic").to_json() == {"erased": "clinic"}
    assert api.tenants(vault) == ()


@pytest.mark.parametrize("words", [("tenant", "list"), ("keys", "list"), ("repair",)])
def test_the_command_line_answers_as_before(words: tuple[str, ...], tmp_path: Path) -> None:
    clinic = Clinic(tmp_path)
    clinic("tenant", "create", "clinic", "--recovery-out", tmp_path / "spare")
    answer = clinic(*words).json
    wanted = {"tenant list": "tenants", "keys list": "recipients", "repair": "lost"}
    assert wanted[" ".join(words)] in answer


def test_a_result_is_frozen_and_has_a_json_form() -> None:
    made = results.DatasetExport("d@1", (Path("a.nii"),))
    with pytest.raises(FrozenInstanceError):
        made.dataset = "other"  # type: ignore[misc]
    assert made.to_json() == {"dataset": "d@1", "files": ["a.nii"], "tables": []}
    extent = results.Extent((1.0,), (2.0,))
    assert as_json({1: (extent, None)}) == {"1": [{"min": [1.0], "max": [2.0]}, None]}
    with pytest.raises(TypeError, match="set, which has no JSON form"):
        as_json({1, 2})


def test_an_unbounded_leak_is_text_in_json() -> None:
    """JSON has no infinity, and `show` refuses it."""
    found = results.EngineFinding("one-shot", False, "unbounded", 10, 4.0, float("inf"))
    assert found.to_json()["epsilon_at_least"] == "inf"


# What programs read of `--json`: keys may be added to these and never taken away.
CONTRACT = {
    results.Anchor: "anchor file tenant sequence head time",
    results.AnatomyList: "anatomy entries",
    results.AuditResult: "attacks passed findings not_run not_attacked power model members against",
    results.Budget: "limit spent remaining delta events",
    results.Compression: "model source weights prune bytes_before bytes_after volumes",
    results.DatasetDetail: "dataset version subjects volumes masks modality shape spacing versions",
    results.DatasetExport: "dataset files",
    results.Decoding: "model file shape",
    results.Encoding: "model file bytes source_bytes ratio",
    results.EngineAudit: "passed findings delta",
    results.EvaluateResult: "metrics what against releasable",
    results.Nearest: "model members against rows releasable",
    results.Examination: "ok checks",
    results.GenerateResult: "files model seed n",
    results.IngestResult: "dataset version subjects volumes masks notes quarantined added unit",
    results.IntegrityReport: "objects damaged unknown read_data",
    results.LogCheck: "valid events checkpoints head anchors problem",
    results.ModelDetail: "model private epsilon delta dataset parameters bytes facts",
    results.PlanResult: "epsilon delta stages digest dataset patients budget cost",
    results.PretrainResult: "model private parameters",
    results.Reconstruction: "model file psnr ssim ms_ssim",
    results.RecallResult: "release reason date number file",
    results.ReleaseCheck: "valid unchanged trusted signer files problems advice id recalled reason",
    results.ReleaseInfo: "release model format volumes epsilon delta status issues",
    results.ReleaseResult: "id release report epsilon delta passed checks signer files bytes "
    "volumes",
    results.RepairReport: "objects lost quarantined",
    results.SubjectErasure: "subject datasets volumes models",
    results.WorkResult: "address processes refused seconds",
    results.TrainResult: "model epsilon delta steps dataset seconds notes",
}


@pytest.mark.parametrize("kind", CONTRACT, ids=lambda kind: kind.__name__)
def test_keys_that_programs_read_stay(kind: type[results.Result]) -> None:
    keys = {field.name for field in fields(kind)}
    assert set(CONTRACT[kind].split()) <= keys


def test_a_whole_number_is_a_limit(tmp_path: Path) -> None:
    """It was authenticated as 20 and read back as 20.0, which another authentication code has."""
    files = {"identity": tmp_path / "id", "recovery": tmp_path / "spare"}
    session = api.create_tenant(tmp_path / "vault", "clinic", **files, epsilon_limit=20)
    assert session.budget().limit == 20.0


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to see open files")
def test_a_session_closes_its_catalogue_at_the_end_of_its_block(tmp_path: Path) -> None:
    def files() -> list[str]:
        return [
            str(path)
            for path in Path("/proc/self/fd").iterdir()
            if str(tmp_path / "vault") in str(_to(path))
        ]

    keys = {"identity": tmp_path / "key", "recovery": tmp_path / "spare"}
    with api.create_tenant(tmp_path / "vault", "a", **keys) as opened:
        assert opened.budget().spent == 0.0
        assert files()
    assert not files()
    # Whoever goes on with it is served.
    assert opened.budget().spent == 0.0
    opened.close()
    assert not files()


def _to(path: Path) -> Path | None:
    try:
        return path.readlink()
    except OSError:
        return None
