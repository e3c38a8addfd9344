"""How pictures of a job are kept: a PNG with its settings inside, and what the page is told of it."""
from __future__ import annotations

from typing import Any

import numpy as np

from jittor_ipl.disk.names import SUFFIX, seed_name
from jittor_ipl.editing.results import slug
from jittor_ipl.images.files import save_png
from jittor_ipl.webui.png import chunks_of
from jittor_ipl.webui.task import Task

SOURCE = "source"       # what stands in the place of a style's name


class Album:
    """The pictures of one job, numbered as they come."""

    def __init__(self, task: Task):
        self.folder, self.subject = task.folder, task.subject.id
        self.base = {"kind": task.request.kind, "subject": task.subject.id}
        self.pictures: list[dict[str, Any]] = []

    def add(self, pixels: np.ndarray, style: str, alt: str, label: str = "", **settings: Any) -> dict[str, Any]:
        """Keep pixels uint8 [H, W, 3] and return what is told of them; settings that are None are left out."""
        known = {**self.base, "style": style, **{key: value for key, value in settings.items() if value is not None}}
        seed = known.get("seed")
        parts = [f"{len(self.pictures):03d}", slug(label or style), *([seed_name(seed)] if seed is not None else [])]
        name = "-".join(parts) + SUFFIX
        save_png(self.folder / name, pixels, chunks_of(known))
        height, width, _ = pixels.shape
        picture = {"name": name, "seed": seed, "style": style, "width": width, "height": height, "settings": known,
                   "alt": alt}
        self.pictures.append(picture)
        return picture

    def what(self, seed: int | None = None) -> str:
        """Return what a picture shows besides its style, in words."""
        thing = {"portraits": "portrait", "pets": "pet"}.get(self.subject, self.subject)
        return thing if seed is None else f"{thing} of seed {seed}"


def in_style(what: str, style: str, strength: float = 1.0) -> str:
    """Return a picture's alternative text."""
    if style == SOURCE:
        return f"{what}, source"
    return f"{what} in the style {style}" + ("" if strength == 1 else f" at strength {strength:g}")
