"""CLIP under Hugging Face's names (`CLIPModel`): one tensor per query, key and value, projections as linear layers."""
from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.weights.families.family import Config, Shapes, Tensors

MODEL_TYPES = ("clip", "clip_text_model", "clip_vision_model")
OPTIONAL = (r"(text|vision)_model\.embeddings\.position_ids",)      # whole numbers that older releases saved
TRANSPOSED = ("text_projection", "visual.proj")                     # [in, out] in OpenAI's files, [out, in] here

# (ours, theirs), each a beginning of names; the first that fits is taken.
_PREFIXES = (
    ("positional_embedding", "text_model.embeddings.position_embedding.weight"),
    ("token_embedding.", "text_model.embeddings.token_embedding."),
    ("ln_final.", "text_model.final_layer_norm."),
    ("transformer.resblocks.", "text_model.encoder.layers."),
    ("text_projection", "text_projection.weight"),
    ("visual.class_embedding", "vision_model.embeddings.class_embedding"),
    ("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
    ("visual.conv1.", "vision_model.embeddings.patch_embedding."),
    ("visual.ln_pre.", "vision_model.pre_layrnorm."),               # their spelling
    ("visual.ln_post.", "vision_model.post_layernorm."),
    ("visual.transformer.resblocks.", "vision_model.encoder.layers."),
    ("visual.proj", "visual_projection.weight"),
    ("logit_scale", "logit_scale"),
)
_IN_BLOCK = (("attn.out_proj.", "self_attn.out_proj."), ("ln_1.", "layer_norm1."), ("ln_2.", "layer_norm2."),
             ("mlp.c_fc.", "mlp.fc1."), ("mlp.c_proj.", "mlp.fc2."))
# (ours, theirs, their default) of what config.json states of the towers.
_TEXT = (("transformer_width", "hidden_size", 512), ("transformer_layers", "num_hidden_layers", 12),
         ("transformer_heads", "num_attention_heads", 8), ("vocab_size", "vocab_size", 49408),
         ("context_length", "max_position_embeddings", 77), ("end_token", "eos_token_id", 49407))
_VISION = (("vision_width", "hidden_size", 768), ("vision_layers", "num_hidden_layers", 12),
           ("vision_heads", "num_attention_heads", 12), ("vision_patch_size", "patch_size", 32),
           ("image_resolution", "image_size", 224))
_PACKED = re.compile(r"(.*\.)attn\.in_proj_(weight|bias)")


def their_names(name: str) -> tuple[str, ...]:
    """Return the tensors that hold ours: query, key and value for a packed projection, else one."""
    packed = _PACKED.fullmatch(name)
    if packed:
        return tuple(_translated(f"{packed[1]}self_attn.{part}_proj.{packed[2]}") for part in "qkv")
    return (_translated(name),)


def their_shapes(ours: Shapes) -> dict[str, tuple[int, ...]]:
    """Return Hugging Face's names and shapes of a network that has ours."""
    shapes = {}
    for name, shape in ours.items():
        names = their_names(name)
        if len(names) == 3:
            shape = (shape[0] // 3, *shape[1:])
        elif name in TRANSPOSED:
            shape = shape[::-1]
        shapes.update(dict.fromkeys(names, shape))
    return shapes


def our_shapes(theirs: Shapes) -> dict[str, tuple[int, ...]]:
    """Return the shapes under OpenAI's names, as far as the file's tensors tell them."""
    shapes = {}
    for name, shape in theirs.items():
        ours = _translated_back(name)
        part = re.fullmatch(r"(.*\.)self_attn\.[qkv]_proj\.(weight|bias)", ours)
        if part and shape:
            ours, shape = f"{part[1]}attn.in_proj_{part[2]}", (3 * shape[0], *shape[1:])
        shapes[ours] = shape[::-1] if ours in TRANSPOSED else shape
    return shapes


def to_ours(tensors: Tensors, names: Mapping[str, object]) -> dict[str, np.ndarray]:
    """Return the tensors `names` (OpenAI's), packed and turned; every one of theirs must be there."""
    out = {}
    for name in names:
        parts = [tensors[theirs] for theirs in their_names(name)]
        value = np.concatenate(parts) if len(parts) == 3 else parts[0]
        out[name] = np.ascontiguousarray(value.T) if name in TRANSPOSED else value
    return out


def from_ours(tensors: Tensors, _: Config) -> dict[str, np.ndarray]:
    """Return Hugging Face's tensors of our CLIP with a vision transformer; UserError for a ResNet, which they lack."""
    if "visual.proj" not in tensors:
        raise UserError("Hugging Face's CLIP has no ResNet image tower; write this one under OpenAI's names")
    return {**unpacked(tensors), "logit_scale": np.ascontiguousarray(tensors["logit_scale"]).reshape(())}


def unpacked(tensors: Tensors) -> dict[str, np.ndarray]:
    """Return Hugging Face's tensors of our towers, the way back of `to_ours`."""
    out = {}
    for name, value in tensors.items():
        names = their_names(name)
        parts = np.split(value, 3) if len(names) == 3 else [value.T if name in TRANSPOSED else value]
        out.update(zip(names, map(np.ascontiguousarray, parts)))
    return out


def stated(config: Config) -> dict[str, object]:
    """Return the constructor numbers that Hugging Face's config.json states ({} without one).

    What it leaves out has `CLIPConfig`'s defaults, for the program saves only what differs from them. Raises UserError
    for another kind of model, an activation or towers that this CLIP cannot be.
    """
    if not {"model_type", "text_config", "vision_config"} & set(config):
        return {}
    kind = config.get("model_type", "clip")
    if kind not in MODEL_TYPES:
        raise UserError(f"config.json describes a {str(kind)[:40]!r} model, a 'clip' model is expected")
    text, vision = _tower(config, "text"), _tower(config, "vision")
    numbers = {ours: tower.get(theirs, default) for tower, table in ((text, _TEXT), (vision, _VISION))
               if tower is not None for ours, theirs, default in table}
    if numbers.get("end_token") == 2:       # files from before it was stated right: the highest id, as OpenAI means
        numbers["end_token"] = None
    towers = [tower for tower in (text, vision) if tower is not None]
    numbers["activation"] = _agreed("hidden_act", towers, "quick_gelu")
    numbers["eps"] = _agreed("layer_norm_eps", towers, 1e-5)
    if kind == "clip":
        numbers["embed_dim"] = config.get("projection_dim", 512)
    numbers.update(pixels(config.get("preprocessor_config")))
    return numbers


def pixels(preprocessing: object, mean: str = "image_mean", std: str = "image_std") -> dict[str, object]:
    """Return the normalisation of images that a preprocessor's configuration states, {} when it does not."""
    numbers = preprocessing if isinstance(preprocessing, Mapping) else {}
    return {ours: numbers[key] for ours, key in (("image_mean", mean), ("image_std", std))
            if numbers.get(key) is not None}


def _tower(config: Config, which: str) -> Mapping | None:
    """Return the part of a configuration that describes one tower; the older `..._config_dict` wins, as there."""
    if config.get("model_type", "clip") != "clip":
        return config if config["model_type"] == f"clip_{which}_model" else None
    parts = [config.get(key) or {} for key in (f"{which}_config", f"{which}_config_dict")]
    if not all(isinstance(part, Mapping) for part in parts):
        raise UserError(f"config.json: {which}_config is not a JSON object")
    return {**parts[0], **parts[1]}


def _agreed(key: str, towers: list[Mapping], default: object) -> object:
    values = {str(tower.get(key, default)): tower.get(key, default) for tower in towers}
    if len(values) > 1:
        raise UserError(f"config.json: {key} differs between the towers ({', '.join(values)}); one value is supported")
    return next(iter(values.values()))


def _translated(name: str) -> str:
    ours, theirs = next((pair for pair in _PREFIXES if name.startswith(pair[0])), ("", ""))
    return _in_block(theirs + name[len(ours):], _IN_BLOCK)


def _translated_back(name: str) -> str:
    ours, theirs = next((pair for pair in _PREFIXES if name.startswith(pair[1])), ("", ""))
    return _in_block(ours + name[len(theirs):], [(b, a) for a, b in _IN_BLOCK])


def _in_block(name: str, pairs: object) -> str:
    head = re.match(r".*?(layers|resblocks)\.\d+\.", name)
    if head:
        for old, new in pairs:
            if name.startswith(old, head.end()):
                return head[0] + new + name[head.end() + len(old):]
    return name
