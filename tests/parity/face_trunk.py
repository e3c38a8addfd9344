"""The published face recogniser described in PyTorch: the reference for `models.arcface` (its repository is no
package).
"""
from __future__ import annotations

import torch
from torch import nn

UNITS = {50: (3, 4, 14, 3), 100: (3, 13, 30, 3), 152: (3, 8, 36, 3)}


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = max(channels // 16, 1)
        self.pool, self.fc1 = nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, narrow, 1, bias=False)
        self.fc2 = nn.Conv2d(narrow, channels, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(self.pool(x)))))


class Unit(nn.Module):
    def __init__(self, n_in: int, n_out: int, stride: int, squeeze: bool) -> None:
        super().__init__()
        self.shortcut_layer = nn.MaxPool2d(1, stride) if n_in == n_out else nn.Sequential(
            nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(n_in), nn.Conv2d(n_in, n_out, 3, 1, 1, bias=False), nn.PReLU(n_out),
            nn.Conv2d(n_out, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out),
            *([SqueezeExcite(n_out)] if squeeze else []))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.res_layer(x) + self.shortcut_layer(x)


def trunk(layers: int, squeeze: bool, width: int, n_in: int = 3) -> dict[str, nn.Module]:
    """Return the input layer and the body."""
    units, channels = [], width
    for stage, number in enumerate(UNITS[layers]):
        for index in range(number):
            units.append(Unit(channels, width * 2**stage, 2 if index == 0 else 1, squeeze))
            channels = width * 2**stage
    start = nn.Sequential(nn.Conv2d(n_in, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.PReLU(width))
    return {"input_layer": start, "body": nn.Sequential(*units)}


class Recogniser(nn.Module):
    """Unit vectors [B, features] of faces [B, 3, side * 16, side * 16]."""

    def __init__(self, layers: int = 50, squeeze: bool = True, width: int = 64, side: int = 7, features: int = 512,
                 affine: bool = True) -> None:
        super().__init__()
        for name, module in trunk(layers, squeeze, width).items():
            setattr(self, name, module)
        self.output_layer = nn.Sequential(nn.BatchNorm2d(8 * width), nn.Dropout(0.4), nn.Flatten(),
                                          nn.Linear(8 * width * side * side, features),
                                          nn.BatchNorm1d(features, affine=affine))

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(self.output_layer(self.body(self.input_layer(faces))), eps=0.0)

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """StyleCLIP's identity loss up to the dot product: area pool to 256 px, cut to the face, area pool to 112
        px.
        """
        pooled = nn.functional.adaptive_avg_pool2d(images, 256)[:, :, 35:223, 32:220]
        return self(nn.functional.adaptive_avg_pool2d(pooled, 112))
