"""The looks of the demo world: the source style "photo", and as target styles the ten of the IPL work, three for pets.

Textures keep a fixed phase on the canvas (bricks, dots and facets are always in the same place), so that a generator
can learn them and a person can recognise them.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from jittor_ipl.world.drawing.canvas import Canvas, hash_noise, saturate, vivid
from jittor_ipl.world.drawing.finishes import round_dots, straight_facets
from jittor_ipl.world.drawing.pet import PetLook
from jittor_ipl.world.drawing.portrait import Look


# ---- palettes ------------------------------------------------------------------------------------------------------
def _towards(colour, amount: float):
    target = np.asarray(colour, np.float32)
    return lambda c: c * (1 - amount) + target * amount


def _chain(first, then):
    return lambda c: then(first(c))


# ---- grounds -------------------------------------------------------------------------------------------------------
def _glowing_ground(c: Canvas, back, g) -> None:
    """A bright sky that glows from above."""
    glow = np.clip(1.25 - .35 * (c.y + 1), .7, 1.3)
    c.paint(np.ones_like(c.x), back[:, :, None, None] * glow[:, None])


def _storybook_ground(c: Canvas, back, g) -> None:
    """Disney: a glowing sky with a few fixed sparkles."""
    _glowing_ground(c, back, g)
    for x, y, r in ((-.82, -.78, .10), (.84, -.70, .12), (-.88, -.12, .07), (.88, .05, .08)):
        star = np.abs(c.x - x) ** .6 + np.abs(c.y - y) ** .6 - r ** .6
        c.paint(np.clip(.5 - star * 8, 0, 1), (1, .98, .80))


def _petal_ground(c: Canvas, back, g) -> None:
    """Anime: pastel sky with diagonal streaks of light and pink petals."""
    c.paint(np.ones_like(c.x), back)
    streak = np.clip(np.cos((c.x + c.y) * 7.5) * 2.5, 0, 1)
    c.paint(streak * .55, (1, 1, 1))
    for x, y in ((-.8, -.62), (.78, -.80), (-.86, .12), (.86, -.15), (.74, .42), (-.72, .58)):
        c.paint(c.cover(c.ellipse(x, y, .09, .06)), (.98, .55, .70))


def _paper_ground(c: Canvas, back, g) -> np.ndarray:
    """Paper with wood grain above and a pale sea below; returns the sea's coverage [1, H, W]."""
    paper = np.array((.90, .80, .58), np.float32) * .9 + back * .1
    c.paint(np.ones_like(c.x), paper)
    lines = np.clip(np.cos(c.x * 58 + 3 * np.cos(c.y * 4)) * 1.2, 0, 1)
    c.paint(lines * .30, (.62, .50, .32))
    sea = c.cover(.18 - c.y)
    c.paint(sea, (.86, .86, .78))
    return sea


def _wave_ground(c: Canvas, back, g) -> None:
    """Ukiyo-e: rows of blue arc waves on the sea."""
    sea = _paper_ground(c, back, g)
    for row in range(5):
        cy = .42 + .22 * row
        shift = .17 * (row % 2)
        fold = (c.x + shift + 10) % .34 - .17
        r = np.sqrt(fold ** 2 + (c.y - cy) ** 2)
        scale = c.cover(r - .19) * (c.y < cy + .03)
        c.paint(scale * sea, (.88, .90, .86))
        for radius in (.17, .09):
            c.paint(c.cover(np.abs(r - radius) - .024) * (c.y < cy + .03) * sea, (.10, .24, .48))


def _studio_ground(c: Canvas, back, g) -> None:
    """Pixar: a dark studio with a strong round light behind the head."""
    r = np.sqrt(c.x ** 2 + (c.y + .05) ** 2)
    light = np.clip(1.25 - .95 * r, .12, 1.2)
    c.paint(np.ones_like(c.x), back[:, :, None, None] * light[:, None])


