"""The encoder of the demo world's autoencoder in closed form: principal components of patches of 8 x 8 pixels.

An encoder that is trained together with its decoder needs hundreds of thousands of pictures before it keeps a mouth.
The best linear code is known at once, and once it stands, decoder and U-Net learn at the same time, each from exact
latents. It is written into the weights of an ordinary AutoencoderKL, so that every program that reads one computes it:

- ResNet blocks add nothing (their last convolution is zero); shortcuts and convolutions of stride 2 pass values on,
  every 2 x 2 places joined and shortened to their first principal components where the level is too narrow for all.
- The last group norm and its SiLU become linear: every component x has a partner -x, for silu(x) - silu(-x) = x, and a
  pair of large constants in every group makes the norm's deviation a constant.
"""
from __future__ import annotations

import numpy as np

from jittor_ipl.models.diffusion.config import VaeConfig
from jittor_ipl.models.diffusion.vae import Vae
from jittor_ipl.models.strict import named_tensors
from jittor_ipl.runtime.backend import jt

CONSTANT = 1000.0           # of the large channels
LOG_VARIANCE = -9.0         # of the latents' own noise: as good as none
EQUALISED = 0.25            # power of a component's variance that its scale divides by: halfway to equal deviations


def write_encoder(vae: Vae, images: np.ndarray) -> None:
    """Set every tensor of the encoder for pictures like `images` float32 [N, 3, H, W] in [-1, 1]; pure of randomness.

    The latents' deviation is 1 over `images`, larger for the components that say more.
    """
    config, tensors = vae.config, {name: np.zeros(var.shape, np.float32) for name, var in named_tensors(vae).items()
                                   if name.startswith(("encoder.", "quant_conv."))}
    for name in tensors:
        if "norm" in name and name.endswith(".weight"):
            tensors[name][:] = 1
    tensors["encoder.conv_in.weight"][:3, :, 1, 1] = np.eye(3)
    values = np.moveaxis(images, 1, -1)                                         # [N, H, W, c], c grows level by level
    for level, width in enumerate(config.block_out_channels[:-1]):
        _pass_on(tensors, level, values.shape[-1])
        joined = _joined(values)
        rows = _components(joined, width)                                       # [kept, 4 c]
        kernel = tensors[f"encoder.down_blocks.{level}.downsamplers.0.conv.weight"]
        taps = rows.reshape(len(rows), 2, 2, values.shape[-1]).transpose(0, 3, 1, 2)
        kernel[:len(rows), :values.shape[-1], :2, :2] = taps
        values = joined @ rows.T
    _write_last(tensors, config, values)
    for name, value in tensors.items():
        named_tensors(vae)[name].assign(jt.array(value))


def _pass_on(tensors: dict[str, np.ndarray], level: int, channels: int) -> None:
    """Let the shortcut of a level that changes its width pass the channels on."""
    shortcut = tensors.get(f"encoder.down_blocks.{level}.resnets.0.conv_shortcut.weight")
    if shortcut is not None:
        shortcut[:channels, :channels, 0, 0] = np.eye(channels)


def _joined(values: np.ndarray) -> np.ndarray:
    """Join every 2 x 2 places of [N, H, W, c]: [N, H / 2, W / 2, 4 c], the row first, then the column."""
    n, h, w, c = values.shape
    return values.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, h // 2, w // 2, 4 * c)


def _components(values: np.ndarray, most: int) -> np.ndarray:
    """Return the first principal axes of [N, h, w, c] as rows [<= most, c]; all axes as they are when they fit."""
    if values.shape[-1] <= most:
        return np.eye(values.shape[-1], dtype=np.float32)
    return _principal(values)[0][:most]


def _principal(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the principal axes as rows [c, c], largest first, of positive sum; their variances [c]; the mean [c]."""
    flat = values.reshape(-1, values.shape[-1]).astype(np.float64)
    mean = flat.mean(axis=0)
    variances, axes = np.linalg.eigh((flat - mean).T @ (flat - mean) / len(flat))
    axes = axes[:, ::-1].T
    axes = axes * np.where(axes.sum(axis=1, keepdims=True) < 0, -1, 1)          # eigh leaves the sign open
    return axes.astype(np.float32), variances[::-1].copy(), mean


def _write_last(tensors: dict[str, np.ndarray], config: VaeConfig, values: np.ndarray) -> None:
    """Write the last shortcut, norm and convolution: the latents, scaled, of values [N, h, w, c]."""
    count, groups, width = config.latent_channels, config.norm_num_groups, config.block_out_channels[-1]
    axes, variances, mean = _principal(values)
    axes, variances = axes[:count], variances[:count]
    size = width // groups
    pairs = [group * size + 2 * pair for group in range(groups) for pair in range(size // 2 - 1)][:count]
    assert len(pairs) == count, f"{count} latents need {2 * (count + groups)} channels in the last level, not {width}"
    last = f"encoder.down_blocks.{len(config.block_out_channels) - 1}.resnets.0.conv_shortcut"
    for place, axis in zip(pairs, axes):
        for sign, channel in ((1, place), (-1, place + 1)):
            tensors[f"{last}.weight"][channel, :len(axis), 0, 0] = sign * axis
            tensors[f"{last}.bias"][channel] = -sign * axis @ mean
    for group in range(groups):
        tensors[f"{last}.bias"][(group + 1) * size - 2:(group + 1) * size] = CONSTANT, -CONSTANT
    tensors["encoder.conv_norm_out.weight"][:] = CONSTANT * np.sqrt(2 / size)
    scales = variances ** -EQUALISED
    scales /= np.sqrt(np.mean(variances * scales ** 2))
    for latent, (place, scale) in enumerate(zip(pairs, scales)):
        tensors["encoder.conv_out.weight"][latent, place:place + 2, 1, 1] = scale, -scale
    tensors["encoder.conv_out.bias"][count:] = LOG_VARIANCE
    tensors["quant_conv.weight"][:, :, 0, 0] = np.eye(2 * count)
