"""Where the face is in a picture: three points that are dragged, clicked, or moved with the arrow keys."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from jittor_ipl.webui.pages.words import Words

NAMES = ("eye_left", "eye_right", "mouth")
# Where a face is in most pictures that people take of themselves, in parts of the shorter side from the centre.
_USUAL = ((-0.13, -0.1), (0.13, -0.1), (0.0, 0.16))
_TEMPLATE = """${value && value.url ? `<p class="points-help">${help}</p><div class="points">
<img src="${value.url}" alt="${picture}" draggable="false">${value.points.map((point, at) => `<button type="button"
data-at="${at}" style="left:${100 * point[0] / value.width}%;top:${100 * point[1] / value.height}%"
aria-label="${labels[at]}: ${Math.round(point[0])}, ${Math.round(point[1])}" title="${labels[at]}">${at + 1}</button>`)
.join("")}</div>` : ""}"""
_SCRIPT = (Path(__file__).parent / "static" / "points.js").read_text()


def points_field(words: Words) -> gr.HTML:
    """Return the field; its value is what `place` returns, None before there is a picture."""
    return gr.HTML(None, html_template=_TEMPLATE, js_on_load=_SCRIPT, apply_default_css=False, elem_id="points",
                   elem_classes="frame", help=words("photo.points"), picture=words("photo.picture_alt"),
                   labels=[words("photo." + name) for name in NAMES])


def place(upload: dict[str, Any], points: Sequence[Sequence[float]] | None = None) -> dict[str, Any]:
    """Return the field's value for an upload: its points [x, y] in pixels where they are known, else a first guess."""
    width, height = upload["width"], upload["height"]
    side = min(width, height)
    guess = [[width / 2 + across * side, height / 2 + down * side] for across, down in _USUAL]
    return {"upload": upload["id"], "url": upload["url"], "width": width, "height": height,
            "points": [list(map(float, point)) for point in points or guess]}


def face_of(value: dict[str, Any]) -> dict[str, Any]:
    """Return what a request says of the field's value: upload, eyes and mouth."""
    left, right, mouth = value["points"]
    return {"upload": value["upload"], "eyes": [left, right], "mouth": mouth}
