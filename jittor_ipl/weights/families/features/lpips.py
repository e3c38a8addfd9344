"""LPIPS (Zhang et al. 2018): the learned heads, torchvision's networks they sit on, or both in one file.

`vgg.pth`, `alex.pth`, `squeeze.pth` of the lpips package hold the heads alone ("lin0.model.1.weight"); torch-fidelity
and torchmetrics ship the same files. The networks are torchvision's vgg16, alexnet and squeezenet1_1,
whose classifiers LPIPS does not use. A saved LPIPS module holds both ("net.slice1.0.weight", in torchmetrics
"net.slices.0.0.weight") and every head twice.
"""
from __future__ import annotations

import re

from jittor_ipl.weights.families.family import Family, Hints, Layout, Shapes
from jittor_ipl.weights.families.schema import Schema, conv

TAPS = {"vgg": (64, 128, 256, 512, 512), "alex": (64, 192, 384, 256, 256),
        "squeeze": (64, 128, 256, 384, 384, 512, 512)}
# Convolutions of the networks: (index in `features`, output channels, input channels, kernel).
_VGG = ((0, 64, 3), (2, 64, 64), (5, 128, 64), (7, 128, 128), (10, 256, 128), (12, 256, 256), (14, 256, 256),
        (17, 512, 256), (19, 512, 512), (21, 512, 512), (24, 512, 512), (26, 512, 512), (28, 512, 512))
_ALEX = ((0, 64, 3, 11), (3, 192, 64, 5), (6, 384, 192, 3), (8, 256, 384, 3), (10, 256, 256, 3))
_FIRE = ((3, 64, 16, 64), (4, 128, 16, 64), (6, 128, 32, 128), (7, 256, 32, 128), (9, 256, 48, 192), (10, 384, 48, 192),
         (11, 384, 64, 256), (12, 512, 64, 256))          # index, input, squeezed, expanded (twice)
# First layer of every slice of `features` that a saved module cuts the network into.
_SLICES = {"vgg": (0, 4, 9, 16, 23), "alex": (0, 2, 5, 8, 10), "squeeze": (0, 2, 5, 8, 10, 11, 12)}
_IGNORED = (r"classifier\..*", r"scaling_layer\.(shift|scale)", r"lins\.\d\.model\.[01]\.weight")


def heads(net: str, index: int = 1) -> Schema:
    """Return the learned weights of a distance, one 1x1 convolution per tap; `index` is 1 behind a dropout."""
    return {f"lin{k}.model.{index}.weight": (1, channels, 1, 1) for k, channels in enumerate(TAPS[net])}


def backbone(net: str) -> Schema:
    """Return the convolutions of torchvision's network."""
    names: Schema = {}
    if net == "squeeze":
        names |= conv("features.0", 64, 3, 3, bias=True)
        for index, n_in, narrow, wide in _FIRE:
            name = f"features.{index}"
            names |= conv(f"{name}.squeeze", narrow, n_in, 1, bias=True)
            for kernel in (1, 3):
                names |= conv(f"{name}.expand{kernel}x{kernel}", wide, narrow, kernel, bias=True)
        return names
    for index, n_out, n_in, *kernel in _VGG if net == "vgg" else _ALEX:
        names |= conv(f"features.{index}", n_out, n_in, kernel[0] if kernel else 3, bias=True)
    return names


def recognise(shapes: Shapes, hints: Hints) -> Layout | None:
    """Return the layout of heads, of a backbone, or of a whole LPIPS module."""
    dropout = not any(re.fullmatch(r"lin\d\.model\.0\.weight", name) for name in shapes)
    has_heads = any(re.fullmatch(r"lin\d\.model\.[01]\.weight", name) for name in shapes)
    has_slices = any(name.startswith("net.slice") for name in shapes)
    has_features = any(name.startswith("features.") for name in shapes)
    if not (has_heads or has_slices or has_features):
        return None
    net = _net(shapes)
    if net is None:
        return None
    part = "backbone" if not has_heads and not has_slices else "heads" if not (has_slices or has_features) else "whole"
    expected: Schema = {} if part == "backbone" else heads(net, int(dropout))
    if part != "heads":
        body = backbone(net)
        expected |= {_sliced(net, name, shapes): shape for name, shape in body.items()} if has_slices else body
    dialect = "lpips" if has_slices or part == "heads" else "torchvision" if part == "backbone" else "ours"
    return Layout("lpips", dialect, {"net": net, "part": part}, expected, _IGNORED)


def _net(shapes: Shapes) -> str | None:
    """Return which network has most of these tensors, None when no convolution of any is there."""
    votes = {}
    for net in TAPS:
        known = backbone(net) | heads(net) | heads(net, 0)
        bare = {_unsliced(name): shape for name, shape in shapes.items()}
        votes[net] = sum(bare.get(name) == shape for name, shape in known.items() if not name.endswith("bias"))
    best = max(votes, key=lambda net: (votes[net], net))
    return best if votes[best] else None


def _sliced(net: str, name: str, shapes: Shapes) -> str:
    """Return a backbone's name inside a saved module: lpips counts slices from 1, torchmetrics' SqueezeNet from 0."""
    index = int(name.split(".")[1])
    number = sum(start <= index for start in _SLICES[net])
    slices = any(key.startswith("net.slices.") for key in shapes)
    return name.replace("features.", f"net.slices.{number - 1}." if slices else f"net.slice{number}.", 1)


def _unsliced(name: str) -> str:
    return re.sub(r"^net\.slice(s\.)?\d\.", "features.", name)


def our_name(name: str) -> str:
    """Return "lin0.model.1.weight", ... for the heads and torchvision's "features.0.weight", ... for the backbone."""
    return re.sub(r"^(lin\d\.model)\.0\.", r"\1.1.", _unsliced(name))


FAMILY = Family("lpips", recognise, our_name=our_name,
                landmarks=("lin0.model.1.weight", "net.slice1.0.weight", "features.0.weight"),
                next_step="jittor_ipl.weights.features.load_lpips([heads, backbone]) gives the distance")
