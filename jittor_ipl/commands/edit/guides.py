"""What the actions that follow one prompt share: the prompt, the CLIPs that read it, the recogniser of the person."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from jittor_ipl.commands import options
from jittor_ipl.errors import UserError

if TYPE_CHECKING:
    from jittor_ipl.commands.edit.faces import OpenedGenerator
    from jittor_ipl.editing.guidance import Guide, Recogniser

DEMO_CLIPS = ("demo:clip-robust", "demo:clip-local")
DEMO_IDENTITY = "demo:clip-local"       # no face recogniser knows drawn faces; a CLIP's picture half stands in for one
_HEADING = {"cls": options.Option, "heading": "what guides the edit"}


def guide_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate an action with `prompt`, `neutral`, `clips`, `identity_file` and `compat`."""
    function = click.option("--compat", type=click.Choice(["none", "official"]), default="none",
                            help="official: as StyleCLIP's program, by the prompt alone, without CLIP's normalisation.",
                            **_HEADING)(function)
    function = click.option("--identity", "--ir-se50-weights", "--arcface", "identity_file", metavar="FILE",
                            help="What holds on to the person: ArcFace's model_ir_se50.pth, or a CLIP.  "
                                 f"[default: {DEMO_IDENTITY} with the demo's CLIPs]", **_HEADING)(function)
    function = click.option("--clip", "--clip-models", "clips", cls=options.Option, several=True, metavar="MODEL",
                            heading="what guides the edit", help="CLIPs that read the prompt, a name or a file each.  "
                            f"[default: {' '.join(DEMO_CLIPS)}]")(function)
    function = click.option("--neutral", metavar="TEXT", default="face", help="What the faces are, in words: an edit "
                            "follows the direction from these to the prompt, and leaves alone what both share. Empty: "
                            "the prompt alone, as published.", **_HEADING)(function)
    return click.option("--prompt", "--description", "--target", "prompt", required=True, metavar="TEXT",
                        help="What the pictures should show.", **_HEADING)(function)


def open_guides(opened: OpenedGenerator, prompt: str, clips: Sequence[str], compat: str = "none",
                neutral: str = "") -> list[Guide]:
    """Return a guide for each CLIP, the demo's own where none is named for a generator of the demo world.

    Without a neutral text, and with `compat` official, they follow the prompt alone.
    UserError for one that is not there, a prompt that one knows nothing of, and no CLIP for any other generator.
    """
    from jittor_ipl.text.tokenizer import shorten
    if not clips and not of_the_demo(opened):
        raise UserError(f"which CLIP shall read {shorten(prompt)}? name one with --clip, such as ViT-B/32 (the demo's "
                        "own know nothing but the demo's drawings)")
    from jittor_ipl import clip as clip_files
    from jittor_ipl.editing.guidance import open_guide
    from jittor_ipl.editing.words import remarks
    official = compat == "official"
    before = None if official or not neutral else neutral
    guides = [open_guide(clip_files.find(name), prompt, official, before) for name in clips or DEMO_CLIPS]
    for remark in remarks([guide.clip for guide in guides], [prompt] if before is None else [before, prompt]):
        options.note(remark)
    return guides


def units_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate an action with `in_deviations`: in which unit codes move."""
    return click.option("--in-deviations/--no-in-deviations", default=None,
                        help="Count moves of codes in deviations from face to face: of every number, or (optimize) "
                             "along principal directions.  [default: only for the demo's generator, whose w has "
                             "numbers that say nothing]")(function)


def of_the_demo(opened: OpenedGenerator) -> bool:
    """Tell whether a generator is the demo's, or adapted from it, for which the published numbers are not made."""
    return opened.entry.plan.source.startswith("demo:")


def in_units(opened: OpenedGenerator, asked: bool | None) -> bool:
    """Return whether codes move in deviations: as asked, else where the generator is the demo's or adapted from it."""
    return of_the_demo(opened) if asked is None else asked


def open_identity(file: str | None, clips: Sequence[str], weight: float) -> Recogniser | None:
    """Return the recogniser, None where the identity loss has no weight; UserError where none is named but needed."""
    if not weight:
        return None
    if file is None and not all(name.startswith("demo:") for name in clips):
        raise UserError("the identity loss needs a face recogniser: give --identity model_ir_se50.pth, or set "
                        "--id-lambda 0")
    from jittor_ipl.editing.guidance import open_recogniser
    return open_recogniser(file or DEMO_IDENTITY)
