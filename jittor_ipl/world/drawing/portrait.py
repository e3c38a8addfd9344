"""Paint one batch of aligned portraits: the same geometry for every style, dressed by a `Look`.

As in FFHQ the faces are aligned (the head keeps its place), so that style and attributes, not position, make the
pictures.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from jittor_ipl.world.drawing.canvas import Canvas, lit_wall

SKIN = np.array([(.96, .80, .70), (.86, .65, .48), (.62, .42, .28), (.38, .25, .18)], np.float32)
HAIR = np.array([(.10, .09, .10), (.36, .21, .12), (.88, .71, .32), (.74, .27, .10), (.66, .66, .68)], np.float32)
BACKGROUND = np.array([(.36, .52, .74), (.42, .62, .44), (.84, .60, .58), (.58, .58, .58)], np.float32)


@dataclass(frozen=True)
class Look:
    """How a style dresses the common geometry; the defaults are the source style, "photo"."""

    skin: Callable[[np.ndarray], np.ndarray] = lambda c: c          # palette maps, [B, 3] -> [B, 3]
    hair: Callable[[np.ndarray], np.ndarray] = lambda c: c
    background: Callable[[np.ndarray], np.ndarray] = lambda c: c
    shirt: tuple[float, float, float] | None = (.27, .32, .42)
    outline: tuple[float, float, float] | None = None               # ink colour of contours
    outline_width: float = 0.0                                      # in units of the canvas' half width
    volume: float = 0.45                                            # strength of the head's round shading, 0 is flat
    eye: tuple[float, float] = (.085, .055)                         # half width and half height of an eye
    iris: tuple[float, float, float] = (.30, .20, .14)
    iris_scale: float = .72                                         # iris radius over the eye's half height
    sclera: tuple[float, float, float] = (.96, .96, .96)
    glint: float = .25                                              # highlight radius over the eye's half height
    nose: float = 1.0                                               # size of the nose
    lips: tuple[float, float, float] = (.70, .32, .30)
    blush: float = .12
    gloss: float = .12                                              # light band on the hair
    strands: float = .16                                            # contrast of the hair's strands
    ears: str = "round"                                             # round, pointed or wolf
    ground: Callable = lit_wall(.35, .3, .15)       # (canvas, colour [B, 3], geometry) paints the background
    dress: tuple[Callable, ...] = field(default=())                 # (canvas, geometry) paints on top of the face
    finish: Callable | None = None                                  # rgb -> rgb over the whole picture


def paint(face: dict[str, np.ndarray], look: Look, size: int) -> np.ndarray:
    """Paint faces (see `attributes.PORTRAIT`) with a look; float32 [B, 3, size, size] in [0, 1]."""
    c = Canvas(len(face["skin"]), size)
    g = geometry(face)
    skin = look.skin(SKIN[face["skin"]] * (1 + .06 * face["tone"][:, None]))            # [B, 3]
    hair = look.hair(HAIR[face["hair"]] * (1 + .12 * face["shade"][:, None]))
    look.ground(c, look.background(BACKGROUND[face["background"]] * (1 + .08 * face["light"][:, None])), g)
    _hair_behind(c, g, look, hair)
    _ears(c, g, look, skin, hair)
    _body(c, g, look, skin)
    head = _head(c, g, look, skin)
    _beard(c, g, look, hair, head)
    _mouth(c, g, look, skin)
    _nose(c, g, look, skin)
    _eyes(c, g, look)
    _hair_front(c, g, look, hair)
    for layer in look.dress:
        layer(c, g, skin, hair)
    _glasses(c, g, look)
    _brows(c, g, look, hair)
    return c.finished(look)


def geometry(face: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Places and switches of the parts, every value [B, 1, 1] in canvas units or 0/1."""
    v = {name: np.asarray(values, np.float32)[:, None, None] for name, values in face.items()}
    girl, boy = v["gender"], 1 - v["gender"]
    turn = (v["pose"] - 1) * .095 + .02 * v["turn"]
    return dict(
        girl=girl, long=v["length"], curly=v["curl"], glasses=v["glasses"], beard=v["beard"],
        happy=(v["expression"] == 1).astype(np.float32), angry=(v["expression"] == 2).astype(np.float32),
        turn=turn, rx=.425 + .02 * v["width"] + .015 * boy, ry=.50 + 0 * turn, hx=.30 * turn, hy=.06 + 0 * turn,
        jaw=boy * (.33 + .03 * v["jaw"]) + girl * (.24 + .02 * v["jaw"]), light=v["light"])


def _scallop(c: Canvas, g: dict, cx, cy, count: float, depth: float):
    """Waves along an outline for curly hair: a distance offset, zero for straight hair."""
    angle = np.arctan2(c.x - cx, cy - c.y)
    return g["curly"] * depth * (np.abs(np.cos(angle * count)) - .35)


