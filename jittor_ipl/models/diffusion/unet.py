"""The U-Net of Stable Diffusion 1.x and 2.x: noisy latents, a timestep and text states in, the prediction out."""
from __future__ import annotations

from jittor_ipl.models.checkpointing import checkpointed
from jittor_ipl.models.diffusion.blocks import (
    Downsample,
    ResnetBlock,
    SpatialTransformer,
    TimestepEmbedding,
    Upsample,
    sinusoids,
)
from jittor_ipl.models.diffusion.config import CROSS_DOWN, CROSS_UP, UNetConfig
from jittor_ipl.models.layers import Conv, GroupNorm, LayerNorm, Linear
from jittor_ipl.ops.activation import silu
from jittor_ipl.ops.attention import attention
from jittor_ipl.ops.norms import mean
from jittor_ipl.runtime.backend import jt, nn


class UNetLevel(nn.Module):
    """What the levels of the U-Net share: a switch, `gradient_checkpointing`, for each of their blocks."""

    gradient_checkpointing = False

    def run(self, block: ResnetBlock | SpatialTransformer, *inputs: jt.Var) -> jt.Var:
        """Return `block(*inputs)`; with the switch on, what it computes between is not kept for the gradient."""
        return checkpointed(block, *inputs) if self.gradient_checkpointing else block(*inputs)


class DownBlock(UNetLevel):
    """One level on the way down: ResNet blocks, transformers where the level has them, and a change of size."""

    def __init__(self, config: UNetConfig, index: int):
        widths, width = config.block_out_channels, config.block_out_channels[index]
        into = [widths[max(index - 1, 0)]] + [width] * (config.layers_per_block[index] - 1)
        self.resnets = nn.Sequential(*(_resnet(config, n_in, width) for n_in in into))
        self.attentions = nn.Sequential(*(_transformer(config, index) for _ in into)) \
            if config.down_block_types[index] == CROSS_DOWN else None
        self.downsamplers = nn.Sequential(Downsample(width)) if index < len(widths) - 1 else None

    def execute(self, x: jt.Var, time: jt.Var, context: jt.Var) -> tuple[jt.Var, list[jt.Var]]:
        """Return what goes on, and everything that the way up reads."""
        kept = []
        for layer, resnet in enumerate(self.resnets):
            x = self.run(resnet, x, time)
            if self.attentions is not None:
                x = self.run(self.attentions[layer], x, context)
            kept.append(x)
        if self.downsamplers is not None:
            x = self.downsamplers(x)
            kept.append(x)
        return x, kept


class MiddleBlock(UNetLevel):
    """A transformer between two ResNet blocks at the lowest resolution."""

    def __init__(self, config: UNetConfig):
        width = config.block_out_channels[-1]
        self.resnets = nn.Sequential(*(_resnet(config, width, width) for _ in range(2)))
        self.attentions = nn.Sequential(_transformer(config, -1))

    def execute(self, x: jt.Var, time: jt.Var, context: jt.Var) -> jt.Var:
        x = self.run(self.resnets[0], x, time)
        return self.run(self.resnets[1], self.run(self.attentions[0], x, context), time)


class UpBlock(UNetLevel):
    """One level on the way up; every ResNet block also reads what the way down left at its place."""

    def __init__(self, config: UNetConfig, index: int):
        widths = config.block_out_channels
        mirror = len(widths) - 1 - index
        width, before, below = widths[mirror], widths[min(mirror + 1, len(widths) - 1)], widths[max(mirror - 1, 0)]
        layers = config.layers_per_block[mirror] + 1
        into = [(before if layer == 0 else width) + (below if layer == layers - 1 else width)
                for layer in range(layers)]
        self.resnets = nn.Sequential(*(_resnet(config, n_in, width) for n_in in into))
        self.attentions = nn.Sequential(*(_transformer(config, mirror) for _ in into)) \
            if config.up_block_types[index] == CROSS_UP else None
        self.upsamplers = nn.Sequential(Upsample(width)) if mirror else None

    def execute(self, x: jt.Var, time: jt.Var, context: jt.Var, kept: list[jt.Var]) -> jt.Var:
        """Takes from the end of `kept` what its blocks read."""
        for layer, resnet in enumerate(self.resnets):
            x = self.run(resnet, jt.concat([x, kept.pop()], dim=1), time)
            if self.attentions is not None:
                x = self.run(self.attentions[layer], x, context)
        return x if self.upsamplers is None else self.upsamplers(x)


