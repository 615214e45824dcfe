"""The audit log for other systems: JSON lines, or syslog (RFC 5424) for a SIEM."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any, Final

from medvae.errors import UsageError
from medvae.vault import audit
from medvae.vault.session import Session

STYLES: Final = ("json", "syslog")
_FACILITY: Final = 13  # log audit, RFC 5424 table 1
_SEVERITY: Final = {"success": 6, "minor": 5, "failure": 4, "major": 2, "refused": 4}
# 32473 is the enterprise number kept for documentation (RFC 5612); sites map it to theirs.
_ELEMENT: Final = "medvae@32473"


def lines(session: Session, style: str) -> Iterator[str]:
    """One line an event, without a line feed.

    Raises:
        UsageError: `style` is neither "json" nor "syslog".
        IntegrityError: the log was changed.
    """
    if style not in STYLES:
        raise UsageError(f"{style!r} is not a format of the log: expected json or syslog")
    stored = audit.events(session)
    if style == "json":
        return (json.dumps({"tenant": session.name, **event}, sort_keys=True) for event in stored)
    return (syslog(session.name, event) for event in stored)


def syslog(tenant: str, event: dict[str, Any]) -> str:
    """One event as an RFC 5424 message."""
    priority = _FACILITY * 8 + _SEVERITY.get(event["outcome"], 4)
    time = event["time"].replace("+00:00", "Z")
    host = socket.gethostname() or "-"
    fields = {
        "tenant": tenant,
        "number": event["number"],
        "event": event["event"],
        "outcome": event["outcome"],
        "indicator": audit.OUTCOMES.get(event["outcome"], "8"),
        "user": event["user"],
        "meaning": event["meaning"],
        "details": json.dumps(event["details"], sort_keys=True),
    }
    data = " ".join(f'{key}="{_escaped(str(value))}"' for key, value in fields.items())
    header = f"<{priority}>1 {time} {host} medvae {event['process']} {event['code']}"
    return f"{header} [{_ELEMENT} {data}]"


def _escaped(value: str) -> str:
    # RFC 5424 section 6.3.3: these three; line feeds would end the message in most transports.
    for mark in ("\\", '"', "]"):
        value = value.replace(mark, "\\" + mark)
    return value.replace("\r", " ").replace("\n", " ")
