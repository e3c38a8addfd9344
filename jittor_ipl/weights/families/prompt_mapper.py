"""Prompt mappers: IPL's own, the transformer mappers that a later thesis put in its place, and ours of three levels."""
from __future__ import annotations

import re
from typing import Any

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.weights.families.family import Config, Family, Hints, Layout, Shapes, Tensors
from jittor_ipl.weights.families.schema import Schema, fill, linear, solve

_CLIP_WIDTHS = (512, 640, 768, 1024)        # of CLIP's text transformers
_USUAL_CONTEXT = 4                          # "a photo of a"
_OURS = re.compile(r"mapping\.mapping\.\d+\.(weight|bias)")
_LEVELS = ("coarse", "medium", "fine")
_LEVELLED = re.compile(rf"({'|'.join(_LEVELS)})\.mapping\.mapping\.\d+\.(weight|bias)")
_ENCODER = r"(?:transformer_encoder|mapping\.\d+)\.layers\.(\d+)\."
_TRANSFORMER = re.compile(rf"{_ENCODER}(self_attn\.(in_proj|out_proj\.)_?|(linear|norm)[12]\.)(weight|bias)"
                          r"|(final_linear|linear|mapping\.\d+)\.(weight|bias)")


def recognise(shapes: Shapes, hints: Hints) -> Layout | None:
    """Return the layout of a prompt mapper's state dictionary, None for anything else."""
    if shapes and all(_OURS.fullmatch(name) for name in shapes):
        return _perceptrons(shapes, hints)
    if shapes and all(_LEVELLED.fullmatch(name) for name in shapes):
        return _perceptrons(shapes, hints, _LEVELS)
    if any(re.match(_ENCODER + "self_attn", name) for name in shapes) and all(map(_TRANSFORMER.fullmatch, shapes)):
        return _transformer(shapes, hints)
    return None


def _perceptrons(shapes: Shapes, hints: Hints, levels: tuple[str, ...] = ()) -> Layout:
    """IPL's mapper, or one of them per level of W+, each with its share of the tokens.

    PixelNorm (index 0, no parameters), three hidden layers, one to the output; further layers are unexpected.
    """
    names: Schema = {}
    for level in levels or ("",):
        for index in (1, 2, 3, 4):
            row = f"out {level}" if index == 4 else "w"
            names |= linear(f"{level}{level and '.'}mapping.mapping.{index}", row, "w")
    numbers = solve(names, shapes)
    outputs = sum(number for name, number in numbers.items() if name != "w")
    n_ctx, ctx_dim = _context(outputs, numbers["w"], _stored(hints))
    config = {"style_dim": numbers["w"], "n_ctx": n_ctx, "ctx_dim": ctx_dim}
    if levels:
        return Layout("prompt-mapper", "levels", {"architecture": "levels", **config}, fill(names, numbers))
    return Layout("prompt-mapper", "ipl", config, fill(names, numbers))


def _stored(hints: Hints) -> Config:
    """Return the numbers beside the tensors: in our files' metadata, in a config.json."""
    return {**hints.stored, **hints.config}


def _context(out: int, style_dim: int, config: Config) -> tuple[int, int]:
    """Divide the output into tokens and their width: as stored, else four of a CLIP's width, else as many as fit.

    The division changes no weight; only the product is in the file.
    """
    n_ctx, ctx_dim = config.get("n_ctx"), config.get("ctx_dim")
    if isinstance(n_ctx, int) and isinstance(ctx_dim, int):
        if n_ctx * ctx_dim != out or n_ctx < 1:
            raise UserError(f"its config says {n_ctx} tokens of width {ctx_dim}, its last layer has {out} outputs")
        return n_ctx, ctx_dim
    widths = [width for width in (*_CLIP_WIDTHS, style_dim) if out % width == 0]
    width = next((width for width in widths if width * _USUAL_CONTEXT == out), widths[0] if widths else out)
    return out // width, width


