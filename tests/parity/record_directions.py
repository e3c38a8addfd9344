"""Record the arithmetic of global directions in PyTorch into tests/golden/directions.npz (not a test).

    python tests/parity/record_directions.py [FILE]

What StyleCLIP's program computes (Patashnik et al. 2021, section 6): text directions from template features, the
dictionary from the features of pictures to either side, the step of a threshold. Written here from the paper.
"""
import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import normalize

FACES, CHANNELS, D, TEMPLATES = 5, 24, 16, 79
BETAS = (0.05, 0.1, 0.2)


def text_direction(neutral: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Unit difference [D] of the unit means of unit features [79, D]."""
    means = [normalize(normalize(features, dim=-1).mean(0), dim=0) for features in (neutral, target)]
    return normalize(means[1] - means[0], dim=0)


def dictionary(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Directions [channels, D] of features [channels, faces, D] at minus and plus alpha deviations."""
    responses = normalize(normalize(high, dim=-1) - normalize(low, dim=-1), dim=-1)
    return normalize(responses.mean(1), dim=-1)


def step(directions: torch.Tensor, text: torch.Tensor, std: torch.Tensor, beta: float) -> torch.Tensor:
    relevance = directions @ text
    relevance = torch.where(relevance.abs() < beta, torch.zeros_like(relevance), relevance)
    return relevance / relevance.abs().max() * std


def main() -> None:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    neutral, target = torch.randn(TEMPLATES, D), torch.randn(TEMPLATES, D)
    low, high = torch.randn(CHANNELS, FACES, D), torch.randn(CHANNELS, FACES, D)
    std = torch.rand(CHANNELS) + .1
    text, directions = text_direction(neutral, target), dictionary(low, high)
    out = {"neutral": neutral, "target": target, "low": low, "high": high, "std": std, "text": text,
           "directions": directions, **{f"step/{beta}": step(directions, text, std, beta) for beta in BETAS}}
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "golden" / "directions.npz"
    np.savez(path, **{name: value.numpy() for name, value in out.items()})


if __name__ == "__main__":
    main()
