"""The networks of the competition's score as functions of one picture, prepared exactly as the checker prepares it."""
from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image

from jittor_ipl.errors import UserError
from jittor_ipl.images.centre import normalised_centre
from jittor_ipl.images.pixels import from_uint8
from jittor_ipl.metrics.competition import QUALITY, Feature
from jittor_ipl.metrics.networks import InceptionFeatures, PerceptualEmbedding, Ref, text_feature
from jittor_ipl.ops.norms import unit
from jittor_ipl.runtime.backend import jt
from jittor_ipl.weights.clip import load_clip
from jittor_ipl.weights.features import load_dinov2

IMAGENET = (np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32))
DINO_SHORT, DINO_SIDE, LPIPS_SIDE = 256, 224, 256


def dino_feature(ref: Ref) -> Feature:
    """Return DINOv2's class token [d] of a uint8 picture: shorter side 256 (bicubic), central 224, ImageNet's mean."""
    model = load_dinov2(ref)

    def feature(image: np.ndarray) -> np.ndarray:
        with jt.no_grad():
            return model(jt.array(prepared(image, DINO_SHORT, DINO_SIDE, *IMAGENET))).numpy()[0]
    return feature


def prepared(image: np.ndarray, short: int, side: int, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Return float32 [1, 3, side, side] of a uint8 picture [H, W, 3] as Hugging Face's processors prepare it."""
    return normalised_centre(Image.fromarray(image), short, side, mean, std, math.floor)[None]


def lpips_embedding(refs: list[Ref]) -> Feature:
    """Return LPIPS on SqueezeNet as an embedding [D] of a uint8 picture brought to 256 x 256 (Pillow, bilinear)."""
    network = PerceptualEmbedding(refs, "squeeze", "torchmetrics")

    def embedding(image: np.ndarray) -> np.ndarray:
        resized = Image.fromarray(image).resize((LPIPS_SIDE, LPIPS_SIDE), Image.Resampling.BILINEAR)
        return network.features(from_uint8(np.asarray(resized)[None]), ["embedding"])["embedding"][0]
    return embedding


def fid_feature(ref: Ref) -> Feature:
    """Return Inception's 64 features after the first pool of a uint8 picture."""
    network = InceptionFeatures(ref)
    return lambda image: network.features(from_uint8(image[None]), ["pooled-64"])["pooled-64"][0]


def clip_r_features(ref: Ref) -> tuple[Feature, Callable[[str], np.ndarray]]:
    """Return functions to CLIP's unit features of a picture (Pillow's bicubic, centre) and of a text."""
    clip = load_clip(ref)
    side = clip.visual.input_resolution

    def image_feature(image: np.ndarray) -> np.ndarray:
        with jt.no_grad():
            pixels = jt.array(prepared(image, side, side, *clip.settings.normalisation()))
            return unit(clip.encode_image(pixels), dim=1).numpy()[0]
    return image_feature, lambda text: text_feature(clip, text)


def clip_iqa_features(ref: Ref) -> tuple[Feature, np.ndarray]:
    """Return a function to the unit features of a picture as CLIP-IQA takes them, and its two anchors [2, e].

    CLIP-IQA (Wang et al. 2023) drops the positional embedding of CLIP's ResNet, so that a picture keeps its size. The
    checker hands it values of 0..255 where 0..1 is meant; that is part of its numbers.
    """
    clip = load_clip(ref)
    if not clip.is_resnet:
        raise UserError(f"{ref} is a CLIP with a vision transformer; CLIP-IQA is defined with OpenAI's RN50")
    anchors = np.stack([text_feature(clip, text) for text in QUALITY])
    pool = clip.visual.attnpool
    pool.positional_embedding = jt.zeros([1, pool.positional_embedding.shape[1]])
    mean, std = clip.settings.normalisation()

    def feature(image: np.ndarray) -> np.ndarray:
        pixels = ((image.astype(np.float32) - mean) / std).transpose(2, 0, 1)[None]
        with jt.no_grad():
            return unit(clip.encode_image(jt.array(np.ascontiguousarray(pixels))), dim=1).numpy()[0]
    return feature, anchors
