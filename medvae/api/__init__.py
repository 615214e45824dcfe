"""The journey for Python programs: what the command line does, with values instead of text.

    import medvae

    clinic = medvae.create_tenant("vault", "radiology")
    labels = {1: "anterior", 2: "posterior"}
    clinic.ingest(["scans/"], dataset="hippocampus", modality="mri", label_scheme=labels)
    clinic.train("mri", "hippocampus", name="hippo8", epsilon=8)
    clinic.releases.create("hippo8", n=50, out="release/")

Everything heavy is imported by the verb that needs it, so that importing this is quick.
"""

from __future__ import annotations

from medvae.api.anatomy import add_anatomy, list_anatomy, show_anatomy, verify_anatomy
from medvae.api.anatomy_fetch import fetch_anatomy
from medvae.api.doctor import examine
from medvae.api.evaluation import audit_engine
from medvae.api.follower import follow as follow_training
from medvae.api.links import Link
from medvae.api.opened import Release
from medvae.api.presets import config_text, configs, copy_config, explain_config
from medvae.api.releases import verify as verify_release
from medvae.api.sending import send as send_release
from medvae.api.session import Session
from medvae.api.stitching import stitch
from medvae.api.tenancy import (
    create_tenant,
    default_identity,
    default_vault,
    erase_tenant,
    new_identity,
    recover_tenant,
    tenants,
)
from medvae.api.tenancy import open_session as open

__all__ = [
    "Link",
    "Release",
    "Session",
    "add_anatomy",
    "audit_engine",
    "config_text",
    "configs",
    "copy_config",
    "create_tenant",
    "default_identity",
    "default_vault",
    "erase_tenant",
    "examine",
    "explain_config",
    "fetch_anatomy",
    "follow_training",
    "list_anatomy",
    "new_identity",
    "open",
    "recover_tenant",
    "send_release",
    "show_anatomy",
    "stitch",
    "tenants",
    "verify_anatomy",
    "verify_release",
]
