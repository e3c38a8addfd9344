"""The four looks of the demo world's pets: the source style "photo" and three target styles of the IPL work."""
from __future__ import annotations

import numpy as np

from jittor_ipl.world.drawing.canvas import Canvas, vivid
from jittor_ipl.world.drawing.finishes import round_dots, straight_facets
from jittor_ipl.world.drawing.looks import rays_ground
from jittor_ipl.world.drawing.pet import PetLook


class PolygonCanvas(Canvas):
    """A canvas whose ellipses are octagons with straight edges."""

    def ellipse(self, cx, cy, rx, ry):
        """Signed distance, first order, to an octagon that an ellipse with these radii circumscribes."""
        u, v = np.abs(self.x - cx) / rx, np.abs(self.y - cy) / ry
        turned = np.float32(.765) * (u + v)
        return (np.maximum(np.maximum(u, v), turned) - np.float32(1.0)) * np.minimum(rx, ry)


LOOKS: dict[str, PetLook] = {
    "photo": PetLook(),
    "cartoon": PetLook(
        coat=vivid(1.5, 1.12), background=vivid(1.9, 1.15), outline=(.02, .02, .03), outline_width=.026, volume=0,
        fur=0, ragged=0, edge=1, eye_scale=1.28, sclera=.8, glint=.045, ground=rays_ground(6, .1, .40)),
    "pointillism": PetLook(volume=.40, fur=.0, marks=1.35, eye_scale=1.15, glint=.01, finish=round_dots),
    "cubism": PetLook(volume=.35, fur=0, ragged=0, edge=1, outline=(.12, .10, .09), outline_width=.013,
                      canvas=PolygonCanvas, finish=straight_facets),
}
