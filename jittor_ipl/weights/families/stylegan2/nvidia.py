"""StyleGAN2 generators of NVIDIA's pickles, PyTorch (stylegan2-ada-pytorch, stylegan3) and TensorFlow (stylegan2).

The arithmetic is that of our generator up to the order of axes. What differs, name by name:

* a ToRGB layer's run-time gain 1/sqrt(in) and a convolution's are the same in all; a 3x3 convolution's gain cancels in
  the demodulation and is absent in the PyTorch files;
* the bias of a modulation is stored as it is used (about 1) in PyTorch files, less 1 in TensorFlow files;
* TensorFlow stores [kh, kw, in, out] and [in, out]; kernels of its upsampling convolutions are turned by 180 degrees;
* resample filters have sum 1, ours have the gain 4 of upsampling in them;
* `w_avg` / `dlatent_avg` is our `latent_avg`, the centre of truncation.
"""
from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from jittor_ipl.models.stylegan2.config import LATENT_AVG, check_size, noise_sizes, resolutions
from jittor_ipl.weights.families.family import Hints, Layout, Shapes, Tensors
from jittor_ipl.weights.families.schema import Schema, fill, solve
from jittor_ipl.weights.families.stylegan2.relatives import refuse, refuse_conditional, refuse_unlike
from jittor_ipl.weights.families.stylegan2.rosinality import base_config, complete

LANDMARKS = ("mapping.w_avg", "synthesis.b4.const", "synthesis.b4.conv1.weight", "synthesis.b4.torgb.weight",
             "dlatent_avg", "synthesis/4x4/Const/const", "synthesis/4x4/Conv/weight", "mapping/Dense0/weight")
_LIKE_ADA = re.compile(r"synthesis\.b\d+\.\w+(\.\w+)*|mapping\.(w_avg|(fc\d+|embed)\.(weight|bias))")
_LIKE_TF = re.compile(r"synthesis/(\d+x\d+/\w+/\w+|noise\d+|ToRGB_lod\d+/\w+)|mapping/\w+/(weight|bias)|dlatent_avg|"
                      r"(synthesis/)?lod")


# ---- PyTorch ---------------------------------------------------------------------------------------------------------

def recognise_ada(shapes: Shapes, hints: Hints) -> Layout | None:
    """Return the layout of a generator of stylegan2-ada-pytorch or stylegan3; None for anything else.

    Raises UserError, with the next step, for networks that our generator cannot be: alias-free (StyleGAN3),
    StyleGAN-XL, class-conditional, other architectures and sizes.
    """
    _refuse_alias_free(shapes, hints.values)
    if not _mostly(_LIKE_ADA, shapes):
        return None
    facts = hints.values
    refuse_conditional(shapes, facts.get("c_dim", 0))
    size = check_size(max(_numbers(shapes, r"synthesis\.b(\d{1,5})\."), default=4))
    for key in [k for k in facts if k.endswith(".architecture")]:
        _require(facts[key] == "skip", f"an architecture {facts[key]!r} network; only the skip architecture is usable")
    _refuse_activations(value for key, value in facts.items() if re.fullmatch(r".*(fc\d+|conv\d)\.activation", key))
    n_mlp = max(_numbers(shapes, r"mapping\.fc(\d{1,3})\."), default=7) + 1
    ends = {name.rpartition(".")[2] for name in shapes}
    names = _ada_schema(size, n_mlp, ends & {"noise_strength", "noise_const"})
    gain = facts.get("mapping.fc0.bias_gain", 0.01)
    config = base_config(size, n_mlp, numbers := _solved(names, shapes), lr_mlp=gain, conv_clamp=_clamp(facts))
    return Layout("stylegan2", "nvidia-ada", config, fill(names, numbers), (r"mapping\.w_avg", r".*\.resample_filter"),
                  extras=(LATENT_AVG,))


