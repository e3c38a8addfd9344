"""Drawing primitives of the procedural renderer: signed distances on a batch of canvases, and alpha compositing.

Coordinates: x to the right and y downwards, both in [-1, 1] over the canvas. Every shape returns coverage in [0, 1]
with shape [B, H, W]; parameters are numbers or arrays [B, 1, 1].
"""
from __future__ import annotations

from collections.abc import Callable
from copy import copy

import numpy as np


class Canvas:
    """`count` square RGB canvases of `size` pixels that layers are painted on, back to front."""

    def __init__(self, count: int, size: int):
        axis = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1).astype(np.float32)
        self.x = np.broadcast_to(axis[None, None, :], (1, size, size))
        self.y = np.broadcast_to(axis[None, :, None], (1, size, size))
        self.pixel = np.float32(2.0 / size)
        self.rgb = np.zeros((count, 3, size, size), np.float32)

    def window(self, left: float, top: float, right: float, bottom: float) -> "Canvas":
        """A view on the part between these edges, in canvas units: painting there paints here, only cheaper."""
        size = self.rgb.shape[-1]
        x0, x1 = (int(np.clip(round((edge + 1) / 2 * size), 0, size)) for edge in (left, right))
        y0, y1 = (int(np.clip(round((edge + 1) / 2 * size), 0, size)) for edge in (top, bottom))
        view = copy(self)
        view.x, view.y = self.x[:, y0:y1, x0:x1], self.y[:, y0:y1, x0:x1]
        view.rgb = self.rgb[:, :, y0:y1, x0:x1]
        return view

    def cover(self, distance, soft: float = 1.0) -> np.ndarray:
        """Antialiased coverage of the region with negative signed distance; `soft` is the edge width in pixels."""
        return np.clip(0.5 - distance / (self.pixel * soft), 0, 1)

    def paint(self, alpha, colour) -> None:
        """Composite `colour` (3 numbers, [B, 3], or [B, 3, H, W]) with coverage `alpha` [B, H, W]."""
        colour = np.asarray(colour, np.float32)
        self.rgb += alpha[:, None] * ((colour if colour.ndim == 4 else colour.reshape(-1, 3, 1, 1)) - self.rgb)

    def shade(self, alpha, factor) -> None:
        """Multiply the picture by `factor` ([B, H, W] or a number) where `alpha` covers."""
        scale = 1 + alpha * (factor - 1)
        self.rgb *= np.broadcast_to(scale, (self.rgb.shape[0], *self.rgb.shape[2:]))[:, None]

    def ink(self, look, distance, where=1.0, width: float = 1.0) -> None:
        """Draw the contour at distance 0 in the look's ink, if it has one, where `where` covers.

        width: of the line, over the look's.
        """
        if look.outline is not None:
            self.paint(self.cover(np.abs(distance) - look.outline_width * width) * where, look.outline)

    def finished(self, look) -> np.ndarray:
        """Return the pictures, float32 [B, 3, H, W] in [0, 1], with the look's finish over them, if it has one."""
        rgb = np.clip(self.rgb, 0, 1).astype(np.float32)
        return np.clip(look.finish(rgb), 0, 1).astype(np.float32) if look.finish else rgb

    # ---- signed distances -------------------------------------------------------------------------------------
    def ellipse(self, cx, cy, rx, ry):
        """First-order signed distance to an axis-parallel ellipse."""
        dx, dy = self.x - cx, self.y - cy
        k = np.sqrt((dx / rx) ** 2 + (dy / ry) ** 2) + 1e-6
        g = np.sqrt((dx / rx ** 2) ** 2 + (dy / ry ** 2) ** 2) + 1e-6
        return k * (k - 1) / g

    def box(self, cx, cy, hx, hy, radius=0.0):
        """Signed distance to a rectangle with half sizes hx, hy and rounded corners."""
        qx, qy = np.abs(self.x - cx) - hx + radius, np.abs(self.y - cy) - hy + radius
        outside = np.sqrt(np.maximum(qx, 0) ** 2 + np.maximum(qy, 0) ** 2)
        return outside + np.minimum(np.maximum(qx, qy), 0) - radius

    def segment(self, ax, ay, bx, by, radius):
        """Signed distance to a thick line from a to b."""
        px, py, dx, dy = self.x - ax, self.y - ay, bx - ax, by - ay
        t = np.clip((px * dx + py * dy) / (dx * dx + dy * dy + 1e-9), 0, 1)
        return np.sqrt((px - t * dx) ** 2 + (py - t * dy) ** 2) - radius

    def triangle(self, a, b, c):
        """Signed distance (first order outside) to a triangle given as three (x, y) pairs, any winding."""
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        turn = np.sign(area)
        worst = None
        for (px, py), (qx, qy) in ((a, b), (b, c), (c, a)):
            ex, ey = qx - px, qy - py
            d = turn * ((self.x - px) * ey - (self.y - py) * ex) / np.sqrt(ex * ex + ey * ey + 1e-9)
            worst = d if worst is None else np.maximum(worst, d)
        return worst

    def arc(self, cx, cy, half_width, rise, thickness):
        """Signed distance to a parabolic stroke through (cx +- half_width, cy) with its middle raised by `rise`."""
        u = (self.x - cx) / half_width
        dy = self.y - (cy - rise * (1 - u * u))
        slope = np.sqrt(1 + (2 * rise * u / half_width) ** 2)
        return np.maximum(np.abs(dy) / slope - thickness, (np.abs(u) - 1) * half_width)


