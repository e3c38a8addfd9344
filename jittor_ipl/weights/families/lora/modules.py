"""The modules that a LoRA can change, by name: those of Stable Diffusion 1.x and 2.x, or of one given pipeline."""
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from jittor_ipl.errors import UserError, nearest
from jittor_ipl.weights.families.diffusion.text_encoder import text_config, text_schema
from jittor_ipl.weights.families.diffusion.unet import unet_config, unet_schema
from jittor_ipl.weights.families.diffusion.vae import vae_config, vae_schema

UNET, TEXT, VAE = "unet", "text_encoder", "vae"
KOHYA_PREFIXES = {UNET: "lora_unet_", TEXT: "lora_te_", VAE: "lora_vae_"}
# Where the original code (LDM) has what diffusers calls otherwise; it numbers the blocks of all levels through.
_LDM = {"conv_in": "input_blocks.0.0", "conv_out": "out.2", "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2"}
_LDM_RESNET = {"conv1": "in_layers.2", "conv2": "out_layers.3", "time_emb_proj": "emb_layers.1",
               "conv_shortcut": "skip_connection"}
_BLOCK = re.compile(r"(down|mid|up)_blocks?\.(?:(\d+)\.)?(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
_CONTEXT = {"sd1": 768, "sd2": 1024}        # widths of the text encoders
_TEXT_CONFIGS = {
    "sd1": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
    "sd2": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16}}
_UNET_CONFIGS = {
    "sd1": {"cross_attention_dim": 768},
    "sd2": {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True}}


@dataclass(frozen=True)
class Base:
    """The network that a LoRA belongs to: the weight's shape of every module ("unet.conv_in" -> (320, 4, 3, 3)).

    The shapes of the base "any" are empty: it knows the names of every U-Net of this kind, and no sizes.
    """

    name: str
    modules: Mapping[str, tuple[int, ...]]
    flat: Mapping[str, str] = field(init=False, repr=False)     # kohya's names, in which "_" stands for "." too
    original: Mapping[str, str] = field(init=False, repr=False)     # the original code's: dotted, and as kohya's

    def __post_init__(self) -> None:
        flat = {kohya_name(module): module for module in self.modules}
        assert len(flat) == len(self.modules), "two modules share one of kohya's names"
        dotted = {name: module for module in self.modules if module.startswith(f"{UNET}.")
                  for name in original_names(module.removeprefix(f"{UNET}."))}
        object.__setattr__(self, "flat", flat)
        object.__setattr__(self, "original", dotted | {kohya_name(f"{UNET}.{name}"): m for name, m in dotted.items()})

    def refuse_unknown(self, spellings: Iterable[str]) -> None:
        """Raise UserError when there are any: modules, in the file's spelling, that this base does not have."""
        unknown = list(dict.fromkeys(spellings))
        if unknown:
            choices = {**self.flat, **self.original} if unknown[0].startswith("lora_") else self.modules
            first, what = unknown[0][:120], f"the base ({self.name})"
            if self.name == "any":
                what = "the U-Net and text encoder of Stable Diffusion 1.x or 2.x"
            raise UserError(f"{what} has no module {first!r}{nearest(first, choices)}; "
                            f"{len(unknown)} of the LoRA's modules are unknown")


def kohya_name(module: str) -> str:
    """Return the name of "<part>.<path>" in kohya's files ("lora_unet_down_blocks_0_...")."""
    part, _, path = module.partition(".")
    return KOHYA_PREFIXES[part] + path.replace(".", "_")


def original_names(path: str) -> list[str]:
    """Return the original code's names for a U-Net's module (two where a level may lack attention), [] without one.

    They are those of U-Nets with two ResNets a level, as Stable Diffusion 1.x, 2.x and XL have.
    """
    if path in _LDM:
        return [_LDM[path]]
    match = _BLOCK.fullmatch(path)
    if not match:
        return []
    way, level, what, index, rest = match[1], 3 * int(match[2] or 0), match[3], int(match[4]), match[5]
    if what == "downsamplers":
        return [f"input_blocks.{level + 3}.0.op"]
    if what == "upsamplers":
        return [f"output_blocks.{level + 2}.{k}.conv" for k in (1, 2)]
    rest, attends = _LDM_RESNET.get(rest, rest), int(what == "attentions")
    if way == "mid":
        return [f"middle_block.{1 if attends else 2 * index}.{rest}"]
    if index > (1 if way == "down" else 2):
        return []
    return [f"{'input' if way == 'down' else 'output'}_blocks.{level + index + (way == 'down')}.{attends}.{rest}"]