def _ada_schema(size: int, n_mlp: int, noise: Collection[str]) -> Schema:
    names: Schema = {"synthesis.b4.const": ("c4", 4, 4)}
    for r in resolutions(size):
        block, c_in, c_out = f"synthesis.b{r}", f"c{r // 2}", f"c{r}"
        names[f"{block}.resample_filter"] = (4, 4)
        for layer, first in (("conv0", c_in), ("conv1", c_out)) if r > 4 else (("conv1", c_out),):
            names |= {f"{block}.{layer}.weight": (c_out, first, 3, 3), f"{block}.{layer}.bias": (c_out,),
                      f"{block}.{layer}.affine.weight": (first, "w"), f"{block}.{layer}.affine.bias": (first,),
                      f"{block}.{layer}.resample_filter": (4, 4)}
            sizes = {"noise_strength": (), "noise_const": (r, r)}
            names |= {f"{block}.{layer}.{part}": dims for part, dims in sizes.items() if part in noise}
        names |= {f"{block}.torgb.weight": ("rgb", c_out, 1, 1), f"{block}.torgb.bias": ("rgb",),
                  f"{block}.torgb.affine.weight": (c_out, "w"), f"{block}.torgb.affine.bias": (c_out,)}
    for i in range(n_mlp):
        out, into = "w" if i == n_mlp - 1 else "h", "z" if i == 0 else "h"
        names |= {f"mapping.fc{i}.weight": (out, into), f"mapping.fc{i}.bias": (out,)}
    return names | {"mapping.w_avg": ("w",)}


def convert_ada(tensors: Tensors, layout: Layout) -> dict[str, np.ndarray]:
    """Return the tensors of a PyTorch pickle under our names."""
    config = layout.config
    ours = {"input.input": tensors["synthesis.b4.const"][None]}
    ours |= _ada_conv(tensors, "synthesis.b4.conv1", "conv1") | _ada_rgb(tensors, "synthesis.b4", "to_rgb1")
    for i, r in enumerate(resolutions(config["size"])[1:]):
        block = f"synthesis.b{r}"
        for k in (0, 1):
            ours |= _ada_conv(tensors, f"{block}.conv{k}", f"convs.{2 * i + k}")
        ours |= _ada_rgb(tensors, block, f"to_rgbs.{i}")
        for layer, kernel in ((f"{block}.conv0", f"convs.{2 * i}.conv.blur"), (block, f"to_rgbs.{i}.upsample")):
            if f"{layer}.resample_filter" in tensors:
                ours[f"{kernel}.kernel"] = 4 * tensors[f"{layer}.resample_filter"]
    for i in range(config["n_mlp"]):
        ours |= {f"style.{i + 1}.{part}": tensors[f"mapping.fc{i}.{part}"] for part in ("weight", "bias")}
    convs = [f"synthesis.b{r}.conv{k}" for r in resolutions(config["size"]) for k in ((0, 1) if r > 4 else (1,))]
    if f"{convs[0]}.noise_const" in tensors:
        ours |= {f"noises.noise_{i}": tensors[f"{conv}.noise_const"][None, None] for i, conv in enumerate(convs)}
    return complete(ours | _centre(tensors, "mapping.w_avg"), config)


def _ada_conv(tensors: Tensors, theirs: str, ours: str) -> dict[str, np.ndarray]:
    strength = tensors.get(f"{theirs}.noise_strength", np.zeros(1, np.float32))
    return {f"{ours}.conv.weight": tensors[f"{theirs}.weight"][None],
            f"{ours}.conv.modulation.weight": tensors[f"{theirs}.affine.weight"],
            f"{ours}.conv.modulation.bias": tensors[f"{theirs}.affine.bias"],
            f"{ours}.noise.weight": strength.reshape(1), f"{ours}.activate.bias": tensors[f"{theirs}.bias"]}


def _ada_rgb(tensors: Tensors, block: str, ours: str) -> dict[str, np.ndarray]:
    return {f"{ours}.bias": tensors[f"{block}.torgb.bias"].reshape(1, 3, 1, 1),
            f"{ours}.conv.weight": tensors[f"{block}.torgb.weight"][None],
            f"{ours}.conv.modulation.weight": tensors[f"{block}.torgb.affine.weight"],
            f"{ours}.conv.modulation.bias": tensors[f"{block}.torgb.affine.bias"]}


