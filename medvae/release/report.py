"""The report: one HTML file with everything inside, for a screen, a phone or paper.

Nothing is loaded from anywhere: the content security policy forbids it, and allows only the
one style sheet and the one script whose hashes it names.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from typing import Any

from medvae import modality as modalities
from medvae.modality import Modality
from medvae.release.cardtext import as_shown, privacy_rows, voxel_size
from medvae.release.charts import advantage_chart, attack_chart, histogram_chart
from medvae.release.scores import score_text
from medvae.release.sites import sentence
from medvae.release.solids import elements, licences, solids, viewer_code
from medvae.release.sprites import sprites
from medvae.release.survey import Survey, looks
from medvae.release.viewer import sprite_rules, viewer


def render(card: dict[str, Any], survey: Survey, sheet: bytes) -> str:
    """The whole page, from the card, the survey of the volumes and the contact sheet (PNG)."""
    assets = files("medvae.release").joinpath("page")
    page = assets.joinpath("report.html").read_text(encoding="utf-8")
    script = assets.joinpath("report.js").read_text(encoding="utf-8").strip()
    solid = assets.joinpath("solid.js").read_text(encoding="utf-8").strip()
    offered = looks(survey)
    sheets = sprites(offered)
    offered = offered[: len(sheets)]
    style = assets.joinpath("report.css").read_text(encoding="utf-8").strip()
    style += "\n" + sprite_rules(sheets)
    volumes = solids(offered)
    three: list[str | bytes] = [solid, viewer_code()] if volumes else []
    parts = {
        "csp": _policy(style, script, *three),
        "style": style,
        "script": script,
        "solid": f"<script>{solid}</script>" if volumes else "",
        "solids": elements(volumes, card["data"]["labels"]),
        "title": escape(card["name"]),
        "subtitle": escape(_subtitle(card)),
        "scores": _scores(card["scores"]),
        "tiles": _tiles(card),
        "signer": escape(card["signer"]),
        "summary": escape(card["privacy"]["summary"]),
        "privacy": _privacy(card["privacy"]),
        "viewer": viewer(sheets, [look.name for look in offered], card["data"]["labels"]),
        "sheet": _sheet(survey, sheet, modalities.get(card["data"]["modality"])),
        "histogram": _histograms(survey, card["data"]),
        "labels": _labels(card["data"]["labels"], survey),
        "gate": _gate(card["gate"]["checks"]),
        "model": _definitions(card["model"]),
        "sites": _sites(card.get("sites")),
        "intended": _list(card["intended_use"]),
        "out_of_scope": _list(card["out_of_scope"]),
        "limits": _list(card["known_limits"]),
        "licences": licences() if volumes else "",
        "footer": escape(f"medvae {card['generator']['version']} · {card['created']}"),
    }
    return _filled(page, parts)


def _filled(page: str, parts: Mapping[str, str]) -> str:
    """A page with its placeholders filled, in one pass: a value that looks like one stays."""
    pieces = page.split("{{")
    out = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}}")
        out.append(parts[name] + rest)
    return "".join(out)


def _policy(style: str, *scripts: str | bytes) -> str:
    """What the page may do: this style, and these scripts by their digests."""

    def digest(text: str | bytes) -> str:
        data = text.encode() if isinstance(text, str) else text
        return f"'sha256-{base64.b64encode(hashlib.sha256(data).digest()).decode('ascii')}'"

    return (
        f"default-src 'none'; img-src data:; style-src {digest(style)}; "
        f"script-src {' '.join(map(digest, scripts))}; base-uri 'none'; form-action 'none'"
    )


def _subtitle(card: dict[str, Any]) -> str:
    data = card["data"]
    what = modalities.images_of(data.get("modalities", (data["modality"],)))
    body = f" of the {data['body_part']}" if data["body_part"] else ""
    public = data.get("public_images")
    if public is None:
        return f"{data['volumes']} synthetic {what}{body}. No person was scanned."
    return (
        f"{data['volumes']} synthetic {what}{body}, and {public['count']} images of public "
        "people beside them. This page shows synthetic ones only."
    )


def _tiles(card: dict[str, Any]) -> str:
    data, privacy = card["data"], card["privacy"]
    unit = privacy.get("unit_kind", "patient")
    tiles = [
        (
            modalities.get(data["modality"]).noun,
            f"{data['volumes']}",
            f"{data['label_maps'] or 'no'} label maps",
        ),
        (
            "grid",
            "×".join(str(n) for n in data["grid"]),
            voxel_size(data).replace(" x ", " × "),
        ),
    ]
    public = data.get("public_images")
    if public is not None:
        origin = f"{public['source']}; {public['licence']}"
        tiles.append(("public images", f"{public['count']}", origin))
    if "epsilon" in privacy:
        tiles += [
            ("epsilon", f"{privacy['epsilon']:.3g}", f"delta {privacy['delta']:g}, per {unit}"),
            (
                f"{unit}s behind it",
                f"{privacy['patients']}",
                "each one protected whole" if unit == "patient" else "no patient was identified",
            ),
        ]
    else:
        tiles.append(("patients behind it", "0", "public and procedural data only"))
    passed = sum(check["passed"] for check in card["gate"]["checks"])
    total = len(card["gate"]["checks"])
    tiles.append(("gate", f"{passed} of {total}", "checks passed"))
    return "".join(
        f'<div class="tile"><span>{escape(name)}</span><b>{escape(value)}</b>'
        f"<small>{escape(note)}</small></div>"
        for name, value, note in tiles
    )


def _scores(scores: dict[str, Any]) -> str:
    return "".join(_score(name, score) for name, score in scores.items())


def _score(name: str, score: dict[str, Any]) -> str:
    """One score, its formula beside it, and its figures one step further."""
    value, top = score["value"], score["of"]
    number = "not measured" if value is None else f"{value:.1f}<small> of {top:g}</small>"
    meter = (
        ""
        if value is None
        else f'<meter min="0" max="{top:g}" value="{value:g}" aria-label="{name} score">'
        f"{score_text(value)}</meter>"
    )
    figures, formula = score["figures"], score["formula"]
    beside = f'<p class="note">Formula: {escape(formula)}.</p>' if formula else ""
    kind = "number none" if value is None else "number"
    rows = _figures(score["rows"], f"Figures of the {name} score")
    more = _fold("Figures", _definitions(figures) + rows) if figures else ""
    return (
        f'<section class="card score" aria-labelledby="score-{name}">'
        f'<h2 id="score-{name}">{name.capitalize()} score</h2>'
        f'<p class="{kind}">{number}</p>{meter}<p>{escape(score["meaning"])}</p>'
        f"{beside}{more}</section>"
    )


def _figures(rows: list[dict[str, str]], name: str) -> str:
    """A score's figures beside their references; what they are stands below, for a narrow table."""
    if not rows:
        return ""
    table = _table([{k: v for k, v in row.items() if k != "unit"} for row in rows], name)
    notes = (f"{row['figure'].capitalize()}: {row['unit']}." for row in rows)
    return table + "".join(f'<p class="note">{escape(note)}</p>' for note in notes)


