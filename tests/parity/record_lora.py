"""Record tests/golden/lora.npz: LoRA and a DreamBooth step as diffusers and peft compute them.

    python tests/parity/record_lora.py [--out FILE | --check FILE]

Run in the reference environment. Of the tiny pipeline of tests/fixtures/diffusion: the text states and the U-Net's
prediction under the two LoRA of tests/fixtures/lora, alone and as a weighted sum; and, of a LoRA with the style feature
(published layers, here in PyTorch), the loss and all gradients of one step on two pictures of a style and two of the
prior, with min-SNR weights. `step/<name>` holds a gradient's L2 norm and up to 64 of its entries, every
`max(1, numel // 64)`-th. The weights of the feature come from `drawn`. --check compares instead of writing.
"""
from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr
from make_lora_fixtures import CONFIGS, trained
from tiny_diffusion import outputs
from torch import nn

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "lora.npz"
TOKENS = [[6, 4, 5, 7, 0, 0, 0, 0, 0, 0, 0, 0], [6, 5, 4, 7, 0, 0, 0, 0, 0, 0, 0, 0], [6, 4, 7] + [0] * 9,
          [6, 7] + [0] * 10]
TIMESTEPS, PRIOR_WEIGHT, GAMMA, FEATURE_WEIGHT = [3, 700, 250, 999], 0.5, 5.0, 0.25
SHOWN = ("text", "unet")
SUM = {"plain": 0.7, "alpha": -0.4}


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the values of one tensor of the style feature, which anybody can draw again."""
    seed = sum(map(ord, name)) * 7919
    values = np.random.RandomState(seed).randint(-16, 17, shape) / 64
    return (values + 1 if name.startswith("bn") and name.endswith("weight") else values).astype(np.float32)


class StyleFeature(nn.Module):
    """The published layers, for latents [8, 8, 8] and prompts of 12 x 8: two of them halve the sides."""

    def __init__(self):
        super().__init__()
        self.bn1, self.conv1 = nn.GroupNorm(4, 8), nn.Conv2d(8, 38, 3, 2, 1)
        self.bn2, self.conv2 = nn.GroupNorm(19, 38), nn.Conv2d(38, 38, 3, 2, 1)
        self.bn3, self.conv3 = nn.GroupNorm(2, 38), nn.Conv2d(38, 24, 3, 1, 1)
        for name, parameter in self.named_parameters():
            parameter.data = torch.from_numpy(drawn(name, tuple(parameter.shape)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for index in (1, 2, 3):
            x = getattr(self, f"conv{index}")(nn.functional.silu(getattr(self, f"bn{index}")(x)))
        return x.reshape(1, 12, 8)


def forwards() -> dict[str, torch.Tensor]:
    """Return what the networks say under each LoRA, and under a weighted sum of both."""
    generator = torch.Generator().manual_seed(5)        # as in `outputs`
    found = {"inputs": torch.randn(2, 4, 8, 8, generator=generator)}
    for which in CONFIGS:
        found |= {f"{which}/{name}": value for name, value in outputs(trained(which)).items() if name in SHOWN}
    first, second = (trained(which) for which in CONFIGS)
    for part in ("unet", "text_encoder"):
        module, other = getattr(first, part), getattr(second, part)
        module.add_adapter(CONFIGS["alpha"][part], adapter_name="alpha")
        state = {name.replace(".default.", ".alpha."): value for name, value in other.state_dict().items()
                 if ".lora_" in name}
        module.load_state_dict(state, strict=False)
    first.set_adapters(["default", "alpha"], [SUM["plain"], SUM["alpha"]])
    return found | {f"sum/{name}": value for name, value in outputs(first).items() if name in SHOWN}


def step() -> dict[str, torch.Tensor]:
    """Return inputs, loss and gradients of one step of DreamBooth on the LoRA `alpha` and the style feature."""
    pipeline, feature, generator = trained("alpha"), StyleFeature(), torch.Generator().manual_seed(21)
    latents, noise = (torch.randn(4, 4, 8, 8, generator=generator) for _ in range(2))
    moments = torch.randn(2, 2, 4, 8, 8, generator=generator) / 2       # of both pictures: mean, log-variance
    statistics = torch.cat([(moments[:, 1] / 2).exp().mean(0), moments[:, 0].mean(0)])[None]
    scheduler, timesteps = DDPMScheduler.from_config(pipeline.scheduler.config), torch.tensor(TIMESTEPS)
    told = torch.tensor([1.0, 1.0, 1.0, 0.0])[:, None, None]            # the last is told nothing
    states = pipeline.text_encoder(torch.tensor(TOKENS))[0] + FEATURE_WEIGHT * feature(statistics) * told
    predicted = pipeline.unet(scheduler.add_noise(latents, noise, timesteps), timesteps, states).sample
    target = scheduler.get_velocity(latents, noise, timesteps)
    snr = compute_snr(scheduler, timesteps)
    weights = torch.minimum(snr, torch.full_like(snr, GAMMA)) / (snr + 1)
    errors = (predicted - target).square().mean((1, 2, 3)) * weights
    loss = errors[:2].mean() + PRIOR_WEIGHT * errors[2:].mean()
    trainable = {f"{part}.{name}": weight for part in ("unet", "text_encoder")
                 for name, weight in getattr(pipeline, part).named_parameters() if ".lora_" in name}
    trainable |= {f"feature.{name}": weight for name, weight in feature.named_parameters()}
    grads = torch.autograd.grad(loss, list(trainable.values()))
    found = {"latents": latents, "noise": noise, "moments": moments, "loss": loss, "states": states}
    return found | {f"step/{our_name(name)}": sampled(grad) for name, grad in zip(trainable, grads)}


def our_name(name: str) -> str:
    return name.replace(".lora_A.default.weight", ".down").replace(".lora_B.default.weight", ".up")


def sampled(grad: torch.Tensor) -> torch.Tensor:
    flat = grad.reshape(-1)
    return torch.cat([flat.norm()[None], flat[::max(1, flat.numel() // 64)][:64]])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=GOLDEN)
    parser.add_argument("--check", type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    found = {name: value.detach().numpy() for name, value in {**forwards(), **step()}.items()}
    if options.check:
        with np.load(options.check) as known:
            assert set(known.files) == set(found), set(known.files) ^ set(found)
            worst = max(np.abs(known[name] - value).max() / np.abs(value).max() for name, value in found.items())
        print(f"{worst:.1e}")
        return
    np.savez_compressed(options.out, **found)


if __name__ == "__main__":
    main()
