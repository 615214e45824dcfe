"""The card as Markdown, and the data set's README: for people."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from medvae import modality as modalities
from medvae.release import hospitals
from medvae.release.huggingface import head
from medvae.release.scores import score_text
from medvae.release.sites import sentence

MARKUP = re.compile(r"[\\<>\[\]`&]")
_NOTICE = (
    "**Synthetic data. No person was scanned to make these images. Not for diagnosis or "
    "treatment.**"
)
_MIXED_NOTICE = (
    "**Synthetic volumes, for which no person was scanned, and images of public people, which "
    "`participants.tsv` names. Not for diagnosis or treatment.**"
)
_VERIFY = """```
medvae release verify FOLDER --public-key KEY.pem
```

says whether every file is as it was released. `manifest.json` lists the SHA-256 of each file
and `manifest.sig` is an Ed25519 signature over it. The key in `signer.pem` came with this
folder: get the publisher's key, or at least its fingerprint, by another way and compare.
"""
_NNUNET = (
    "For nnU-Net v2: put this folder under `nnUNet_raw` as `Dataset042_NAME` (any free number), "
    "then `nnUNetv2_plan_and_preprocess -d 42 --verify_dataset_integrity`. `labels.tsv` says which "
    "label of the scheme each number stands for."
)


def card_markdown(card: dict[str, Any]) -> str:
    """CARD.md, from the same facts as card.json."""
    parts = [
        f"# {_plain(card['name'])}: data-set card",
        _notice(card),
        f"Version {_plain(card['version'])}, {card['created']}. Licence: "
        f"{_plain(card['license'])}.",
        "## Scores",
        _scores(card["scores"]),
        "## Privacy",
        *_privacy(card["privacy"]),
        "## Data",
        _table(card["data"]),
        "## Model",
        _table(card["model"]) if card["model"] else "Not described.",
        *_sites(card),
        "## Intended use",
        _bullets(card["intended_use"]),
        "## Out of scope",
        _bullets(card["out_of_scope"]),
        "## Known limits",
        _bullets(card["known_limits"]),
        "## Gate",
        _checks(card["gate"]["checks"]),
        "## Is it genuine?",
        f"Signed by `{card['signer']}`.",
        _VERIFY,
    ]
    return "\n\n".join(parts).rstrip() + "\n"


def _notice(card: dict[str, Any]) -> str:
    return _MIXED_NOTICE if "public_images" in card["data"] else _NOTICE


def _public(data: dict[str, Any]) -> str:
    """A paragraph on the images of public people, where there are any."""
    images = data.get("public_images")
    if images is None:
        return ""
    source, licence = _plain(images["source"]), _plain(images["licence"])
    return (
        f"{images['count']} images of public people, resampled to the same grid, are beside them "
        f"(`public0001` and so on; source: {source}; licence: {licence}).\n\n"
    )


def voxel_size(data: dict[str, Any]) -> str:
    """What a card's section `data` says of the edges of a voxel, in words."""
    if not data.get("spacing_known", True):
        return "unknown size, 1 mm in the files"
    return " x ".join(f"{edge:g}" for edge in data["spacing_mm"]) + " mm"


def readme(card: dict[str, Any]) -> str:
    """README.md of the data set (BIDS wants one), with the head that Hugging Face reads."""
    data = card["data"]
    images = modalities.images_of(data.get("modalities", (data["modality"],)))
    body = f" of the {_plain(data['body_part'])}" if data["body_part"] else ""
    masks = f" and {data['label_maps']} label maps" if data["label_maps"] else ""
    kinds = map(modalities.get, dict.fromkeys(data.get("modalities", (data["modality"],))))
    note = "".join(f"\n\n{kind.bids.note}" for kind in kinds if kind.bids.note)
    how = f"{_NNUNET}\n\n" if data["format"] == "nnunet" else ""
    return (
        f"{head(card)}\n# {_plain(card['name'])}\n\n{_notice(card)}\n\n"
        f"{data['volumes']} synthetic {images}{body}{masks}, "
        f"{' x '.join(str(n) for n in data['grid'])} voxels of {voxel_size(data)}.{note}\n\n"
        f"{_public(data)}"
        f"{card['privacy']['summary']}\n\n{how}"
        "`report.html` shows the images and the evidence, `CARD.md` (`card.json`) says what the "
        "data are good for and what they are not, `croissant.json` describes them to machines.\n\n"
        f"## Is it genuine?\n\n{_VERIFY}"
    )


def _sites(card: dict[str, Any]) -> list[str]:
    """By what sites differ; nothing where the model has none."""
    sites = card.get("sites")
    if sites is None:
        return []
    parts = ["## Sites", f"{_plain(sentence(sites))} {_plain(sites['note'])}"]
    rows = sites["differences"]
    if rows:
        lines = ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
        lines += ["| " + " | ".join(_cell(value) for value in row.values()) + " |" for row in rows]
        parts.append("\n".join(lines))
    return parts


def _scores(scores: dict[str, Any]) -> str:
    return _bullets(
        [
            f"{name}: **{score_text(score['value'])}**. {score['meaning']}"
            + (f" Formula: {score['formula']}." if score["formula"] else "")
            + "".join(f"\n  - {_row(row)}" for row in score["rows"])
            for name, score in scores.items()
        ]
    )


