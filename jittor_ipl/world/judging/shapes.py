"""The shape judge of the demo world: does a portrait show what a person names its style by? For measuring only.

It answers yes or no, style by style: yes where it sees every feature of the style (`Subject.features`: pointed ears and
circlet, bricks, waves, ...). It has learnt from true renders against renders with a feature left out, which keep the
palette and everything else, so that neither a palette nor a texture wins it.
"""
from __future__ import annotations

import json

import numpy as np

from jittor_ipl.models.layers import Linear
from jittor_ipl.models.strict import load_into
from jittor_ipl.runtime.backend import jt
from jittor_ipl.weights.containers.safetensors import read_safetensors
from jittor_ipl.world.judging.judge import ASSETS, Judge
from jittor_ipl.world.subjects import PORTRAITS, Subject

NAME = "judge-shape"
FEATURES = tuple((style, feature) for style in PORTRAITS.styles for feature in PORTRAITS.features(style))


class ShapeJudge(Judge):
    """The trunk of a colour `Judge` with one logit for every feature of the portraits' target styles, in order.

    width: channels of the first stage.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__("colour", width)
        self.head = Linear(128, len(FEATURES))

    def config(self) -> dict:
        """The constructor's value."""
        return {"width": self.width}

    def shows(self, images: np.ndarray, style: str) -> np.ndarray:
        """Whether each of the float32 pictures [B, 3, 64, 64] in [-1, 1] shows all that makes `style`; bool [B]."""
        return self.features_of(images, style).all(axis=1)

    def features_of(self, images: np.ndarray, style: str) -> np.ndarray:
        """Whether each of the pictures, as for `shows`, has each of the features of `style`; bool [B, features]."""
        columns = [i for i, (of, _) in enumerate(FEATURES) if of == style]
        assert columns, f"{style} is no target style of the portraits"
        with jt.no_grad():
            logits = np.concatenate([self(jt.array(images[i:i + 64])).numpy() for i in range(0, len(images), 64)])
        return logits[:, columns] > 0


def load_shapes(subject: Subject) -> ShapeJudge | None:
    """The shipped shape judge, or None for a subject that has none."""
    if subject is not PORTRAITS:
        return None
    path = ASSETS / f"{NAME}.safetensors"
    tensors, metadata = read_safetensors(path)
    judge = ShapeJudge(**json.loads(metadata["config"]))
    load_into(judge, tensors, source=str(path))
    return judge
