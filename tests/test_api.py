"""Every verb of the command line is a method of the session or a function of the API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medvae import api, demo
from medvae.cli.app import build
from tests.cli.conftest import Clinic

# Where each verb is, for programs. A new verb fails the test until it is entered here.
SESSION = {
    "audit": "audit",
    "budget": "budget",
    "dataset declare": "declare_dataset",
    "dataset delete": "delete_dataset",
    "dataset export": "export_dataset",
    "dataset list": "datasets",
    "dataset show": "dataset",
    "decode": "decode",
    "encode": "encode",
    "evaluate": "evaluate",
    "generate": "generate",
    "ingest": "ingest",
    "keys add": "add_recipient",
    "keys list": "recipients",
    "keys remove": "remove_recipient",
    "keys reseal": "reseal_keys",
    "keys rotate": "rotate_keys",
    "log": "events",
    "log anchor": "anchor",
    "log export": "export_log",
    "log verify": "verify_log",
    "model compress": "compress_model",
    "model export": "export_model",
    "model list": "models",
    "model show": "model",
    "plan": "plan",
    "pretrain": "pretrain",
    "reconstruct": "reconstruct",
    "release create": "release",
    "repair": "repair",
    "subject erase": "erase_subject",
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
    "tenant create": "create_tenant",
    "tenant erase": "erase_tenant",
    "tenant list": "tenants",
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
    for name in SESSION.values():
        assert callable(getattr(api.Session, name)), name
        assert getattr(api.Session, name).__doc__, name
    for name in API.values():
        assert name in api.__all__
        assert getattr(api, name).__doc__, name


def test_every_exported_name_is_there() -> None:
    assert all(getattr(api, name) is not None for name in api.__all__)


def test_tenants_and_keys_from_a_program(tmp_path: Path) -> None:
    """The same journey of keys as on the command line, without it."""
    vault, key = tmp_path / "vault", tmp_path / "key"
    session = api.create_tenant(vault, "clinic", identity=key, recovery=tmp_path / "spare")
    assert [one["tenant"] for one in api.tenants(vault)] == ["clinic"]
    epoch = session.rotate_keys()["epoch"]
    made = api.new_identity(tmp_path / "colleague")
    added = session.add_recipient(made["public"], "Ada")
    assert added["added"] in {one["fingerprint"] for one in session.recipients()}
    assert session.remove_recipient(added["added"])["epoch"] > epoch
    assert session.reseal_keys()["resealed"] >= 0
    assert session.repair()["lost"] == []
    assert any("keys rotate" in line for line in session.export_log())
    recovered = api.recover_tenant(
        vault, "clinic", recovery=tmp_path / "spare", identity=tmp_path / "new"
    )
    again = api.open(vault, "clinic", identity=recovered["identity"])
    assert again.verify_log()["valid"]
    assert api.erase_tenant(vault, "clinic") == {"erased": "clinic"}
    assert api.tenants(vault) == []


@pytest.mark.parametrize("words", [("tenant", "list"), ("keys", "list"), ("repair",)])
def test_the_command_line_answers_as_before(words: tuple[str, ...], tmp_path: Path) -> None:
    clinic = Clinic(tmp_path)
    clinic("tenant", "create", "clinic", "--recovery-out", tmp_path / "spare")
    answer = clinic(*words).json
    wanted = {"tenant list": "tenants", "keys list": "recipients", "repair": "lost"}
    assert wanted[" ".join(words)] in answer
