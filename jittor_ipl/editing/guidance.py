"""What guides an edit of single faces: a CLIP that reads the prompt, and a face recogniser that holds on to the person.

Both get pictures [B, 3, H, W] in [-1, 1]. Before the CLIP they are brought to its size by area, as StyleCLIP does;
the published program leaves out CLIP's normalisation of pixels, which `official` repeats.
"""
from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jittor_ipl.editing.words import as_read, telling_words, unknown_words
from jittor_ipl.errors import UserError
from jittor_ipl.losses import clip_distance, directional, text_direction
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.ops.norms import unit
from jittor_ipl.ops.resize import resize
from jittor_ipl.runtime.backend import jt
from jittor_ipl.text.tokenizer import shorten, tokenize
from jittor_ipl.weights.clip import load_clip
from jittor_ipl.weights.features import load_arcface
from jittor_ipl.weights.folder import find_file_set
from jittor_ipl.weights.network import open_network
from jittor_ipl.weights.refs import locate

_FRAME = {"photo", "picture"}       # words of a prompt that say nothing of what is on it
FLOOR = 0.5     # about what one attribute of a face moves a unit feature by
Recogniser = Callable[[jt.Var], jt.Var]      # pictures [B, 3, H, W] in [-1, 1] -> unit vectors [B, d]


@dataclass(frozen=True)
class Guide:
    """A CLIP and what it understood of a prompt.

    text        unit feature [1, d] of the prompt
    official    pictures keep their range, as in StyleCLIP's program
    direction   unit vector [1, d] from a neutral text to the prompt; with one, pictures change along it
    floor       shorter changes of a picture's unit feature are not stretched to unit length, see `losses.direction`
    """

    clip: Clip
    text: jt.Var
    official: bool = False
    direction: jt.Var | None = None
    floor: float = FLOOR

    def features(self, images: jt.Var) -> jt.Var:
        """Return the features [B, d], not normalised, of pictures [B, 3, H, W]."""
        return image_features(self.clip, images, self.official)

    def distance(self, images: jt.Var, before: jt.Var | None = None) -> jt.Var:
        """Return how far pictures [B, 3, H, W] are from the prompt: D_CLIP, the mean of 1 - cos.

        With a direction it is 1 - cos between that and the change from the features `before` [B, d] (StyleGAN-NADA's
        loss), which leaves alone what the two texts share.
        """
        if self.direction is None:
            return clip_distance(self.features(images), self.text)
        assert before is not None, "a direction needs the features of the pictures before"
        return directional(before, self.features(images), self.direction, self.floor)

    def start(self, images: jt.Var) -> jt.Var | None:
        """Return the features [B, d] of the pictures before, outside any gradient; None where none are needed."""
        if self.direction is None:
            return None
        with jt.no_grad():
            return self.features(images).stop_grad()


def image_features(clip: Clip, images: jt.Var, official: bool = False) -> jt.Var:
    """Return a CLIP's features [B, d], not normalised, of pictures [B, 3, H, W] resized by area."""
    small = resize(images, clip.settings.image_resolution, "box")
    return clip.encode_image(small if official else clip.preprocess(small))


def open_guide(ref: str | os.PathLike, prompt: str, official: bool = False, neutral: str | None = None) -> Guide:
    """Return the guide of a CLIP and a prompt; `words.remarks` says what a small CLIP does not know of it.

    `neutral`, what the pictures show before, makes it follow the direction between the two. Raises UserError for a file
    that holds no CLIP, for a text that is empty, too long, or of which it knows no word that says something, and for
    two texts that are one.
    """
    clip, label = load_clip(ref), os.fspath(ref)
    text = text_feature(clip, prompt, label)
    if neutral is None:
        return Guide(clip, text, official)
    before = text_feature(clip, neutral, label)
    if np.abs(text.numpy() - before.numpy()).max() < 1e-6:
        raise UserError(f"the prompt and the neutral text, {shorten(prompt)}, are one: there is no direction from one "
                        "to the other")
    return Guide(clip, text, official, text_direction(before, text).stop_grad())


def text_feature(clip: Clip, prompt: str, label: str) -> jt.Var:
    """Return the unit feature [1, d] of a prompt as it is; `label` names the CLIP in messages, see `open_guide`."""
    tokens = tokenize([as_read(clip, prompt)], clip.context_length)
    if not {*telling_words(prompt)} - {*unknown_words(clip, prompt)} - _FRAME:
        raise UserError(f"prompt {shorten(prompt)}: {label} knows no word of it that says something of a picture; "
                        "use other words, or another CLIP with --clip")
    with jt.no_grad():
        feature = unit(clip.encode_text(tokens)).stop_grad()
        feature.sync()
    return feature


def open_recogniser(ref: str | os.PathLike) -> Recogniser:
    """Return what tells a person from others: ArcFace's IR-SE50, or the picture half of a CLIP in its place.

    The published loss takes ArcFace (`model_ir_se50.pth`), which knows real faces alone. Raises UserError for any
    other network.
    """
    kind = open_network(find_file_set(locate(ref)), kind=("clip", "ir-se50", "ir-face", "moco-resnet50"))
    if kind.network(os.fspath(ref)).layout.kind == "clip":
        clip = load_clip(ref)
        return lambda images: unit(image_features(clip, images))
    return load_arcface(ref).embed