# ---- TensorFlow ------------------------------------------------------------------------------------------------------

def recognise_tf(shapes: Shapes, hints: Hints) -> Layout | None:
    """Return the layout of a generator of stylegan2 or stylegan2-ada for TensorFlow (configs E and F); None otherwise.

    Raises UserError, with the next step, for networks that our generator cannot be.
    """
    if not _mostly(_LIKE_TF, shapes):
        return None
    facts = hints.values
    _require(not any("ToRGB_lod" in name for name in shapes), "a progressively grown network (configs A to D)")
    _require(facts.get("synthesis/architecture", "skip") == "skip",
             f"an architecture {facts.get('synthesis/architecture')!r} network; only the skip architecture can be used")
    refuse_conditional(shapes, facts.get("mapping/label_size", facts.get("label_size", 0)))
    _refuse_activations(facts.get(key, "lrelu") for key in ("synthesis/nonlinearity", "mapping/mapping_nonlinearity"))
    _require(facts.get("mapping/normalize_latents", True), "a network that does not normalise its latents")
    kernel = facts.get("synthesis/resample_kernel", [1, 3, 3, 1])
    _require(kernel is not None and list(kernel) == [1, 3, 3, 1], f"a network with the resample kernel {kernel}")
    size = check_size(max(_numbers(shapes, r"synthesis/(\d{1,5})x\d+/"), default=4))
    n_mlp = max(_numbers(shapes, r"mapping/Dense(\d{1,3})/"), default=7) + 1
    names = _tf_schema(size, n_mlp, strengths=any(name.endswith("noise_strength") for name in shapes),
                       maps=any(name.startswith("synthesis/noise") for name in shapes))
    gain, clamp = facts.get("mapping/mapping_lrmul", 0.01), _clamp({"conv_clamp": facts.get("synthesis/conv_clamp")})
    config = base_config(size, n_mlp, numbers := _solved(names, shapes), lr_mlp=gain, conv_clamp=clamp)
    return Layout("stylegan2", "nvidia-tf", config, fill(names, numbers), (r"(synthesis/)?lod", "dlatent_avg"),
                  extras=(LATENT_AVG,))


def _tf_schema(size: int, n_mlp: int, strengths: bool, maps: bool) -> Schema:
    names: Schema = {"synthesis/4x4/Const/const": (1, "c4", 4, 4), "dlatent_avg": ("w",)}
    for scope, _, c_in, c_out, k in _tf_layers(size):
        names |= {f"{scope}/weight": (k, k, c_in, c_out), f"{scope}/bias": (c_out,),
                  f"{scope}/mod_weight": ("w", c_in), f"{scope}/mod_bias": (c_in,)}
        if strengths and k == 3:
            names[f"{scope}/noise_strength"] = ()
    if maps:
        names |= {f"synthesis/noise{i}": (1, 1, r, r) for i, r in enumerate(noise_sizes(size))}
    for i in range(n_mlp):
        out, into = "w" if i == n_mlp - 1 else "h", "z" if i == 0 else "h"
        names |= {f"mapping/Dense{i}/weight": (into, out), f"mapping/Dense{i}/bias": (out,)}
    return names


def _tf_layers(size: int) -> list[tuple[str, str, str, str, int]]:
    """Return (TensorFlow scope, our name, channels in, channels out, kernel) of every modulated convolution."""
    layers = [("synthesis/4x4/Conv", "conv1", "c4", "c4", 3), ("synthesis/4x4/ToRGB", "to_rgb1", "c4", "rgb", 1)]
    for i, r in enumerate(resolutions(size)[1:]):
        scope, c_in, c_out = f"synthesis/{r}x{r}", f"c{r // 2}", f"c{r}"
        layers += [(f"{scope}/Conv0_up", f"convs.{2 * i}", c_in, c_out, 3),
                   (f"{scope}/Conv1", f"convs.{2 * i + 1}", c_out, c_out, 3),
                   (f"{scope}/ToRGB", f"to_rgbs.{i}", c_out, "rgb", 1)]
    return layers


