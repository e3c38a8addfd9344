"""Prompt mappers: IPL's (Guo et al. 2023), the three transformer mappers of a thesis on it, one mapper per level of W+.

A mapper turns codes into prompt vectors [B, n_ctx, ctx_dim]. Codes are w [B, style_dim], or, for mappers whose
`per_level` is true, ws [B, n_latent, style_dim] as well. `dropout` is the generator that draws the masks of one
training step; without one nothing is dropped.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from jittor_ipl.errors import UserError, nearest
from jittor_ipl.models.layers import LayerNorm, Linear, in_order
from jittor_ipl.models.stylegan2.layers import EqualLinear, PixelNorm
from jittor_ipl.models.transformer import Attention
from jittor_ipl.runtime.backend import jt, nn

LR_MUL = 0.01


@dataclass(frozen=True)
class TransformerMapperConfig:
    """The numbers of a `TransformerMapper`; its file carries all but the last two, which only training reads."""

    style_dim: int                      # width of a code
    n_ctx: int                          # prompt vectors to write
    ctx_dim: int                        # their width: that of the CLIP's text transformer
    layers: int                         # of the encoder
    heads: int                          # attention heads of a layer; they divide style_dim
    hidden: int = 0                     # width between the two last linear layers; 0 for one layer alone
    feedforward: int = 1024             # width inside an encoder layer
    pixel_norm: bool = False            # scale codes to unit mean square first, as an early version of V1 did
    dropout: float = 0.1                # probability that training sets a number to zero
    batch_is_sequence: bool = False     # the thesis's code: an image's prompt depends on its neighbours in the batch


def transformer_sizes(style_dim: int) -> dict[str, dict[str, int]]:
    """Return the thesis's three sizes; V2 widens to twice the width of w before its last layer (1024 of 512)."""
    return {"transformer_v1": dict(layers=3, heads=2), "transformer_v2": dict(layers=2, heads=4, hidden=2 * style_dim),
            "transformer_v3": dict(layers=2, heads=2, hidden=style_dim)}


ARCHITECTURES = ("ipl", *transformer_sizes(512), "levels")
Mapper = nn.Module      # PromptMapper, TransformerMapper or LevelsMapper


def make_mapper(architecture: str, style_dim: int, n_ctx: int, ctx_dim: int, *, batch_is_sequence: bool = False,
                rng: np.random.Generator | None = None) -> Mapper:
    """Return a new mapper of one of `ARCHITECTURES`; `batch_is_sequence` as in `TransformerMapperConfig`.

    Raises UserError for another name, a width of w that the heads do not divide, or too few prompt vectors.
    """
    if architecture not in ARCHITECTURES:
        raise UserError(f"no mapper is called {architecture!r}{nearest(architecture, ARCHITECTURES)}; "
                        f"there are {', '.join(ARCHITECTURES)}")
    if architecture == "ipl":
        return PromptMapper(style_dim, n_ctx, ctx_dim, rng)
    if architecture == "levels":
        return LevelsMapper(style_dim, n_ctx, ctx_dim, rng)
    size = transformer_sizes(style_dim)[architecture]
    config = TransformerMapperConfig(style_dim, n_ctx, ctx_dim, **size, batch_is_sequence=batch_is_sequence)
    return TransformerMapper(config, rng)


class PromptMapper(nn.Module):
    """IPL's mapper (section 3.2): w to prompt vectors in the token space of a CLIP text transformer.

    PixelNorm, three hidden layers of width style_dim and one to n_ctx * ctx_dim, all with leaky ReLU and learning-rate
    factor 0.01.

    style_dim   width of w
    n_ctx       prompt vectors to write
    ctx_dim     their width: that of the CLIP's text transformer
    rng         draws the weights (a fixed seed when absent)
    """

    per_level = False       # it takes w, not the codes of single levels

    def __init__(self, style_dim: int, n_ctx: int, ctx_dim: int, rng: np.random.Generator | None = None):
        self.style_dim, self.n_ctx, self.ctx_dim = style_dim, n_ctx, ctx_dim
        rng, widths = rng or np.random.default_rng(0), [style_dim] * 4 + [n_ctx * ctx_dim]
        layers = [EqualLinear(a, b, rng, lr_mul=LR_MUL, activate=True) for a, b in zip(widths, widths[1:])]
        self.mapping = in_order(mapping=nn.Sequential(PixelNorm(), *layers))     # the official names

    def execute(self, w: jt.Var, dropout: np.random.Generator | None = None) -> jt.Var:
        """Map w [B, style_dim] to [B, n_ctx, ctx_dim]; raises UserError for another width. It has no dropout."""
        check_codes(w, self.style_dim, self.per_level)
        return self.mapping(w).reshape(-1, self.n_ctx, self.ctx_dim)

    def config(self) -> dict[str, int]:
        """Return the constructor's numbers."""
        return {"style_dim": self.style_dim, "n_ctx": self.n_ctx, "ctx_dim": self.ctx_dim}


