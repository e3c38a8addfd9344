"""StyleGAN2 generators under rosinality's names, which are ours: rosinality, IPL, StyleGAN-NADA and what derives from them.

PaddleGAN uses the same names with the linear layers' weights transposed, and without the blur filters.
"""
from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.weights.families.family import Config, Hints, Layout, Shapes, Tensors
from jittor_ipl.weights.families.own_files import metadata_config
from jittor_ipl.weights.families.schema import Schema, fill, solve

LATENT_AVG = "latent_avg"
_CONV = r"(conv1|convs\.\d+)\.(conv\.(weight|modulation\.(weight|bias)|blur\.kernel)|noise\.weight|activate\.bias)"
_RGB = r"(to_rgb1|to_rgbs\.\d+)\.(bias|upsample\.kernel|conv\.(weight|modulation\.(weight|bias)))"
_NAME = re.compile(rf"style\.\d+\.(weight|bias)|input\.input|{_CONV}|{_RGB}|noises\.noise_\d+|{LATENT_AVG}")
# With all of these it is a generator, whatever else lies among its tensors.
_CORE = ("input.input", "conv1.conv.weight", "to_rgb1.conv.weight", "convs.0.conv.weight", "to_rgbs.0.conv.weight")
LANDMARKS = ("input.input", "conv1.conv.weight", "to_rgb1.conv.weight", "to_rgb1.bias", "convs.0.conv.weight",
             "convs.0.conv.blur.kernel", "to_rgbs.0.upsample.kernel")


def schema(size: int, n_mlp: int) -> Schema:
    """Return names and shapes of a generator for `size` px pictures; unknown are w and c4, c8, ... (channels)."""
    names: Schema = {f"style.{i}.{part}": dims for i in range(1, n_mlp + 1)
                     for part, dims in (("weight", ("w", "w")), ("bias", ("w",)))}
    names["input.input"] = (1, "c4", 4, 4)
    names |= _styled_conv("conv1", "c4", "c4") | _to_rgb("to_rgb1", "c4", upsample=False)
    levels = resolutions(size)[1:]
    for i, r in enumerate(levels):
        names |= _styled_conv(f"convs.{2 * i}", f"c{r // 2}", f"c{r}", upsample=True)
        names |= _styled_conv(f"convs.{2 * i + 1}", f"c{r}", f"c{r}")
    for i, r in enumerate(levels):
        names |= _to_rgb(f"to_rgbs.{i}", f"c{r}", upsample=True)
    return names | noise_schema(size)


def noise_schema(size: int) -> Schema:
    """Return names and shapes of the stored noise maps, one per styled convolution."""
    return {f"noises.noise_{i}": (1, 1, r, r) for i, r in enumerate([4] + [r for r in resolutions(size)[1:] for _ in (0, 1)])}


def resolutions(size: int) -> list[int]:
    """Return 4, 8, ..., size."""
    return [2**i for i in range(2, size.bit_length())]


def _styled_conv(name: str, c_in: str, c_out: str, upsample: bool = False) -> Schema:
    blur = {f"{name}.conv.blur.kernel": (4, 4)} if upsample else {}
    return {f"{name}.conv.weight": (1, c_out, c_in, 3, 3), **blur, f"{name}.conv.modulation.weight": (c_in, "w"),
            f"{name}.conv.modulation.bias": (c_in,), f"{name}.noise.weight": (1,), f"{name}.activate.bias": (c_out,)}


def _to_rgb(name: str, c_in: str, upsample: bool) -> Schema:
    kernel = {f"{name}.upsample.kernel": (4, 4)} if upsample else {}
    return {f"{name}.bias": (1, 3, 1, 1), **kernel, f"{name}.conv.weight": (1, 3, c_in, 1, 1),
            f"{name}.conv.modulation.weight": (c_in, "w"), f"{name}.conv.modulation.bias": (c_in,)}


