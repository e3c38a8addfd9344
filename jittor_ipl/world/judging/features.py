"""The demo judge in place of the networks that metrics are defined with, for where those cannot be had.

Its figures compare only with each other. FID and KID take its penultimate features, SIFID its first convolution, the
Inception Score its attribute heads, LPIPS its intermediate maps (each place's features at unit length, all channels
equal), identity the overlap of its attribute probabilities.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from jittor_ipl.disk.integrity import file_sha256
from jittor_ipl.metrics.extract import Extractor
from jittor_ipl.metrics.frechet import patch_moments
from jittor_ipl.metrics.inception_score import log_softmax
from jittor_ipl.metrics.networks import ClipFeatures, IdentityFeatures, InceptionFeatures, PerceptualEmbedding
from jittor_ipl.ops.resize import resize
from jittor_ipl.runtime.backend import jt
from jittor_ipl.world.judging.judge import ASSETS, load
from jittor_ipl.world.subjects import PORTRAITS, Subject

SIZE = 64
CLIP = "demo:clip-robust"      # no demo CLIP is free of part in the adaptations: for comparisons only


class JudgeFeatures:
    """A demo judge as `extract.FeatureNetwork`: "pooled" 128, "logits", "patch-*" 32, "embedding", "identity"."""

    demo = True

    def __init__(self, subject: Subject = PORTRAITS) -> None:
        asset = f"{subject.prefix}judge"
        self.model = load(asset)
        self.name = f"demo judge of {subject.name} (antialiased bilinear resize to {SIZE})"
        self.sha256 = file_sha256(ASSETS / f"{asset}.safetensors")
        self.heads = subject.sections[1:]              # the style's head would praise a set of several styles

    def features(self, images: np.ndarray, wanted: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the wanted features of float32 pictures [B, 3, H, W] in [-1, 1]."""
        wanted = list(wanted)
        with jt.no_grad():
            x = jt.array(images)
            if tuple(x.shape[2:]) != (SIZE, SIZE):
                x = resize(x, SIZE, "bilinear", antialias=True)
            maps = self.model.maps(x)
            pooled = self.model.features(maps)
            logits = self.model.head(pooled).numpy()[:, self.model.subject.sections[0]:]
            found = {"pooled": pooled.numpy(), "logits": logits}
            if {"patch-mean", "patch-covariance"} & set(wanted):
                found["patch-mean"], found["patch-covariance"] = patch_moments(maps[0].numpy())
            if "embedding" in wanted:
                found["embedding"] = _embedding([level.numpy() for level in maps])
            if "identity" in wanted:    # products are the mean overlap (Bhattacharyya) of attribute probabilities
                parts = np.split(logits.astype(np.float64), np.cumsum(self.heads)[:-1], axis=1)
                parts = [np.exp(log_softmax(part) / 2) for part in parts]
                found["identity"] = np.concatenate(parts, axis=1) / np.sqrt(len(self.heads))
        return {name: found[name] for name in wanted}


def _embedding(maps: list[np.ndarray]) -> np.ndarray:
    """Return [B, D]: the blocks' unit features; squared distances are 2 (1 - cosine), mean over places and blocks."""
    parts = []
    for level in maps[1:]:
        places = level.shape[2] * level.shape[3] * (len(maps) - 1)
        length = np.sqrt((level**2).sum(axis=1, keepdims=True)) + 1e-10
        parts.append((level / length / np.sqrt(places)).reshape(len(level), -1))
    return np.concatenate(parts, axis=1).astype(np.float32)


def extractor_of(subject: Subject, inception: str | None = None, lpips: Sequence[str] = (), arcface: str | None = None,
                 clip: str | None = None, lpips_size: int | None = None) -> Extractor:
    """Return the networks of the named files, the judge of `subject` for the others; no CLIP where none is named.

    lpips_size: what LPIPS brings pictures to; their own size where it is None.
    """
    judge = JudgeFeatures(subject)
    perceptual = PerceptualEmbedding(list(lpips), size=lpips_size) if lpips else judge
    return Extractor(InceptionFeatures(inception) if inception else judge, perceptual,
                     IdentityFeatures(arcface) if arcface else judge, ClipFeatures(clip) if clip else None)
