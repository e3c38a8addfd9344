"""The published inversion encoders described in PyTorch: the reference for `models.encoders` (they are no packages)."""
from __future__ import annotations

import math

import face_trunk
import torch
from torch import nn
from torch.nn import functional as F


class Equal(nn.Module):
    """Rosinality's EqualLinear without activation."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(n_out, n_in)), nn.Parameter(torch.zeros(n_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight / math.sqrt(self.weight.shape[1]), self.bias)


class Block(nn.Module):
    """torchvision's BasicBlock."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out)
        self.conv2, self.bn2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False), nn.BatchNorm2d(n_out)
        self.downsample = None if n_in == n_out else nn.Sequential(
            nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Head(nn.Module):
    """map2style: a map of `side` cells, halved until it is one code."""

    def __init__(self, n_in: int, dim: int, side: int) -> None:
        super().__init__()
        steps = int(math.log2(side))
        self.convs = nn.Sequential(*(layer for i in range(steps) for layer in (
            nn.Conv2d(dim if i else n_in, dim, 3, 2, 1), nn.LeakyReLU())))
        self.linear = Equal(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.convs(x).flatten(1))


class Encoder(nn.Module):
    """An encoder of the numbers that `EncoderConfig` names."""

    def __init__(self, numbers: dict) -> None:
        super().__init__()
        self.numbers = numbers
        width, channels, top = numbers["width"], numbers["input_channels"], 8 * numbers["width"]
        dim, n, heads, size = (numbers[name] for name in ("style_dim", "n_styles", "heads", "input_size"))
        if numbers["trunk"] == "ir":
            for name, module in face_trunk.trunk(numbers["layers"], numbers["squeeze"], width, channels).items():
                setattr(self, name, module)
            self.ends = [6, 20, 23]                     # of units: the maps of a pyramid
        else:
            self.conv1, self.bn1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
            self.relu = nn.PReLU(width)
            widths = [width * 2**stage for stage, number in enumerate((3, 4, 6, 3)) for _ in range(number)]
            self.body = nn.Sequential(*(Block(n_in, n_out, 1 if n_in == n_out else 2)
                                        for n_in, n_out in zip([width, *widths], widths)))
            self.ends = [6, 12, 15]
        if heads in ("pyramid", "flat"):
            sides = [size // 16 if heads == "flat" or i < 3 else size // 8 if i < 7 else size // 4 for i in range(n)]
            self.styles = nn.ModuleList(Head(top, dim, side) for side in sides)
        if heads == "pyramid":
            self.latlayer1, self.latlayer2 = nn.Conv2d(4 * width, dim, 1), nn.Conv2d(2 * width, dim, 1)
        if heads == "w":
            self.linear = Equal(top, dim)
        if heads == "w+":
            self.output_layer_2 = nn.Sequential(nn.BatchNorm2d(top), nn.AdaptiveAvgPool2d(7), nn.Flatten(),
                                                nn.Linear(top * 49, dim))
            self.linear = Equal(dim, dim * n)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps, heads = self.maps(x), self.numbers["heads"]
        if heads == "w":
            return self.linear(F.adaptive_avg_pool2d(maps[-1], 1).flatten(1))
        if heads == "w+":
            return self.linear(self.output_layer_2(maps[-1])).view(-1, self.numbers["n_styles"],
                                                                   self.numbers["style_dim"])
        fine, middle, coarse = maps
        if heads == "pyramid":
            middle = upsampled(coarse, middle) + self.latlayer1(middle)
            fine = upsampled(middle, fine) + self.latlayer2(fine)
        codes = [head(coarse if heads == "flat" or i < 3 else middle if i < 7 else fine)
                 for i, head in enumerate(self.styles)]
        if self.numbers["encoder_type"].startswith(("Encoder4", "Progressive", "ResNetProgressive")):
            codes = [codes[0], *(codes[0] + code for code in codes[1:])]
        return torch.stack(codes, 1)

    def maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = self.input_layer(x) if self.numbers["trunk"] == "ir" else self.relu(self.bn1(self.conv1(x)))
        found = []
        for index, unit in enumerate(self.body):
            x = unit(x)
            if index in self.ends:
                found.append(x)
        return found


def upsampled(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=True)
