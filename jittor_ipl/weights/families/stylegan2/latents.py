"""Latents, styles and global directions: files that hold numbers of a generator instead of a network.

W and W+ codes (`.pt`, `.npy`, PaddleGAN's dst.npy), StyleCLIP's `S`, `S_mean_std` and `fs3.npy` (Patashnik et al. 2021,
section 6), PaddleGAN's S-*.pdparams, *-stats.pdparams and *-global-directions.pdparams. The tensors of such files have
no names, only positions (`weights.nested`); which kind it is follows from the shapes. Layers of S count from coarse to
fine (`style_space`).
"""
from __future__ import annotations

import math
import re

import numpy as np

from jittor_ipl.models.stylegan2.style_space import fits, size_of, style_space
from jittor_ipl.weights.containers.nested import BARE
from jittor_ipl.weights.families.family import Family, Hints, Layout, Shapes, Tensors
from jittor_ipl.weights.families.schema import count

W_PLUS = tuple(range(4, 19, 2))         # layers of a W+ code: 18 for 1024 px
CLIP_DIMS = (512, 640, 768, 1024)
_NAMES = (BARE, "latents", "latent", "w", "w_plus")     # "w" is that of NVIDIA's projected_w.npz
_MEANS = (("mean.", "std."), ("0.", "1."))      # PaddleGAN's and our names, StyleCLIP's positions


# ---- W and W+, and S ------------------------------------------------------------------------------------------------

def recognise_latents(shapes: Shapes, hints: Hints) -> Layout | None:
    """Return the layout of a file of W, W+ or S codes."""
    if len(shapes) == 1 and next(iter(shapes)) in _NAMES:
        return None if _named_directions(shapes, hints) else _one_array(shapes)
    heads = {re.sub(r"\d+$", "", name) for name in shapes}
    prefix = heads.pop() if len(heads) == 1 and all(name[-1:].isdigit() for name in shapes) else None
    if prefix not in ("S.", "1.", ""):
        return None
    if not prefix and all(_is_w_plus(shape) for shape in shapes.values()):
        layers, width = next(iter(shapes.values()))[-2:]         # of the first, and so of all
        expected = {name: (*shape[:-2], layers, width) for name, shape in shapes.items()}
        return Layout("latents", "list", {"space": "W+", "layers": layers}, expected)
    return _styles(shapes, prefix)


def _one_array(shapes: Shapes) -> Layout | None:
    (name, shape), = shapes.items()
    if _is_w_plus(shape):
        return Layout("latents", "array", {"space": "W+", "layers": shape[-2]}, {name: shape})
    if len(shape) in (1, 2) and shape[-1] >= 8 and not (shape[-1] in CLIP_DIMS and fits(shape[0])):
        return Layout("latents", "array", {"space": "W", "style_dim": shape[-1]}, {name: shape})
    return None


def _is_w_plus(shape: tuple[int, ...]) -> bool:
    """Tell whether an array is [N, layers, style_dim], or one such code without N (only of 8 layers or more)."""
    layers = W_PLUS if len(shape) == 3 else W_PLUS[2:]
    return len(shape) in (2, 3) and shape[-2] in layers and shape[-1] >= 8


def _styles(shapes: Shapes, prefix: str) -> Layout | None:
    """Return the layout of a list of styles, each [N, C] or, from the PyTorch port, [N, 1, C, 1, 1]."""
    channels = {int(name[len(prefix):]): _channels(shape) for name, shape in shapes.items()}
    if not all(channels.values()):
        return None
    number = max(channels) + 1
    size = size_of(number)
    if size is None:
        return None
    per_resolution = _infer(channels, size)
    first = next(iter(shapes.values()))
    expected = {f"{prefix}{i}": (first[0], layer.channels) if len(first) == 2 else (first[0], 1, layer.channels, 1, 1)
                for i, layer in enumerate(style_space(size, channels=per_resolution))}
    config = {"space": "S", "size": size, "channels": {str(r): n for r, n in per_resolution.items()}}
    return Layout("latents", "ours" if prefix == "S." else "styles", config, expected)


def _channels(shape: tuple[int, ...]) -> int:
    """Return the channels of a style [N, C] or [N, 1, C, 1, 1], 0 for anything else."""
    if len(shape) == 2:
        return shape[1]
    return shape[2] if len(shape) == 5 and shape[1] == shape[3] == shape[4] == 1 else 0


