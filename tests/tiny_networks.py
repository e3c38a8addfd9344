"""A tiny random generator, a tiny random CLIP and a suite that names them, for runs whose whole training takes a
second.
"""
from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from jittor_ipl.models.clip.config import ClipConfig
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.encoders.config import EncoderConfig
from jittor_ipl.models.encoders.encoder import InversionEncoder
from jittor_ipl.models.features.arcface import PReLU
from jittor_ipl.models.layers import BatchNorm, Conv, Linear
from jittor_ipl.models.strict import named_tensors, numpy_tensors
from jittor_ipl.models.stylegan2.config import GeneratorConfig
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.models.stylegan2.layers import EqualLinear
from jittor_ipl.runtime.backend import jt, nn
from jittor_ipl.weights.containers.safetensors import write_safetensors
from jittor_ipl.weights.generator import save_generator

CHANNELS = {4: 12, 8: 12, 16: 8, 32: 8}


def write_networks(folder: Path, size: int = 32) -> Path:
    """Write `generator.safetensors` of `size` px and `clip.safetensors` into `folder`; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    channels = {resolution: count for resolution, count in CHANNELS.items() if resolution <= size}
    generator = Generator(GeneratorConfig(size, style_dim=size, n_mlp=2, channels=channels), np.random.default_rng(1))
    save_generator(generator, folder / "generator.safetensors")
    clip = Clip(ClipConfig(embed_dim=16, image_resolution=32, vision_layers=1, vision_width=64, vision_patch_size=8,
                           transformer_width=32, transformer_heads=2, transformer_layers=1))
    random = np.random.default_rng(2)
    tensors = {name: 0.2 * random.standard_normal(var.shape).astype(np.float32)
               for name, var in named_tensors(clip).items()}
    write_safetensors(folder / "clip.safetensors", tensors, {"kind": "clip", "config": json.dumps(clip.config())})
    return folder


def write_suite(folder: Path, text: str) -> Path:
    """Write the suite `text`, where `{folder}` stands for the networks' folder; return its file."""
    suite = folder / "suite.yaml"
    suite.write_text(text.format(folder=folder))
    return suite


def drawn_encoder(config: EncoderConfig, seed: int = 0) -> InversionEncoder:
    """Return an inversion encoder with weights of PyTorch's first spread: uniform, and normal in equalised layers."""
    encoder = InversionEncoder(config)
    _draw(encoder, np.random.default_rng(seed))
    return encoder


def write_encoder(encoder: InversionEncoder, path: Path) -> None:
    """Write an encoder and its mean w under the published names, with its numbers in the metadata."""
    mean = {} if encoder.latent_avg is None else {"latent_avg": encoder.latent_avg}
    facts = {"kind": "inversion-encoder", "config": json.dumps(encoder.config.to_json(), sort_keys=True)}
    write_safetensors(path, numpy_tensors(encoder) | mean, facts)


def _draw(module: nn.Module, rng: np.random.Generator) -> None:
    if isinstance(module, (Conv, Linear)):
        bound = 1 / math.sqrt(math.prod(module.weight.shape[1:]))
        for var in (module.weight, module.bias):
            if var is not None:
                _put(var, rng.uniform(-bound, bound, tuple(var.shape)))
    elif isinstance(module, EqualLinear):
        _put(module.weight, rng.standard_normal(tuple(module.weight.shape)))
    elif isinstance(module, PReLU):
        _put(module.weight, np.full(tuple(module.weight.shape), .25))
    elif not isinstance(module, BatchNorm):
        for child in module.children():
            _draw(child, rng)


def _put(var: jt.Var, value: np.ndarray) -> None:
    var.update(jt.array(value.astype(np.float32)))
    var.start_grad()
