"""Files of a source that are read as nothing, by their names."""

from __future__ import annotations

from medvae.ingest.names import last
from medvae.ingest.subject_tables import TABLES
from medvae.ingest.trees import ARCHIVES

# What an export writes beside its table; given with --label-scheme.
SCHEME = "label_scheme.csv"
# Companions of images that are no images themselves; skipped silently.
COMPANIONS = (".json", ".tsv", ".bval", ".bvec", ".bvals", ".bvecs")
PAPERS = ("readme", "license", "licence", "changes", "citation")
SPREADSHEETS = (".xlsx", ".xls", ".ods")
PACKED_PAIR = (".hdr.gz", ".img.gz")
DEEP_TABLE = (
    "it is a table of subjects that is not at the top of the source: give the folder that it is "
    "in, or the table with --subjects"
)
# Endings of files within a source, and why they are not read; of `ALONE` also the source itself.
_ENDINGS = (
    (PACKED_PAIR, "it is half of a NIfTI pair: put .hdr and .img side by side"),
    (ARCHIVES, "it is an archive inside the source: give it as a source itself"),
    (SPREADSHEETS, "it is a spreadsheet: save it as CSV, in UTF-8"),
    ((".csv",), "it is a table that is not read: give it with --subjects if it names patients"),
    ((".gz", ".7z"), "it is an archive inside the source: unpack it"),
)
ALONE = (PACKED_PAIR, SPREADSHEETS)


def is_companion(name: str) -> bool:
    """Whether a file of this name belongs to images and is none itself."""
    own = last(name).lower()
    if own and "/" not in name and (own in (*TABLES, SCHEME) or own.startswith(PAPERS)):
        return True
    return own.endswith(COMPANIONS) or own == "dicomdir"


def is_deep_table(name: str) -> bool:
    """Whether a file is called like a table of subjects, in a folder where none is looked for."""
    return "/" in name and last(name).lower() in TABLES


def why_unread(name: str, *, is_source: bool) -> str:
    """Why a file of this name in lower case is not read; empty where it may be DICOM.

    Args:
        is_source: the file is the source itself.
    """
    for endings, reason in _ENDINGS:
        if name.endswith(endings) and (not is_source or endings in ALONE):
            return reason
    return ""
