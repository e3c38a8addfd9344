"""StyleGAN2 generators under rosinality's names, which are ours: rosinality, IPL, StyleGAN-NADA and their descendants.

PaddleGAN uses the same names with the linear layers' weights transposed, and without the blur filters.
"""
from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.models.stylegan2.config import (
    LATENT_AVG,
    GeneratorConfig,
    blur_kernel,
    check_size,
    noise_sizes,
    resolutions,
)
from jittor_ipl.weights.families.family import Config, Hints, Layout, Shapes, Tensors
from jittor_ipl.weights.families.schema import Schema, count, fill, solve
from jittor_ipl.weights.families.stylegan2.relatives import refuse, refuse_conditional, refuse_unlike

_CONV = r"(conv1|convs\.\d+)\.(conv\.(weight|modulation\.(weight|bias)|blur\.kernel)|noise\.weight|activate\.bias)"
_RGB = r"(to_rgb1|to_rgbs\.\d+)\.(bias|upsample\.kernel|conv\.(weight|modulation\.(weight|bias)))"
_NAME = re.compile(rf"style\.\d+\.(weight|bias)|input\.input|{_CONV}|{_RGB}|noises\.noise_\d+|{LATENT_AVG}")
# With all of these it is a generator, whatever else lies among its tensors.
_CORE = ("input.input", "conv1.conv.weight", "to_rgb1.conv.weight", "convs.0.conv.weight", "to_rgbs.0.conv.weight")
_BLUR = re.compile(r"convs\.\d+\.conv\.blur\.kernel").fullmatch
LANDMARKS = ("input.input", "conv1.conv.weight", "to_rgb1.conv.weight", "to_rgb1.bias", "convs.0.conv.weight",
             "convs.0.conv.blur.kernel", "to_rgbs.0.upsample.kernel")
