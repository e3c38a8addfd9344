"""What guides an edit of single faces: a CLIP that reads the prompt, and a face recogniser that holds on to the person.

Both get pictures [B, 3, H, W] in [-1, 1]. Before the CLIP they are brought to its size by area, as StyleCLIP does;
the published program leaves out CLIP's normalisation of pixels, which `official` repeats.
"""
from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.losses import clip_distance
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.ops.norms import unit
from jittor_ipl.ops.resize import resize
from jittor_ipl.runtime.backend import jt
from jittor_ipl.text.tokenizer import shorten, tokenize, tokenizer
from jittor_ipl.weights.clip import load_clip
from jittor_ipl.weights.features import load_arcface
from jittor_ipl.weights.folder import find_file_set
from jittor_ipl.weights.network import open_network
from jittor_ipl.weights.refs import locate

# Words that say nothing of a face.
_STOP = {"a", "an", "the", "of", "with", "and", "or", "in", "on", "to", "is", "has", "who", "that", "photo", "picture"}
Recogniser = Callable[[jt.Var], jt.Var]      # pictures [B, 3, H, W] in [-1, 1] -> unit vectors [B, d]


@dataclass(frozen=True)
class Guide:
    """A CLIP and what it understood of a prompt.

    text        unit feature [1, d] of the prompt
    official    pictures keep their range, as in StyleCLIP's program
    """

    clip: Clip
    text: jt.Var
    official: bool = False

    def features(self, images: jt.Var) -> jt.Var:
        """Return the features [B, d], not normalised, of pictures [B, 3, H, W]."""
        return image_features(self.clip, images, self.official)

    def distance(self, images: jt.Var) -> jt.Var:
        """Return D_CLIP, the mean of 1 - cos between pictures [B, 3, H, W] and the prompt."""
        return clip_distance(self.features(images), self.text)


def image_features(clip: Clip, images: jt.Var, official: bool = False) -> jt.Var:
    """Return a CLIP's features [B, d], not normalised, of pictures [B, 3, H, W] resized by area."""
    small = resize(images, clip.settings.image_resolution, "box")
    return clip.encode_image(small if official else clip.preprocess(small))


def open_guide(ref: str | os.PathLike, prompt: str, official: bool = False) -> Guide:
    """Return the guide of a CLIP and a prompt; words that a small CLIP never saw are told on stderr.

    Raises UserError for a file that holds no CLIP, and for a prompt that is empty, too long, or of which it knows no
    word that says something.
    """
    clip = load_clip(ref)
    return Guide(clip, text_feature(clip, prompt, os.fspath(ref)), official)


def text_feature(clip: Clip, prompt: str, label: str) -> jt.Var:
    """Return the unit feature [1, d] of a prompt as it is; `label` names the CLIP in messages, see `open_guide`."""
    tokens = tokenize([prompt], clip.context_length)
    unknown = unknown_words(clip, prompt)
    telling = [word for word in prompt.lower().split() if word.strip(".,;:!?") not in _STOP]
    if not set(telling) - {word.lower() for word in unknown}:
        raise UserError(f"prompt {shorten(prompt)}: {label} knows no word of it that says something of a picture; "
                        "use other words, or another CLIP with --clip")
    if unknown:
        print(f"warning: {label} never saw {', '.join(map(repr, unknown[:4]))}, so the pictures will not show it; use "
              "other words or a full CLIP", file=sys.stderr, flush=True)
    with jt.no_grad():
        feature = unit(clip.encode_text(tokens)).stop_grad()
        feature.sync()
    return feature


def unknown_words(clip: Clip, prompt: str) -> list[str]:
    """Return the words of a prompt that a compact CLIP has no embedding for; none of a full one."""
    known = clip.known_tokens
    if known is None:
        return []
    return [word for word in dict.fromkeys(prompt.split()) if not np.isin(tokenizer().encode(word), known).all()]


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