def _hair_shading(c: Canvas, g: dict, look: Look, alpha) -> None:
    """Strands, curls and the gloss band inside the hair's coverage."""
    angle = np.arctan2(c.x - g["hx"], .15 - c.y)
    radius = np.sqrt((c.x - g["hx"]) ** 2 + (c.y - .1) ** 2)
    straight = np.cos(angle * 26)
    curls = np.cos(angle * 13 + 2.2 * np.cos(radius * 22))
    c.shade(alpha, 1 + look.strands * (straight * (1 - g["curly"]) * .8 + curls * g["curly"] * 1.2))
    band = np.exp(-((radius - .60) / .06) ** 2) * (c.y < .1) * (.6 + .4 * np.cos(3 * (angle - .5)))
    c.paint(alpha * look.gloss * band, (1, 1, 1))


def _hair_behind(c: Canvas, g: dict, look: Look, hair) -> None:
    wave = _scallop(c, g, g["hx"], .15, 9, .11)
    short = c.ellipse(g["hx"], -.16, g["rx"] + .09 + .05 * g["curly"], .52 + .03 * g["curly"])
    fall = np.minimum(c.ellipse(g["hx"], -.12, g["rx"] + .15 + .06 * g["curly"], .57),
                      c.box(g["hx"], .36, g["rx"] + .12 + .07 * g["curly"], .50, .18))
    d = np.where(g["long"] > .5, fall, short) - wave
    alpha = c.cover(d)
    c.paint(alpha, hair * .86)
    _hair_shading(c, g, look, alpha)
    c.ink(look, d)


def _ears(c: Canvas, g: dict, look: Look, skin, hair) -> None:
    for side in (-1, 1):
        x = g["hx"] + side * (g["rx"] + .01)
        if look.ears == "round":
            d = c.ellipse(x, .10, .065, .10)
            tone = skin * .93
        elif look.ears == "pointed":
            d = c.triangle((x - side * .06, .20), (x - side * .06, -.08), (x + side * .34, -.42)) - .03
            tone = skin * .97
        else:
            x = g["hx"] + side * .30
            d = c.triangle((x - .19, -.38), (x + .19, -.38), (x + side * .12, -.93)) - .03
            tone = hair * .9
        alpha = c.cover(d)
        c.paint(alpha, tone)
        c.ink(look, d)
        if look.ears != "round":
            c.paint(c.cover(d + .075), tone * (.62 if look.ears == "pointed" else .45) + .06)


def _body(c: Canvas, g: dict, look: Look, skin) -> None:
    d = c.box(0, .72, .155 + .02 * (1 - g["girl"]), .26, .03)
    c.paint(c.cover(d), skin * .80)
    c.ink(look, d)
    d = c.ellipse(0, 1.18, .74 - .06 * g["girl"], .36)
    if look.shirt is not None:
        c.paint(c.cover(d), look.shirt)
        c.ink(look, d)


def _head(c: Canvas, g: dict, look: Look, skin) -> np.ndarray:
    skull = c.ellipse(g["hx"], g["hy"] - .06, g["rx"], g["ry"])
    jaw = c.ellipse(g["hx"] + .15 * g["turn"], g["hy"] + .22, g["jaw"], .32)
    blend = np.clip(.5 + .5 * (jaw - skull) / .12, 0, 1)
    d = skull * blend + jaw * (1 - blend) - .12 * blend * (1 - blend)  # smooth union of skull and jaw
    alpha = c.cover(d)
    c.paint(alpha, skin)
    u, v = (c.x - g["hx"]) / .45, (c.y - g["hy"]) / .55
    lambert = np.sqrt(np.clip(1 - .62 * (u * u + v * v), 0, 1)) - .22 * u * (.6 + .4 * g["light"]) - .16 * v
    c.shade(alpha, 1 + look.volume * (lambert - .72))
    for side in (-1, 1):
        r2 = ((c.x - g["turn"] - side * .24) / .12) ** 2 + ((c.y - .26) / .09) ** 2
        c.paint(alpha * np.exp(-r2) * look.blush, (.90, .35, .32))
    c.ink(look, d)
    return alpha


def _beard(c: Canvas, g: dict, look: Look, hair, head) -> None:
    x, y = c.x - g["turn"] - g["hx"] * .5, c.y
    mask = c.cover(.26 + .10 * np.cos(np.clip(x / .36, -1, 1) * np.pi) - y, 3)
    mouth_gap = 1 - c.cover(c.ellipse(g["turn"], .42, .21, .125), 2)
    alpha = g["beard"] * head * mask * mouth_gap
    c.paint(alpha * .95, hair * .92)
    c.shade(alpha, 1 + look.strands * np.cos(40 * x) * .6)


def _mouth(c: Canvas, g: dict, look: Look, skin) -> None:
    x, y = g["turn"], .40
    lip = np.asarray(look.lips) + .30 * (.55 - skin.mean(1, keepdims=True)).clip(0)     # lips stay visible on dark skin
    thick = .030 + .006 * g["girl"]
    bent = np.maximum(0, 1 - g["happy"] - g["angry"])
    level = c.segment(x - .105, y, x + .105, y, thick)
    c.paint(c.cover(level) * bent, lip)
    frown = c.arc(x, y + .045, .165, .105, thick + .006)
    c.paint(c.cover(frown) * g["angry"], lip)
    smile = np.maximum(y - .06 - c.y, c.ellipse(x, y - .06, .195, .165))
    c.paint(c.cover(smile) * g["happy"], lip * .72)
    c.paint(c.cover(np.maximum(smile + .022, c.y - (y + .028))) * g["happy"], (.97, .96, .94))
    c.ink(look, smile, g["happy"], .7)


