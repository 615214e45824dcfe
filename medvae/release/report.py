"""The report: one HTML file with everything inside, for a screen, a phone or paper.

Nothing is loaded from anywhere: the content security policy forbids it, and allows only the
one style sheet and the one script whose hashes it names.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np

from medvae import modality as modalities
from medvae.modality import Modality
from medvae.release.cardtext import privacy_rows
from medvae.release.figures import LABEL_COLOURS
from medvae.release.sprites import Sprite, sprites
from medvae.release.survey import Survey


def render(card: dict[str, Any], survey: Survey, sheet: bytes, curve: bytes | None) -> str:
    """The whole page, from the card, the survey of the volumes and two pictures (PNG).

    curve: the trade-off curve, None for a public model.
    """
    assets = files("medvae.release").joinpath("page")
    page = assets.joinpath("report.html").read_text(encoding="utf-8")
    script = assets.joinpath("report.js").read_text(encoding="utf-8").strip()
    sheets = sprites(survey)
    style = assets.joinpath("report.css").read_text(encoding="utf-8").strip()
    style += "\n" + sprite_rules(sheets)
    parts = {
        "csp": _policy(style, script),
        "style": style,
        "script": script,
        "title": escape(card["name"]),
        "subtitle": escape(_subtitle(card)),
        "tiles": _tiles(card),
        "signer": escape(card["signer"]),
        "summary": escape(card["privacy"]["summary"]),
        "privacy": _privacy(card["privacy"], curve),
        "viewer": _viewer(sheets, card["data"]["labels"]),
        "sheet": _sheet(survey, sheet, modalities.get(card["data"]["modality"])),
        "histogram": _histogram(survey, card["data"]["units"]),
        "labels": _labels(card["data"]["labels"], survey),
        "gate": _gate(card["gate"]["checks"]),
        "model": _definitions(card["model"]),
        "intended": _list(card["intended_use"]),
        "out_of_scope": _list(card["out_of_scope"]),
        "limits": _list(card["known_limits"]),
        "footer": escape(f"medvae {card['generator']['version']} · {card['created']}"),
    }
    # One pass over the template: a value that looks like a placeholder stays as it is.
    pieces = page.split("{{")
    out = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}}")
        out.append(parts[name] + rest)
    return "".join(out)


def _policy(style: str, script: str) -> str:
    def digest(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")

    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest(style)}'; "
        f"script-src 'sha256-{digest(script)}'; base-uri 'none'; form-action 'none'"
    )


def sprite_rules(sheets: list[list[Sprite]]) -> str:
    """Style rules that put each volume's sprites into the viewer's three panels."""
    rules = []
    for index, sheet in enumerate(sheets):
        for sprite in sheet:
            where = f".viewer[data-volume='{index}'] .{sprite.plane}"
            place = sprite.middle / max(sprite.frames - 1, 1) * 100
            rules.append(f"{where}{{aspect-ratio:{sprite.aspect:.4f}}}")
            shared = (
                f"background-size:100% {sprite.frames * 100}%;background-position-y:{place:.4f}%"
            )
            rules.append(f"{where} .grey{{background-image:url({sprite.image});{shared}}}")
            if sprite.overlay is not None:
                rules.append(f"{where} .over{{background-image:url({sprite.overlay});{shared}}}")
    for index, colour in enumerate(LABEL_COLOURS):
        rules.append(f".c{index}{{background:{colour}}}")
    return "\n".join(rules)


def _subtitle(card: dict[str, Any]) -> str:
    data = card["data"]
    what = modalities.get(data["modality"])
    body = f" of the {data['body_part']}" if data["body_part"] else ""
    return f"{data['volumes']} synthetic {what.images}{body}. No person was scanned."


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
            " × ".join(f"{s:g}" for s in data["spacing_mm"]) + " mm",
        ),
    ]
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


def _privacy(privacy: dict[str, Any], curve: bytes | None) -> str:
    if curve is None:
        return ""
    return (
        f"<p>{escape(privacy['interpretation'])}</p>"
        + _picture(curve, "curve", "Trade-off curve: the most that any attacker finds")
        + _definitions(privacy_rows(privacy))
        + "<h3>Mechanisms</h3>"
        + _table(privacy["mechanisms"])
        + "<h3>The claim assumes that</h3>"
        + _list(privacy["assumptions"])
        + "<h3>It does not cover</h3>"
        + _list(privacy["not_covered"])
    )


def _table(rows: list[dict[str, Any]]) -> str:
    keys = list(dict.fromkeys(key for row in rows for key in row))
    head = "".join(f"<th>{escape(key.replace('_', ' '))}</th>" for key in keys)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_text(row.get(key, '')))}</td>" for key in keys) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _viewer(sheets: list[list[Sprite]], labels: dict[str, str]) -> str:
    choices = "".join(
        f'<option value="{index}">volume {index + 1:04d}</option>' for index in range(len(sheets))
    )
    panels = []
    for number, sprite in enumerate(sheets[0]):
        frames = ",".join(str(sheet[number].frames) for sheet in sheets)
        middles = ",".join(str(sheet[number].middle) for sheet in sheets)
        panels.append(
            f'<figure><div class="panel {sprite.plane}"><div class="grey"></div>'
            f'<div class="over"></div></div><figcaption><label>{sprite.plane}'
            f'<input type="range" min="0" max="{sprite.frames - 1}" value="{sprite.middle}" '
            f'data-frames="{frames}" data-middles="{middles}" aria-label="{sprite.plane} slice">'
            "</label></figcaption></figure>"
        )
    toggle = (
        '<label class="tick"><input type="checkbox" checked id="labels"> labels</label>'
        if labels
        else ""
    )
    return (
        f'<div class="viewer" data-volume="0"><div class="controls"><select id="volume" '
        f'aria-label="volume">{choices}</select>{toggle}{_legend(labels)}</div>'
        f'<div class="panels">{"".join(panels)}</div></div>'
    )


def _legend(labels: dict[str, str]) -> str:
    keys = "".join(
        f'<span><i class="c{(int(value) - 1) % len(LABEL_COLOURS)}"></i>{escape(name)}</span>'
        for value, name in labels.items()
    )
    return f'<div class="legend">{keys}</div>' if keys else ""


def _sheet(survey: Survey, sheet: bytes, modality: Modality) -> str:
    planes = "" if modality.planar else ", three planes"
    note = f"Contact sheet: {len(survey.shown)} of {survey.count} {modality.noun}{planes}"
    return _picture(sheet, "sheet", note)


def _picture(png: bytes, kind: str, note: str) -> str:
    picture = base64.b64encode(png).decode("ascii")
    return f'<img class="{kind}" alt="{escape(note)}" src="data:image/png;base64,{picture}">'


def _histogram(survey: Survey, unit: str) -> str:
    """An SVG that takes its colours from the page, so that it works in the dark as well."""
    share = survey.counts / max(int(survey.counts.sum()), 1)
    # The air of a crop may fill one bin: a square root keeps the rest readable.
    height = np.sqrt(share / max(float(share.max()), 1e-12)) * 120
    wide = 640 / len(height)
    bars = "".join(
        f'<rect x="{i * wide:.2f}" y="{130 - h:.2f}" width="{wide - 1:.2f}" height="{h:.2f}"/>'
        for i, h in enumerate(height)
    )
    ticks = "".join(
        f'<text x="{x}" y="148" text-anchor="{anchor}">{value:g}</text>'
        for x, anchor, value in (
            (0, "start", survey.low),
            (320, "middle", (survey.low + survey.high) / 2),
            (640, "end", survey.high),
        )
    )
    return (
        '<svg viewBox="0 0 640 152" role="img" aria-label="Histogram of intensities">'
        f'{bars}<line x1="0" x2="640" y1="130.5" y2="130.5"/>{ticks}</svg>'
        f'<p class="note">Share of voxels (square-root scale) by intensity: {escape(unit)}.</p>'
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
    return "<h3>Labels</h3>" + _table(rows)


def _gate(checks: list[dict[str, Any]]) -> str:
    rows = "".join(
        f'<tr><td class="{"ok" if check["passed"] else "bad"}">'
        f"{'passed' if check['passed'] else 'failed'}</td>"
        f"<td>{escape(check['name'])}</td><td>{escape(check['detail'])}</td></tr>"
        for check in checks
    )
    return f'<div class="scroll"><table>{rows}</table></div>'


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
