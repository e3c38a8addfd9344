"""The autoencoder of Stable Diffusion: pictures to latents of an eighth of their side, and back."""
from __future__ import annotations

from jittor_ipl.models.diffusion.blocks import (
    TRANSFORMER_EPS,
    CrossAttention,
    Downsample,
    ResnetBlock,
    Upsample,
    to_pixels,
    to_tokens,
)
from jittor_ipl.models.diffusion.config import VaeConfig
from jittor_ipl.models.layers import Conv, GroupNorm
from jittor_ipl.runtime.backend import jt, nn

LOG_VARIANCE = (-30.0, 20.0)     # what the encoder says is cut off there, as in training


class AttentionBlock(CrossAttention):
    """Attention of one head over the pixels of [B, C, H, W], added to the input."""

    def __init__(self, channels: int, groups: int):
        super().__init__(channels, 1, bias=True)
        self.group_norm = GroupNorm(groups, channels, TRANSFORMER_EPS)

    def execute(self, x: jt.Var) -> jt.Var:
        return x + to_pixels(super().execute(to_tokens(self.group_norm(x))), x)


class Level(nn.Module):
    """ResNet blocks of one resolution, and a change of size behind them."""

    def __init__(self, n_in: int, n_out: int, layers: int, groups: int, way: str | None):
        self.resnets = nn.Sequential(*(_resnet(n_out if layer else n_in, n_out, groups) for layer in range(layers)))
        self.downsamplers = nn.Sequential(Downsample(n_out, one_sided=True)) if way == "down" else None
        self.upsamplers = nn.Sequential(Upsample(n_out)) if way == "up" else None

    def execute(self, x: jt.Var) -> jt.Var:
        for part in (self.resnets, self.downsamplers, self.upsamplers):
            x = x if part is None else part(x)
        return x


class Middle(nn.Module):
    """An attention between two ResNet blocks."""

    def __init__(self, channels: int, groups: int):
        self.resnets = nn.Sequential(*(_resnet(channels, channels, groups) for _ in range(2)))
        self.attentions = nn.Sequential(AttentionBlock(channels, groups))

    def execute(self, x: jt.Var) -> jt.Var:
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class Encoder(nn.Module):
    """Pictures [B, 3, H, W] -> two numbers for each latent, [B, 2 latent_channels, H / 8, W / 8]."""

    def __init__(self, config: VaeConfig):
        widths, groups = config.block_out_channels, config.norm_num_groups
        last = len(widths) - 1
        self.conv_in = Conv(config.in_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.Sequential(*(
            Level(widths[max(i - 1, 0)], width, config.layers_per_block, groups, "down" if i < last else None)
            for i, width in enumerate(widths)))
        self.mid_block = Middle(widths[-1], groups)
        self.conv_norm_out = GroupNorm(groups, widths[-1], TRANSFORMER_EPS, silu=True)
        self.conv_out = Conv(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def execute(self, x: jt.Var) -> jt.Var:
        x = self.mid_block(self.down_blocks(self.conv_in(x)))
        return self.conv_out(self.conv_norm_out(x))


class Decoder(nn.Module):
    """Latents [B, latent_channels, h, w] -> pictures [B, 3, 8 h, 8 w]."""

    def __init__(self, config: VaeConfig):
        widths, groups = config.block_out_channels[::-1], config.norm_num_groups
        last = len(widths) - 1
        self.conv_in = Conv(config.latent_channels, widths[0], 3, padding=1)
        self.mid_block = Middle(widths[0], groups)
        self.up_blocks = nn.Sequential(*(
            Level(widths[max(i - 1, 0)], width, config.layers_per_block + 1, groups, "up" if i < last else None)
            for i, width in enumerate(widths)))
        self.conv_norm_out = GroupNorm(groups, widths[-1], TRANSFORMER_EPS, silu=True)
        self.conv_out = Conv(widths[-1], config.out_channels, 3, padding=1)

    def execute(self, x: jt.Var) -> jt.Var:
        x = self.up_blocks(self.mid_block(self.conv_in(x)))
        return self.conv_out(self.conv_norm_out(x))


class Vae(nn.Module):
    """diffusers' AutoencoderKL; tensors are zero, scales one, until they are loaded or drawn."""

    def __init__(self, config: VaeConfig):
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.quant_conv = Conv(2 * config.latent_channels, 2 * config.latent_channels, 1)
        self.post_quant_conv = Conv(config.latent_channels, config.latent_channels, 1)

    def moments(self, images: jt.Var) -> tuple[jt.Var, jt.Var]:
        """Return mean and log-variance, [B, latent_channels, H / 8, W / 8] each, of images [B, 3, H, W] in [-1, 1]."""
        assert not any(side % self.config.factor for side in images.shape[2:]), (images.shape, self.config.factor)
        both, n = self.quant_conv(self.encoder(images)), self.config.latent_channels
        return both[:, :n], jt.clamp(both[:, n:], *LOG_VARIANCE)

    def encode(self, images: jt.Var, noise: jt.Var | None = None) -> jt.Var:
        """Return the scaled latents that the U-Net works on: the mean, or the sample that standard `noise` makes."""
        mean, log_variance = self.moments(images)
        latents = mean if noise is None else mean + jt.exp(log_variance * 0.5) * noise
        return latents * self.config.scaling_factor

    def decode(self, latents: jt.Var) -> jt.Var:
        """Return the pictures [B, 3, 8 h, 8 w], about [-1, 1], of scaled latents [B, latent_channels, h, w]."""
        return self.decoder(self.post_quant_conv(latents / self.config.scaling_factor))


def _resnet(n_in: int, n_out: int, groups: int) -> ResnetBlock:
    return ResnetBlock(n_in, n_out, None, groups, TRANSFORMER_EPS)
