"""What every verb needs of a session: the open tenant, and the device that was asked for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from medvae.vault import Tenant

PathLike = str | os.PathLike[str]


class TenantContext(Protocol):
    """An open tenant and a device ("auto", "cpu" or "cuda"); a `Session` is one."""

    @property
    def tenant(self) -> Tenant: ...

    @property
    def device(self) -> str: ...
