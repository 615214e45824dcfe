"""What every verb needs of a session: the open tenant, and the device that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from medvae.options import flags

if TYPE_CHECKING:
    from medvae.vault import Tenant

PathLike = flags.PathLike


class TenantContext(Protocol):
    """An open tenant and a device ("auto", "cpu" or "cuda"); a `Session` is one."""

    @property
    def tenant(self) -> Tenant: ...

    @property
    def device(self) -> str: ...