# ---- recognition -----------------------------------------------------------------------------------------------------

def recognise(shapes: Shapes, hints: Hints) -> Layout | None:
    """Return the layout of a generator under rosinality's names, PaddleGAN's included; None for anything else.

    Raises UserError for a size that no generator here has, and for metadata that contradicts the shapes.
    """
    known = {name: shape for name, shape in shapes.items() if _NAME.fullmatch(name)}
    foreign = 2 * len(known) < len(shapes) and not all(name in shapes for name in _CORE)
    if foreign or not any(name.startswith(("conv1.", "convs.", "to_rgb")) for name in known):
        return None
    size, n_mlp = _size(known), max((int(m[1]) for m in _matches(r"style\.(\d+)\.", known)), default=8)
    names = schema(size, n_mlp)
    paddle = _is_paddle(shapes)
    if paddle:
        names = {name: _transposed(name, dims) for name, dims in names.items() if not name.endswith("blur.kernel")}
    if not any(name.startswith("noises.") for name in shapes):      # the first rosinality checkpoints
        names = {name: dims for name, dims in names.items() if not name.startswith("noises.")}
    numbers = solve(names, shapes)
    expected = fill(names, numbers)
    centre = shapes.get(LATENT_AVG, hints.extras.get(LATENT_AVG))
    if centre is not None:
        expected[LATENT_AVG] = _latent_avg_shape(centre, size, numbers["w"])
    config = base_config(size, n_mlp, numbers) | _stored(hints, size, numbers["w"])
    return Layout("stylegan2", "paddlegan" if paddle else "rosinality", config, expected,
                  (r"convs\.\d+\.conv\.blur\.kernel",) if paddle else (), extras=(LATENT_AVG,))


def base_config(size: int, n_mlp: int, numbers: Mapping[str, int]) -> dict[str, Any]:
    """Return the constructor's numbers of a generator whose unknowns are solved."""
    channels = {str(r): numbers[f"c{r}"] for r in resolutions(size)}
    return {"size": size, "style_dim": numbers["w"], "n_mlp": n_mlp, "channels": channels, "lr_mlp": 0.01}


def checked_size(size: int) -> int:
    """Return `size` when a generator of that size can be built here; UserError otherwise."""
    if not 8 <= size <= 1024 or size & (size - 1):
        raise UserError(f"a StyleGAN2 generator for {size} px pictures; 8 to 1024 px (powers of two) are supported")
    return size