CONSTANT = r".*\.(blur|upsample)\.kernel"      # the same in every generator: added where a file lacks them


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
    return {f"noises.noise_{i}": (1, 1, r, r) for i, r in enumerate(noise_sizes(size))}


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
    levels = min(max((count(known, r"convs\.(\d+)\.") + 1) // 2, count(known, r"to_rgbs\.(\d+)\."), 1), 17)
    size = check_size(4 << levels)
    n_mlp = min(max(count(known, r"style\.(\d+)\.") - 1, 0), 16) or 8
    names = schema(size, n_mlp)
    paddle = _is_paddle(shapes)
    if paddle:
        names = {name: dims[::-1] if _is_linear(name) else dims for name, dims in names.items()
                 if not name.endswith("blur.kernel")}
    if not any(name.startswith("noises.") for name in shapes):      # the first rosinality checkpoints
        names = {name: dims for name, dims in names.items() if not name.startswith("noises.")}
    numbers = solve(names, shapes)
    _refuse_unlike(shapes, numbers["w"], paddle)
    expected = fill(names, numbers)
    centre = shapes.get(LATENT_AVG, hints.extras.get(LATENT_AVG))
    if centre is not None:          # as found when it is one of the known forms: a w, a row, one row a layer
        known_forms = ((1, numbers["w"]), (2 * len(resolutions(size)), numbers["w"]))
        expected[LATENT_AVG] = centre if centre in known_forms else (numbers["w"],)
    config = base_config(size, n_mlp, numbers, **_stored(hints, size, numbers["w"]))
    dialect = "paddlegan" if paddle else "rosinality"
    return Layout("stylegan2", dialect, config, expected, (CONSTANT,), extras=(LATENT_AVG,))


def base_config(size: int, n_mlp: int, numbers: Mapping[str, int], **unseen: float | None) -> dict[str, Any]:
    """Return the saved configuration of a generator: its solved unknowns, and what no shape tells."""
    channels = {r: numbers[f"c{r}"] for r in resolutions(size)}
    return GeneratorConfig(size, numbers["w"], n_mlp, channels, **unseen).to_json()


def _refuse_unlike(shapes: Shapes, w: int, paddle: bool) -> None:
    """Raise UserError for networks with a generator's names that ours cannot be."""
    refuse_conditional(shapes)
    first = shapes.get("style.1.weight", ())
    out, z = (first[::-1] if paddle else first) if len(first) == 2 else (w, w)
    rgb = {shape[1] for name, shape in shapes.items() if name.startswith("to_rgb") and name.endswith(".bias")
           and len(shape) == 4}
    refuse_unlike(z if out == w else w, w, w, rgb.pop() if len(rgb) == 1 else 3)
    start = shapes.get("input.input", ())[2:]
    if len(start) == 2 and start[0] != start[1] and shapes.get("noises.noise_0", start)[-2:] == start:
        refuse(f"a generator whose pictures are no squares (it starts from {start[0]} x {start[1]} places)")


def _is_paddle(shapes: Shapes) -> bool:
    """Tell PaddleGAN's [in, out] matrices from [out, in]; square ones everywhere leave the missing blur filters."""
    votes = 0
    for name, shape in shapes.items():
        bias = shapes.get(name.removesuffix("weight") + "bias")
        if name.endswith(".modulation.weight") and len(shape) == 2 and shape[0] != shape[1] and bias:
            votes += 1 if shape[1] == bias[0] else -1
    if votes:
        return votes > 0
    return any(name.endswith(".upsample.kernel") for name in shapes) and not any(map(_BLUR, shapes))


def _is_linear(name: str) -> bool:
    return name.endswith(".modulation.weight") or name.startswith("style.") and name.endswith(".weight")


def _stored(hints: Hints, size: int, width: int) -> dict[str, Any]:
    """Return what shapes cannot tell (lr_mlp, conv_clamp) from the config beside the tensors; the rest is checked."""
    config = hints.config or hints.stored
    for key, inferred in (("size", size), ("style_dim", width)):
        if config.get(key, inferred) != inferred:
            raise UserError(f"its config says {key} {str(config[key])[:20]}, its tensors say {inferred}")
    return {key: config[key] for key in ("lr_mlp", "conv_clamp") if config.get(key) is not None}


# ---- conversion ------------------------------------------------------------------------------------------------------

def convert(tensors: Tensors, layout: Layout) -> dict[str, np.ndarray]:
    """Return the tensors under our names: the same, PaddleGAN's matrices transposed, what is constant added."""
    turned = _is_linear if layout.dialect == "paddlegan" else lambda name: False
    return complete({name: array.T if turned(name) else array for name, array in tensors.items()}, layout.config)


def complete(tensors: Tensors, config: Config) -> dict[str, np.ndarray]:
    """Return our tensors in the network's order; filters and noise maps are added, `latent_avg` becomes one row."""
    order = schema(config["size"], config["n_mlp"])
    ours = {name: blur_kernel() for name in order if name.endswith(".kernel")} | dict(tensors)
    if "noises.noise_0" not in ours:
        ours |= stored_noise(config["size"])
    if LATENT_AVG in ours:
        ours[LATENT_AVG] = one_row(ours[LATENT_AVG])
    return {name: ours[name] for name in (*order, LATENT_AVG) if name in ours}


def one_row(latent_avg: np.ndarray) -> np.ndarray:
    """Return the centre of truncation as [style_dim]; UserError when the layers of a W+ centre differ."""
    rows = latent_avg.reshape(-1, latent_avg.shape[-1])
    if not np.array_equal(rows, np.broadcast_to(rows[:1], rows.shape), equal_nan=rows.dtype.kind in "fc"):
        raise UserError(f"{LATENT_AVG} {list(latent_avg.shape)} differs between layers; a centre of truncation of one "
                        "w is expected")
    return rows[0]


def faults(tensors: Tensors, layout: Layout) -> list[str]:
    """Return what is wrong with the values of a generator's file: a centre of truncation that is not one w."""
    try:
        if LATENT_AVG in tensors and layout.dialect in ("rosinality", "paddlegan"):
            one_row(tensors[LATENT_AVG])
    except UserError as error:
        return [str(error)]
    return []


def stored_noise(size: int) -> dict[str, np.ndarray]:
    """Return noise maps for a file without any: normal numbers of a fixed seed, so that "const" is always the same."""
    draw = np.random.Generator(np.random.Philox(0))
    return {name: draw.standard_normal(shape, np.float32) for name, shape in noise_schema(size).items()}
