"""Releases: a signed folder of synthetic volumes, and how a recipient checks it.

create   volumes + facts -> gate -> BIDS or DICOM + card + report + manifest + signature
verify   folder (+ public key) -> valid or not, and what is wrong
"""

from medvae.release.bundle import create
from medvae.release.check import VerifyResult, verify
from medvae.release.dicom_writer import write_dicom
from medvae.release.facts import (
    Account,
    Check,
    GateInputs,
    Looks,
    PrivacyFacts,
    PublicImages,
    ReleaseFacts,
    ReleaseResult,
)
from medvae.release.licences import redistributable
from medvae.release.manifest import fingerprint, manifest_of
from medvae.release.nifti import write_nifti
from medvae.release.opened import OpenRelease, Sample, open_release
from medvae.release.png import write_png
from medvae.release.recall import Recall, one_line, release_id
from medvae.release.recall import encode as encode_recalls

__all__ = [
    "Account",
    "Check",
    "GateInputs",
    "Looks",
    "OpenRelease",
    "PrivacyFacts",
    "PublicImages",
    "Recall",
    "ReleaseFacts",
    "ReleaseResult",
    "Sample",
    "VerifyResult",
    "create",
    "encode_recalls",
    "fingerprint",
    "manifest_of",
    "one_line",
    "open_release",
    "redistributable",
    "release_id",
    "verify",
    "write_dicom",
    "write_nifti",
    "write_png",
]