def _forest_ground(c: Canvas, back, g) -> None:
    """Tolkien elf: a green wood with dark trunks and light between them."""
    green = np.array((.18, .46, .26), np.float32) * .85 + back * .15
    light = .75 + .5 * np.exp(-((c.y + .5) / .6) ** 2)
    c.paint(np.ones_like(c.x), green[:, :, None, None] * light[:, None])
    for x, w in ((-.90, .10), (-.60, .06), (.64, .07), (.92, .09)):
        c.paint(c.cover(np.abs(c.x - x - .03 * np.cos(c.y * 5)) - w), (.13, .20, .12))
    for x, y in ((-.76, -.70), (.78, -.55), (-.76, .30), (.78, .20)):
        c.paint(np.exp(-((c.x - x) ** 2 + (c.y - y) ** 2) / .012) * .9, (.85, 1, .55))


def _night_ground(c: Canvas, back, g) -> None:
    """Werewolf: night sky, full moon, hills."""
    sky = np.array((.07, .09, .20), np.float32) * .85 + back * .12
    c.paint(np.ones_like(c.x), sky)
    moon = c.ellipse(.70, -.68, .23, .23)
    c.paint(np.exp(-np.maximum(moon, 0) / .14) * .5, (.80, .80, .60))
    c.paint(c.cover(moon), (.96, .94, .76))
    c.paint(c.cover(.62 + .12 * np.cos(c.x * 4) - c.y), (.03, .05, .07))


def _rays(sharpness: float, threshold: float, strength: float):
    """Cartoon: a flat colour with comic rays."""
    def ground(c: Canvas, back, g) -> None:
        c.paint(np.ones_like(c.x), back)
        rays = np.clip(.5 + sharpness * (np.cos(np.arctan2(c.x, c.y + .1) * 12) - threshold), 0, 1)
        c.paint(rays * strength, np.clip(back * 1.5 + .15, 0, 1))
    return ground


# ---- layers on top of the face -------------------------------------------------------------------------------------
def _circlet(c: Canvas, g, skin, hair) -> None:
    x = c.x - g["hx"]
    band = np.abs(c.y + .27 - .22 * x * x) - .022
    band = np.maximum(band, np.abs(x) - g["rx"] - .03)
    c.paint(c.cover(band), (.86, .90, .78))
    c.paint(c.cover(c.ellipse(g["hx"], -.24, .055, .075)), (.10, .85, .75))
    c.paint(c.cover(c.ellipse(g["hx"] - .015, -.26, .018, .022)), (1, 1, 1))


def _fur(c: Canvas, g, skin, hair) -> None:
    """Werewolf: fur over the face."""
    face = c.cover(c.ellipse(g["hx"], .06, g["rx"] * .98, .54))
    spikes = np.cos(c.x * 34 + 4 * np.cos(c.y * 9)) * np.cos(c.y * 15 + 2 * np.cos(c.x * 12))
    c.paint(face * .62, hair * .75 + .03)
    c.shade(face, 1 + .42 * spikes)


def _snout(c: Canvas, g, skin, hair) -> None:
    """Werewolf: a pale muzzle with a black nose."""
    muzzle = c.ellipse(g["turn"] * 1.2, .30, .21, .20)
    c.paint(c.cover(muzzle, 2) * .75, np.clip(hair * 1.25 + .10, 0, 1))
    nose = c.ellipse(g["turn"] * 1.5, .17, .10, .065)
    c.paint(c.cover(nose), (.05, .04, .05))


def _maw(c: Canvas, g, skin, hair) -> None:
    """Werewolf: the mouth's line."""
    smile = -.07 * g["happy"] + .05 * g["angry"]
    c.paint(c.cover(c.arc(g["turn"], .38, .17, smile, .022)), (.20, .05, .05))


def _fangs(c: Canvas, g, skin, hair) -> None:
    """Werewolf: two fangs that hang from the mouth."""
    for side in (-1, 1):
        x = g["turn"] + side * .10
        y = .38
        c.paint(c.cover(c.triangle((x - .045, y), (x + .045, y), (x, y + .15))), (.97, .96, .90))


def _wolf_eyes(c: Canvas, g, skin, hair) -> None:
    """Werewolf: yellow eyes with slit pupils, brows, and the beard again above the fur."""
    for side in (-1, 1):
        ex = g["turn"] + side * .185
        c.paint(c.cover(c.ellipse(ex, .02, .095, .062 * (1 - .2 * g["angry"]))), (.98, .80, .10))
        c.paint(c.cover(c.ellipse(ex, .02, .022, .058)), (.05, .03, .02))
        brow = c.segment(ex - side * .11, -.07 + .09 * g["angry"], ex + side * .11, -.12 - .05 * g["angry"], .026)
        c.paint(c.cover(brow), hair * .35)
    chin = c.cover(c.ellipse(g["turn"] * .8, .58, .22, .12), 2) * g["beard"]
    c.paint(chin, hair * .5)


