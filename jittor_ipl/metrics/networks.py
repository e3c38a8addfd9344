"""The networks that the metrics are defined with, from a user's weight files, as `extract.FeatureNetwork`s."""
from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.metrics.frechet import patch_moments
from jittor_ipl.metrics.hashes import weights_sha256
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.features.lpips import Lpips
from jittor_ipl.ops.norms import unit
from jittor_ipl.ops.resize import resize
from jittor_ipl.runtime.backend import jt
from jittor_ipl.text.tokenizer import tokenize, tokenizer
from jittor_ipl.weights.clip import load_clip
from jittor_ipl.weights.features import load_arcface, load_inception, load_lpips

Ref = "str | os.PathLike"


class InceptionFeatures:
    """Inception v3 of FID: "pooled" 2048, "pooled-64", "logits" 1008 (no bias), patches before the first pool (64)."""

    demo, heads = False, None
    name = "Inception v3 of FID (8 bits, TensorFlow 1's bilinear resize to 299)"
    _taps = {"pooled": "2048", "pooled-64": "64", "logits": "logits_unbiased", "patch-mean": "64-map",
             "patch-covariance": "64-map"}

    def __init__(self, ref: Ref) -> None:
        self.model, self.sha256 = load_inception(ref), weights_sha256([ref])

    def features(self, images: np.ndarray, wanted: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the wanted features of float32 pictures [B, 3, H, W] in [-1, 1]."""
        wanted = list(wanted)
        with jt.no_grad():
            found = self.model.features(jt.array(images), sorted({self._taps[name] for name in wanted}))
            found = {tap: value.numpy() for tap, value in found.items()}
        moments = patch_moments(found["64-map"]) if "64-map" in found else (None, None)
        patches = dict(zip(("patch-mean", "patch-covariance"), moments))
        return {name: patches[name] if name in patches else found[self._taps[name]] for name in wanted}


class PerceptualEmbedding:
    """LPIPS as an embedding: "embedding" [D], whose squared distances are LPIPS."""

    demo = False

    def __init__(self, refs: "Ref | Sequence[Ref]", net: str | None = None, library: str = "lpips",
                 size: int | None = None) -> None:
        refs = [refs] if isinstance(refs, (str, os.PathLike)) else list(refs)
        self.model, self.size = load_lpips(refs, net, library), size
        resized = f"antialiased bilinear resize to {size}" if size else "pictures at their own size"
        self.name = f"LPIPS 0.1 on {self.model.net} ({resized})"
        if library != "lpips":
            self.name += f", divided by lengths as in {library}"
        self.sha256 = weights_sha256(refs)
        if min(float(head.numpy().min()) for head in self.model.channel_weights()) < 0:
            raise UserError(f"{refs[0]}: the heads of LPIPS hold negative weights; published ones never do")

    def features(self, images: np.ndarray, wanted: Iterable[str]) -> dict[str, np.ndarray]:
        """Return "embedding" [B, D] of float32 pictures [B, 3, H, W] in [-1, 1]."""
        assert list(wanted) == ["embedding"], wanted
        with jt.no_grad():
            x = jt.array(images)
            if self.size and tuple(x.shape[2:]) != (self.size, self.size):
                x = resize(x, self.size, "bilinear", antialias=True)
            return {"embedding": embedding_of(self.model, x)}


def embedding_of(model: Lpips, images) -> np.ndarray:
    """Return [B, D]: the unit features of every tap, times the root of their head's weight over the count of places."""
    parts = []
    for tap, head in zip(model.embed(images), model.channel_weights()):
        scale = (head / float(tap.shape[2] * tap.shape[3])).sqrt()
        parts.append((tap * scale).reshape(tap.shape[0], -1).numpy())
    return np.concatenate(parts, axis=1)


class IdentityFeatures:
    """ArcFace of aligned portraits: "identity" [512] of unit length."""

    demo = False

    def __init__(self, ref: Ref) -> None:
        self.model, self.sha256 = load_arcface(ref), weights_sha256([ref])
        kind = f"IR-{'SE' if self.model.squeezes else ''}{self.model.layers}"
        kind = "ArcFace IR-SE50" if kind == "IR-SE50" else f"face recogniser {kind}, not IR-SE50"
        self.name = f"{kind} (area-averaged to 256 px, cut to rows 35..223, columns 32..220, averaged to 112 px)"

    def features(self, images: np.ndarray, wanted: Iterable[str]) -> dict[str, np.ndarray]:
        """Return "identity" [B, d] of float32 portraits [B, 3, H, W] in [-1, 1]."""
        assert list(wanted) == ["identity"], wanted
        with jt.no_grad():
            return {"identity": self.model.embed(jt.array(images)).numpy()}


class ClipFeatures:
    """CLIP: "clip" [e] of pictures and `text` [e] of sentences, both of unit length."""

    def __init__(self, ref: Ref) -> None:
        self.demo = os.fspath(ref).startswith("demo:")
        self.model, self.sha256, self.ref = load_clip(ref), weights_sha256([ref]), os.fspath(ref)
        self.name = (f"CLIP {self.ref if self.demo else Path(ref).name} "
                     f"(antialiased bicubic resize to {self.model.visual.input_resolution}, centre)")

    def features(self, images: np.ndarray, wanted: Iterable[str]) -> dict[str, np.ndarray]:
        """Return "clip" [B, e] of float32 pictures [B, 3, H, W] in [-1, 1]."""
        assert list(wanted) == ["clip"], wanted
        with jt.no_grad():
            return {"clip": unit(self.model.image_features(jt.array(images), antialias=True), dim=1).numpy()}

    def text(self, sentence: str) -> np.ndarray:
        """Return the feature [e] of a sentence as it is; UserError for an empty or over-long one, or unknown words."""
        tokens, known = tokenize([sentence], self.model.context_length), self.model.known_tokens
        if known is not None and not np.isin(tokens[tokens > 0], known).all():
            words = [word for word in sentence.split() if not np.isin(tokenizer().encode(word), known).all()]
            raise UserError(f"{self.ref} knows no {', '.join(map(repr, words[:4]))}: "
                            "it reads only the words it was trained on")
        return text_feature(self.model, sentence)


def text_feature(clip: Clip, text: str) -> np.ndarray:
    """Return the unit feature [e] of a text; UserError for an empty or over-long one."""
    with jt.no_grad():
        return unit(clip.encode_text(jt.array(tokenize([text], clip.context_length))), dim=1).numpy()[0]
