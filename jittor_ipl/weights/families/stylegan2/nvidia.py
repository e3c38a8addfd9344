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
from typing import Any, NamedTuple

import numpy as np

from jittor_ipl.models.stylegan2.config import LATENT_AVG, check_size, noise_sizes, resolutions
from jittor_ipl.weights.families.family import Hints, Layout, Shapes, Tensors
from jittor_ipl.weights.families.schema import Schema, conv, fill, linear, solve
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
    names: Schema = {"synthesis.b4.const": ("c4", 4, 4), "mapping.w_avg": ("w",)}
    names |= {f"synthesis.b{r}.resample_filter": (4, 4) for r in resolutions(size)}
    for layer in _layers(size):
        name, c_in = layer.ada, layer.c_in
        names |= conv(name, layer.c_out, c_in, layer.kernel, bias=True) | linear(f"{name}.affine", c_in, "w")
        more = {"resample_filter": (4, 4), "noise_strength": (), "noise_const": (layer.size, layer.size)}
        names |= {f"{name}.{part}": dims for part, dims in more.items()
                  if layer.kernel == 3 and part in ("resample_filter", *noise)}
    for i in range(n_mlp):
        names |= linear(f"mapping.fc{i}", "w" if i == n_mlp - 1 else "h", "z" if i == 0 else "h")
    return names


def convert_ada(tensors: Tensors, layout: Layout) -> dict[str, np.ndarray]:
    """Return the tensors of a PyTorch pickle under our names."""
    config, layers = layout.config, _layers(layout.config["size"])
    ours = {"input.input": tensors["synthesis.b4.const"][None]}
    for name, theirs, _, size, _, _, kernel in layers:
        ours |= _layer(name, kernel, tensors[f"{theirs}.weight"], tensors[f"{theirs}.bias"],
                       tensors[f"{theirs}.affine.weight"], tensors[f"{theirs}.affine.bias"],
                       tensors.get(f"{theirs}.noise_strength"))
        # An upsampling convolution has its own filter, a ToRGB that of its block.
        filters = {"conv0": (theirs, "conv.blur"), "torgb": (f"synthesis.b{size}", "upsample")}
        holder, part = filters.get(theirs.rpartition(".")[2], ("", ""))
        if size > 4 and f"{holder}.resample_filter" in tensors:
            ours[f"{name}.{part}.kernel"] = 4 * tensors[f"{holder}.resample_filter"]
    for i in range(config["n_mlp"]):
        ours |= {f"style.{i + 1}.{part}": tensors[f"mapping.fc{i}.{part}"] for part in ("weight", "bias")}
    maps = [f"{layer.ada}.noise_const" for layer in layers if layer.kernel == 3]
    if maps[0] in tensors:
        ours |= {f"noises.noise_{i}": tensors[name][None, None] for i, name in enumerate(maps)}
    if "mapping.w_avg" in tensors:
        ours[LATENT_AVG] = tensors["mapping.w_avg"]
    return complete(ours, config)


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
    for _, _, scope, _, c_in, c_out, kernel in _layers(size):
        names |= {f"{scope}/weight": (kernel, kernel, c_in, c_out), f"{scope}/bias": (c_out,),
                  f"{scope}/mod_weight": ("w", c_in), f"{scope}/mod_bias": (c_in,)}
        if strengths and kernel == 3:
            names[f"{scope}/noise_strength"] = ()
    if maps:
        names |= {f"synthesis/noise{i}": (1, 1, r, r) for i, r in enumerate(noise_sizes(size))}
    for i in range(n_mlp):
        out, into = "w" if i == n_mlp - 1 else "h", "z" if i == 0 else "h"
        names |= {f"mapping/Dense{i}/weight": (into, out), f"mapping/Dense{i}/bias": (out,)}
    return names


def convert_tf(tensors: Tensors, layout: Layout) -> dict[str, np.ndarray]:
    """Return the tensors of a TensorFlow pickle under our names."""
    config = layout.config
    ours = {"input.input": tensors["synthesis/4x4/Const/const"]}
    for name, _, scope, _, _, _, kernel in _layers(config["size"]):
        shift = tensors[f"{scope}/mod_bias"]
        shift = np.add(shift, 1, dtype=np.promote_types(shift.dtype, np.float32))      # float16 would round
        weight = tensors[f"{scope}/weight"]
        weight = weight[::-1, ::-1] if scope.endswith("_up") else weight
        ours |= _layer(name, kernel, np.ascontiguousarray(weight.transpose(3, 2, 0, 1)), tensors[f"{scope}/bias"],
                       np.ascontiguousarray(tensors[f"{scope}/mod_weight"].T), shift,
                       tensors.get(f"{scope}/noise_strength"))
    for i in range(config["n_mlp"]):
        ours |= {f"style.{i + 1}.weight": np.ascontiguousarray(tensors[f"mapping/Dense{i}/weight"].T),
                 f"style.{i + 1}.bias": tensors[f"mapping/Dense{i}/bias"]}
    ours |= {f"noises.{name.split('/')[1].replace('noise', 'noise_')}": array for name, array in tensors.items()
             if name.startswith("synthesis/noise")}
    if "dlatent_avg" in tensors:
        ours[LATENT_AVG] = tensors["dlatent_avg"]
    return complete(ours, config)


# ---- both ------------------------------------------------------------------------------------------------------------

class _Layer(NamedTuple):
    """A modulated convolution: its names, the side of its pictures, its channels (unknowns of a schema) and kernel."""

    ours: str
    ada: str
    tf: str
    size: int
    c_in: str
    c_out: str
    kernel: int


def _layers(size: int) -> list[_Layer]:
    """Return every modulated convolution of a generator, from coarse to fine."""
    layers = []
    for i, r in enumerate(resolutions(size)):
        c_in, c_out, ada, tf = f"c{r // 2}", f"c{r}", f"synthesis.b{r}", f"synthesis/{r}x{r}"
        if i:
            layers.append(_Layer(f"convs.{2 * i - 2}", f"{ada}.conv0", f"{tf}/Conv0_up", r, c_in, c_out, 3))
        conv1, rgb, scope = (f"convs.{2 * i - 1}", f"to_rgbs.{i - 1}", "Conv1") if i else ("conv1", "to_rgb1", "Conv")
        layers.append(_Layer(conv1, f"{ada}.conv1", f"{tf}/{scope}", r, c_out, c_out, 3))
        layers.append(_Layer(rgb, f"{ada}.torgb", f"{tf}/ToRGB", r, c_out, "rgb", 1))
    return layers


def _layer(name: str, kernel: int, weight: np.ndarray, bias: np.ndarray, scale: np.ndarray, shift: np.ndarray,
           strength: np.ndarray | None) -> dict[str, np.ndarray]:
    """Return one modulated convolution under our names; weight [out, in, kernel, kernel], scale [in, w]."""
    noise = np.zeros(1, np.float32) if strength is None else strength.reshape(1)
    own = {"bias": bias.reshape(1, 3, 1, 1)} if kernel == 1 else {"noise.weight": noise, "activate.bias": bias}
    parts = {"conv.weight": weight[None], "conv.modulation.weight": scale, "conv.modulation.bias": shift, **own}
    return {f"{name}.{part}": array for part, array in parts.items()}


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