def _transformer(shapes: Shapes, hints: Hints) -> Layout:
    """An encoder and linear layers, every tensor under two names: as an attribute and as a part of `mapping`.

    Our own files have the first name alone, and say in their metadata what shapes cannot.
    """
    stored = _stored(hints)
    depth = 1 + max(int(m[1]) for m in (re.match(_ENCODER, name) for name in shapes) if m and len(m[1]) < 4)
    places = [int(m[1]) for name in shapes if (m := re.match(r"mapping\.(\d{1,3})\.layers\.", name))]
    offset = min(places, default=int(bool(stored.get("pixel_norm"))))
    middle = any(name.startswith("linear.") for name in shapes)
    one = _encoder_layer()
    names: Schema = {f"transformer_encoder.layers.{i}.{part}": dims for i in range(depth) for part, dims in one.items()}
    tails = (["linear"] if middle else []) + ["final_linear"]
    for tail in tails:
        names |= linear(tail, "out" if tail == "final_linear" else "hidden", "d" if tail == tails[0] else "hidden")
    if any(name.startswith("mapping.") for name in shapes):
        names |= {_twin(name, offset, tails): dims for name, dims in names.items()}
    numbers = solve(names, shapes)
    n_ctx, ctx_dim = _context(numbers["out"], numbers["d"], stored)
    heads = stored.get("heads")     # not in the shapes; else as in the thesis's three versions
    usual = 4 if numbers.get("hidden", 0) > numbers["d"] else 2
    config: dict[str, Any] = {
        "architecture": "transformer", "style_dim": numbers["d"], "n_ctx": n_ctx, "ctx_dim": ctx_dim, "layers": depth,
        "feedforward": numbers["ff"], "hidden": numbers.get("hidden", 0), "pixel_norm": offset > 0,
        "heads": heads if isinstance(heads, int) and heads > 0 and numbers["d"] % heads == 0 else usual}
    return Layout("prompt-mapper", "thesis-transformer", config, fill(names, numbers))


def _encoder_layer() -> Schema:
    """Return the names of PyTorch's TransformerEncoderLayer; in_proj is three times as wide as the model."""
    vector = {f"{name}.{part}": ("d",) for name in ("norm1", "norm2") for part in ("weight", "bias")}
    return {"self_attn.in_proj_weight": ("3d", "d"), "self_attn.in_proj_bias": ("3d",),
            **linear("self_attn.out_proj", "d", "d"), **linear("linear1", "ff", "d"), **linear("linear2", "d", "ff"),
            **vector}


def _twin(name: str, offset: int, tails: list[str]) -> str:
    """Return the second name of a tensor: the modules also stand in a Sequential called `mapping`."""
    head, rest = name.split(".", 1)
    position = offset if head == "transformer_encoder" else offset + 1 + tails.index(head)
    return f"mapping.{position}.{rest}"


def convert(tensors: Tensors, layout: Layout) -> dict[str, np.ndarray]:
    """Return the tensors under PromptMapper's names, or under the transformer's own, each once.

    Raises UserError when a transformer's two copies of a tensor differ.
    """
    if layout.dialect != "thesis-transformer":
        return dict(tensors)
    heads = [name for name in layout.expected if not name.startswith("mapping.")]
    twins = [name for name in layout.expected if name.startswith("mapping.")]
    for name, twin in zip(heads, twins):
        if not np.array_equal(tensors[name], tensors[twin], equal_nan=True):
            raise UserError(f"the tensors {name!r} and {twin!r} are two names of one and differ; the file is damaged")
    return {name: tensors[name] for name in heads}


def _original(tensors: Tensors, config: Config) -> dict[str, np.ndarray]:
    """Return the names of IPL's mapper, or of the thesis's, each tensor twice; UserError for a mapper of levels."""
    if config.get("architecture") == "levels":
        raise UserError("a mapper of levels is this project's own; neither IPL nor the thesis has a network for it")
    if config.get("architecture") != "transformer":
        return dict(tensors)
    tails = [tail for tail in ("linear", "final_linear") if f"{tail}.weight" in tensors]
    offset = int(bool(config.get("pixel_norm")))
    return {**tensors, **{_twin(name, offset, tails): array for name, array in tensors.items()}}


FAMILY = Family("prompt-mapper", recognise, convert, exports={"ipl": _original},
                landmarks=("mapping.mapping.1.weight", "final_linear.weight",
                           "transformer_encoder.layers.0.self_attn.in_proj_weight"))