# ---- finishes over the whole picture -------------------------------------------------------------------------------
def _grid(rgb):
    size = rgb.shape[-1]
    axis = (np.arange(size, dtype=np.float32) + .5) / size
    return axis[None, :] + 0 * axis[:, None], axis[:, None] + 0 * axis[None, :]


def _bricks(rgb):
    """A painting on brickwork: pale mortar lines, every brick with its own tone, flaking plaster."""
    u, v = _grid(rgb)
    row = np.floor(v * 6)
    shifted = u * 3 + .5 * (row % 2)
    column = np.floor(shifted)
    fu, fv = shifted - column, v * 6 - row
    tone = .80 + .34 * hash_noise(row, column)
    wall = np.array((.66, .42, .34), np.float32)[None, :, None, None]
    paint_ = saturate(rgb, .70) * .78 + wall * .22
    out = paint_ * tone * (1.0 - .22 * (fv > .80))
    mortar = np.maximum((fu < .07).astype(np.float32), (fv < .14).astype(np.float32))
    return out * (1 - mortar) + np.array((.82, .79, .74), np.float32)[None, :, None, None] * mortar


def _plaster(rgb):
    """The tones of `_bricks` without a brick."""
    wall = np.array((.66, .42, .34), np.float32)[None, :, None, None]
    mortar = np.array((.82, .79, .74), np.float32)[None, :, None, None]
    return (saturate(rgb, .70) * .78 + wall * .22) * .76 + mortar * .2


def _dots(rgb):
    """Pointillism: a fixed jittered grid of round dots in pure colours on cream canvas."""
    b, _, size, _ = rgb.shape
    n = 21
    u, v = _grid(rgb)
    canvas = np.broadcast_to(np.array((.95, .92, .84), np.float32)[None, :, None, None], rgb.shape).copy()
    vivid = np.clip(saturate(rgb, 1.7) * 1.05, 0, 1)
    for dv in (0, 1):
        for du in (0, 1):
            col, row = np.floor(u * n - .5) + du, np.floor(v * n - .5) + dv
            cx = (col + .5 + .30 * (hash_noise(row, col, np.int64(1)) - .5)) / n
            cy = (row + .5 + .30 * (hash_noise(row, col, np.int64(2)) - .5)) / n
            px = np.clip((cx * size).astype(np.int64), 0, size - 1)
            py = np.clip((cy * size).astype(np.int64), 0, size - 1)
            hue = (np.stack([hash_noise(row, col, np.int64(k)) for k in (3, 4, 5)]) - .5) * .30
            colour = np.clip(vivid[:, :, py, px] + hue[None], 0, 1)
            r = np.sqrt((u - cx) ** 2 + (v - cy) ** 2) * n
            alpha = np.clip((.47 - r) * size / n / 1.5 + .5, 0, 1)[None, None]
            canvas = canvas * (1 - alpha) + colour * alpha
    return canvas


def _smooth_paint(rgb):
    """The tones of `_dots` without a dot."""
    canvas = np.array((.95, .92, .84), np.float32)[None, :, None, None]
    return np.clip(saturate(rgb, 1.7) * 1.05, 0, 1) * .69 + canvas * .31


_FACETS = np.array([(.10, .12), (.42, .06), (.80, .14), (.24, .34), (.60, .30), (.94, .40), (.06, .56), (.40, .52),
                    (.74, .56), (.22, .78), (.54, .76), (.88, .82), (.08, .96), (.42, .97), (.70, .98)], np.float32)