def convert_tf(tensors: Tensors, layout: Layout) -> dict[str, np.ndarray]:
    """Return the tensors of a TensorFlow pickle under our names."""
    config = layout.config
    ours = {"input.input": tensors["synthesis/4x4/Const/const"]}
    for scope, name, _, _, k in _tf_layers(config["size"]):
        weight = tensors[f"{scope}/weight"]
        weight = weight[::-1, ::-1] if scope.endswith("_up") else weight
        ours |= {f"{name}.conv.weight": np.ascontiguousarray(weight.transpose(3, 2, 0, 1))[None],
                 f"{name}.conv.modulation.weight": np.ascontiguousarray(tensors[f"{scope}/mod_weight"].T),
                 f"{name}.conv.modulation.bias": _plus_one(tensors[f"{scope}/mod_bias"])}
        if k == 1:
            ours[f"{name}.bias"] = tensors[f"{scope}/bias"].reshape(1, 3, 1, 1)
        else:
            strength = tensors.get(f"{scope}/noise_strength", np.zeros(1, np.float32))
            ours |= {f"{name}.activate.bias": tensors[f"{scope}/bias"], f"{name}.noise.weight": strength.reshape(1)}
    for i in range(config["n_mlp"]):
        ours |= {f"style.{i + 1}.weight": np.ascontiguousarray(tensors[f"mapping/Dense{i}/weight"].T),
                 f"style.{i + 1}.bias": tensors[f"mapping/Dense{i}/bias"]}
    ours |= {f"noises.{name.split('/')[1].replace('noise', 'noise_')}": array for name, array in tensors.items()
             if name.startswith("synthesis/noise")}
    return complete(ours | _centre(tensors, "dlatent_avg"), config)


def _plus_one(bias: np.ndarray) -> np.ndarray:
    return np.add(bias, 1, dtype=np.promote_types(bias.dtype, np.float32))     # float16 would round


# ---- both ------------------------------------------------------------------------------------------------------------

def _centre(tensors: Tensors, name: str) -> dict[str, np.ndarray]:
    return {LATENT_AVG: tensors[name]} if name in tensors else {}


def _mostly(pattern: re.Pattern[str], shapes: Shapes) -> bool:
    known = sum(pattern.fullmatch(name) is not None for name in shapes)
    return known > 0 and 2 * known >= len(shapes) and any(name.startswith("synthesis") for name in shapes)


def _numbers(names: Iterable[str], pattern: str) -> list[int]:
    return [int(match[1]) for name in names if (match := re.match(pattern, name))]


def _solved(names: Schema, shapes: Shapes) -> dict[str, int]:
    """Return the unknowns; UserError for networks that ours cannot be (see `refuse_unlike`)."""
    numbers = {"h": 0, "z": 0} | solve(names, shapes)
    numbers = {key: value or numbers["w"] for key, value in numbers.items()}
    refuse_unlike(numbers["z"], numbers["h"], numbers["w"], numbers["rgb"])
    return numbers


def _clamp(facts: Mapping[str, Any]) -> float | None:
    """Return the bound of all convolutions' outputs, None when nothing is clamped."""
    bounds = {value for key, value in facts.items() if key.split(".")[-1] == "conv_clamp"
              and isinstance(value, (int, float, type(None)))}
    found = ", ".join(map(str, sorted(bounds, key=str)))
    _require(len(bounds) < 2, f"a network whose layers clamp at different values ({found})")
    return bounds.pop() if bounds else None


def _refuse_alias_free(shapes: Shapes, facts: Mapping[str, Any]) -> None:
    if not any(name.startswith("synthesis.input.") or re.match(r"synthesis\.L\d+_\d+_\d+\.", name) for name in shapes):
        return
    large = facts.get("class_name") == "SuperresGenerator" or len(shapes.get("mapping.w_avg", ())) == 2
    refuse(f"a {'StyleGAN-XL' if large else 'StyleGAN3 (alias-free)'} generator, which cannot be adapted here")


def _refuse_activations(names: Any) -> None:
    for name in names:
        _require(name == "lrelu", f"a network with the activation {str(name)[:20]!r}; only lrelu can be used")


def _require(holds: bool, what: str) -> None:
    if not holds:
        refuse(what)
