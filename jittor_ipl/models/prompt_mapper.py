"""The prompt mapper of IPL (Guo et al. 2023, section 3.2): w -> the context tokens of an image-specific prompt."""
from __future__ import annotations

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.models.stylegan2.layers import EqualLinear, PixelNorm
from jittor_ipl.runtime.backend import jt, nn

LR_MUL = 0.01


class _Layers(nn.Module):
    """Gives the layers the official checkpoint's second prefix: `mapping.mapping.N`."""

    def __init__(self, style_dim: int, d_out: int, rng: np.random.Generator):
        widths = [style_dim] * 4 + [d_out]
        self.mapping = nn.Sequential(PixelNorm(), *(
            EqualLinear(a, b, rng, lr_mul=LR_MUL, activate=True) for a, b in zip(widths, widths[1:])))

    def execute(self, x: jt.Var) -> jt.Var:
        return self.mapping(x)


class PromptMapper(nn.Module):
    """Maps w [B, style_dim] to prompt vectors [B, n_ctx, ctx_dim] in the token space of a CLIP text transformer.

    PixelNorm, three hidden layers of width style_dim and one to n_ctx * ctx_dim, all with leaky ReLU and learning-rate
    factor 0.01. `rng` draws the initial weights (a fixed seed when absent).
    """

    per_level = False       # it hears w, not the codes of single levels

    def __init__(self, style_dim: int, n_ctx: int, ctx_dim: int, rng: np.random.Generator | None = None):
        self.style_dim, self.n_ctx, self.ctx_dim = style_dim, n_ctx, ctx_dim
        self.mapping = _Layers(style_dim, n_ctx * ctx_dim, rng or np.random.default_rng(0))

    def execute(self, w: jt.Var, dropout: np.random.Generator | None = None) -> jt.Var:
        """Map w [B, style_dim] to [B, n_ctx, ctx_dim]; raises UserError for another width. It has no dropout."""
        if w.ndim != 2 or w.shape[1] != self.style_dim:
            raise UserError(f"w has shape {list(w.shape)}, this prompt mapper needs [B, {self.style_dim}]")
        return self.mapping(w).reshape(-1, self.n_ctx, self.ctx_dim)

    def config(self) -> dict[str, int]:
        """Return the constructor's numbers."""
        return {"style_dim": self.style_dim, "n_ctx": self.n_ctx, "ctx_dim": self.ctx_dim}
