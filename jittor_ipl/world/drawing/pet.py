"""Paint one batch of aligned cat and dog heads: the same geometry for every style, dressed by a `PetLook`.

Small parts are painted through windows of the canvas, which makes supersampling affordable.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jittor_ipl.world.drawing.canvas import Canvas, lit_wall

COAT = np.array([(.12, .11, .12), (.42, .26, .15), (.88, .50, .16), (.50, .53, .58), (.95, .93, .89)], np.float32)
PATCH = np.array([(.93, .91, .87), (.94, .88, .76), (.97, .94, .88), (.95, .95, .96), (.24, .18, .15)], np.float32)
STRIPE = np.array([(.48, .46, .46), (.13, .07, .04), (.40, .15, .03), (.14, .15, .18), (.52, .49, .47)], np.float32)
EYE = np.array([(.98, .80, .12), (.30, .74, .26), (.22, .56, .96)], np.float32)
BACKGROUND = np.array([(.28, .48, .78), (.36, .60, .36), (.90, .60, .66), (.93, .82, .46)], np.float32)
COLLAR, TAG = (.86, .10, .12), (1.0, .82, .20)
TONGUE, THROAT = (.96, .45, .52), (.30, .06, .08)


@dataclass(frozen=True)
class PetLook:
    """How a style dresses the common geometry; the defaults are the source style, "photo"."""

    coat: Callable[[np.ndarray], np.ndarray] = lambda c: c          # palette maps, [B, 3] -> [B, 3]
    background: Callable[[np.ndarray], np.ndarray] = lambda c: c
    outline: tuple[float, float, float] | None = None               # ink colour of contours
    outline_width: float = 0.0                                      # in units of the canvas' half width
    volume: float = .62                                             # strength of the round shading, 0 is flat
    fur: float = .11                                                # contrast of the strands
    ragged: float = .012                                            # how far tufts reach out of the contour
    marks: float = 1.0                                              # thickness of stripes and of the mouth's line
    edge: float = 1.6                                               # softness of the coat's markings in pixels of 64
    eye_scale: float = 1.0
    sclera: float = 0.0                                             # white of the eye around the iris, 0 to 1
    glint: float = .034                                             # radius of the eyes' highlight
    canvas: type[Canvas] = Canvas                                   # which primitives draw
    ground: Callable = lit_wall(.4, .4, .17)        # (canvas, colour [B, 3], geometry) paints the background
    finish: Callable | None = None                                  # rgb -> rgb over the whole picture


def paint(pet: dict[str, np.ndarray], look: PetLook, size: int) -> np.ndarray:
    """Paint pets (see `attributes.PET`) with a look; float32 [B, 3, size, size] in [0, 1]."""
    c = look.canvas(len(pet["species"]), size)
    g, base = geometry(pet, look), COAT[pet["coat"]]
    coat = dict(base=look.coat(base * (1 + .10 * pet["tone"][:, None])), patch=look.coat(PATCH[pet["coat"]]),
                stripe=look.coat(STRIPE[pet["coat"]]), muzzle=look.coat(base * .72 + .26),
                eye=EYE[pet["eyes"]])                                                           # each [B, 3]
    look.ground(c, look.background(BACKGROUND[pet["background"]] * (1 + .08 * pet["shade"][:, None])), g)
    _ears_behind(c, g, look, coat)
    _body(c, g, look, coat)
    _collar(c, g, look)
    _head(c, g, look, coat)
    _ears_in_front(c, g, look, coat)
    _muzzle(c, g, look, coat)
    _mouth(c, g, look)
    _nose(c, g, look)
    _eyes(c, g, look, coat)
    _whiskers(c, g, look)
    return c.finished(look)


def geometry(pet: dict[str, np.ndarray], look: PetLook) -> dict[str, np.ndarray]:
    """Places and switches of the parts, every value [B, 1, 1] in canvas units or 0/1."""
    v = {name: np.asarray(values, np.float32)[:, None, None] for name, values in pet.items()}
    dog, wide = v["species"], 1 + .05 * v["width"]
    x = .045 * v["turn"]

    def either(cat: float, other: float):
        return cat + (other - cat) * dog
    return dict(
        dog=dog, cat=1 - dog, folded=v["ears"], open=v["mouth"], collar=v["collar"], light=v["light"],
        patches=(v["pattern"] == 1).astype(np.float32), stripes=(v["pattern"] == 2).astype(np.float32),
        x=x, y=.02 * v["nod"], skull_y=either(.06, -.08), skull_rx=either(.57, .53) * wide, skull_ry=either(.46, .44),
        low_y=either(.24, .27), low_rx=either(.63, .44) * wide, low_ry=either(.35, .40),
        eye_x=either(.27, .235), eye_y=either(.02, -.10), eye_rx=either(.155, .135) * look.eye_scale,
        eye_ry=either(.135, .135) * look.eye_scale, nose_y=either(.245, .185), muzzle_y=either(.36, .34),
        muzzle_rx=either(.25, .34), muzzle_ry=either(.165, .28))


def _feather(c: Canvas, distance, soft: float) -> np.ndarray:
    """Coverage with an edge `soft` pixels wide on a canvas of 64."""
    return c.cover(distance, soft * (2 / 64) / c.pixel)


def _strands(c: Canvas, look: PetLook, alpha) -> None:
    """Fur that runs away from the middle of the face; its phase is fixed on the canvas."""
    if look.fur:
        angle, radius = np.arctan2(c.x, c.y - .12), np.sqrt(c.x ** 2 + (c.y - .12) ** 2)
        hairs = np.cos(angle * 41 + 1.6 * np.cos(radius * 11))
        hairs = hairs + .8 * np.cos(angle * 23 - 2 * np.cos(radius * 9 + angle * 3))
        c.shade(alpha, 1 + look.fur * .5 * hairs * np.clip(radius * 1.8, .1, 1))


def _tufts(c: Canvas, look: PetLook):
    """Offset of a contour that lets tufts of fur stick out."""
    return look.ragged * np.cos(np.arctan2(c.x, c.y - .12) * 31) if look.ragged else 0.0


def _ears_behind(c: Canvas, g: dict, look: PetLook, coat: dict) -> None:
    """Pricked ears: tall triangles that stand out of the head."""
    dog, shown = g["dog"], 1 - g["folded"]
    for side in (-1, 1):
        w = c.window(-.82 if side < 0 else -.1, -1, .1 if side < 0 else .82, .1)
        inner = (g["x"] + side * (.08 + .06 * dog), -.30 - .06 * dog + g["y"])
        outer = (g["x"] + side * (.62 - .06 * dog), .02 - .12 * dog + g["y"])
        tip = (g["x"] + side * (.53 + .05 * dog), -.90 + .13 * dog + g["y"])
        d = w.triangle(inner, outer, tip) - .02
        alpha = w.cover(d) * shown
        w.paint(alpha, coat["base"] * .92)
        if side > 0:
            w.paint(alpha * g["patches"], coat["patch"] * .92)
        _strands(w, look, alpha)
        w.ink(look, d, shown)
        w.paint(_feather(w, d + .095, 2) * shown, (.90, .58, .56))


def _ears_in_front(c: Canvas, g: dict, look: PetLook, coat: dict) -> None:
    """Folded ears: a cat's bend forwards into small flaps, a dog's hang down beside the face."""
    for side in (-1, 1):
        w = c.window(-1 if side < 0 else -.1, -.72, .1 if side < 0 else 1, .62)
        x, y = g["x"], g["y"]
        flap = np.minimum(w.segment(x + side * .34, y - .33, x + side * .56, y - .17, .125),
                          w.segment(x + side * .50, y - .22, x + side * .55, y - .06, .095))
        hang = np.minimum(w.segment(x + side * .42, y - .34, x + side * .66, y + .02, .14),
                          w.segment(x + side * .64, y - .06, x + side * .70, y + .30, .165))
        d = np.where(g["dog"] > .5, hang, flap)
        alpha = w.cover(d) * g["folded"]
        w.paint(_feather(w, d - .05, 4) * g["folded"] * .35 * (look.volume > 0), (.05, .04, .04))
        w.paint(alpha, coat["base"] * .74)
        if side > 0:
            w.paint(alpha * g["patches"], coat["patch"] * .80)
        _strands(w, look, alpha)
        w.ink(look, d, g["folded"])


def _body(c: Canvas, g: dict, look: PetLook, coat: dict) -> None:
    w = c.window(-1, .4, 1, 1)
    d = np.minimum(w.box(g["x"] * .5, .80, .34, .40, .10), w.ellipse(g["x"] * .3, 1.20, .80, .42)) - _tufts(w, look)
    alpha = w.cover(d)
    w.paint(alpha, coat["base"] * .88)
    w.paint(alpha * g["patches"] * _feather(w, w.ellipse(-.42, 1.0, .34, .30), 2), coat["patch"] * .9)
    bands = np.clip(.5 + 3 * np.cos((w.x + .3 * w.y * np.sign(w.x)) * 17), 0, 1) * (np.abs(w.x) > .2)
    w.paint(alpha * g["stripes"] * bands, coat["stripe"])
    _strands(w, look, alpha)
    w.shade(alpha * _feather(w, w.y - .62, 10), 1 - .5 * look.volume)          # the chin's shadow
    w.ink(look, d)


def _collar(c: Canvas, g: dict, look: PetLook) -> None:
    w = c.window(-.6, .5, .6, 1)
    x = w.x - g["x"] * .5
    d = np.maximum(np.abs(w.y - (.80 - .32 * x * x)) - .075, np.abs(x) - .37)
    w.paint(w.cover(d) * g["collar"], COLLAR)
    w.shade(w.cover(d) * g["collar"], 1 - .5 * look.volume * x * x / .14)
    w.ink(look, d, g["collar"])
    tag = w.ellipse(g["x"] * .5, .905, .085, .085)
    w.paint(w.cover(tag) * g["collar"], TAG)
    w.ink(look, tag, g["collar"])


def _head(c: Canvas, g: dict, look: PetLook, coat: dict) -> None:
    w = c.window(-.86, -.72, .86, .80)
    skull = w.ellipse(g["x"], g["y"] + g["skull_y"], g["skull_rx"], g["skull_ry"])
    low = w.ellipse(g["x"], g["y"] + g["low_y"], g["low_rx"], g["low_ry"])
    blend = np.clip(.5 + .5 * (low - skull) / .14, 0, 1)
    d = skull * blend + low * (1 - blend) - .14 * blend * (1 - blend) - _tufts(w, look)
    alpha = w.cover(d)
    w.paint(alpha, coat["base"])
    _markings(w, g, look, coat, alpha)
    _strands(w, look, alpha)
    u, v = (w.x - g["x"]) / .66, (w.y - g["y"] - .06) / .62
    lambert = np.sqrt(np.clip(1 - .72 * (u * u + v * v), 0, 1)) - .24 * u * (.6 + .5 * g["light"]) - .20 * v
    w.shade(alpha, 1 + look.volume * (lambert - .74))
    w.ink(look, d)


def _markings(c: Canvas, g: dict, look: PetLook, coat: dict, head) -> None:
    """Patches: one round an eye, one at the cheek; stripes: five on the forehead, two on each cheek."""
    x, y, soft = g["x"], g["y"], look.edge
    wobble = .03 * np.cos(np.arctan2(c.y + .05, c.x - .3) * 5)
    round_eye = c.ellipse(x + .31, y - .10, .30, .40) + wobble
    cheek = c.ellipse(x - .46, y + .40, .26, .24) + wobble
    spots = _feather(c, np.minimum(round_eye, cheek), soft)
    c.paint(head * spots * g["patches"], coat["patch"])
    thick = look.marks
    d = c.segment(x, y - .58, x, y - .25, .052 * thick)
    for side in (-1, 1):
        d = np.minimum(d, c.segment(x + side * .22, y - .56, x + side * .15, y - .25, .052 * thick))
        d = np.minimum(d, c.segment(x + side * .45, y - .48, x + side * .36, y - .22, .045 * thick))
        for k in (0, 1):
            end = x + side * (.44 - .04 * g["dog"])
            d = np.minimum(d, c.segment(x + side * .68, y + .10 + .20 * k, end, y + .16 + .16 * k, .045 * thick))
    c.paint(head * _feather(c, d, soft) * g["stripes"], coat["stripe"])


def _muzzle(c: Canvas, g: dict, look: PetLook, coat: dict) -> None:
    w = c.window(-.48, -.08, .48, .76)
    x, y = g["x"] * 1.3, g["y"] + g["muzzle_y"]
    bumps = np.minimum(w.ellipse(x - .12, y, .17, g["muzzle_ry"]), w.ellipse(x + .12, y, .17, g["muzzle_ry"]))
    d = np.where(g["dog"] > .5, w.ellipse(x, y, g["muzzle_rx"], g["muzzle_ry"]), bumps)
    alpha = _feather(w, d, look.edge * 1.2)
    w.shade(_feather(w, d - .04, 8) * g["dog"], 1 - .25 * look.volume)
    w.paint(alpha, coat["muzzle"])
    u, v = (w.x - x) / .34, (w.y - y) / .32
    w.shade(alpha, 1 + look.volume * (.22 - .45 * (u * u + v * v) - .22 * v))
    w.ink(look, d, .7, .5)


def _mouth(c: Canvas, g: dict, look: PetLook) -> None:
    """A closed mouth is a dark w below the nose; an open one shows throat and a pink tongue."""
    w = c.window(-.36, .16, .36, .98)
    x, y = g["x"] * 1.4, g["nose_y"] + g["y"]
    line = w.segment(x, y, x, y + .16, .014 * look.marks)
    lips = y + .155 + .04 * g["dog"]
    for side in (-1, 1):
        line = np.minimum(line, w.arc(x + side * .095, lips, .10, -.05, .022 * look.marks))
    gape, long = lips + .085, .05 * g["dog"]
    mouth = np.maximum(w.ellipse(x, lips - .01, .20, .25 + .03 * g["dog"]), lips - .03 - w.y)
    shown = g["open"]
    w.paint(w.cover(mouth) * shown, THROAT)
    tongue = w.ellipse(x, gape + .085 + long, .135, .13 + 1.2 * long)
    w.paint(w.cover(tongue) * shown, TONGUE)
    w.paint(w.cover(w.segment(x, gape + .03, x, gape + .12 + long, .010)) * shown * .6, (.72, .22, .30))
    w.ink(look, np.minimum(mouth, tongue), shown)
    w.paint(w.cover(line) * .92, look.outline or (.09, .05, .05))


def _nose(c: Canvas, g: dict, look: PetLook) -> None:
    w = c.window(-.28, .02, .28, .42)
    x, y, dog = g["x"] * 1.5, g["nose_y"] + g["y"], g["dog"]
    round_ = w.ellipse(x, y, .135, .092)
    small = w.triangle((x - .075, y - .045), (x + .075, y - .045), (x, y + .045)) - .022
    d = np.where(dog > .5, round_, small)
    colour = np.where(dog[:, :, 0] > .5, (.05, .045, .05), (.93, .50, .54)).astype(np.float32)
    w.paint(w.cover(d), colour)
    w.paint(_feather(w, w.ellipse(x - .04, y - .04, .042, .024), 1.5) * dog * .75, (1, 1, 1))
    w.ink(look, d)


def _eyes(c: Canvas, g: dict, look: PetLook, coat: dict) -> None:
    for side in (-1, 1):
        w = c.window(-.66 if side < 0 else -.1, -.46, .1 if side < 0 else .66, .36)
        x, y = g["x"] + side * g["eye_x"], g["y"] + g["eye_y"]
        rx, ry = g["eye_rx"], g["eye_ry"]
        lid = w.ellipse(x, y, rx + .032, ry + .032)
        w.paint(w.cover(lid), look.outline or (.06, .05, .05))
        ball = w.ellipse(x, y, rx, ry)
        w.paint(w.cover(ball), coat["eye"] * (1 - look.sclera) + look.sclera)
        iris = w.ellipse(x + .3 * g["x"], y, rx * (1 - .26 * look.sclera), ry * (1 - .20 * look.sclera))
        inside = w.cover(np.maximum(iris, ball))
        w.paint(inside, coat["eye"])
        w.shade(inside, 1 + look.volume * (.12 + (w.y - y) * 1.6))
        slit = w.ellipse(x + .3 * g["x"], y, .040 + .018 * g["dog"], ry * .86 - .052 * g["dog"])
        w.paint(w.cover(slit), (.02, .02, .03))
        w.paint(w.cover(w.ellipse(x - .045, y - .05, look.glint, look.glint)), (1, 1, 1))


def _whiskers(c: Canvas, g: dict, look: PetLook) -> None:
    """Three on each side of a cat's muzzle."""
    for side in (-1, 1):
        w = c.window(-.98 if side < 0 else .2, .12, -.2 if side < 0 else .98, .68)
        d = None
        for k in (-1, 0, 1):
            x, y = g["x"], g["y"] + .38
            one = w.segment(x + side * .24, y + .045 * k, x + side * .90, y + .16 * k, .009)
            d = one if d is None else np.minimum(d, one)
        w.paint(w.cover(d) * g["cat"] * .85, (.98, .97, .95) if look.outline is None else look.outline)
