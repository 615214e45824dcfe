"""The report's viewer: three linked planes with a crosshair, of the first volumes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from medvae.release.figures import LABEL_COLOURS, SIDES
from medvae.release.sprites import Sprite

# What is at the ends of a panel, by the letter there.
_PLACES = ("left", "right", "bottom", "top")
# In CSS pixels. A panel is at most so high, and no wider than its proportions then allow.
MOST_HEIGHT = 420
AXES = {"axial": 2, "coronal": 1, "sagittal": 0}
KEYS = (
    "Drag in a picture to move the crosshair, or use the sliders with the arrow keys. With the "
    "focus in the viewer: n and p change the volume, l the labels, x the crosshair. 3-D (by "
    "NiiVue): drag to turn the volume; with the focus on it the arrow keys turn it, and in three "
    "planes they and Page Up, Page Down move the crosshair."
)

VIEWS = (
    '<select id="view" aria-label="view"><option value="slices">slices</option>'
    '<option value="planes">three planes and 3-D</option><option value="solid">3-D</option>'
    "</select>"
)
CUT = '<label class="tick cut"><input type="checkbox" id="cut"> cut open</label>'
SCENE = (
    '<div class="scene" hidden><canvas tabindex="0" role="application" aria-label="volume">'
    '</canvas></div><p class="note place"><output></output></p>'
    '<p class="note flat" hidden>3-D needs WebGL 2, which did not start in this browser: '
    "volumes are shown as slices.</p>"
)


def sprite_rules(sheets: list[list[Sprite]]) -> str:
    """Style rules that put each volume's sprites into the viewer's panels."""
    rules = []
    for index, sheet in enumerate(sheets):
        for sprite in sheet:
            where = f".viewer[data-volume='{index}'] .{sprite.plane}"
            place = sprite.middle / max(sprite.frames - 1, 1) * 100
            widest = f"max-width:{MOST_HEIGHT * sprite.aspect:.0f}px"
            rules.append(f"{where}{{aspect-ratio:{sprite.aspect:.4f};{widest}}}")
            shared = (
                f"background-size:100% {sprite.frames * 100}%;background-position-y:{place:.4f}%"
            )
            rules.append(f"{where} .grey{{background-image:url({sprite.image});{shared}}}")
            if sprite.overlay is not None:
                rules.append(f"{where} .over{{background-image:url({sprite.overlay});{shared}}}")
    for index, colour in enumerate(LABEL_COLOURS):
        rules.append(f".c{index}{{background:{colour}}}")
    return "\n".join(rules)


def viewer(sheets: list[list[Sprite]], names: Sequence[str], labels: dict[str, str]) -> str:
    """The viewer's elements.

    Args:
        sheets: the sprites of each volume, or of each of its contrasts, as `sprites` gives them.
        names: what each is offered as.
        labels: number -> name.
    """
    panels = "".join(
        _panel(sprite, [sheet[number] for sheet in sheets])
        for number, sprite in enumerate(sheets[0])
    )
    hint = "" if _is_picture(sheets) else f'<p class="note">{KEYS}</p>'
    scene = "" if _is_picture(sheets) else SCENE
    return (
        f'<div class="viewer" data-volume="0">{_controls(sheets, names, labels)}'
        f'<div class="panels">{panels}</div>{scene}{hint}</div>'
    )


def _is_picture(sheets: list[list[Sprite]]) -> bool:
    return len(sheets[0]) == 1


def _controls(sheets: list[list[Sprite]], names: Sequence[str], labels: dict[str, str]) -> str:
    noun = "picture" if _is_picture(sheets) else "volume"
    choices = "".join(
        f'<option value="{index}">{escape(name)}</option>' for index, name in enumerate(names)
    )
    ticks = [("labels", "labels")] if labels else []
    if not _is_picture(sheets):
        ticks.append(("cross", "crosshair"))
    boxes = "".join(
        f'<label class="tick"><input type="checkbox" checked id="{name}"> {text}</label>'
        for name, text in ticks
    )
    boxes += "" if _is_picture(sheets) else CUT
    looks = "".join(
        f'<label class="tick">{name} <input type="range" id="{name}" min="50" max="200" '
        'value="100"></label>'
        for name in ("brightness", "contrast")
    )
    view = "" if _is_picture(sheets) else VIEWS
    reset = '<button type="button" id="reset">reset</button>'
    return (
        f'<div class="controls"><select id="volume" aria-label="{noun}">{choices}</select>'
        f"{view}{boxes}{looks}{reset}</div>{_legend(labels)}"
    )


def _panel(sprite: Sprite, over: list[Sprite]) -> str:
    """One plane; `over`: its sprites of all volumes."""
    axis = AXES.get(sprite.plane)
    layers = '<div class="grey"></div><div class="over"></div>'
    if axis is None:
        return (
            f'<figure><div class="panel {sprite.plane}" role="img" aria-label="picture 0001">'
            f"{layers}</div></figure>"
        )
    frames = ",".join(str(plane.frames) for plane in over)
    middles = ",".join(str(plane.middle) for plane in over)
    sides = "".join(
        f'<span class="side {place}" aria-hidden="true">{letter}</span>'
        for place, letter in zip(_PLACES, SIDES[axis], strict=True)
    )
    return (
        f'<figure><div class="panel {sprite.plane}" data-axis="{axis}" role="img" '
        f'aria-label="{sprite.plane} slice">{layers}<i class="v"></i><i class="h"></i>{sides}</div>'
        f"<figcaption><label>{sprite.plane}"
        f'<input type="range" min="0" max="{sprite.frames - 1}" value="{sprite.middle}" '
        f'data-frames="{frames}" data-middles="{middles}" aria-label="{sprite.plane} slice">'
        f'</label><output aria-hidden="true"></output></figcaption></figure>'
    )


def _legend(labels: dict[str, str]) -> str:
    keys = "".join(
        f'<span><i class="c{(int(value) - 1) % len(LABEL_COLOURS)}"></i>{escape(name)}</span>'
        for value, name in labels.items()
    )
    return f'<div class="legend">{keys}</div>' if keys else ""
