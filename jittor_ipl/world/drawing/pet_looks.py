"""The four looks of the demo world's pets: the source style "photo" and three target styles of the IPL work."""
from __future__ import annotations

import numpy as np

from jittor_ipl.world.drawing.canvas import Canvas, pixels, vivid
from jittor_ipl.world.drawing.finishes import round_dots, straight_facets
from jittor_ipl.world.drawing.pet import PetLook, paint

SOURCE = "photo"
TARGETS = ("cartoon", "pointillism", "cubism")
STYLES = (SOURCE, *TARGETS)


def render(pet: dict[str, np.ndarray], style: str, size: int = 64, supersample: int = 2) -> np.ndarray:
    """Render pets in one style; uint8 [B, 3, size, size].

    Raises KeyError for a style that is not in `STYLES`.
    """
    return pixels(paint(pet, LOOKS[style], size * supersample), supersample)


class PolygonCanvas(Canvas):
    """A canvas whose ellipses are octagons with straight edges."""

    def ellipse(self, cx, cy, rx, ry):
        """Signed distance, first order, to an octagon that an ellipse with these radii circumscribes."""
        u, v = np.abs(self.x - cx) / rx, np.abs(self.y - cy) / ry
        turned = np.float32(.765) * (u + v)
        return (np.maximum(np.maximum(u, v), turned) - np.float32(1.0)) * np.minimum(rx, ry)


def _ray_ground(c: Canvas, back, g) -> None:
    """Cartoon: a flat colour with comic rays."""
    c.paint(np.ones_like(c.x), back)
    rays = np.clip(.5 + 6 * (np.cos(np.arctan2(c.x, c.y + .1) * 12) - .1), 0, 1)
    c.paint(rays * .40, np.clip(back * 1.5 + .15, 0, 1))


LOOKS: dict[str, PetLook] = {
    "photo": PetLook(),
    "cartoon": PetLook(
        coat=vivid(1.5, 1.12), background=vivid(1.9, 1.15), outline=(.02, .02, .03), outline_width=.026, volume=0,
        fur=0, ragged=0, edge=1, eye_scale=1.28, sclera=.8, glint=.045, ground=_ray_ground),
    "pointillism": PetLook(volume=.40, fur=.0, marks=1.35, eye_scale=1.15, glint=.01, finish=round_dots),
    "cubism": PetLook(volume=.35, fur=0, ragged=0, edge=1, outline=(.12, .10, .09), outline_width=.013,
                      canvas=PolygonCanvas, finish=straight_facets),
}
