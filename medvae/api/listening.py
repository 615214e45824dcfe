"""Studies that archives and scanners send to us, into a data set."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from medvae.api import archives, datasets, declaration, intake
from medvae.api.links import access_of
from medvae.api.results import ListenResult
from medvae.errors import InputError, UsageError
from medvae.options.archives import ListenOptions, ingesting

if TYPE_CHECKING:
    from medvae.pacs.listener import Listener
    from medvae.pacs.service import Listening
    from medvae.vault import Tenant

# How often it is looked whether to end, in seconds.
STEP = 0.1


def listen(tenant: Tenant, options: ListenOptions) -> ListenResult:
    """Receive and ingest.

    Raises:
        UsageError: what is asked for cannot be right, or would go unprotected.
        AccessError: the address cannot be listened at, or a certificate cannot be used.
        InputError: no study came whole; or as `ingest`.
    """
    from medvae.pacs.listener import Listener

    datasets.check_name(options.dataset)
    declaration.parse(options.label_scheme, options.classes)
    how = _listening(options)
    hold = archives.hold_of(options.memory_limit)
    try:
        listener = Listener(how, hold)
        try:
            if options.ready is not None:
                options.ready(f"{how.aet}@{how.host}:{listener.port}")
            _wait(listener, options)
        except KeyboardInterrupt:
            # What has come whole is ingested; a second Ctrl-C ends that, too.
            pass
        finally:
            left = listener.close()
        received = archives.count(hold)
        outcome = "success" if received.studies else "failure"
        tenant.record("listen", outcome=outcome, left_out=len(left), **vars(received))
        if not received.studies:
            partly = f", and {len(left)} in part" if left else ""
            raise InputError(
                f"no study came whole{partly}: check that the sender calls {how.aet} at port "
                f"{listener.port}, and its own log"
            )
        done = intake.ingest(tenant, archives.sources_of(how.aet, hold), ingesting(options))
    finally:
        hold.close()
    notes = tuple(_notes(left, listener.refused))
    return ListenResult(**(vars(done) | {"notes": (*notes, *done.notes)}), received=received)


def _wait(listener: Listener, options: ListenOptions) -> None:
    began = time.monotonic()
    while options.seconds is None or time.monotonic() - began < options.seconds:
        whole, quiet = listener.poll()
        if options.studies is not None and whole >= options.studies and quiet >= options.settle:
            return
        time.sleep(STEP)


def _notes(left: list[str], refused: int) -> list[str]:
    notes = [f"study {name} did not come whole and was left out" for name in left]
    if refused:
        notes.append(f"{refused} images were refused: no study is named, or there is no room")
    return notes


def _listening(options: ListenOptions) -> Listening:
    """How to listen. Raises UsageError, AccessError."""
    from medvae.pacs import peers
    from medvae.pacs.service import Listening

    if not 0 <= options.port < 65536:
        raise UsageError(f"--port must be 0 to 65535, not {options.port}")
    for name, number in (("studies", options.studies), ("associations", options.associations)):
        if number is not None and number < 1:
            raise UsageError(f"--{name} must be at least 1, not {number}")
    for name, time_ in (("seconds", options.seconds), ("settle", options.settle)):
        if time_ is not None and not time_ > 0:
            raise UsageError(f"--{name} must be above 0, not {time_:g}")
    access = access_of(options.link)
    secured = access.certificate is not None or access.key is not None or access.ca is not None
    if secured and access.plaintext:
        raise UsageError("--plaintext goes without TLS: leave out --cert, --key and --ca")
    if not (secured or access.plaintext or peers.is_loopback(options.bind)):
        raise UsageError(
            f"--bind {options.bind} would receive patients' data in the clear: give --cert and "
            "--key, or --plaintext where the network is safe"
        )
    tls = peers.server_tls(access) if secured else None
    return Listening(
        options.bind,
        options.port,
        options.aet,
        tuple(options.allow),
        options.associations,
        access.silence,
        tls,
    )
