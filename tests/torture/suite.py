"""The suite of tiny networks that the parts train."""
from __future__ import annotations

from pathlib import Path

from tests.tiny_networks import write_networks, write_suite

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
    """Write tiny networks and their suite into `folder`; return the suite file. Computes with Jittor."""
    return write_suite(write_networks(folder), TINY)
