"""A tiny random generator, a tiny random CLIP and a suite that names them, for runs whose whole training takes a
second.
"""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from jittor_ipl.models.clip.config import ClipConfig
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.strict import named_tensors
from jittor_ipl.models.stylegan2.config import GeneratorConfig
from jittor_ipl.models.stylegan2.generator import Generator
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
