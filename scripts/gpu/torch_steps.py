"""The steps of cases.py in plain PyTorch, random weights, for comparison: milliseconds as JSON.

    PYTHON scripts/gpu/torch_steps.py cpu|cuda [--quick]

The generator is written as the published code computes it: weights scaled for each picture, one grouped convolution,
a blur after each transposed one.
"""
from __future__ import annotations

import json
import math
import statistics
import sys
import time

import torch
import torch.nn.functional as F

CHANNELS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}


def modulated(x: torch.Tensor, weight: torch.Tensor, s: torch.Tensor, demodulate: bool, up: bool,
              blur: torch.Tensor) -> torch.Tensor:
    """Convolve `x` [B, I, h, w] with `weight` [O, I, k, k] scaled by `s` [B, I]."""
    b, (o, i, k, _) = len(x), weight.shape
    w = weight * s[:, None, :, None, None] / math.sqrt(i * k * k)
    if demodulate:
        w = w * torch.rsqrt(w.square().sum([2, 3, 4], keepdim=True) + 1e-8)
    x = x.reshape(1, b * i, *x.shape[2:])
    if not up:
        return F.conv2d(x, w.reshape(b * o, i, k, k), padding=k // 2, groups=b).reshape(b, o, *x.shape[2:])
    y = F.conv_transpose2d(x, w.transpose(1, 2).reshape(b * i, o, k, k), stride=2, groups=b)
    y = F.pad(y.reshape(b * o, 1, *y.shape[2:]), (1, 1, 1, 1))
    return F.conv2d(y, blur).reshape(b, o, y.shape[2] - 3, y.shape[3] - 3)


class Synthesis(torch.nn.Module):
    """The synthesis network of StyleGAN2 config-f."""

    def __init__(self, size: int):
        super().__init__()
        self.sizes = [n for n in CHANNELS if n <= size]
        self.const = torch.nn.Parameter(torch.randn(1, 512, 4, 4))
        self.layers, self.rgb = torch.nn.ParameterList(), torch.nn.ParameterList()
        for n, before in zip(self.sizes, [4, *self.sizes]):
            for i in [CHANNELS[before], CHANNELS[n]][0 if n > 4 else 1:]:
                self._add(self.layers, i, CHANNELS[n], 3)
            self._add(self.rgb, CHANNELS[n], 3, 1)
        row = torch.tensor([1.0, 3, 3, 1])
        self.register_buffer("blur", (row[:, None] * row / 16)[None, None])

    def _add(self, parameters: torch.nn.ParameterList, i: int, o: int, k: int) -> None:
        parameters.extend(torch.nn.Parameter(value) for value in (
            torch.randn(o, i, k, k), torch.randn(i, 512) / math.sqrt(512), torch.ones(i), torch.zeros(o)))

    def forward(self, w: torch.Tensor) -> torch.Tensor:
        x, image, layer, rgb = self.const.expand(len(w), -1, -1, -1), None, iter(self.layers), iter(self.rgb)
        for n in self.sizes:
            for up in ([True, False] if n > 4 else [False]):
                weight, a, b, bias = next(layer), next(layer), next(layer), next(layer)
                y = modulated(x, weight, F.linear(w, a, b), True, up, self.blur)
                y = y + 0.1 * torch.randn(len(y), 1, *y.shape[2:], device=y.device)
                x = F.leaky_relu(y + bias[:, None, None], 0.2) * 2**0.5
            weight, a, b, bias = next(rgb), next(rgb), next(rgb), next(rgb)
            y = modulated(x, weight, F.linear(w, a, b), False, False, self.blur) + bias[:, None, None]
            image = y if image is None else y + F.interpolate(image, scale_factor=2, mode="bilinear")
        return image


class Tower(torch.nn.Module):
    """The picture tower of a ViT-B/32, without its last projection."""

    def __init__(self):
        super().__init__()
        self.patches = torch.nn.Conv2d(3, 768, 32, 32, bias=False)
        self.positions = torch.nn.Parameter(torch.randn(50, 768) * 0.01)
        block = torch.nn.TransformerEncoderLayer(768, 12, 3072, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = torch.nn.TransformerEncoder(block, 12, torch.nn.LayerNorm(768), enable_nested_tensor=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.new_zeros(len(x), 1, 768), tokens], 1) + self.positions
        return self.blocks(tokens)[:, 0]


def milliseconds(network: torch.nn.Module, x: torch.Tensor, wanted: list[torch.Tensor], repeats: int) -> float:
    """Return the median of forward and backward steps after the first."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        torch.autograd.grad(network(x).square().sum(), wanted)
        if x.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:]) * 1000


def main() -> None:
    device, quick = sys.argv[1], "--quick" in sys.argv
    torch.backends.cudnn.allow_tf32 = False     # float32, as ours
    size, batch, repeats = (64, 1, 1) if quick else (256, 4, 10)
    generator, tower = Synthesis(size).to(device), Tower().to(device).requires_grad_(False)
    pictures = torch.randn(2 * batch, 3, 224, 224, device=device, requires_grad=True)
    w = torch.randn(batch, 512, device=device)
    print(json.dumps({
        f"StyleGAN2, {size} px, batch {batch}": milliseconds(generator, w, list(generator.parameters()), repeats),
        f"ViT-B/32, batch {2 * batch}": milliseconds(tower, pictures, [pictures], repeats)}))


if __name__ == "__main__":
    main()
