"""The journey for Python programs: what the command line does, with values instead of text.

    import medvae

    clinic = medvae.create_tenant("vault", "radiology")
    labels = {1: "anterior", 2: "posterior"}
    clinic.ingest(["scans/"], dataset="hippocampus", modality="mri", label_scheme=labels)
    clinic.train("mri", "hippocampus", name="hippo8", epsilon=8)
    clinic.releases.create("hippo8", n=50, out="release/")

A name is loaded when it is first asked for, and everything heavy by the verb that needs it, so that
importing this is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medvae.api.anatomy import add_anatomy, list_anatomy, show_anatomy, verify_anatomy
    from medvae.api.anatomy_fetch import fetch_anatomy
    from medvae.api.doctor import examine
    from medvae.api.evaluation import audit_engine
    from medvae.api.follower import follow as follow_training
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
    from medvae.api.working import work
    from medvae.options.archives import Link

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
    "work",
]

# Where each name is: the file, and what it is called there unless it has the same name.
_PLACES = {
    "Link": ("links",),
    "Release": ("opened",),
    "Session": ("session",),
    "add_anatomy": ("anatomy",),
    "audit_engine": ("evaluation",),
    "config_text": ("presets",),
    "configs": ("presets",),
    "copy_config": ("presets",),
    "create_tenant": ("tenancy",),
    "default_identity": ("tenancy",),
    "default_vault": ("tenancy",),
    "erase_tenant": ("tenancy",),
    "examine": ("doctor",),
    "explain_config": ("presets",),
    "fetch_anatomy": ("anatomy_fetch",),
    "follow_training": ("follower", "follow"),
    "list_anatomy": ("anatomy",),
    "new_identity": ("tenancy",),
    "open": ("tenancy", "open_session"),
    "recover_tenant": ("tenancy",),
    "send_release": ("sending", "send"),
    "show_anatomy": ("anatomy",),
    "stitch": ("stitching",),
    "tenants": ("tenancy",),
    "verify_anatomy": ("anatomy",),
    "verify_release": ("releases", "verify"),
    "work": ("working",),
}

if not TYPE_CHECKING:
    # A type checker reads the imports above, and knows a name that is not there.
    def __getattr__(name: str) -> object:
        if name not in _PLACES:
            raise AttributeError(f"module 'medvae.api' has no attribute {name!r}")
        file, *other = _PLACES[name]
        return getattr(importlib.import_module(f"{__name__}.{file}"), *(other or [name]))
