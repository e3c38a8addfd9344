"""Networks that look like a generator of ours and are another: told by what they are, with what to use instead."""
from __future__ import annotations

import re
from typing import NoReturn

from jittor_ipl.errors import UserError
from jittor_ipl.weights.families.family import Shapes

# (what begins a name that only it has, what it is)
_OTHERS = [(re.compile(pattern), what) for pattern, what in (
    (r"final_conv\.0\.|final_linear\.[01]\.|convs\.\d+\.conv1\.0\.|b\d+\.fromrgb\.|b4\.(fc|out)\.|\d+x\d+/FromRGB/",
     "a StyleGAN2 discriminator; the generator is another part of its checkpoint"),
    (r"(generator\.)?progression\.\d+\.|g_(synthesis|mapping)\.|synthesis/.*/StyleMod/|synthesis\.blocks\.\d+x\d+\.",
     "a generator of the first StyleGAN"),
    (r"synthesis\.(layer\d+|early_layer|output\d+)\.|mapping\.dense\d+\.", "a generator in GenForce's names"),
    (r"backbone\.synthesis\.|superresolution\.|renderer\.", "a generator of scenes in three dimensions (EG3D)"),
    (r"GAN\.(S|G|D|SE|GE)\.|G\.initial_block|G\.blocks\.\d+\.", "a network of lucidrains' stylegan2-pytorch"),
    (r"(to_rgb1|to_rgbs\.\d+)\.(iwt|dwt)\.|iwt\.|dwt\.", "a SWAGAN generator, which draws wavelets"),
    (r"synthesis\.b\d+\.skip\.|synthesis/\d+x\d+/Skip/", "a generator of the residual architecture"))]
_CONDITION = re.compile(r"(style\.|mapping\.|mapping/)?(\w*embed\w*|label\w*|Label\w*|class_emb\w*)[./]")


def refuse_relatives(shapes: Shapes) -> None:
    """Raise UserError when a name is one that only another network has."""
    for pattern, what in _OTHERS:
        if any(map(pattern.match, shapes)):
            refuse(what)


def refuse_conditional(shapes: Shapes, classes: object = 0) -> None:
    """Raise UserError for a network that is told a class: by its facts, or by the tensors that embed it."""
    number = f" of {classes} classes" if isinstance(classes, int) and classes > 0 else ""
    if number or any(map(_CONDITION.match, shapes)):
        refuse(f"a class-conditional generator{number}; only unconditional ones can be used")


def refuse_unlike(z: int, hidden: int, w: int, rgb: int) -> None:
    """Raise UserError for pictures without three channels, and for z, hidden layers and w of several widths."""
    if rgb != 3:
        refuse(f"a network for pictures of {rgb} channels; three are expected")
    if z == 2 * w == 2 * hidden:        # z beside an embedding of the class as wide
        refuse(f"a class-conditional generator (its mapping takes {z} numbers, w has {w}); only unconditional ones can "
               "be used")
    if not z == hidden == w:
        refuse(f"a network whose z, hidden layers and w have the widths {z}, {hidden} and {w}; they must be equal")


def refuse(what: str) -> NoReturn:
    """Raise UserError that says what the network is, and what to use instead."""
    raise UserError(f"this is {what}; use a StyleGAN2 network, such as stylegan2-ffhq-config-f or one trained with "
                    "--cfg=stylegan2")
