"""What `pull`, `listen` and `send` are asked for, and how they reach an image archive (PACS)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field

from medvae.options.flags import PathLike, argument, flag, group
from medvae.options.ingest import IngestOptions, Scheme
from medvae.progress import SILENT, Progress


@dataclass(frozen=True)
class Link:
    """How to reach an archive.

    Attributes:
        ca: PEM file of the authorities that may sign its certificate; None: the system's.
        client_cert, client_key: PEM files of the certificate by which we log in, and its key.
        plaintext: go without TLS to another machine: patients are sent in the clear.
        timeout: seconds that the archive may be silent; a study may take sixty times that.
        aet: our application entity title, where the archive speaks DIMSE.
    """

    ca: PathLike | None = None
    client_cert: PathLike | None = None
    client_key: PathLike | None = None
    plaintext: bool = False
    timeout: float = 60.0
    aet: str = "MEDVAE"


_ADDRESS = argument("peer", "Archive: https://HOST/PATH (DICOMweb) or AETITLE@HOST:PORT (DIMSE).")
_TO_AN_ARCHIVE = group(
    ca=flag("PEM file of the authority that signed the archive's certificate."),
    client_cert=flag("PEM file of the certificate by which we log in."),
    client_key=flag("PEM file of its key."),
    plaintext=flag(
        "Go without TLS to another machine, where the network between is safe: patients and "
        "credentials are sent in the clear.",
        "--plaintext",
    ),
    timeout=flag("Seconds that the archive may be silent; a study takes 60 times that."),
    aet=flag("Our application entity title, for an archive that speaks DIMSE."),
)
_FROM_SENDERS = group(
    client_cert=flag("PEM file of our certificate (TLS).", "--cert"),
    client_key=flag("PEM file of its key.", "--key"),
    ca=flag("PEM file of the authority that must have signed a sender's."),
    plaintext=flag(
        "Listen without TLS beyond this machine, where the network is safe: patients are "
        "sent in the clear.",
        "--plaintext",
    ),
    timeout=flag("Seconds that a sender may be silent in an association."),
)
_DATASET = flag("Name of the data set.", "-d", "--dataset")
_MEMORY_LIMIT = flag("GiB in which all that is received is kept until it is sealed.")
_DEMOGRAPHICS = flag("Keep the ten-year age group and the sex.", "--demographics")
_SCHEME = flag(
    "Declare the labels of the masks: 1=name,2=name, none, or a YAML, JSON, CSV or TSV file.",
    read=str,
)
_WORKERS = flag("Confined processes that read at a time.")
_REQUIRE_SANDBOX = flag(
    "Refuse (exit code 5) where Landlock or seccomp is missing to confine readers.",
    "--require-sandbox",
)


@dataclass(frozen=True)
class PullOptions:
    """`medvae pull`.

    Attributes:
        peer: the https:// address of a DICOMweb service, or AETITLE@HOST:PORT (DIMSE, which
            fetches the series of CT, MR and PET with their masks).
        studies: their UIDs.
        patient: one PatientID; empty: any.
        modality: "ct", "mri" or "pet": studies with such a series.
        dates: YYYYMMDD or a range of two with a hyphen; empty: any.
        limit: of how many studies at most; None: of all that match.
        memory_limit: GiB that what is received may take.
        move: a port of ours, to which an archive that answers no C-GET is asked to send (C-MOVE);
            it has to know our title by this machine's address and that port.
        bind: our address for `move`.
        link: how to reach the archive; None: by TLS, as `Link()` says.
        classes: how many there are, 0 for none; declared.
    """

    peer: str = field(metadata=_ADDRESS)
    dataset: str = field(metadata=_DATASET)
    _: KW_ONLY
    studies: Sequence[str] = field(
        default=(), metadata=flag("StudyInstanceUID; repeatable.", "--study")
    )
    patient: str = field(default="", metadata=flag("PatientID of one patient.", "--patient-id"))
    modality: str | None = field(
        default=None, metadata=flag("One of ct, mri, pet: studies with such a series.")
    )
    dates: str = field(
        default="",
        metadata=flag("Day of the study, YYYYMMDD, or a range: YYYYMMDD-YYYYMMDD.", "--date"),
    )
    limit: int | None = field(default=None, metadata=flag("Most studies to fetch."))
    memory_limit: float = field(default=4.0, metadata=_MEMORY_LIMIT)
    move: int | None = field(
        default=None,
        metadata=flag(
            "Fetch by C-MOVE: the archive sends to this port of ours, which it knows by --aet."
        ),
    )
    bind: str = field(
        default="127.0.0.1",
        metadata=flag("Our address for --move; beyond this machine with TLS."),
    )
    link: Link | None = field(default=None, metadata=_TO_AN_ARCHIVE)
    demographics: bool = field(default=False, metadata=_DEMOGRAPHICS)
    label_scheme: Scheme | None = field(default=None, metadata=_SCHEME)
    classes: int | None = None
    workers: int = field(default=1, metadata=_WORKERS)
    require_sandbox: bool = field(default=False, metadata=_REQUIRE_SANDBOX)
    progress: Progress = SILENT


@dataclass(frozen=True)
class ListenOptions:
    """`medvae listen`.

    Attributes:
        port: to listen at; 0: a free one.
        aet: what senders must call us.
        allow: titles that may send; none: any. A title proves nothing.
        studies: end when so many have come whole; None: go on.
        seconds: end after so many; None: go on.
        settle: seconds without a sender after which `studies` may end it.
        associations: senders at a time.
        memory_limit: GiB that what is received may take.
        link: `client_cert` and `client_key` are ours, `ca` has signed those of the senders.
        classes: how many there are, 0 for none; declared.
        ready: called with the address as soon as it is listened at.
    """

    dataset: str = field(metadata=_DATASET)
    port: int = field(metadata=flag("Port to listen at; 0: a free one, which is shown."))
    _: KW_ONLY
    bind: str = field(
        default="127.0.0.1",
        metadata=flag("Address to listen at; beyond this machine with TLS."),
    )
    aet: str = field(
        default="MEDVAE",
        metadata=flag("Our application entity title, which senders must call."),
    )
    allow: Sequence[str] = field(
        default=(),
        metadata=flag("Title that may send; repeatable. None: any. A title proves nothing."),
    )
    studies: int | None = field(
        default=None, metadata=flag("End when so many studies have come whole.")
    )
    seconds: float | None = field(default=None, metadata=flag("End after so many seconds."))
    settle: float = field(
        default=5.0,
        metadata=flag("Seconds without a sender after which --studies may end it."),
    )
    associations: int = field(default=8, metadata=flag("Senders at a time."))
    memory_limit: float = field(default=4.0, metadata=_MEMORY_LIMIT)
    link: Link | None = field(default=None, metadata=_FROM_SENDERS)
    demographics: bool = field(default=False, metadata=_DEMOGRAPHICS)
    label_scheme: Scheme | None = field(default=None, metadata=_SCHEME)
    classes: int | None = None
    workers: int = field(default=1, metadata=_WORKERS)
    require_sandbox: bool = field(default=False, metadata=_REQUIRE_SANDBOX)
    ready: Callable[[str], object] | None = None
    progress: Progress = SILENT


@dataclass(frozen=True)
class SendOptions:
    """`medvae send`.

    Attributes:
        folder: of a release in DICOM.
        peer: https:// and the address of a DICOMweb service, or AETITLE@HOST:PORT (DIMSE).
        public_key: the signer's key; without it any signer's release is sent that is unchanged.
        link: how to reach the archive; None: by TLS, as `Link()` says.
    """

    folder: PathLike = field(metadata=argument("folder", "Folder of a release in DICOM."))
    peer: str = field(metadata=_ADDRESS)
    _: KW_ONLY
    public_key: PathLike | None = field(
        default=None, metadata=flag("File of the signer's key that the release must be of.")
    )
    link: Link | None = field(default=None, metadata=_TO_AN_ARCHIVE)
    progress: Progress = SILENT


def ingesting(options: PullOptions | ListenOptions, modality: str | None = None) -> IngestOptions:
    """How what was received is ingested; its sources are in memory, and named nowhere."""
    return IngestOptions(
        (),
        options.dataset,
        modality=modality,
        demographics=options.demographics,
        label_scheme=options.label_scheme,
        classes=options.classes,
        workers=options.workers,
        require_sandbox=options.require_sandbox,
        progress=options.progress,
    )
