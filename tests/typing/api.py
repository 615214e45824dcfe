"""What a type checker knows of the API. Checked by mypy (`scripts/test`), never run."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import torch

import medvae
from medvae import api
from medvae.api import results


def the_journey(session: medvae.Session) -> None:
    ingested = session.ingest(["scans"], "d", modality="mri", label_scheme={1: "a"})
    assert_type(ingested, results.IngestResult)
    assert_type(ingested.quarantined, tuple[results.Refused, ...])
    assert_type(ingested.unit, str | None)
    assert_type(session.verify(read_data=True).damaged, tuple[results.Damage, ...])
    planned = session.plan("mri", "d", epsilon=8)
    assert_type(planned.stages[0].noise_multiplier, float)
    assert_type(planned.budget.remaining, float)
    assert_type(session.pretrain("mri", "public"), results.PretrainResult)
    assert_type(session.train("mri", "d", "m").epsilon, float)
    assert_type(session.budget().events, tuple[results.Debit, ...])
    assert_type(session.generate("m", 4, Path("out")).files, tuple[Path, ...])
    assert_type(session.evaluate("m", "d").metrics["dice"].value, float | None)
    assert_type(session.audit("m").findings, tuple[results.Finding, ...])
    assert_type(session.reconstruct("m", "a.nii", "b.nii").ms_ssim, float | None)
    assert_type(session.repair().lost, tuple[results.Damage, ...])


def the_nouns(session: medvae.Session) -> None:
    assert_type(session.datasets.list(), tuple[results.DatasetInfo, ...])
    assert_type(session.datasets.show("d").spacing.min, tuple[float, ...])
    assert_type(session.datasets.declare("d", label_scheme="1=a"), results.DatasetInfo)
    assert_type(session.datasets.erase_subject("p").models, tuple[str, ...])
    assert_type(session.models.list(), tuple[results.ModelInfo, ...])
    assert_type(session.models.show("m").compression, results.Compression | None)
    assert_type(session.keys.rotate().epoch, int)
    assert_type(session.log.events(), tuple[results.Event, ...])
    assert_type(session.releases.create("m", 4, "out").signer, str)
    # A misspelt argument and a wrong type are errors.
    session.releases.create("m", 4, "out", sed=1)  # type: ignore[call-arg]
    session.train("mri", "d", "m", epsilon="8")  # type: ignore[arg-type]
    session.budget().spent = 0.0  # type: ignore[misc]


def without_a_tenant() -> None:
    assert_type(medvae.open("vault", "clinic"), api.Session)
    assert_type(api.tenants(), tuple[results.TenantInfo, ...])
    assert_type(api.examine().checks, tuple[results.MachineCheck, ...])
    assert_type(api.verify_release("out").valid, bool | None)
    assert_type(api.show_anatomy("head").alignment.box_mm, tuple[float, ...])
    assert_type(api.audit_engine().passed, bool)
    assert_type(api.verify_release("out").to_json(), results.JsonObject)
    release = medvae.Release.open("out", public_key="hospital.pem")
    assert_type(release.check.trusted, bool)
    assert_type(release.dataset()[0]["image"], torch.Tensor | str | int)