def _infer(channels: dict[int, int], size: int) -> dict[int, int]:
    """Return channels per resolution; a style that is missing is taken from its ToRGB, or guessed as config-f's."""
    found = style_space(size)
    wanted = {layer.resolution: layer.channels for layer in found}
    for index, layer in enumerate(found):
        if layer.rgb:
            wanted[layer.resolution] = channels.get(index - 1, channels.get(index, layer.channels))
    return wanted


def convert_latents(tensors: Tensors, layout: Layout) -> dict[str, np.ndarray]:
    """Return W [N, style_dim] or W+ [N, layers, style_dim] as "latents", S as "S.0", ... of [N, C] each."""
    arrays = [tensors[name] for name in layout.expected]
    if layout.config["space"] == "S":
        return {f"S.{i}": array.reshape(len(array), -1) for i, array in enumerate(arrays)}
    rank = 2 if layout.config["space"] == "W" else 3
    return {"latents": np.concatenate([array[None] if array.ndim < rank else array for array in arrays])}


# ---- Global directions -----------------------------------------------------------------------------------------------

def recognise_directions(shapes: Shapes, hints: Hints) -> Layout | None:
    """Return the layout of global directions [rows, CLIP width]; the rows must be those of a subset of the styles.

    A file of directions by its name with impossible rows is still recognised; the layout expects 6048, and says so.
    """
    if len(shapes) != 1 or next(iter(shapes)) not in (BARE, "direction"):
        return None
    (name, shape), = shapes.items()
    named = _named_directions(shapes, hints) or hints.metadata.get("kind") == "style-directions"
    if len(shape) != 2 or not (named or shape[1] in CLIP_DIMS and (name == "direction" or fits(shape[0]))):
        return None
    found = fits(shape[0])
    if not found and name == "direction" and hints.metadata:        # measured by this project on a generator of its own
        found = {"convolutions": []}
    rows = shape[0] if found else 6048
    return Layout("style-directions", "array", {"rows": rows, "embed_dim": shape[1], "fits": found or fits(rows)},
                  {name: (rows, shape[1])})


def _named_directions(shapes: Shapes, hints: Hints) -> bool:
    shape = next(iter(shapes.values()))
    return len(shape) == 2 and bool(re.search(r"(^|[^a-z])fs3?$|direction", hints.name.lower()))


# ---- Mean and deviation of S -----------------------------------------------------------------------------------------

def recognise_statistics(shapes: Shapes, hints: Hints) -> Layout | None:
    """Return the layout of the means and deviations of S: two lists of one vector per layer."""
    for mean, std in _MEANS:
        named = re.compile(rf"({re.escape(mean)}|{re.escape(std)})\d{{1,2}}").fullmatch
        if not shapes or not all(map(named, shapes)):
            continue
        if not all(len(shape) == 1 or math.prod(shape) == max(shape) for shape in shapes.values()):
            return None
        number = count(shapes, rf"(?:{re.escape(mean)}|{re.escape(std)})(\d+)")
        size = size_of(number)
        if size is None or not any(name.startswith(mean) for name in shapes):
            return None
        channels = {i: max(shapes[f"{mean}{i}"]) for i in range(number) if shapes.get(f"{mean}{i}")}
        per_resolution = _infer(channels, size)
        expected = {f"{part}{i}": (layer.channels,) for part in (mean, std)
                    for i, layer in enumerate(style_space(size, channels=per_resolution))}
        return Layout("style-statistics", "paddlegan" if mean == "mean." else "styleclip",
                      {"size": size, "channels": {str(r): n for r, n in per_resolution.items()}}, expected)
    return None


def statistics_name(name: str) -> str:
    """Return "mean.0", ... or "std.0", ...: one vector [C] per layer of S."""
    return next((ours + name.removeprefix(theirs) for ours, theirs in zip(*_MEANS) if name.startswith(theirs)), name)


FAMILIES = (
    Family("style-directions", recognise_directions, our_name=lambda name: "direction",
           next_step="convert writes it as \"direction\" [rows, CLIP width]"),
    Family("style-statistics", recognise_statistics, our_name=statistics_name,
           next_step="convert writes it as \"mean.0\", ..., \"std.0\", ..., one vector per style layer"),
    Family("latents", recognise_latents, convert_latents,
           next_step="convert writes it as \"latents\" (W, W+) or \"S.0\", ... (one array per style layer)"))
