"""The networks of a Stable Diffusion 1.x or 2.x pipeline as diffusers stores them: U-Net, autoencoder, text encoder.

Our names are diffusers' own of today, so that the networks, their LoRA files and both writers speak one language.
"""
from __future__ import annotations

from jittor_ipl.errors import UserError, nearest
from jittor_ipl.weights.families.diffusion import vae
from jittor_ipl.weights.families.diffusion.text_encoder import POSITION_IDS, guess_text_config, text_config, text_schema
from jittor_ipl.weights.families.diffusion.unet import guess_unet_config, unet_config, unet_schema
from jittor_ipl.weights.families.family import Family, Hints, Layout, Shapes

# Classes of diffusers and transformers whose tensors carry similar names but which are other networks.
CLASSES = {"UNet2DConditionModel": "unet", "AutoencoderKL": "vae", "CLIPTextModel": "text-encoder",
           "CLIPTextModelWithProjection": "text-encoder"}
_LDM_PREFIXES = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.")
_LORA_MARKS = (".lora", "_lora", "lora_")


def recognise_unet(shapes: Shapes, hints: Hints) -> Layout | None:
    """Return the layout of a UNet2DConditionModel; UserError for its relatives and for unsupported configs."""
    if any(name.startswith(_LDM_PREFIXES) for name in shapes):
        raise UserError("this is a whole Stable Diffusion checkpoint in one file (original names); a diffusers folder "
                        "is expected: StableDiffusionPipeline.from_single_file(...).save_pretrained(...) makes one")
    if not _claims("unet", hints, any(".time_emb_proj." in name for name in shapes)
                   or "time_embedding.linear_1.weight" in shapes, shapes):
        return None
    _refuse_relatives(shapes)
    numbers = unet_config(_config(hints) or guess_unet_config(shapes))
    return Layout("unet", "diffusers", numbers, unet_schema(numbers))


def recognise_vae(shapes: Shapes, hints: Hints) -> Layout | None:
    """Return the layout of an AutoencoderKL under its old or new attention names; UserError for unsupported configs."""
    there = any(name.startswith(("encoder.down_blocks.", "decoder.up_blocks.")) for name in shapes)
    if not _claims("vae", hints, there, shapes):
        return None
    numbers = vae.vae_config(_config(hints) or vae.guess_vae_config(shapes))
    if any(vae.modern_name(name) != name for name in shapes):
        return Layout("vae", "diffusers-old", numbers, vae.vae_schema(numbers, vae.OLD_PROJECTIONS))
    return Layout("vae", "diffusers", numbers, vae.vae_schema(numbers))


def recognise_text_encoder(shapes: Shapes, hints: Hints) -> Layout | None:
    """Return the layout of a CLIPTextModel (no vision tower beside it); UserError for unsupported configs."""
    parts = {name.partition(".")[0] for name in shapes}
    if not _claims("text-encoder", hints, "text_model" in parts and "vision_model" not in parts, shapes):
        return None
    numbers = text_config(_config(hints) or guess_text_config(shapes))
    return Layout("text-encoder", "huggingface", numbers, text_schema(numbers), (POSITION_IDS,))


def _config(hints: Hints) -> dict:
    """Return the config.json beside the file, else the one in its metadata (our own files), else {}."""
    return dict(hints.config) or hints.stored


def _claims(kind: str, hints: Hints, by_names: bool, shapes: Shapes) -> bool:
    """Return whether the config's class, or without one the names, make the file a network of this kind."""
    if any(mark in name for name in shapes for mark in _LORA_MARKS):
        return False
    several = hints.config.get("architectures")
    stated = str(hints.config.get("_class_name") or (several[0] if isinstance(several, list) and several else ""))
    if stated in CLASSES:
        return CLASSES[stated] == kind
    if "_class_name" in hints.config:
        raise UserError(f"the config says {stated[:80]!r}, a network that is not supported"
                        f"{nearest(stated[:80], CLASSES)}; known are {', '.join(CLASSES)}")
    return by_names


def _refuse_relatives(shapes: Shapes) -> None:
    for name in shapes:
        if name.startswith("controlnet_"):
            raise UserError("this is a ControlNet; only the U-Net itself is supported")
        if name.startswith(("add_embedding.linear_", "add_embedding.image_", "add_embedding.text_", "label_emb.")):
            raise UserError(f"this U-Net has {name!r}: Stable Diffusion 1.x and 2.x are supported, not XL or others")
        if ".motion_modules." in name or ".temp_convs." in name:
            raise UserError(f"this U-Net has {name!r}: networks for video are not supported")


FAMILIES = (
    Family("unet", recognise_unet,
           landmarks=("time_embedding.linear_1.weight", "conv_norm_out.weight")),
    Family("vae", recognise_vae, our_name=vae.modern_name,
           landmarks=("quant_conv.weight", "encoder.conv_norm_out.weight")),
    Family("text-encoder", recognise_text_encoder,
           landmarks=("text_model.embeddings.token_embedding.weight", "text_model.final_layer_norm.weight")),
)
