"""medvae pull"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medvae.cli.output import note, plural, show
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.space import words

if TYPE_CHECKING:
    from medvae.api.results import IngestResult, Pulled

AFTER = "ingest"

Ca = Annotated[
    Path | None,
    typer.Option(help="PEM file of the authority that signed the archive's certificate."),
]
ClientCert = Annotated[
    Path | None, typer.Option(help="PEM file of the certificate by which we log in.")
]
ClientKey = Annotated[Path | None, typer.Option(help="PEM file of its key.")]
Plaintext = Annotated[
    bool,
    typer.Option(
        "--plaintext",
        help="Go without TLS to another machine, where the network between is safe: patients and "
        "credentials are sent in the clear.",
    ),
]
Timeout = Annotated[
    float, typer.Option(help="Seconds that the archive may be silent; a study takes 60 times that.")
]
Aet = Annotated[
    str, typer.Option(help="Our application entity title, for an archive that speaks DIMSE.")
]
Address = Annotated[
    str,
    typer.Argument(help="Archive: https://HOST/PATH (DICOMweb) or AETITLE@HOST:PORT (DIMSE)."),
]
Dataset = Annotated[str, typer.Option("-d", "--dataset", help="Name of the data set.")]
MemoryLimit = Annotated[
    float, typer.Option(help="GiB in which all that is received is kept until it is sealed.")
]
Scheme = Annotated[
    str | None,
    typer.Option(
        help="Declare the labels of the masks: 1=name,2=name, none, or a YAML, JSON, CSV or "
        "TSV file."
    ),
]
Demographics = Annotated[
    bool, typer.Option("--demographics", help="Keep the ten-year age group and the sex.")
]
Workers = Annotated[int, typer.Option(help="Confined processes that read at a time.")]
RequireSandbox = Annotated[
    bool,
    typer.Option(
        "--require-sandbox",
        help="Refuse (exit code 5) where Landlock or seccomp is missing to confine readers.",
    ),
]


def run(
    peer: Address,
    dataset: Dataset,
    study: Annotated[list[str] | None, typer.Option(help="StudyInstanceUID; repeatable.")] = None,
    patient_id: Annotated[str, typer.Option(help="PatientID of one patient.")] = "",
    modality: Annotated[
        str | None, typer.Option(help="One of ct, mri, pet: studies with such a series.")
    ] = None,
    date: Annotated[
        str, typer.Option(help="Day of the study, YYYYMMDD, or a range: YYYYMMDD-YYYYMMDD.")
    ] = "",
    limit: Annotated[int | None, typer.Option(help="Most studies to fetch.")] = None,
    memory_limit: MemoryLimit = 4.0,
    move: Annotated[
        int | None,
        typer.Option(
            help="Fetch by C-MOVE: the archive sends to this port of ours, which it knows by --aet."
        ),
    ] = None,
    bind: Annotated[
        str, typer.Option(help="Our address for --move; beyond this machine with TLS.")
    ] = "127.0.0.1",
    ca: Ca = None,
    client_cert: ClientCert = None,
    client_key: ClientKey = None,
    plaintext: Plaintext = False,
    timeout: Timeout = 60.0,
    aet: Aet = "MEDVAE",
    demographics: Demographics = False,
    label_scheme: Scheme = None,
    workers: Workers = 1,
    require_sandbox: RequireSandbox = False,
) -> None:
    """Read studies from an image archive (PACS) and ingest them, all or none.

    Nothing of a patient is written to a disk. Credentials are MEDVAE_PACS_USER and
    MEDVAE_PACS_PASSWORD, or MEDVAE_PACS_TOKEN.
    """
    from medvae.api import Link

    with progress() as bar:
        result = settings.session().pull(
            peer,
            dataset,
            studies=tuple(study or ()),
            patient=patient_id,
            modality=modality,
            dates=date,
            limit=limit,
            memory_limit=memory_limit,
            move=move,
            bind=bind,
            link=Link(ca, client_cert, client_key, plaintext, timeout, aet),
            demographics=demographics,
            label_scheme=label_scheme,
            workers=workers,
            require_sandbox=require_sandbox,
            progress=bar,
        )
    show_received(dataset, result, result.pulled)


def show_received(dataset: str, result: IngestResult, got: Pulled) -> None:
    """What was received from an archive or a sender, and what became of it."""
    for remark in result.notes:
        note(f"Note: {remark}")
    lines = [
        f"Received {plural(got.instances, 'instance')} of {got.studies} "
        f"{'study' if got.studies == 1 else 'studies'} ({words(got.bytes)}).",
        f"{dataset}@{result.version}: {plural(result.volumes, 'volume')} of "
        f"{plural(result.subjects, result.unit or 'subject')} ({result.added} new).",
    ]
    show(result, [*lines, *(f"  refused {reason.line}" for reason in result.reasons)])