def _size(shapes: Shapes) -> int:
    levels = [int(m[1]) // 2 for m in _matches(r"convs\.(\d+)\.", shapes)] + [int(m[1]) for m in _matches(r"to_rgbs\.(\d+)\.", shapes)]
    level = max(levels, default=0)
    return checked_size(8 << level if level < 16 else 8 << 16)


def _matches(pattern: str, shapes: Shapes) -> list[re.Match[str]]:
    return [match for match in (re.match(pattern, name) for name in shapes) if match and len(match[1]) < 6]


def _is_paddle(shapes: Shapes) -> bool:
    """Tell PaddleGAN's [in, out] matrices from [out, in]; square ones everywhere leave the missing blur filters."""
    votes = 0
    for name, shape in shapes.items():
        bias = shapes.get(name.removesuffix("weight") + "bias")
        if name.endswith(".modulation.weight") and len(shape) == 2 and shape[0] != shape[1] and bias:
            votes += 1 if shape[1] == bias[0] else -1
    if votes:
        return votes > 0
    return "convs.1.conv.weight" in shapes and not any(name.endswith(".blur.kernel") for name in shapes)


def _transposed(name: str, dims: tuple) -> tuple:
    return dims[::-1] if _is_linear(name) else dims


def _is_linear(name: str) -> bool:
    return name.endswith(".modulation.weight") or name.startswith("style.") and name.endswith(".weight")


def _latent_avg_shape(found: tuple[int, ...], size: int, width: int) -> tuple[int, ...]:
    """Return the shape that the centre of truncation must have: as found when it is one of the known forms."""
    n_latent = 2 * len(resolutions(size))
    return found if found in ((1, width), (n_latent, width)) else (width,)


def _stored(hints: Hints, size: int, width: int) -> dict[str, Any]:
    """Return what shapes cannot tell (lr_mlp, conv_clamp) from the config beside the tensors, after a check of the rest."""
    config = hints.config or metadata_config(hints)
    for key, inferred in (("size", size), ("style_dim", width)):
        if config.get(key, inferred) != inferred:
            raise UserError(f"its config says {key} {str(config[key])[:20]}, its tensors say {inferred}")
    stored = {}
    for key in ("lr_mlp", "conv_clamp"):
        if config.get(key) is not None:
            stored[key] = checked_positive(config[key], key)
    return stored


def checked_positive(value: Any, key: str) -> float:
    """Return a stored number as a float; UserError unless it is positive and sane."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e6:
        raise UserError(f"the stored {key} is not a positive number")
    return float(value)


# ---- conversion ------------------------------------------------------------------------------------------------------

def convert(tensors: Tensors, layout: Layout) -> dict[str, np.ndarray]:
    """Return the tensors under our names: the same, PaddleGAN's matrices transposed, what is constant added."""
    linear = _is_linear if layout.dialect == "paddlegan" else lambda name: False
    ours = {name: array.T if linear(name) else array for name, array in tensors.items()}
    if layout.dialect == "paddlegan":
        ours |= {name: blur_kernel() for name, dims in schema(layout.config["size"], 0).items() if name.endswith("blur.kernel")}
    return complete(ours, layout.config)


def complete(tensors: Tensors, config: Config) -> dict[str, np.ndarray]:
    """Return our tensors in the network's order, with noise maps where the file has none and `latent_avg` as one row."""
    size = config["size"]
    order = schema(size, config["n_mlp"])
    ours = dict(tensors)
    if "noises.noise_0" not in ours:
        ours |= stored_noise(size)
    if LATENT_AVG in ours:
        ours[LATENT_AVG] = one_row(ours[LATENT_AVG])
    return {name: ours[name] for name in (*order, LATENT_AVG) if name in ours}


def one_row(latent_avg: np.ndarray) -> np.ndarray:
    """Return the centre of truncation as [style_dim]; UserError when the layers of a W+ centre differ."""
    rows = latent_avg.reshape(-1, latent_avg.shape[-1])
    if not np.array_equal(rows, np.broadcast_to(rows[:1], rows.shape), equal_nan=rows.dtype.kind in "fc"):
        raise UserError(f"{LATENT_AVG} {list(latent_avg.shape)} differs between layers; a centre of truncation of one w is expected")
    return rows[0]


def faults(tensors: Tensors) -> list[str]:
    """Return what is wrong with the values of a generator's file: a centre of truncation that is not one w."""
    try:
        if LATENT_AVG in tensors:
            one_row(tensors[LATENT_AVG])
    except UserError as error:
        return [str(error)]
    return []


def stored_noise(size: int) -> dict[str, np.ndarray]:
    """Return noise maps for a file without any: normal numbers of a fixed seed, so that "const" noise is always the same."""
    draw = np.random.Generator(np.random.Philox(0))
    return {name: draw.standard_normal(shape, np.float32) for name, shape in noise_schema(size).items()}


def blur_kernel() -> np.ndarray:
    """Return the [1, 3, 3, 1] filter as [4, 4] whose sum is 4, the gain of upsampling by two."""
    return np.outer((1, 3, 3, 1), (1, 3, 3, 1)).astype(np.float32) / 16


def export_rosinality(tensors: Tensors, config: Config) -> dict[str, np.ndarray]:
    """Return what rosinality's strict `load_state_dict` wants, which is what we hold; `latent_avg` stays beside it."""
    return dict(tensors)