class TransformerMapper(nn.Module):
    """An encoder over the codes of an image, then one or two linear layers as in IPL's mapper.

    Each image is a sequence of its own: one token for w, one per level for ws, whose outputs are averaged. One token
    can only attend to itself, so for plain w the encoder is a residual network. With `batch_is_sequence` the batch of w
    is one sequence instead. Names are the thesis's, each tensor once. `rng` draws the weights (else a fixed seed).
    """

    def __init__(self, config: TransformerMapperConfig, rng: np.random.Generator | None = None):
        width, heads = config.style_dim, config.heads
        if width % heads:
            raise UserError(f"w has {width} numbers, which {heads} attention heads do not divide; use another mapper")
        rng = rng or np.random.default_rng(0)
        self.settings, self.n_ctx, self.per_level = config, config.n_ctx, not config.batch_is_sequence
        self.transformer_encoder = in_order(
            layers=nn.Sequential(*(EncoderLayer(config, rng) for _ in range(config.layers))))
        if config.hidden:
            self.linear = EqualLinear(width, config.hidden, rng, lr_mul=LR_MUL, activate=True)
        self.final_linear = EqualLinear(config.hidden or width, config.n_ctx * config.ctx_dim, rng, lr_mul=LR_MUL,
                                        activate=True)

    def execute(self, codes: jt.Var, dropout: np.random.Generator | None = None) -> jt.Var:
        """Map w [B, style_dim] or ws [B, L, style_dim] to [B, n_ctx, ctx_dim]; raises UserError for another shape."""
        config, width = self.settings, self.settings.style_dim
        check_codes(codes, width, self.per_level)
        flat = codes.reshape(-1, width)
        flat = PixelNorm()(flat) if config.pixel_norm else flat
        sequences = 1 if config.batch_is_sequence else codes.shape[0]
        x = flat.reshape(sequences, -1, width)
        for layer in self.transformer_encoder[0]:
            x = layer(x, dropout)
        x = x.reshape(-1, width) if config.batch_is_sequence else x.sum(1) / float(x.shape[1])
        x = self.linear(x) if config.hidden else x
        return self.final_linear(x).reshape(-1, config.n_ctx, config.ctx_dim)

    def config(self) -> dict[str, object]:
        """Return the numbers that the file of this mapper carries."""
        trains = "dropout", "batch_is_sequence"
        numbers = {name: value for name, value in vars(self.settings).items() if name not in trains}
        return {"architecture": "transformer", **numbers}


class EncoderLayer(nn.Module):
    """Attention and a ReLU network, each added to its input and then normalised (Vaswani et al. 2017, section 3.1).

    PyTorch's names and places of dropout; its TransformerEncoder is such layers one after the other.
    """

    def __init__(self, config: TransformerMapperConfig, rng: np.random.Generator):
        width, inner = config.style_dim, config.feedforward
        self.rate = config.dropout
        self.self_attn = Attention(width, config.heads)
        self.linear1, self.linear2 = Linear(width, inner), Linear(inner, width)
        self.norm1, self.norm2 = LayerNorm(width), LayerNorm(width)
        initialise(self, width, inner, rng)

    def execute(self, x: jt.Var, dropout: np.random.Generator | None = None) -> jt.Var:
        """Map tokens [B, L, width] to [B, L, width]."""
        batch, length, _ = x.shape
        shape = batch, self.self_attn.heads, length, length
        keep = dropout_factors(shape, self.rate, dropout) if dropout else None
        x = self.norm1(x + self._drop(self.self_attn(x, keep=keep), dropout))
        hidden = self._drop(nn.relu(self.linear1(x)), dropout)
        return self.norm2(x + self._drop(self.linear2(hidden), dropout))

    def _drop(self, x: jt.Var, dropout: np.random.Generator | None) -> jt.Var:
        return x * dropout_factors(x.shape, self.rate, dropout) if dropout else x