def _row(row: dict[str, str]) -> str:
    """A figure, what stands beside it, and what it is."""
    beside = "; ".join(f"{key}: {row[key]}" for key in row if key not in ("figure", "unit"))
    return f"{row['figure']}: {beside} ({row['unit']})"


def as_shown(mechanisms: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a statement's mechanisms for a table: under their titles alone."""
    rows = []
    for mechanism in mechanisms:
        row = {key: value for key, value in mechanism.items() if key not in ("name", "title")}
        rows.append({"mechanism": mechanism["title"], **row})
    return rows


def _privacy(privacy: dict[str, Any]) -> list[str]:
    if "epsilon" not in privacy:
        return [privacy["summary"]]
    rows = privacy_rows(privacy)
    mechanisms = as_shown(privacy["mechanisms"])
    keys = list(dict.fromkeys(key for mechanism in mechanisms for key in mechanism))
    lines = ["| " + " | ".join(keys) + " |", "|" + " --- |" * len(keys)]
    for mechanism in mechanisms:
        lines.append("| " + " | ".join(_cell(mechanism.get(key, "")) for key in keys) + " |")
    return [
        privacy["summary"],
        privacy["interpretation"],
        _table(rows),
        "The most that any attacker finds of those who took part (trade-off curve, "
        "`trade-off.png`):",
        _curve(privacy["trade_off"]),
        "Mechanisms:",
        "\n".join(lines),
        "The claim assumes that:",
        _bullets(privacy["assumptions"]),
        "It does not cover:",
        _bullets(privacy["not_covered"]),
    ]


def privacy_rows(privacy: dict[str, Any]) -> dict[str, str]:
    """The statement's figures and parts, as CARD.md and the report list them."""
    loss, lost, looks = privacy["loss_bound"], privacy["lost_in_all"], privacy["looks"]
    relations = privacy["neighbouring_relations"].items()
    second = privacy["cross_check_epsilon"]
    mu = privacy["gaussian_dp_mu"]
    limit = privacy["per_patient_limit"]
    return {
        "epsilon": f"{privacy['epsilon']:g}",
        "delta": f"{privacy['delta']:g}",
        "epsilon by relation": "; ".join(f"{name}: {value:.4g}" for name, value in relations),
        "Gaussian DP": "does not apply: patients were sampled" if mu is None else f"mu {mu:g}",
        "advantage of an attack": f"at most {privacy['advantage']:g}",
        "privacy loss": f"above {loss['epsilon']:g} with probability {loss['probability']:g} at "
        "most",
        "unit of privacy": privacy["unit"],
        "neighbouring relation": privacy["neighbouring_relation"],
        f"{privacy['unit_kind']}s": str(privacy["patients"]),
        "lost in all": f"at most epsilon {lost['epsilon']:.4g} at delta {lost['delta']:g}, "
        f"{lost['debits']} debit{'' if lost['debits'] == 1 else 's'}: {lost['note']}",
        "limit in all": "none stated" if limit is None else f"epsilon {limit:g}",
        "looks at the tenant's patients before": f"evaluate {looks['evaluate']}, "
        f"audit {looks['audit']}",
        "trust model": privacy["trust_model"],
        "composition": privacy["composition"],
        **_continues(privacy.get("continues", [])),
        **hospitals.rows(privacy.get("hospitals", [])),
        "accountant": privacy["accountant"],
        "second accountant": "none"
        if second is None
        else f"{second:.5g} ({privacy['cross_check_accountant']})",
        "plan": privacy["plan_digest"] or "not stated",
        "side channels": privacy["side_channels"],
    }


def _continues(earlier: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {
        f"goes on from {past['name']}": f"epsilon {past['epsilon']:.4g} "
        f"at delta {past['delta']:g}, {past['patients']} patients, plan {past['plan_digest']}"
        for past in earlier
    }


def _curve(curve: dict[str, list[float]]) -> str:
    """Every decade of false positive rates and one half, with the bound."""
    pairs = list(zip(curve["false_positive_rates"], curve["true_positive_rates"], strict=True))
    rows = ["| false alarms | found at most |", "| --- | --- |"]
    rows += [f"| {100 * fpr:g}% | {100 * tpr:.3g}% |" for fpr, tpr in pairs[:-1:8]]
    return "\n".join(rows)


def _table(rows: dict[str, Any]) -> str:
    lines = ["| | |", "| --- | --- |"]
    lines += [f"| {key.replace('_', ' ')} | {_cell(value)} |" for key, value in rows.items()]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    """One cell: no pipe or line break of a value may break the table."""
    if isinstance(value, dict):
        value = ", ".join(f"{k}: {v}" for k, v in value.items()) or "-"
    elif isinstance(value, list | tuple):
        value = " x ".join(str(item) for item in value)
    elif isinstance(value, float):
        value = f"{value:.6g}"
    return _plain(str(value)).replace("|", "\\|") or "-"


def _plain(text: str) -> str:
    """One line in which what somebody chose is text: no HTML, no link, no picture, no code."""
    return MARKUP.sub(r"\\\g<0>", " ".join(text.split()))


def _bullets(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _checks(checks: Sequence[dict[str, Any]]) -> str:
    marks = {True: "passed", False: "FAILED"}
    return _bullets([f"{c['name']}: {marks[c['passed']]}: {c['detail']}" for c in checks])
