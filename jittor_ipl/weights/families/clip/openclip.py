"""What OpenCLIP adds to OpenAI's names: its configuration file, the `text.` prefix, and other networks' towers."""
from __future__ import annotations

import re
from collections.abc import Mapping

from jittor_ipl.errors import UserError
from jittor_ipl.weights.families.clip.huggingface import pixels
from jittor_ipl.weights.families.family import Config, Hints, Shapes

TEXT = "text."      # before the text tower's names in models with `custom_text`

# Names that say: this is not the network of the CLIP paper. (regular expression, what it is)
_OTHERS = [(re.compile(pattern), what) for pattern, what in (
    (r"visual\.trunk\.", "a CLIP with an image tower of timm (such as ConvNeXt, EVA or SigLIP)"),
    (r"visual\.(blocks|patch_embed|head)\.", "a CLIP with an EVA image tower"),
    (r"text_decoder\.|(text\.)?cls_emb$", "a CoCa model"),
    (r"visual\.(attn_pool|attn_pool_contrastive)\.", "a CLIP whose image tower pools by attention (such as CoCa)"),
    (r"logit_bias$", "a SigLIP model (it has a logit_bias)"),
    (r"text\.(transformer\.(?!resblocks\.)|proj\.)", "a CLIP with a text tower of Hugging Face (such as XLM-RoBERTa)"),
    (r"(text\.)?text_projection\.(weight|bias)$", "a CLIP whose text projection is a layer with a bias"),
    (r".*\.ls_[12]\.gamma$", "a CLIP with layer scale"),
    (r".*\.resblocks\.\d+\.(ln_attn|attn\.(ln_\w+|logit_scale|head_scale|q_norm|k_norm))",
     "a CLIP with changed attention blocks"),
)]

# Settings that change the network without leaving a trace in its tensors; any other value than these is refused.
_NEUTRAL = {"pool_type": ("tok", "argmax"), "proj_type": ("linear",), "pos_embed_type": ("learnable", "sin_cos_2d"),
            "block_type": ("default",)}
_READ = {"image_size", "layers", "width", "head_width", "heads", "mlp_ratio", "patch_size", "context_length",
         "vocab_size", "norm_kwargs"}
_NO_EFFECT = {"patch_dropout", "output_tokens", "pad_id", "eos_id", "attn_pooler_queries", "attn_pooler_heads",
              "timm_model_pretrained", "timm_pool", "timm_proj", "timm_proj_bias", "timm_drop", "timm_drop_path",
              "hf_model_pretrained", "hf_proj_type", "hf_pooler_type"}


def refuse_others(shapes: Shapes) -> None:
    """Raise UserError, naming the network and the tensor, when the names are those of a relative of CLIP."""
    for pattern, what in _OTHERS:
        found = next((name for name in shapes if pattern.match(name)), None)
        if found is not None:
            raise UserError(f"this is {what}, told by {found[:80]!r}; CLIP's own ViT and ResNet towers are supported")


def is_training_run(hints: Hints) -> bool:
    """Tell whether a file is what OpenCLIP's training saves: a state dictionary beside an epoch and the run's name."""
    return hints.container == "state_dict" and {"epoch", "name"} <= set(hints.beside)


def run_name(hints: Hints) -> str:
    """Return the name of the training run, by default with the model's in it ("...-model_ViT-B-32-lr_0.001-...")."""
    return str(hints.values.get("name", "")) if is_training_run(hints) else ""


def model_config(config: Config) -> Mapping | None:
    """Return the network's part of an open_clip_config.json (or a bare model configuration), None for other files."""
    model = config.get("model_cfg", config)
    return model if isinstance(model, Mapping) and {"vision_cfg", "text_cfg"} <= set(model) else None


def stated(config: Config) -> dict[str, object]:
    """Return the constructor numbers that OpenCLIP's configuration states ({} without one).

    Raises UserError for every setting that makes another network of the same tensors.
    """
    model = model_config(config)
    if model is None:
        return {}
    vision, text = model["vision_cfg"], model["text_cfg"]
    if not isinstance(vision, Mapping) or not isinstance(text, Mapping):
        raise UserError("open_clip_config.json: vision_cfg and text_cfg must be JSON objects")
    for part, name in ((model, "multimodal_cfg"), (model, "init_logit_bias")):
        if part.get(name) is not None:
            raise UserError(f"this OpenCLIP model has {name}: it is no CLIP but a relative (CoCa, SigLIP)")
    for where, part in (("vision_cfg", vision), ("text_cfg", text)):
        for key, value in part.items():
            if key not in _READ | _NO_EFFECT and value and value not in _NEUTRAL.get(key, ()):
                raise UserError(f"this OpenCLIP model has {where}.{key} = {str(value)[:60]}, which is not supported")
    return {**_numbers(model, vision, text), **pixels(config.get("preprocess_cfg"), "mean", "std")}


def _numbers(model: Mapping, vision: Mapping, text: Mapping) -> dict[str, object]:
    width, layers = vision.get("width", 768), vision.get("layers", 12)
    resnet = isinstance(layers, (list, tuple))
    head = vision.get("head_width", 64)
    if not (isinstance(width, int) and isinstance(head, int) and head > 0):
        raise UserError("open_clip_config.json: vision_cfg.width and head_width must be whole numbers")
    size = vision.get("image_size", 224)
    if isinstance(size, (list, tuple)):
        if len(set(map(str, size))) != 1:
            raise UserError(f"this OpenCLIP model takes images of {size} pixels; only squares are supported")
        size = size[0]
    return dict(embed_dim=model.get("embed_dim"), image_resolution=size, vision_layers=layers, vision_width=width,
                vision_patch_size=None if resnet else vision.get("patch_size", 16),
                vision_heads=width * (32 if resnet else 1) // head,
                context_length=text.get("context_length", 77), vocab_size=text.get("vocab_size", 49408),
                transformer_width=text.get("width", 512), transformer_heads=text.get("heads", 8),
                transformer_layers=text.get("layers", 12), eps=_eps(vision, text, resnet),
                activation="quick_gelu" if model.get("quick_gelu") else "gelu")


def _eps(vision: Mapping, text: Mapping, resnet: bool) -> object:
    towers = (text,) if resnet else (vision, text)
    kwargs = [tower.get("norm_kwargs") or {} for tower in towers]
    plain = all(isinstance(k, Mapping) and set(k) <= {"eps"} for k in kwargs)
    if not plain or len({str(k.get("eps", 1e-5)) for k in kwargs}) > 1:
        raise UserError(f"this OpenCLIP model has norm_kwargs {kwargs}; one eps for both towers is supported")
    return kwargs[0].get("eps", 1e-5)
