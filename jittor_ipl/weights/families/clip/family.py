"""CLIP's files: OpenAI's names (its archives, JCLIP, OpenCLIP, this project's compact assets) and Hugging Face's.

Our network has OpenAI's names, so that only Hugging Face's need translation. What the tensors do not tell is taken from
the configuration beside the file, from a safetensors file's own metadata, or from these rules: one head per 64 channels
(16 for the widths of OpenCLIP's H, g, bigG and e towers), the activation of whoever wrote the file (OpenAI and Hugging
Face `quick_gelu`; OpenCLIP `gelu`), OpenAI's normalisation of images.
"""
from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.weights.families.clip import huggingface, openclip
from jittor_ipl.weights.families.clip.shapes import SIXTEEN_HEADS, VOCAB_SIZE, infer_config, tensor_shapes
from jittor_ipl.weights.families.family import Family, Hints, Layout, Shapes, Tensors

ROWS, EMBEDDING = "token_embedding.rows", "token_embedding.weight"
MAX_VOCAB_SIZE = 100_000        # CLIP's 49408 and some of a user's own; other tokenizers have more
ACTIVATIONS = ("quick_gelu", "gelu")
# What OpenAI's archives carry beside the weights; masks, which some programs save; batch norm's training counter.
OPTIONAL = (r"(text\.)?(input_resolution|context_length|vocab_size)", r"(.*\.)?attn_mask",
            r"visual\..*\.num_batches_tracked")

# What an image tower's names begin with, relatives' included (they are refused by their own names).
_IMAGE_TOWER = re.compile(r"visual\.(conv1\.|(proj|class_embedding|positional_embedding)$|ln_(pre|post)\.|"
                          r"transformer\.|layer[1-4]\.|attn|trunk\.|blocks\.|patch_embed\.)")
_VISION_LANDMARKS = ("vision_model.embeddings.class_embedding", "vision_model.pre_layrnorm.weight")
_VISION_NUMBERS = ("image_resolution", "vision_layers", "vision_width", "vision_patch_size", "vision_heads",
                   "vision_mlp", "activation", "eps")
_NO_TEXT = {"ln_final.weight": (64,), "transformer.resblocks.0.ln_1.weight": (64,), "text_projection": (64, 64)}
_UNSEEN = ("transformer_heads", "vision_heads", "activation", "eps", "end_token", "image_mean", "image_std")


def recognise(shapes: Shapes, hints: Hints = Hints()) -> Layout | None:
    """Return the layout of a whole CLIP, None for anything else; UserError for relatives of CLIP and contradictions."""
    if has_halves(shapes) == {"text", "image"}:
        return _huggingface(shapes, hints)
    return _openai(shapes, hints) if any(map(_IMAGE_TOWER.match, shapes)) else None


def has_halves(shapes: Shapes) -> set[str]:
    """Return which of a Hugging Face CLIP's halves ("text", "image") a file has tensors of."""
    return {half for half, starts in (("text", ("text_model.",)), ("image", ("vision_model.", "visual_projection.")))
            if any(name.startswith(starts) for name in shapes)}


def convert(tensors: Tensors, layout: Layout) -> dict[str, np.ndarray]:
    """Return checked tensors under OpenAI's names, without what is no weight; a compact embedding stays compact."""
    names = tensor_shapes(layout.config)
    if layout.dialect == "huggingface":
        return huggingface.to_ours(tensors, names)
    by_name = {name.removeprefix(openclip.TEXT): value for name, value in tensors.items()}
    return {name: by_name[name] for name in (*names, *((ROWS,) if layout.dialect == "compact" else ()))}


