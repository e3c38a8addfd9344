"""The independent judges of the demo world: which style and which attributes a person would see. For measuring only.

No loss ever uses them. They are trained on faces from other seeds than the CLIPs, on perturbed pictures, on decoys
(photos recoloured like a target style are still photos) and on half-way blends, so that a palette or a faint pattern
does not win them. `judge-structure` sees only locally normalised greyscale: contours and texture without any palette.
"""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from jittor_ipl.models.layers import Conv, Linear
from jittor_ipl.models.strict import load_into
from jittor_ipl.ops.conv import conv2d
from jittor_ipl.ops.group_norm import group_norm
from jittor_ipl.ops.pool import average_pool
from jittor_ipl.runtime.backend import jt, nn
from jittor_ipl.weights.containers.safetensors import read_safetensors
from jittor_ipl.world.subjects import SUBJECTS

ASSETS = Path(__file__).parents[1] / "assets"
VIEWS = ("colour", "structure")


class Judge(nn.Module):
    """A small convolutional classifier of 64 px pictures with logits for the style and for each attribute.

    view    "colour", or "structure" for locally normalised greyscale
    width   channels of the first stage; the three stages, at 32, 16 and 8 px, have 1, 2 and 3 times as many
    subject "portraits" or "pets": what the heads are for
    """

    def __init__(self, view: str = "colour", width: int = 32, subject: str = "portraits") -> None:
        assert view in VIEWS, view
        assert subject in SUBJECTS, subject
        self.view, self.width, self.subject = view, width, SUBJECTS[subject]
        channels = [width, 2 * width, 3 * width]
        self.stem = Conv(3 if view == "colour" else 1, channels[0], 4, stride=2, padding=1)
        for i, (before, after) in enumerate(zip([channels[0], *channels], channels)):
            setattr(self, f"block{i}", _Block(before, after))
        self.fc = Linear(channels[-1] * 16, 128)
        self.head = Linear(128, sum(self.subject.sections))

    def execute(self, images: jt.Var) -> jt.Var:
        """Return logits [B, sum of the sections] of pictures [B, 3, 64, 64] in [-1, 1]: style, attributes."""
        return self.head(self.features(self.maps(images)))

    def maps(self, images: jt.Var) -> list[jt.Var]:
        """Return what lies behind the stem (32 px) and behind each block (32, 16, 8 px), of the same pictures."""
        assert tuple(images.shape[1:]) == (3, 64, 64), f"the judge reads [B, 3, 64, 64], got {tuple(images.shape)}"
        maps = [self.stem(images if self.view == "colour" else local_contrast(images))]
        for i in range(3):
            x = maps[-1] if i == 0 else average_pool(maps[-1], 2, 2)
            maps.append(getattr(self, f"block{i}")(x))
        return maps

    def features(self, maps: list[jt.Var]) -> jt.Var:
        """Return the penultimate features [B, 128] of `maps`."""
        x = average_pool(maps[-1], 2, 2)
        return nn.relu(self.fc(x.reshape(x.shape[0], -1)))

    def config(self) -> dict:
        """The constructor's values."""
        return {"view": self.view, "width": self.width, "subject": self.subject.name}

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Labels int64 [B, 1 + attributes], the style's index and each attribute's, for float32 pictures in [-1, 1]."""
        with jt.no_grad():
            logits = np.concatenate([self(jt.array(images[i:i + 64])).numpy() for i in range(0, len(images), 64)])
        parts = np.split(logits, np.cumsum(self.subject.sections)[:-1], axis=1)
        return np.stack([part.argmax(1) for part in parts], axis=1)

    def style(self, images: np.ndarray) -> np.ndarray:
        """Index [B], in the subject's styles, of the style each picture is seen to be in."""
        return self.predict(images)[:, 0]

    def attributes(self, images: np.ndarray) -> np.ndarray:
        """Attribute labels [B, attributes] in the subject's order."""
        return self.predict(images)[:, 1:]


class _Block(nn.Module):
    """Two 3x3 convolutions with group normalisation and a skip."""

    def __init__(self, before: int, after: int) -> None:
        self.conv1 = Conv(before, after, 3, padding=1, bias=False)
        self.conv2 = Conv(after, after, 3, padding=1, bias=False)
        self.skip = Conv(before, after, 1, bias=False)
        self.scale1, self.shift1 = jt.ones([after]), jt.zeros([after])
        self.scale2, self.shift2 = jt.ones([after]), jt.zeros([after])

    def execute(self, x):
        y = nn.relu(group_norm(self.conv1(x), 4, self.scale1, self.shift1, 1e-5))
        y = group_norm(self.conv2(y), 4, self.scale2, self.shift2, 1e-5)
        return nn.relu(y + self.skip(x))


def local_contrast(images: jt.Var) -> jt.Var:
    """Return greyscale [B, 1, H, W] minus its local mean, over its local deviation (9x9 window): no palette."""
    grey = images[:, :1] * .299 + images[:, 1:2] * .587 + images[:, 2:] * .114
    window = jt.array(np.full((1, 1, 9, 9), 1 / 81, np.float32))

    def local(x: jt.Var) -> jt.Var:
        return conv2d(nn.ReplicationPad2d(4)(x), window)
    centred = grey - local(grey)
    return centred / (local(centred * centred) + .02 ** 2).sqrt()


def load(name: str = "judge") -> Judge:
    """The shipped judge `name`: "judge", "judge-structure", "pets-judge" or "pets-judge-structure"."""
    path = ASSETS / f"{name}.safetensors"
    tensors, metadata = read_safetensors(path)
    judge = Judge(**json.loads(metadata["config"]))
    load_into(judge, tensors, source=str(path))
    return judge
