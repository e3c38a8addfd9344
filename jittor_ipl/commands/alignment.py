"""Options of the commands that cut faces out of photographs."""
from __future__ import annotations

from collections.abc import Callable

import click

from jittor_ipl.commands import options

_HEADING = {"cls": options.Option, "heading": "where the face is (found by dlib without these)"}
_OPTIONS = (
    click.option("--landmarks", metavar="FILE", help="JSON: 68 or 5 points of every picture, by its name.", **_HEADING),
    click.option("--eyes", metavar="X,Y,X,Y", help="Middles of the eyes in pixels, the picture's left one first.",
                 **_HEADING),
    click.option("--mouth", metavar="X,Y", help="Middle of the mouth, or both corners.", **_HEADING),
    click.option("--face", type=options.positive, default=1, metavar="N", help="Which of several; 1 is the largest.",
                 **_HEADING),
    click.option("--predictor", metavar="FILE", help="dlib's 68-point file.  [default: where packages put it]",
                 **_HEADING))


def face_options(command: Callable) -> Callable:
    """Add `landmarks`, `eyes`, `mouth`, `face` and `predictor`, which say where a photograph's face is."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
