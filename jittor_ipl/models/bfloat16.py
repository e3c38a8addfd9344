"""Which layers of a network may multiply in bfloat16 while it trains; off unless a setting names the network.

What decides the numbers stays float32: StyleGAN2's mapping, modulation, demodulation and low resolutions, a CLIP's
first layer and its projection, the U-Net's first and last layer and the embedding of time, all norms, all attention
scores and softmaxes, every LoRA, losses and optimiser.
"""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.diffusion.unet import UNet
from jittor_ipl.models.layers import Conv, Linear
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.models.stylegan2.layers import ModulatedConv2d
from jittor_ipl.models.transformer import Attention
from jittor_ipl.runtime.backend import nn

RESOLUTIONS = 4     # the highest of a generator, as StyleGAN2-ADA's num_fp16_res (Karras et al. 2020)
_LAYERS = (Conv, Linear, Attention, ModulatedConv2d)


def layers_for_bfloat16(network: Generator | Clip | UNet) -> list[nn.Module]:
    """Return the layers of a network's blocks that may multiply in bfloat16."""
    if isinstance(network, Generator):
        blocks = [*list(network.convs)[-2 * RESOLUTIONS:], *list(network.to_rgbs)[-RESOLUTIONS:]]
        return [block.conv for block in blocks]
    if isinstance(network, Clip):
        visual = network.visual
        names = ("layer1", "layer2", "layer3", "layer4") if network.is_resnet else ("transformer",)
        blocks = [getattr(visual, name) for name in names]
    else:
        blocks = [network.down_blocks, network.mid_block, network.up_blocks]
    return [layer for block in blocks for layer in block.modules() if isinstance(layer, _LAYERS)]


@contextmanager
def bfloat16_products(*networks: Generator | Clip | UNet) -> Iterator[None]:
    """Let the chosen layers of these networks multiply in bfloat16 inside."""
    layers = [layer for network in networks for layer in layers_for_bfloat16(network)]
    for layer in layers:
        layer._bfloat16 = True
    try:
        yield
    finally:
        for layer in layers:
            layer._bfloat16 = False
