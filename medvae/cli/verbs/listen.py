"""medvae listen"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medvae.cli.output import note
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.cli.verbs.pull import (
    Dataset,
    Demographics,
    MemoryLimit,
    RequireSandbox,
    Scheme,
    Workers,
    show_received,
)

AFTER = "pull"


def run(
    dataset: Dataset,
    port: Annotated[int, typer.Option(help="Port to listen at; 0: a free one, which is shown.")],
    bind: Annotated[
        str, typer.Option(help="Address to listen at; beyond this machine with TLS.")
    ] = "127.0.0.1",
    aet: Annotated[
        str, typer.Option(help="Our application entity title, which senders must call.")
    ] = "MEDVAE",
    allow: Annotated[
        list[str] | None,
        typer.Option(help="Title that may send; repeatable. None: any. A title proves nothing."),
    ] = None,
    studies: Annotated[
        int | None, typer.Option(help="End when so many studies have come whole.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="End after so many seconds.")] = None,
    settle: Annotated[
        float, typer.Option(help="Seconds without a sender after which --studies may end it.")
    ] = 5.0,
    associations: Annotated[int, typer.Option(help="Senders at a time.")] = 8,
    memory_limit: MemoryLimit = 4.0,
    cert: Annotated[Path | None, typer.Option(help="PEM file of our certificate (TLS).")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file of its key.")] = None,
    ca: Annotated[
        Path | None,
        typer.Option(help="PEM file of the authority that must have signed a sender's."),
    ] = None,
    plaintext: Annotated[
        bool,
        typer.Option(
            "--plaintext",
            help="Listen without TLS beyond this machine, where the network is safe: patients are "
            "sent in the clear.",
        ),
    ] = False,
    timeout: Annotated[
        float, typer.Option(help="Seconds that a sender may be silent in an association.")
    ] = 60.0,
    demographics: Demographics = False,
    label_scheme: Scheme = None,
    workers: Workers = 1,
    require_sandbox: RequireSandbox = False,
) -> None:
    """Receive what archives and scanners send by DIMSE, and ingest it, all or none.

    Ctrl-C ends listening: studies that have come whole are ingested, others are left out. Nothing
    of a patient is written to a disk.
    """
    from medvae.api import Link

    with progress() as bar:
        result = settings.session().listen(
            dataset,
            port,
            bind=bind,
            aet=aet,
            allow=tuple(allow or ()),
            studies=studies,
            seconds=seconds,
            settle=settle,
            associations=associations,
            memory_limit=memory_limit,
            link=Link(ca, cert, key, plaintext, timeout),
            demographics=demographics,
            label_scheme=label_scheme,
            workers=workers,
            require_sandbox=require_sandbox,
            ready=lambda address: note(f"Listening as {address}; Ctrl-C ends it."),
            progress=bar,
        )
    show_received(dataset, result, result.received)