def base_of(unet: Mapping[str, Any], text_encoder: Mapping[str, Any] | None = None, name: str = "given") -> Base:
    """Return the base that these config.json contents describe; UserError when they are not supported."""
    modules = _modules(UNET, unet_schema(unet_config(unet)))
    if text_encoder is not None:
        modules |= _modules(TEXT, text_schema(text_config(text_encoder)))
    return Base(name, modules)


@cache
def known_base(name: str) -> Base:
    """Return "sd1", "sd2", or "any": a superset of all names that networks of this kind have, sizes unknown.

    "any" alone knows the autoencoder, which no other program's LoRA change.
    """
    if name != "any":
        return base_of(_UNET_CONFIGS[name], _TEXT_CONFIGS[name], name)
    schema = unet_schema(unet_config({
        "block_out_channels": [32] * 4, "layers_per_block": 4, "transformer_layers_per_block": 10,
        "down_block_types": ["CrossAttnDownBlock2D"] * 4, "up_block_types": ["CrossAttnUpBlock2D"] * 4}))
    schema |= {f"{blocks}.{index}.{sampler}.0.conv.weight": () for blocks, sampler in
               (("down_blocks", "downsamplers"), ("up_blocks", "upsamplers")) for index in range(4)}
    texts = text_schema(text_config({"num_hidden_layers": 48, "architectures": ["CLIPTextModelWithProjection"]}))
    codec = vae_schema(vae_config({
        "block_out_channels": [32] * 6, "layers_per_block": 4, "down_block_types": ["DownEncoderBlock2D"] * 6,
        "up_block_types": ["UpDecoderBlock2D"] * 6}))
    return Base("any", dict.fromkeys((*_modules(UNET, _with_shortcuts(schema)), *_modules(TEXT, texts),
                                      *_modules(VAE, _with_shortcuts(codec))), ()))


def _with_shortcuts(schema: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return a schema in which every ResNet has the shortcut of one that changes its width."""
    return {**schema, **{name.replace(".conv1.", ".conv_shortcut."): () for name in schema
                         if name.endswith(".conv1.weight")}}


def _modules(part: str, schema: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the linear layers and convolutions: what has a weight of two or four axes and is no embedding or norm."""
    return {f"{part}.{name.removesuffix('.weight')}": shape for name, shape in schema.items()
            if name.endswith(".weight") and len(shape) != 1 and "_embedding.weight" not in name}


def choose_base(found: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]], original: bool = False) -> Base:
    """Return the base of a LoRA's modules with their (down, up) shapes: the known one they fit, else "any".

    A LoRA that was trained on the width of a known base's text belongs to it, whether all of it fits or not. Raises
    UserError for XL's; `original` names must belong to a known base, for only the widths tell XL's from theirs.
    """
    for name in _CONTEXT:
        base = known_base(name)
        if found and all(down and module in base.modules and (down, up) == factor_shapes(base.modules[module], down[0])
                         for module, (down, up) in found.items()):
            return base
    read_text = (".attn2.to_k", ".attn2.to_v", ".q_proj", ".k_proj", ".v_proj")
    widths = {down[1] for module, (down, _) in found.items() if len(down) > 1 and module.endswith(read_text)}
    if 2048 in widths:
        raise UserError("this LoRA was trained on Stable Diffusion XL (texts 2048 wide); 1.x and 2.x are supported")
    base = next((known_base(name) for name, width in _CONTEXT.items() if widths == {width}), known_base("any"))
    if original and base.name == "any":
        raise UserError("this LoRA has the original code's names, and widths of neither Stable Diffusion 1.x nor 2.x; "
                        "it may be one of XL")
    return base


def factor_shapes(weight: tuple[int, ...], rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of down and up for a weight [out, in, *kernel]: [rank, in, *kernel] and [out, rank, 1, 1]."""
    return (rank, *weight[1:]), (weight[0], rank, *(1 for _ in weight[2:]))


def resolve_dotted(path: str, base: Base) -> str | None:
    """Return the module at a dotted path with or without its part's name, None when the base has no such module."""
    places = (path, f"{UNET}.{path}", f"{TEXT}.{path}", f"{TEXT}.text_model.{path}")
    return next((name for name in places if name in base.modules), base.original.get(path))
