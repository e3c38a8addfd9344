"""Pools of rendered pictures that the demo networks are trained on, and perturbations that make them robust."""
from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial

import numpy as np

from jittor_ipl.jobs.workers import in_order
from jittor_ipl.runtime.streams import rng
from jittor_ipl.world.drawing import attributes
from jittor_ipl.world.subjects import PORTRAITS, SUBJECTS, Subject

_CHUNK = 32     # faces that a process renders at a time


@dataclass(frozen=True)
class Pool:
    """Every face in every style: `images` uint8 [faces, styles, 3, size, size], `labels` int64 [faces, attributes]."""

    images: np.ndarray
    labels: np.ndarray

    def draw(self, random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """`count` random pictures and the same faces in the source style.

        Images and photos float32 [B, 3, H, W] in [-1, 1], styles [B], labels [B, attributes].
        """
        faces = random.integers(len(self.labels), size=count)
        styles = random.integers(self.images.shape[1], size=count)
        return to_float(self.images[faces, styles]), to_float(self.images[faces, 0]), styles, self.labels[faces]


def build(seed: int, stream: str, faces: int, styles: tuple[str, ...] | None = None, size: int = 64,
          subject: Subject = PORTRAITS) -> Pool:
    """Render `faces` random faces of a subject in every style (of the subject), on all cores; pure."""
    face = subject.table.sample(rng(seed, stream), faces)
    return Pool(_render(face, subject, styles or subject.styles, size), subject.table.labels(face))


def build_from_latents(z: np.ndarray, style: str, size: int = 64, subject: Subject = PORTRAITS) -> np.ndarray:
    """Render the faces that latents z [N, LATENT_DIM] stand for; uint8 [N, 3, size, size]."""
    return _render(subject.table.from_latent(z), subject, (style,), size)[:, 0]


def to_float(images: np.ndarray) -> np.ndarray:
    """uint8 [0, 255] -> float32 [-1, 1]."""
    return images.astype(np.float32) * np.float32(2 / 255) - 1


def perturb(images: np.ndarray, random: np.random.Generator, zoom: float = .25, colour: float = .25, noise: float = .10,
            blur: float = .4) -> np.ndarray:
    """Random views of pictures [B, 3, H, W] in [-1, 1]: crop and shift, colour, blur, noise, up to the strengths named.

    zoom is the largest share of the side that a crop removes, colour the largest change of contrast, brightness and
    saturation, noise the largest standard deviation, blur the share of pictures that are blurred.
    """
    b, _, h, w = images.shape
    side = 1 - zoom * random.random(b)
    rows = _resampling(random.random(b), side, h)
    columns = _resampling(random.random(b), side, w)
    x = rows[:, None] @ images @ columns[:, None].transpose(0, 1, 3, 2)

    def amount():
        return (1 + colour * random.uniform(-1, 1, (b, 1, 1, 1))).astype(np.float32)
    grey = x.mean(axis=1, keepdims=True)
    x = grey + (x - grey) * amount()
    level = x.mean(axis=(1, 2, 3), keepdims=True)
    x = level + (x - level) * amount() + (colour * .5 * random.uniform(-1, 1, (b, 3, 1, 1))).astype(np.float32)
    chosen = np.flatnonzero(random.random(b) < blur)
    if len(chosen):
        x[chosen] = _blur(x[chosen])
    sigma = (noise * random.random((b, 1, 1, 1))).astype(np.float32)
    x += sigma * random.standard_normal(x.shape, dtype=np.float32)
    return np.clip(x, -1, 1).astype(np.float32)


def _resampling(place: np.ndarray, side: np.ndarray, size: int) -> np.ndarray:
    """Bilinear matrices [B, size, size] that stretch the part `side` at `place` of an axis over the whole axis."""
    start = place * (1 - side) * size
    centre = start[:, None] + (np.arange(size) + .5)[None] * side[:, None] - .5
    distance = np.abs(np.clip(centre, 0, size - 1)[:, :, None] - np.arange(size)[None, None])
    return np.maximum(1 - distance, 0).astype(np.float32)


def _blur(x: np.ndarray) -> np.ndarray:
    """Binomial 1-2-1 blur with mirrored borders."""
    for axis in (2, 3):
        pad = [(0, 0)] * 4
        pad[axis] = (1, 1)
        p = np.pad(x, pad, mode="symmetric")
        first, mid, last = (np.take(p, range(i, i + x.shape[axis]), axis) for i in (0, 1, 2))
        x = .25 * first + .5 * mid + .25 * last
    return x


def _render(face: attributes.Face, subject: Subject, styles: tuple[str, ...], size: int) -> np.ndarray:
    """Pictures uint8 [faces, styles, 3, size, size], rendered in parallel."""
    count = len(next(iter(face.values())))
    parts = [attributes.select(face, slice(i, i + _CHUNK)) for i in range(0, count, _CHUNK)]
    function = partial(_render_styles, subject=subject.name, styles=styles, size=size)
    return np.concatenate(list(in_order(function, parts, [{}] * min(len(parts), len(os.sched_getaffinity(0))))))


def _render_styles(face: attributes.Face, subject: str, styles: tuple[str, ...], size: int) -> np.ndarray:
    return np.stack([SUBJECTS[subject].render(face, style, size) for style in styles], axis=1)