def _fold(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>{body}</details>"


def _privacy(privacy: dict[str, Any]) -> str:
    if "epsilon" not in privacy:
        return ""
    unit = privacy["unit_kind"]
    return (
        '<div class="pair charts"><figure class="plot">'
        f"{advantage_chart(privacy)}<figcaption>How much better than guessing an attacker can be, "
        f"by epsilon at delta {privacy['delta']:g}. A training with a smaller epsilon would be "
        "further down the curve, and its volumes less like the patients'.</figcaption></figure>"
        f'<figure class="plot">{attack_chart(privacy)}<figcaption>The most that any attack finds '
        f"of the {unit}s who took part. The broken line is guessing.</figcaption></figure></div>"
        f"<p>{escape(privacy['interpretation'])}</p>"
        + _fold("All parts of the claim", _definitions(privacy_rows(privacy)))
        + _fold("Mechanisms", _table(as_shown(privacy["mechanisms"]), "Mechanisms"))
        + "<h3>The claim assumes that</h3>"
        + _list(privacy["assumptions"])
        + "<h3>It does not cover</h3>"
        + _list(privacy["not_covered"])
    )


def _table(rows: list[dict[str, Any]], name: str) -> str:
    keys = list(dict.fromkeys(key for row in rows for key in row))
    head = "".join(f'<th scope="col">{escape(key.replace("_", " "))}</th>' for key in keys)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_text(row.get(key, '')))}</td>" for key in keys) + "</tr>"
        for row in rows
    )
    return _scroll(f"<table><tr>{head}</tr>{body}</table>", name)


