"""CLIP's two image towers: the vision transformer and the modified ResNet (Radford et al. 2021, section 2.4).

Both take images [B, 3, R, R] already normalised by `Clip.preprocess` and return features [B, embed_dim] that are not
normalised. Attribute names equal the keys of OpenAI's checkpoints.
"""
from __future__ import annotations

from jittor_ipl.models.clip.config import ClipConfig
from jittor_ipl.models.layers import BatchNorm, Conv, GroupNorm, LayerNorm, Linear
from jittor_ipl.models.transformer import Transformer
from jittor_ipl.ops.attention import attention
from jittor_ipl.ops.pool import average_pool
from jittor_ipl.runtime.backend import jt, nn


class PatchEmbedding(nn.Module):
    """The stride = kernel convolution of the vision transformer, as one matrix product over patches."""

    def __init__(self, size: int, width: int):
        self.size = size
        self.weight = jt.zeros([width, 3, size, size])

    def execute(self, x: jt.Var) -> jt.Var:
        """Map images [B, C, H, W] to [B, H / size * W / size, width], rows first."""
        batch, channels, height, width = x.shape
        rows, columns = height // self.size, width // self.size
        x = x.reshape(batch, channels, rows, self.size, columns, self.size).permute(0, 2, 4, 1, 3, 5)
        x = x.reshape(batch, rows * columns, channels * self.size**2)
        return nn.matmul_transpose(x, self.weight.reshape(self.weight.shape[0], -1))


class VisionTransformer(nn.Module):
    """Vision transformer whose class token, after the last norm and the projection, is the image feature."""

    def __init__(self, config: ClipConfig):
        width, size, patch = config.vision_width, config.image_resolution, config.vision_patch_size
        assert size % patch == 0, f"resolution {size} is not a multiple of patch size {patch}"
        self.input_resolution = size
        self.class_embedding = jt.zeros([width])
        self.positional_embedding = jt.zeros([(size // patch) ** 2 + 1, width])
        self.proj = jt.zeros([width, config.embed_dim])
        self.conv1 = PatchEmbedding(patch, width)
        self.ln_pre, self.ln_post = LayerNorm(width, config.eps), LayerNorm(width, config.eps)
        self.transformer = Transformer(width, config.vision_layers, config.vision_heads, config.vision_mlp,
                                       config.activation, config.eps)

    def execute(self, x: jt.Var) -> jt.Var:
        """Return features [B, embed_dim] of [B, 3, R, R]."""
        x = self.conv1(x)                                                           # [B, grid * grid, width]
        token = self.class_embedding.broadcast([x.shape[0], 1, x.shape[2]], [0, 1])
        x = jt.concat([token, x], dim=1) + self.positional_embedding
        x = self.transformer(self.ln_pre(x))
        return jt.matmul(self.ln_post(x[:, 0]), self.proj)


def _norm(kind: str, channels: int) -> nn.Module:
    """Return batch norm, or the group norm in its place: there an image's feature never depends on its batch."""
    assert kind in ("batch", "group"), kind
    groups = max(g for g in range(1, 33) if channels % g == 0 and (channels // g >= 8 or g == 1))
    return BatchNorm(channels) if kind == "batch" else GroupNorm(groups, channels)


def _conv(n_in: int, n_out: int, kernel: int, stride: int = 1) -> Conv:
    """Return a convolution without bias that keeps the size at stride 1."""
    return Conv(n_in, n_out, kernel, stride, padding=kernel // 2, bias=False)


class Bottleneck(nn.Module):
    """Residual bottleneck; a stride is an average pool after the 3x3 convolution and before the shortcut."""

    def __init__(self, n_in: int, planes: int, stride: int, norm: str):
        self.stride = stride
        self.conv1, self.bn1 = _conv(n_in, planes, 1), _norm(norm, planes)
        self.conv2, self.bn2 = _conv(planes, planes, 3), _norm(norm, planes)
        self.conv3, self.bn3 = _conv(planes, 4 * planes, 1), _norm(norm, 4 * planes)
        changes = stride > 1 or n_in != 4 * planes
        self.downsample = nn.Sequential(_conv(n_in, 4 * planes, 1), _norm(norm, 4 * planes)) if changes else None

    def execute(self, x: jt.Var) -> jt.Var:
        out = nn.relu(self.bn1(self.conv1(x)))
        out = nn.relu(self.bn2(self.conv2(out)))
        if self.stride > 1:
            out, x = average_pool(out, 2, 2), average_pool(x, 2, 2)
        out = self.bn3(self.conv3(out))
        return nn.relu(out + (x if self.downsample is None else self.downsample(x)))


class AttentionPool(nn.Module):
    """Pool a feature map by attention: the mean token asks, every position (with its embedding) answers."""

    def __init__(self, grid: int, width: int, heads: int, embed_dim: int):
        self.heads = heads
        self.positional_embedding = jt.zeros([grid * grid + 1, width])
        self.k_proj, self.q_proj, self.v_proj = (Linear(width, width) for _ in range(3))
        self.c_proj = Linear(width, embed_dim)

    def execute(self, x: jt.Var) -> jt.Var:
        batch, width = x.shape[:2]
        x = x.reshape(batch, width, -1).permute(0, 2, 1)                            # [B, grid * grid, width]
        mean = x.sum(1, keepdims=True) * (1.0 / x.shape[1])
        x = jt.concat([mean, x], dim=1) + self.positional_embedding
        pooled = attention(self.q_proj(x[:, :1]), self.k_proj(x), self.v_proj(x), self.heads)
        return self.c_proj(pooled.reshape(batch, width))


class ModifiedResNet(nn.Module):
    """ResNet with a three-convolution stem, anti-aliased strides and attention pooling.

    Its norm is batch norm with stored statistics (OpenAI's, frozen) or group norm, which trains at any batch size.
    """

    def __init__(self, config: ClipConfig):
        size, width, norm = config.image_resolution, config.vision_width, config.norm
        assert size % 32 == 0, f"resolution {size} is not a multiple of 32"
        self.input_resolution, half = size, width // 2
        self.conv1, self.bn1 = _conv(3, half, 3, stride=2), _norm(norm, half)
        self.conv2, self.bn2 = _conv(half, half, 3), _norm(norm, half)
        self.conv3, self.bn3 = _conv(half, width, 3), _norm(norm, width)
        n_in = width
        for stage, blocks in enumerate(config.vision_layers):
            planes, stride = width * 2 ** stage, 1 if stage == 0 else 2
            first = Bottleneck(n_in, planes, stride, norm)
            rest = [Bottleneck(4 * planes, planes, 1, norm) for _ in range(blocks - 1)]
            setattr(self, f"layer{stage + 1}", nn.Sequential(first, *rest))
            n_in = 4 * planes
        self.attnpool = AttentionPool(size // 32, n_in, config.vision_heads, config.embed_dim)

    def execute(self, x: jt.Var) -> jt.Var:
        """Return features [B, embed_dim] of [B, 3, R, R]."""
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = nn.relu(norm(conv(x)))
        x = average_pool(x, 2, 2)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.attnpool(x)
