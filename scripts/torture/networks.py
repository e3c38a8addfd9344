"""Tiny random networks and suites, for runs whose whole training takes a second."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np

# Everything that draws random numbers is on, so that a resume that restored too little could not hide.
TINY = """
suite: tiny
seed: 2
source: {{class: photo, generator: {folder}/generator.safetensors, mean_latent_samples: 64}}
clip: [{{model: {folder}/clip.safetensors, weight: 1.0}}]
mapper: {{steps: 4, batch: 3, lr: 0.05, lambda_domain: 1.0, lambda_source: 0.5}}
generator: {{steps: 6, batch: 2, lr: 0.02, ema: 0.5, views: 1, layers: auto, auto_layers_k: 3, auto_layers_batch: 2,
             auto_layers_every: 2, mixing: 0.5, schedule: cosine, noise: random, train: [convs, rgb]}}
losses: {{directional: 1.0, global: 0.5, range: 1.0}}
generate: {{seeds: 0-3, truncation: 0.7, noise: const}}
run: {{sample_every: 2, samples: 2, checkpoint_every: 1, keep: 2, log_every: 1, tensorboard: false}}
styles: [disney, anime painting]
"""


def write_tiny(folder: Path) -> Path:
    """Write a tiny generator, a tiny CLIP and their suite into `folder`; return the suite file. Computes with Jittor."""
    from jittor_ipl.models.clip.config import ClipConfig
    from jittor_ipl.models.clip.model import Clip
    from jittor_ipl.models.strict import named_tensors
    from jittor_ipl.models.stylegan2.config import GeneratorConfig
    from jittor_ipl.models.stylegan2.generator import Generator
    from jittor_ipl.weights.containers.safetensors import write_safetensors
    from jittor_ipl.weights.generator import save_generator
    folder.mkdir(parents=True, exist_ok=True)
    generator = Generator(GeneratorConfig(32, style_dim=32, n_mlp=2, channels={4: 12, 8: 12, 16: 8, 32: 8}), np.random.default_rng(1))
    save_generator(generator, folder / "generator.safetensors")
    clip = Clip(ClipConfig(embed_dim=16, image_resolution=32, vision_layers=1, vision_width=64, vision_patch_size=8,
                           transformer_width=32, transformer_heads=2, transformer_layers=1))
    random = np.random.default_rng(2)
    tensors = {name: 0.2 * random.standard_normal(var.shape).astype(np.float32) for name, var in named_tensors(clip).items()}
    write_safetensors(folder / "clip.safetensors", tensors, {"kind": "clip", "config": json.dumps(clip.config())})
    suite = folder / "suite.yaml"
    suite.write_text(TINY.format(folder=folder))
    return suite
