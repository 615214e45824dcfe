"""What kinds, names and ids of objects look like, and names of tenants."""

from __future__ import annotations

import re
from typing import Final

from medvae.errors import NotFoundError, UsageError

_TENANT: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
# The folder of the public anatomy library is beside the tenants'.
RESERVED: Final = ("anatomy",)
# What Windows takes for a device, also on a share of another system.
DEVICES: Final = frozenset(
    ("con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10)))
)
_KIND: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
_ID: Final = re.compile(r"[0-9a-f]{32}")
_LONGEST_NAME: Final = 1024


def is_tenant(name: str) -> bool:
    """Whether a tenant may be called that."""
    return _TENANT.fullmatch(name) is not None and name not in (*RESERVED, *DEVICES)


def check_tenant(name: str) -> None:
    """Raises UsageError unless a tenant may be called that."""
    if not is_tenant(name):
        raise UsageError(
            f"{name!r} is not a name of a tenant: expected 1 to 63 of a-z, 0-9, - and _, "
            "beginning with a letter or a digit, and other than "
            + ", ".join(RESERVED)
            + " and the names that Windows has for devices (con, nul, com1, ...)"
        )


def check_object(kind: str, name: str | None) -> None:
    """Raises UsageError unless an object may be of that kind and have that name."""
    if not _KIND.fullmatch(kind):
        raise UsageError(f"{kind!r} is not a kind of object: expected a-z, 0-9 and - only")
    if name is None:
        return
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise UsageError(f"{name!r} is no name: half of a surrogate pair is no character") from None
    if not 0 < length <= _LONGEST_NAME:
        raise UsageError(f"a name has 1 to {_LONGEST_NAME} bytes, not {length}")


def raw_id(kind: str, object_id: str) -> bytes:
    """The 16 bytes of an id.

    Raises:
        NotFoundError: it is not written as one, so there is no such object.
    """
    if _ID.fullmatch(object_id):
        return bytes.fromhex(object_id)
    raise NotFoundError(f"there is no {kind} {object_id!r}: an object's id has 32 hex digits")