def initialise(layer: EncoderLayer, width: int, feedforward: int, rng: np.random.Generator) -> None:
    """Draw a layer's weights from PyTorch's distributions; unlike there, layers of one encoder start unequal."""
    attention = layer.self_attn
    bounds = [(attention, "in_proj_weight", math.sqrt(6.0 / (4 * width))),              # Glorot & Bengio 2010
              (attention.out_proj, "weight", width**-0.5),
              (layer.linear1, "weight", width**-0.5), (layer.linear1, "bias", width**-0.5),
              (layer.linear2, "weight", feedforward**-0.5), (layer.linear2, "bias", feedforward**-0.5)]
    for module, name, bound in bounds:
        shape = getattr(module, name).shape
        setattr(module, name, jt.array(rng.uniform(-bound, bound, shape).astype(np.float32)))


def dropout_factors(shape: tuple[int, ...], rate: float, rng: np.random.Generator) -> jt.Var:
    """Return factors, `shape`: 0 with probability `rate`, else 1 / (1 - rate) (dropout, Srivastava et al. 2014)."""
    factors = (rng.random(tuple(shape), np.float32) >= rate) / np.float32(1 - rate)
    return jt.array(factors.astype(np.float32)).stop_grad()


LEVELS = ("coarse", "medium", "fine")


def level_slices(n_latent: int) -> tuple[slice, slice, slice]:
    """Return W+'s coarse, medium and fine levels: 4, 4 and the rest (StyleCLIP, section 5), or thirds of up to 8."""
    medium, fine = (4, 8) if n_latent > 8 else (math.ceil(n_latent / 3), math.ceil(2 * n_latent / 3))
    return slice(0, medium), slice(medium, fine), slice(fine, n_latent)


class LevelsMapper(nn.Module):
    """One IPL mapper each for the coarse, medium and fine levels of W+ (Patashnik et al., StyleCLIP, 2021, section 5).

    Every level writes its own share of the prompt vectors, coarse ones first; of four vectors it writes two. Codes of
    one level are mapped one by one and their prompts averaged; w [B, style_dim] counts as the code of every level.
    """

    per_level = True

    def __init__(self, style_dim: int, n_ctx: int, ctx_dim: int, rng: np.random.Generator | None = None):
        if n_ctx < len(LEVELS):
            raise UserError(f"a mapper of levels needs at least {len(LEVELS)} prompt vectors, not {n_ctx}; raise n_ctx")
        rng = rng or np.random.default_rng(0)
        self.style_dim, self.n_ctx, self.ctx_dim = style_dim, n_ctx, ctx_dim
        shares = [len(part) for part in np.array_split(np.arange(n_ctx), len(LEVELS))]
        self.coarse, self.medium, self.fine = (PromptMapper(style_dim, share, ctx_dim, rng) for share in shares)

    def execute(self, codes: jt.Var, dropout: np.random.Generator | None = None) -> jt.Var:
        """Map w [B, style_dim] or ws [B, L, style_dim] to [B, n_ctx, ctx_dim]; raises UserError for another shape."""
        check_codes(codes, self.style_dim, per_level=True)
        mappers = (self.coarse, self.medium, self.fine)
        if codes.ndim == 2:
            return jt.concat([mapper(codes) for mapper in mappers], 1)
        if codes.shape[1] < len(LEVELS):
            raise UserError(f"ws has {codes.shape[1]} levels, this mapper divides at least {len(LEVELS)}")
        return jt.concat([self._level(mapper, codes[:, levels])
                          for mapper, levels in zip(mappers, level_slices(codes.shape[1]))], 1)

    def _level(self, mapper: PromptMapper, codes: jt.Var) -> jt.Var:
        """Return the mean prompt vectors [B, share, ctx_dim] of codes [B, L, style_dim]."""
        batch, length, width = codes.shape
        prompts = mapper(codes.reshape(batch * length, width))
        return prompts.reshape(batch, length, mapper.n_ctx, self.ctx_dim).sum(1) / float(length)

    def config(self) -> dict[str, object]:
        """Return the numbers that the file of this mapper carries."""
        return {"architecture": "levels", "style_dim": self.style_dim, "n_ctx": self.n_ctx, "ctx_dim": self.ctx_dim}


def check_codes(codes: jt.Var, style_dim: int, per_level: bool) -> None:
    """Raise UserError unless `codes` is [B, style_dim], or [B, L, style_dim] where `per_level` allows it."""
    if codes.ndim not in ((2, 3) if per_level else (2,)) or codes.shape[-1] != style_dim:
        wanted = f"[B, {style_dim}]" + (f" or [B, n_latent, {style_dim}]" if per_level else "")
        raise UserError(f"w has shape {list(codes.shape)}, this prompt mapper needs {wanted}")