def _openai(shapes: Shapes, hints: Hints) -> Layout:
    openclip.refuse_others(shapes)
    prefixed = any(name.startswith(openclip.TEXT) for name in shapes)
    bare = {name.removeprefix(openclip.TEXT): shape for name, shape in shapes.items()}
    compact = ROWS in bare
    stated = {**openclip.stated(hints.config), **_own_config(hints)}
    inferred = infer_config(bare, "this file")
    if compact:
        inferred["vocab_size"] = size = stated.get("vocab_size", VOCAB_SIZE)
        if type(size) is not int or not 0 < size <= MAX_VOCAB_SIZE:
            raise UserError(f"the stored vocab_size is not a whole number up to {MAX_VOCAB_SIZE}")
    dialect = "compact" if compact else _dialect(inferred, prefixed, hints)
    inferred["activation"], remark = _usual_activation(dialect, hints)
    config = _merged(inferred, stated)
    expected = tensor_shapes(config)
    if compact:
        rows = (bare.get(EMBEDDING) or (0,))[0]
        expected.update({EMBEDDING: (rows, config["transformer_width"]), ROWS: (rows,)})
    if prefixed:
        expected = {name if name.startswith("visual.") or name == "logit_scale" else openclip.TEXT + name: shape
                    for name, shape in expected.items()}
    return Layout("clip", dialect, config, expected, OPTIONAL, remarks=() if stated.get("activation") else remark)


def _dialect(inferred: Mapping, prefixed: bool, hints: Hints) -> str:
    """Tell who wrote a file with OpenAI's names; only the archive, the pickle, the size and the file's name can say."""
    if openclip.model_config(hints.config) is not None or prefixed or hints.name.startswith("open_clip") \
            or openclip.is_training_run(hints):
        return "open_clip"
    if hints.format in ("pickle", "jittor-pickle"):
        return "jclip"
    own = hints.format == "torchscript" or "config" in hints.metadata
    return "open_clip" if inferred["vision_width"] in SIXTEEN_HEADS and not own else "openai"


def _usual_activation(dialect: str, hints: Hints) -> tuple[str, tuple[str, ...]]:
    """Return the activation of the program that wrote a file, and a remark when it could be the other as well."""
    run = openclip.run_name(hints)
    if "quickgelu" in re.sub("[-_]", "", f"{hints.name} {run}".lower()):
        return "quick_gelu", ()
    if dialect in ("jclip", "compact") or hints.format == "torchscript" or hints.metadata.get("kind") == "clip":
        return "quick_gelu", ()
    what = f"this checkpoint of OpenCLIP's training (run {run[:60]!r})" if run else "this file"
    usual, whose, other = {
        "open_clip": ("gelu", "OpenCLIP", "its -quickgelu models and runs from OpenAI's weights have quick_gelu"),
        "openai": ("quick_gelu", "OpenAI", "most of OpenCLIP's models have gelu"),
        "huggingface": ("quick_gelu", "Hugging Face", "its config.json would tell")}[dialect]
    return usual, (f"{what} does not tell its activation; {usual} is assumed, as in {whose}'s own models ({other})",)


def _huggingface(shapes: Shapes, hints: Hints) -> Layout:
    if "logit_bias" in shapes or any(name.startswith(("vision_model.head.", "text_model.head.")) for name in shapes):
        raise UserError("this is a SigLIP model of Hugging Face; a CLIP model is expected")
    stated = {**huggingface.stated(hints.config), **_own_config(hints)}
    config = _merged(infer_config(huggingface.our_shapes(shapes), "this file"), stated)
    remark = () if stated.get("activation") else _usual_activation("huggingface", hints)[1]
    expected = huggingface.their_shapes(tensor_shapes(config))
    return Layout("clip", "huggingface", config, expected, huggingface.OPTIONAL, remarks=remark)


def _own_config(hints: Hints) -> dict[str, Any]:
    """Return the constructor numbers in the metadata of a CLIP that this project wrote."""
    return hints.stored if hints.metadata.get("kind") == "clip" else {}