class AttentionPooling(nn.Module):
    """The mean token's attention to all tokens and itself, [B, L, width] -> [B, width]."""

    def __init__(self, width: int, heads: int):
        self.heads = heads
        self.positional_embedding = jt.zeros([1, width])
        self.k_proj, self.q_proj, self.v_proj = (Linear(width, width) for _ in range(3))

    def execute(self, x: jt.Var) -> jt.Var:
        summary = mean(x, 1, keepdims=True) + self.positional_embedding
        x = jt.concat([summary, x], dim=1)
        return attention(self.q_proj(summary), self.k_proj(x), self.v_proj(x), self.heads)[:, 0]


class TextTimeEmbedding(nn.Module):
    """Pooled text states that join the timestep's embedding, [B, L, text_width] -> [B, width]."""

    def __init__(self, text_width: int, width: int, heads: int):
        self.norm1, self.pool = LayerNorm(text_width), AttentionPooling(text_width, heads)
        self.proj, self.norm2 = Linear(text_width, width), LayerNorm(width)

    def execute(self, context: jt.Var) -> jt.Var:
        return self.norm2(self.proj(self.pool(self.norm1(context))))


class UNet(nn.Module):
    """diffusers' UNet2DConditionModel; tensors are zero, scales one, until they are loaded or drawn."""

    def __init__(self, config: UNetConfig):
        widths, depth = config.block_out_channels, len(config.block_out_channels)
        self.config, kernel_in, kernel_out = config, config.conv_in_kernel, config.conv_out_kernel
        self.conv_in = Conv(config.in_channels, widths[0], kernel_in, padding=kernel_in // 2)
        self.time_embedding = TimestepEmbedding(widths[0], config.time_width)
        self.add_embedding = TextTimeEmbedding(config.cross_attention_dim[0], config.time_width,
                                               config.addition_embed_type_num_heads) \
            if config.addition_embed_type == "text" else None
        self.down_blocks = nn.Sequential(*(DownBlock(config, index) for index in range(depth)))
        self.mid_block = MiddleBlock(config)
        self.up_blocks = nn.Sequential(*(UpBlock(config, index) for index in range(depth)))
        self.conv_norm_out = GroupNorm(config.norm_num_groups, widths[0], config.norm_eps, silu=True)
        self.conv_out = Conv(widths[0], config.out_channels, kernel_out, padding=kernel_out // 2)

    @property
    def gradient_checkpointing(self) -> bool:
        """Whether a training step keeps the blocks' inputs alone: less memory, about a third more time."""
        return self.mid_block.gradient_checkpointing

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, on: bool) -> None:
        for level in (*self.down_blocks, self.mid_block, *self.up_blocks):
            level.gradient_checkpointing = on

    def execute(self, latents: jt.Var, timesteps: jt.Var, context: jt.Var) -> jt.Var:
        """Return the prediction [B, out_channels, h, w] (noise or v, as the weights were trained).

        latents [B, in_channels, h, w], h and w multiples of `config.factor`; timesteps [B] or [1]; context [B, L, D]
        are the text's states.
        """
        assert latents.shape[1] == self.config.in_channels, (latents.shape, self.config.in_channels)
        assert not any(side % self.config.factor for side in latents.shape[2:]), (latents.shape, self.config.factor)
        time = silu(self._time(timesteps, context, latents.shape[0]))
        x = self.conv_in(latents)
        kept = [x]
        for block in self.down_blocks:
            x, more = block(x, time, context)
            kept += more
        x = self.mid_block(x, time, context)
        for block in self.up_blocks:
            x = block(x, time, context, kept)
        return self.conv_out(self.conv_norm_out(x))

    def _time(self, timesteps: jt.Var, context: jt.Var, batch: int) -> jt.Var:
        """Return the embedding [B, time_width] of timesteps [B] or [1]."""
        config = self.config
        waves = sinusoids(timesteps, config.block_out_channels[0], config.flip_sin_to_cos, config.freq_shift)
        time = self.time_embedding(waves.broadcast([batch, waves.shape[1]]))
        return time if self.add_embedding is None else time + self.add_embedding(context)


def _resnet(config: UNetConfig, n_in: int, n_out: int) -> ResnetBlock:
    return ResnetBlock(n_in, n_out, config.time_width, config.norm_num_groups, config.norm_eps)


def _transformer(config: UNetConfig, level: int) -> SpatialTransformer:
    return SpatialTransformer(config.block_out_channels[level], config.attention_head_dim[level],
                              config.cross_attention_dim[level], config.transformer_layers_per_block[level],
                              config.norm_num_groups, config.use_linear_projection)