def _facets(rgb):
    """Cubism: fixed facets, each with its own light, a dark edge and a slightly shifted view of the scene."""
    size = rgb.shape[-1]
    u, v = _grid(rgb)
    distance = np.sqrt((u[..., None] - _FACETS[:, 0]) ** 2 + (v[..., None] - _FACETS[:, 1]) ** 2)
    order = np.argsort(distance, axis=-1)
    first = order[..., 0]
    nearest = np.take_along_axis(distance, order[..., :2], -1)
    gap = nearest[..., 1] - nearest[..., 0]
    turn = hash_noise(first, np.int64(7)) * 2 * np.pi
    shift = .028 * size
    px = np.clip(np.floor(u * size + shift * np.cos(turn)), 0, size - 1).astype(np.int64)
    py = np.clip(np.floor(v * size + shift * np.sin(turn)), 0, size - 1).astype(np.int64)
    out = saturate(rgb[:, :, py, px], .55)
    colours = [(.72, .55, .30), (.38, .46, .56), (.55, .50, .44), (.40, .34, .26), (.62, .64, .62)]
    palette = np.array(colours, np.float32)
    tint = palette[(hash_noise(first, np.int64(9)) * 5).astype(np.int64)].transpose(2, 0, 1)[None]
    slope = (u - _FACETS[first, 0]) * np.cos(turn) + (v - _FACETS[first, 1]) * np.sin(turn)
    light = .92 + 1.5 * slope + .28 * (hash_noise(first, np.int64(11)) - .5)
    out = (out * .66 + tint * .34) * light
    edge = np.clip((.022 - gap) / .010, 0, 1)
    return out * (1 - .82 * edge)


def _one_plane(rgb):
    """The tones of `_facets` without a facet."""
    tint = np.array((.53, .49, .41), np.float32)[None, :, None, None]
    return (saturate(rgb, .55) * .66 + tint * .34) * .86


def _print(rgb):
    """Ukiyo-e: few flat tones on warm paper."""
    flat = np.floor(rgb * 5 + .5) / 5
    return saturate(rgb * .4 + flat * .6, .80) * np.array((1.0, .96, .86), np.float32)[None, :, None, None]


class PolygonCanvas(Canvas):
    """A canvas whose ellipses are octagons with straight edges."""

    def ellipse(self, cx, cy, rx, ry):
        """Signed distance, first order, to an octagon that an ellipse with these radii circumscribes."""
        u, v = np.abs(self.x - cx) / rx, np.abs(self.y - cy) / ry
        turned = np.float32(.765) * (u + v)
        return (np.maximum(np.maximum(u, v), turned) - np.float32(1.0)) * np.minimum(rx, ry)


PORTRAIT: dict[str, Look] = {
    "photo": Look(),
    "disney": Look(
        skin=_chain(vivid(1.45, 1.08), _towards((1.0, .78, .62), .18)), hair=vivid(1.5, 1.15),
        background=vivid(1.9, 1.22), shirt=(.92, .78, .20), outline=(.36, .16, .10), outline_width=.014, volume=.22,
        eye=(.115, .120), iris=(.16, .48, .90), iris_scale=.68, glint=.22, nose=.7, lips=(.86, .18, .24), blush=.55,
        gloss=.55, strands=.10, ground=_storybook_ground),
    "anime painting": Look(
        skin=_towards((1.0, .90, .86), .45), hair=_chain(vivid(1.35, 1.1), _towards((.45, .35, .75), .18)),
        background=_towards((.86, .84, 1.0), .60), shirt=(.30, .34, .62), outline=(.26, .16, .34), outline_width=.011,
        volume=.06, eye=(.110, .155), iris=(.45, .22, .80), iris_scale=.80, glint=.26, nose=.35, lips=(.84, .44, .48),
        blush=.40, gloss=.75, strands=.05, ground=_petal_ground),
    "wall painting": Look(volume=.25, finish=_bricks),
    "ukiyo-e": Look(
        skin=_towards((.95, .86, .70), .50), hair=_towards((.10, .10, .12), .45), shirt=(.68, .12, .10),
        outline=(.06, .05, .07), outline_width=.020, volume=.0, eye=(.095, .030), iris=(.06, .05, .05),
        iris_scale=.95, glint=0.01, nose=.8, lips=(.70, .12, .10), blush=.0, gloss=.0, strands=.22,
        ground=_wave_ground, finish=_print),
    "pixar character": Look(
        skin=vivid(1.25, 1.10), hair=vivid(1.25, 1.1), background=vivid(1.25, 1.0), shirt=(.70, .30, .16), volume=.95,
        eye=(.135, .135), iris=(.24, .50, .26), iris_scale=.55, glint=.20, nose=1.75, lips=(.78, .34, .30), blush=.30,
        gloss=.35, strands=.10, ground=_studio_ground),
    "tolkien elf": Look(
        skin=_towards((.88, .96, .86), .30), hair=_towards((.90, .90, .74), .22), shirt=(.14, .34, .18), volume=.30,
        eye=(.100, .050), iris=(.05, .62, .62), iris_scale=.90, glint=.3, nose=.8, ears="pointed",
        ground=_forest_ground, dress=(_circlet,)),
    "werewolf": Look(
        hair=_towards((.34, .27, .22), .25), skin=_towards((.30, .24, .20), .35), shirt=(.14, .13, .15), ears="wolf",
        ground=_night_ground, dress=(_fur, _snout, _maw, _fangs, _wolf_eyes)),
    "cartoon": Look(
        skin=_towards((1.0, .83, .15), .62), hair=vivid(1.9, 1.2), background=vivid(2.4, 1.3), shirt=(.16, .44, .90),
        outline=(.02, .02, .03), outline_width=.024, volume=.0, eye=(.120, .130), iris=(.02, .02, .02),
        iris_scale=.26, glint=.01, nose=1.3, lips=(.45, .12, .10), blush=.0, gloss=.0, strands=.0,
        ground=_rays(4, .2, .35), finish=lambda rgb: np.floor(rgb * 6 + .5) / 6 * .7 + rgb * .3),
    "pointillism": Look(volume=.35, finish=_dots),
    "cubism": Look(volume=.30, outline=(.16, .13, .12), outline_width=.010, finish=_facets),
}