def _merged(inferred: dict[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of the shapes with what only a configuration tells; UserError when the two contradict."""
    config = {key: list(value) if isinstance(value, tuple) else value for key, value in inferred.items()}
    for key, value in stated.items():
        if value is None:
            continue
        if key in _UNSEEN:
            config[key] = value
        elif config.get(key, value) not in (value, None):
            raise UserError(f"its configuration says {key} = {str(value)[:40]}, its tensors have {config[key]}")
    if config["vocab_size"] > MAX_VOCAB_SIZE:
        raise UserError(f"its vocabulary has {config['vocab_size']} tokens; texts are split by CLIP's own tokenizer of "
                        f"{VOCAB_SIZE}")
    _check_unseen(config)
    return config


def _check_unseen(config: dict[str, Any]) -> None:
    """Raise UserError for stated values that no network can have, and for head counts that do not divide the width."""
    width = config["vision_width"] * (1 if isinstance(config["vision_layers"], int) else 32)
    for key, channels in (("transformer_heads", config["transformer_width"]), ("vision_heads", width)):
        heads = config.get(key)
        heads = max(1, channels // 64) if heads is None else heads
        if type(heads) is not int or not 0 < heads <= 1024 or channels % heads:
            raise UserError(f"{key} = {str(heads)[:40]} does not divide the {channels} channels of its tower")
    if config.get("activation", "quick_gelu") not in ACTIVATIONS:
        raise UserError(f"the activation {str(config['activation'])[:40]!r} is not supported; "
                        f"{' and '.join(ACTIVATIONS)} are")
    eps, end = config.get("eps", 1e-5), config.get("end_token")
    if isinstance(eps, bool) or not isinstance(eps, (int, float)) or not 0 < eps < 1:
        raise UserError(f"the layer norms' eps {str(eps)[:40]} is not a number between 0 and 1")
    if end is not None and (type(end) is not int or not 0 <= end < config["vocab_size"]):
        raise UserError(f"the end token {str(end)[:40]} is not an id of the {config['vocab_size']} tokens")
    for key in ("image_mean", "image_std"):
        value = config.get(key)
        three = isinstance(value, (list, tuple)) and len(value) == 3 and all(
            type(x) in (int, float) and 0 <= x <= 1 and (x > 0 or key == "image_mean") for x in value)
        if value is not None and not three:
            raise UserError(f"{key} = {str(value)[:60]} is not three numbers from 0 to 1")


def recognise_image_encoder(shapes: Shapes, hints: Hints = Hints()) -> Layout | None:
    """Return the layout of Hugging Face's `CLIPVisionModel`, with its projection or without, None for anything else."""
    if has_halves(shapes) != {"image"} or not any(name in shapes for name in _VISION_LANDMARKS):
        return None
    bare = huggingface.our_shapes(shapes)
    stated = {key: value for key, value in huggingface.stated(hints.config).items() if key in _VISION_NUMBERS}
    config = _merged(infer_config({**_NO_TEXT, **bare}, "this file"), stated)
    wanted = {name: shape for name, shape in tensor_shapes(config).items()
              if name.startswith("visual.") and (name in bare or name != "visual.proj")}
    numbers = {key: config[key] for key in _VISION_NUMBERS if config.get(key) is not None}
    numbers["embed_dim"] = config["embed_dim"] if "visual.proj" in bare else None
    return Layout("image-encoder", "huggingface", numbers, huggingface.their_shapes(wanted), huggingface.OPTIONAL)


def convert_image_encoder(tensors: Tensors, layout: Layout) -> dict[str, np.ndarray]:
    """Return the image tower's tensors under OpenAI's names."""
    return huggingface.to_ours(tensors, huggingface.our_shapes(layout.expected))


FAMILIES = (
    Family("clip", recognise, convert,
           exports={"openai": lambda tensors, _: dict(tensors), "huggingface": huggingface.from_ours},
           landmarks=("visual.conv1.weight", "visual.proj", "visual.attnpool.positional_embedding",
                      "token_embedding.weight", "text_model.embeddings.token_embedding.weight",
                      "vision_model.embeddings.patch_embedding.weight"),
           next_step="name it under clip: in a suite (model: {file})"),
    Family("image-encoder", recognise_image_encoder, convert_image_encoder, landmarks=_VISION_LANDMARKS,
           next_step="nothing takes an image tower alone; a suite's clip: needs the whole CLIPModel"),
)
