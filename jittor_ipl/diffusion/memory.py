"""What a step of training or a picture will need, told before it is tried where that may be more than there is."""
from __future__ import annotations

from typing import TYPE_CHECKING

from jittor_ipl.models.diffusion.config import CROSS_DOWN, CROSS_UP, UNetConfig
from jittor_ipl.runtime.memory import available_bytes, in_gib

if TYPE_CHECKING:
    from jittor_ipl.config.lora import LoraTraining
    from jittor_ipl.weights.diffusion import LatentDiffusion

# What the backward pass needs of a pixel, in tensors of a block's width: a ResNet block keeps what its first norm gives
# (of the width that comes in) and three more, a transformer 3 of its own and 24 a layer.
RESNET, TRANSFORMER, LAYER, TEXT_LAYER = 3, 3, 24, 16
# Measured peaks of a step over these, with half of Stable Diffusion 2.1's widths: 1.7 at 256 px, 1.8 at 512 px (the
# gradients on their way and the kernels' workspaces are the rest), and what checkpointing leaves of it at most.
PEAK, CHECKPOINTED = 1.8, 0.6

# Of a picture, in tensors of a block's width at once: a transformer's GEGLU and what stands beside it; a ResNet block
# and its input.
GEGLU, RESNET_INPUT = 14, 3


def activation_floats(config: UNetConfig, side: int) -> int:
    """Return how many numbers the U-Net keeps until the backward pass for one latent of side x side."""
    widths, levels = config.block_out_channels, len(config.block_out_channels)
    skips, width, total = [widths[0]], widths[0], 0

    def block(level: int, came: int, out: int, layers: int) -> int:
        kept = came + RESNET * out + (TRANSFORMER * out if layers else 0) + layers * LAYER * out
        return (side >> level) ** 2 * kept
    for level, out in enumerate(widths):
        layers = config.transformer_layers_per_block[level] if config.down_block_types[level] == CROSS_DOWN else 0
        for _ in range(config.layers_per_block[level]):
            total, width = total + block(level, width, out, layers), out
            skips.append(width)
        skips += [width] * (level < levels - 1)
    total += block(levels - 1, width, width, config.transformer_layers_per_block[-1]) + \
        block(levels - 1, width, width, 0)
    for level, kind in zip(reversed(range(levels)), config.up_block_types):
        layers = config.transformer_layers_per_block[level] if kind == CROSS_UP else 0
        for _ in range(config.layers_per_block[level] + 1):
            total, width = total + block(level, width + skips.pop(), widths[level], layers), widths[level]
    return total


def step_bytes(model: LatentDiffusion, settings: LoraTraining, side: int) -> int:
    """Return about how much memory a step with pictures of `side` pixels takes beside the weights."""
    pictures, text = settings.batch * (2 if settings.prior.weight else 1), model.text.settings
    unet = activation_floats(model.unet.config, side // model.vae.config.factor)
    words = text.transformer_layers * text.context_length * TEXT_LAYER * text.transformer_width
    kept = unet * (CHECKPOINTED if settings.checkpointing else 1) + words * bool(settings.text_targets)
    return int(4 * PEAK * pictures * kept)


def memory_warning(model: LatentDiffusion, settings: LoraTraining, side: int) -> str | None:
    """Return a line for who trains when a step may need more memory than there is; None when it should fit."""
    needed, free = step_bytes(model, settings, side), available_bytes()
    if needed <= 0.9 * free:
        return None
    less = settings.model_copy(update={"checkpointing": True})
    advice = [] if settings.checkpointing else [f"lora.checkpointing ({in_gib(step_bytes(model, less, side))})"]
    advice += ["a smaller lora.batch with more lora.accumulation"] if settings.batch > 1 else []
    return (f"a step of {settings.batch} pictures of {side} px needs about {in_gib(needed)} beside the weights, "
            f"{in_gib(free)} are free; it may fail: set {', '.join([*advice, 'or a smaller lora.resolution'])}")


def picture_bytes(model: LatentDiffusion, height: int, width: int, rows: int) -> int:
    """Return about how much memory a picture of that many pixels takes beside the weights.

    rows   of the U-Net at once, 2 with guidance
    """
    return max(rows * unet_bytes(model, height * width), vae_bytes(model, height * width))


def unet_bytes(model: LatentDiffusion, pixels: int) -> int:
    """Return about how much memory one row of the U-Net takes beside the weights, for a picture of `pixels`."""
    unet, pixels = model.unet.config, pixels // model.vae.config.factor ** 2
    skips = sum((pixels >> 2 * level) * out * (unet.layers_per_block[level] + 1)
                for level, out in enumerate(unet.block_out_channels))
    at_once = max((pixels >> 2 * level) * out * (GEGLU if unet.down_block_types[level] == CROSS_DOWN
                                                 else 2 * RESNET_INPUT)
                  for level, out in enumerate(unet.block_out_channels))
    return 4 * (skips + at_once)


def vae_bytes(model: LatentDiffusion, pixels: int) -> int:
    """Return about how much memory a picture of `pixels` takes on its way through the autoencoder, either way."""
    decoder, pixels = model.vae.config.block_out_channels[::-1], pixels // model.vae.config.factor ** 2
    return 4 * max((pixels << 2 * level) * RESNET_INPUT * decoder[max(level - 1, 0)] for level in range(len(decoder)))


def picture_warning(model: LatentDiffusion, height: int, width: int, rows: int) -> str | None:
    """Return a line for who paints when a picture may need more memory than there is; None when it should fit."""
    needed, free = picture_bytes(model, height, width, rows), available_bytes()
    if needed <= 0.9 * free:
        return None
    return (f"a picture of {width} x {height} px needs about {in_gib(needed)} beside the weights, {in_gib(free)} are "
            "free; it may fail: choose a smaller size")