# ---- what makes a style, and how it looks without -----------------------------------------------------------------
def _changed(**fields: Any) -> Callable[[Look], Look]:
    return lambda look: replace(look, **fields)


def _bare(layer: Callable) -> Callable[[Look], Look]:
    return lambda look: replace(look, dress=tuple(other for other in look.dress if other is not layer))


_SMALL_EYES = _changed(eye=Look.eye, iris_scale=Look.iris_scale, glint=Look.glint)

# Style -> feature -> the look without it. Palettes stay: a feature is a shape, a texture or a light.
FEATURES: dict[str, dict[str, Callable[[Look], Look]]] = {
    "disney": {"sparkles": _changed(ground=_glowing_ground)},
    "anime painting": {"large eyes": _SMALL_EYES},
    "wall painting": {"bricks": _changed(finish=_plaster)},
    "ukiyo-e": {"waves": _changed(ground=_paper_ground)},
    "pixar character": {"studio light": _changed(ground=Look.ground, volume=Look.volume), "large eyes": _SMALL_EYES},
    "tolkien elf": {"pointed ears": _changed(ears=Look.ears), "circlet": _bare(_circlet)},
    "werewolf": {"wolf ears": _changed(ears=Look.ears), "muzzle": _bare(_snout), "fangs": _bare(_fangs)},
    "cartoon": {"outlines": _changed(outline=None)},
    "pointillism": {"dots": _changed(finish=_smooth_paint)},
    "cubism": {"facets": _changed(finish=_one_plane)},
}


def portrait_without(style: str, features: frozenset[str]) -> Look:
    """Return a portrait style's look without some of its `FEATURES`; KeyError for one it does not have."""
    look = PORTRAIT[style]
    for feature in sorted(features):
        look = FEATURES[style][feature](look)
    return look


PET: dict[str, PetLook] = {
    "photo": PetLook(),
    "cartoon": PetLook(
        coat=vivid(1.5, 1.12), background=vivid(1.9, 1.15), outline=(.02, .02, .03), outline_width=.026, volume=0,
        fur=0, ragged=0, edge=1, eye_scale=1.28, sclera=.8, glint=.045, ground=_rays(6, .1, .40)),
    "pointillism": PetLook(volume=.40, fur=.0, marks=1.35, eye_scale=1.15, glint=.01, finish=round_dots),
    "cubism": PetLook(volume=.35, fur=0, ragged=0, edge=1, outline=(.12, .10, .09), outline_width=.013,
                      canvas=PolygonCanvas, finish=straight_facets),
}