def _scroll(table: str, name: str) -> str:
    """A table that may be wider than a phone; the keyboard can scroll it."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{name}">{table}</div>'


def _sheet(survey: Survey, sheet: bytes, modality: Modality) -> str:
    planes = "" if modality.planar else ", three planes"
    if survey.channels:
        planes = ", one axial slice a channel"
    note = f"Contact sheet: {len(survey.shown)} of {survey.count} {modality.noun}{planes}"
    return _picture(sheet, "sheet", note)


def _picture(png: bytes, kind: str, note: str) -> str:
    picture = base64.b64encode(png).decode("ascii")
    return f'<img class="{kind}" alt="{escape(note)}" src="data:image/png;base64,{picture}">'


def _histograms(survey: Survey, data: dict[str, Any]) -> str:
    if not survey.channels:
        return _histogram(survey, data["units"])
    units = data["channel_units"]
    return "".join(
        _histogram(own, f"{name}: {units[name]}") for name, own in survey.channels.items()
    )


def _histogram(survey: Survey, unit: str) -> str:
    return (
        f'<div class="plot">{histogram_chart(survey)}</div>'
        f'<p class="note">Share of voxels (square-root scale) by intensity: {escape(unit)}.</p>'
    )


def _sites(sites: dict[str, Any] | None) -> str:
    """By what sites differ; nothing where the model has none."""
    if sites is None:
        return ""
    rows = _table(sites["differences"], "Sites") if sites["differences"] else ""
    return (
        f'<section class="card"><h2>Sites</h2><p>{escape(sentence(sites))}</p>{rows}'
        f'<p class="note">{escape(sites["note"])}</p></section>'
    )


def _labels(labels: dict[str, str], survey: Survey) -> str:
    if not labels or not survey.label_voxels.size:
        return ""
    total = int(survey.label_voxels.sum())
    rows = [
        {
            "label": value,
            "name": name,
            "share of voxels": f"{int(survey.label_voxels[int(value)]) / total:.2%}",
        }
        for value, name in labels.items()
    ]
    return "<h3>Labels</h3>" + _table(rows, "Labels")


def _gate(checks: list[dict[str, Any]]) -> str:
    rows = "".join(
        f'<tr><td class="{"ok" if check["passed"] else "bad"}">'
        f"{'passed' if check['passed'] else 'failed'}</td>"
        f"<td>{escape(check['name'])}</td><td>{escape(check['detail'])}</td></tr>"
        for check in checks
    )
    return _scroll(f"<table>{rows}</table>", "Checks of the gate")


def _definitions(rows: dict[str, Any]) -> str:
    if not rows:
        return "<p>Not described.</p>"
    return (
        "<dl>"
        + "".join(
            f"<dt>{escape(str(key).replace('_', ' '))}</dt><dd>{escape(_text(value))}</dd>"
            for key, value in rows.items()
        )
        + "</dl>"
    )


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _list(items: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"
