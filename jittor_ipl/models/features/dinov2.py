"""DINOv2's vision transformer (Oquab et al. 2023) with Hugging Face's names; only ever asked, for comparing styles."""
from __future__ import annotations

from jittor_ipl.models.layers import Conv, LayerNorm, Linear, freeze, in_order
from jittor_ipl.ops.activation import gelu
from jittor_ipl.ops.attention import attention
from jittor_ipl.ops.resize import resize
from jittor_ipl.runtime.backend import jt, nn

EPS = 1e-6


class SelfAttention(nn.Module):
    """Queries, keys and values of tokens [B, L, width], without the projection behind."""

    def __init__(self, width: int, heads: int):
        self.heads = heads
        self.query, self.key, self.value = (Linear(width, width) for _ in range(3))

    def execute(self, x: jt.Var) -> jt.Var:
        return attention(self.query(x), self.key(x), self.value(x), self.heads)


class LayerScale(nn.Module):
    """One learned factor per channel (Touvron et al. 2021)."""

    def __init__(self, width: int):
        self.lambda1 = jt.ones([width])

    def execute(self, x: jt.Var) -> jt.Var:
        return x * self.lambda1


class Block(nn.Module):
    """Pre-norm attention and MLP on tokens [B, L, width], each scaled and added."""

    def __init__(self, width: int, heads: int, hidden: int):
        self.norm1, self.norm2 = LayerNorm(width, EPS), LayerNorm(width, EPS)
        self.attention = in_order(attention=SelfAttention(width, heads), output=in_order(dense=Linear(width, width)))
        self.mlp = in_order(fc1=Linear(width, hidden), act=gelu, fc2=Linear(hidden, width))
        self.layer_scale1, self.layer_scale2 = LayerScale(width), LayerScale(width)

    def execute(self, x: jt.Var) -> jt.Var:
        x = x + self.layer_scale1(self.attention(self.norm1(x)))
        return x + self.layer_scale2(self.mlp(self.norm2(x)))


class Embeddings(nn.Module):
    """Patches with the class token before them and their places added, resized from the grid they were learned on."""

    def __init__(self, width: int, patch: int, grid: int):
        self.grid = grid
        self.cls_token, self.mask_token = jt.zeros([1, 1, width]), jt.zeros([1, width])
        self.position_embeddings = jt.zeros([1, grid * grid + 1, width])
        self.patch_embeddings = in_order(projection=Conv(3, width, patch, stride=patch))

    def execute(self, images: jt.Var) -> jt.Var:
        """Map [B, 3, H, W] to [B, 1 + H / patch * W / patch, width]; what does not fill a patch is left out."""
        x = self.patch_embeddings(images)
        batch, channels, height, width = x.shape
        x = x.reshape(batch, channels, -1).permute(0, 2, 1)
        return jt.concat([self.cls_token.expand(batch, 1, channels), x], dim=1) + self._places(height, width)

    def _places(self, height: int, width: int) -> jt.Var:
        if (height, width) == (self.grid, self.grid):
            return self.position_embeddings
        first, rest = self.position_embeddings[:, :1], self.position_embeddings[:, 1:]
        maps = rest.reshape(1, self.grid, self.grid, -1).permute(0, 3, 1, 2)
        maps = resize(maps, (height, width), "bicubic")
        return jt.concat([first, maps.reshape(1, maps.shape[1], -1).permute(0, 2, 1)], dim=1)


class Dinov2(nn.Module):
    """Pictures to one feature; frozen, zero until `weights.features.load_dinov2` fills it; the base size.

    width    channels of a token
    layers   blocks of the transformer
    heads    of each attention
    hidden   channels inside an MLP
    patch    side of a patch
    grid     patches on a side of the pictures it was trained on (37 of 518 px)
    """

    def __init__(self, width: int = 768, layers: int = 12, heads: int = 12, hidden: int = 3072, patch: int = 14,
                 grid: int = 37):
        self.embeddings = Embeddings(width, patch, grid)
        self.encoder = in_order(layer=nn.Sequential(*(Block(width, heads, hidden) for _ in range(layers))))
        self.layernorm = LayerNorm(width, EPS)
        freeze(self)

    def execute(self, images: jt.Var) -> jt.Var:
        """Return the class token's feature [B, width] (`pooler_output`) of normalised pictures [B, 3, H, W]."""
        return self.layernorm(self.encoder(self.embeddings(images)))[:, 0]
