"""What the verbs return: frozen values, each with `to_json()`.

The keys of `to_json()` are those that the command line prints with `--json`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medvae.api.results.anatomy import (
        AnatomyAlignment,
        AnatomyCheck,
        AnatomyDetail,
        AnatomyEntry,
        AnatomyList,
        AnatomyPerson,
    )
    from medvae.api.results.base import Json, JsonObject, Recorded, Result
    from medvae.api.results.datasets import (
        Collection,
        Damage,
        DatasetDeletion,
        DatasetDetail,
        DatasetExport,
        DatasetInfo,
        DatasetPreview,
        Declared,
        Extent,
        IngestResult,
        IntegrityReport,
        ListenResult,
        Pulled,
        PullResult,
        Reason,
        Refused,
        Rehearsed,
        RepairReport,
        SubjectErasure,
    )
    from medvae.api.results.evaluation import (
        AuditResult,
        EngineAudit,
        EngineFinding,
        EvaluateResult,
        Finding,
        Metric,
        Nearest,
        NearestRow,
    )
    from medvae.api.results.models import (
        Compression,
        Decoding,
        Drift,
        Encoding,
        FeatureTable,
        GenerateResult,
        JoinedHospital,
        JoinedModel,
        ModelDetail,
        ModelExport,
        ModelInfo,
        Reconstruction,
        Shift,
        SiteDifference,
    )
    from medvae.api.results.releases import (
        ApprovalResult,
        GateCheck,
        Issue,
        RecallResult,
        ReleaseCheck,
        ReleaseInfo,
        ReleaseResult,
        SendResult,
        Unsent,
    )
    from medvae.api.results.stitching import PartPlacement, StitchResult
    from medvae.api.results.tenancy import (
        Anchor,
        Epoch,
        Event,
        Examination,
        IdentityFiles,
        KeyInfo,
        LogCheck,
        MachineCheck,
        PresetInfo,
        Recipient,
        RecipientAdded,
        RecipientRemoved,
        Recovery,
        Resealing,
        TenantErasure,
        TenantInfo,
    )
    from medvae.api.results.training import (
        Budget,
        BudgetState,
        Coefficients,
        Cost,
        Coverage,
        Debit,
        Expected,
        PlanResult,
        PretrainResult,
        Simulated,
        StagePlan,
        TrainResult,
        WorkResult,
    )

__all__ = [
    "AnatomyAlignment",
    "AnatomyCheck",
    "AnatomyDetail",
    "AnatomyEntry",
    "AnatomyList",
    "AnatomyPerson",
    "Anchor",
    "ApprovalResult",
    "AuditResult",
    "Budget",
    "BudgetState",
    "Coefficients",
    "Collection",
    "Compression",
    "Cost",
    "Coverage",
    "Damage",
    "DatasetDeletion",
    "DatasetDetail",
    "DatasetExport",
    "DatasetInfo",
    "DatasetPreview",
    "Debit",
    "Declared",
    "Decoding",
    "Drift",
    "Encoding",
    "EngineAudit",
    "EngineFinding",
    "Epoch",
    "EvaluateResult",
    "Event",
    "Examination",
    "Expected",
    "Extent",
    "FeatureTable",
    "Finding",
    "GateCheck",
    "GenerateResult",
    "IdentityFiles",
    "IngestResult",
    "IntegrityReport",
    "Issue",
    "JoinedHospital",
    "JoinedModel",
    "Json",
    "JsonObject",
    "KeyInfo",
    "ListenResult",
    "LogCheck",
    "MachineCheck",
    "Metric",
    "ModelDetail",
    "ModelExport",
    "ModelInfo",
    "Nearest",
    "NearestRow",
    "PartPlacement",
    "PlanResult",
    "PresetInfo",
    "PretrainResult",
    "PullResult",
    "Pulled",
    "Reason",
    "RecallResult",
    "Recipient",
    "RecipientAdded",
    "RecipientRemoved",
    "Reconstruction",
    "Recorded",
    "Recovery",
    "Refused",
    "Rehearsed",
    "ReleaseCheck",
    "ReleaseInfo",
    "ReleaseResult",
    "RepairReport",
    "Resealing",
    "Result",
    "SendResult",
    "Shift",
    "Simulated",
    "SiteDifference",
    "StagePlan",
    "StitchResult",
    "SubjectErasure",
    "TenantErasure",
    "TenantInfo",
    "TrainResult",
    "Unsent",
    "WorkResult",
]

# Where a value is looked for, what most verbs return first.
_MODULES = (
    "base",
    "datasets",
    "tenancy",
    "training",
    "models",
    "releases",
    "evaluation",
    "anatomy",
    "stitching",
)


if not TYPE_CHECKING:
    # A type checker reads the imports above, and knows a name that is not there. A verb loads the
    # results of its own kind, and not ninety classes.
    def __getattr__(name: str) -> object:
        for module in _MODULES if name in __all__ else ():
            found = getattr(import_module(f"{__name__}.{module}"), name, None)
            if found is not None:
                globals()[name] = found
                return found
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