def _nose(c: Canvas, g: dict, look: Look, skin) -> None:
    x = g["turn"] * 1.45
    if look.nose > 1.2:
        d = c.ellipse(x, .20, .075 * look.nose, .062 * look.nose)
        c.paint(c.cover(d), np.clip(skin * 1.04 + (.05, -.01, -.01), 0, 1))
        c.shade(c.cover(np.maximum(d, .21 - c.y), 3), .84)
        c.paint(c.cover(c.ellipse(x - .03, .165, .03, .022)) * .7, (1, 1, 1))
        c.ink(look, d)
    else:
        c.paint(c.cover(c.ellipse(x, .22, .052 * look.nose, .020), 2), skin * .68)
        side = c.segment(x - .03, .02, x - .045 * look.nose, .20, .008)
        c.paint(c.cover(side, 2) * .45, skin * .72)


def _eyes(c: Canvas, g: dict, look: Look) -> None:
    width, height = look.eye
    y = .02
    narrow = 1 - .34 * g["angry"] - .12 * g["happy"]
    for side in (-1, 1):
        x = g["turn"] + side * .185
        white = c.ellipse(x, y, width, height * narrow)
        c.paint(c.cover(white), look.sclera)
        radius = look.iris_scale * height
        look_x = x + g["turn"] * .12
        inside = c.cover(white)
        c.paint(c.cover(c.ellipse(look_x, y, min(radius, width * .8), radius)) * inside, look.iris)
        c.paint(c.cover(c.ellipse(look_x, y, radius * .5, radius * .55)) * inside, (.04, .04, .05))
        c.paint(c.cover(c.ellipse(look_x - radius * .4, y - radius * .4, look.glint * height, look.glint * height)),
                (1, 1, 1))
        c.ink(look, white, width=.45)
        lash = c.arc(x, y - height * narrow * .35, width * 1.12, height * narrow * .75, .010 + .016 * g["girl"])
        c.paint(c.cover(lash), (.08, .06, .06))


def _brows(c: Canvas, g: dict, look: Look, hair) -> None:
    """Over the glasses, for they say half of the expression: flat, arched or drawn together."""
    top = .02 - max(look.eye[1], .055) - .10
    thick = .026 + .006 * (1 - g["girl"]) + .008 * g["angry"]
    for side in (-1, 1):
        x = g["turn"] + side * .185
        calm = c.segment(x - side * .11, top - .012 * g["happy"], x + side * .11, top - .012 * g["happy"], thick)
        raised = c.arc(x, top - .015, .115, .055, thick)
        drawn = c.segment(x - side * .125, top + .105, x + side * .115, top - .055, thick)
        d = np.where(g["angry"] > .5, drawn, np.where(g["happy"] > .5, raised, calm))
        c.paint(c.cover(d), hair * .62)


def _hair_front(c: Canvas, g: dict, look: Look, hair) -> None:
    wave = _scallop(c, g, g["hx"], .15, 9, .10)
    cap = c.ellipse(g["hx"], -.14, g["rx"] + .075 + .045 * g["curly"], .51 + .03 * g["curly"]) - wave
    x = c.x - g["hx"]
    part = -.30 + .42 * (x - .10) ** 2 + .16 * np.maximum(x - .12, 0)          # side parting
    fringe = np.where(g["girl"] > .5, part + .03 * np.cos(x * 9), part - .03)
    fringe = fringe + g["curly"] * .045 * np.cos(x * 30)
    sides = np.where(g["long"] > .5, .66, .02)                                  # where the side locks end
    opening = np.maximum(fringe - c.y, (np.abs(x) - g["rx"] * .90) * 1.0)        # negative: the face shows
    locks = c.y - sides
    d = np.maximum(np.maximum(cap, -opening), locks)
    alpha = c.cover(d)
    c.paint(alpha, hair)
    _hair_shading(c, g, look, alpha)
    c.ink(look, d)


def _glasses(c: Canvas, g: dict, look: Look) -> None:
    ink = look.outline or (.12, .12, .13)
    for side in (-1, 1):
        ring = np.abs(c.ellipse(g["turn"] + side * .19, .03, .155, .135)) - .020
        c.paint(c.cover(ring) * g["glasses"], ink)
    bridge = np.minimum(c.segment(g["turn"] - .04, .01, g["turn"] + .04, .01, .016),
                        np.minimum(c.segment(g["turn"] + .34, .0, g["hx"] + g["rx"], -.03, .016),
                                   c.segment(g["turn"] - .34, .0, g["hx"] - g["rx"], -.03, .016)))
    c.paint(c.cover(bridge) * g["glasses"], ink)