def luminance(rgb: np.ndarray) -> np.ndarray:
    """Rec. 601 luma of [B, 3, H, W] as [B, 1, H, W]."""
    return rgb[:, :1] * 0.299 + rgb[:, 1:2] * 0.587 + rgb[:, 2:] * 0.114


def saturate(rgb: np.ndarray, amount: float) -> np.ndarray:
    """Scale colourfulness around luma; 1 keeps, 0 greys, above 1 intensifies. Not clipped."""
    grey = luminance(rgb)
    return grey + amount * (rgb - grey)


def hash_noise(*integers: np.ndarray) -> np.ndarray:
    """A fixed pseudo-random number in [0, 1) for integer coordinates: textures keep one phase on every picture."""
    h = np.zeros(np.broadcast_shapes(*(np.shape(i) for i in integers)), np.uint64)
    for value, prime in zip(integers, (374761393, 668265263, 2246822519)):
        h = (h + np.asarray(value).astype(np.int64).astype(np.uint64) * np.uint64(prime)) & np.uint64(0xFFFFFFFF)
    h = ((h ^ (h >> np.uint64(13))) * np.uint64(1274126177)) & np.uint64(0xFFFFFFFF)
    return ((h ^ (h >> np.uint64(16))) & np.uint64(0xFFFFFF)).astype(np.float32) / np.float32(1 << 24)


def vivid(amount: float, gain: float = 1.0) -> Callable[[np.ndarray], np.ndarray]:
    """Return what makes colours [B, 3] in [0, 1] more colourful by `amount` and brighter by `gain`."""
    return lambda colour: np.clip(saturate(colour[:, :, None, None], amount)[:, :, 0, 0] * gain, 0, 1)


def lit_wall(x: float, y: float, fall: float) -> Callable[[Canvas, np.ndarray, dict], None]:
    """Return what paints the ground: a softly lit wall, brightest at (-x, -y) and darker from there on by `fall`."""
    def ground(c: Canvas, colour: np.ndarray, g: dict) -> None:
        light = 1.12 - fall * ((c.x + x * g["light"]) ** 2 + (c.y + y) ** 2)
        c.paint(np.ones_like(c.x), colour[:, :, None, None] * light[:, None])
    return ground
