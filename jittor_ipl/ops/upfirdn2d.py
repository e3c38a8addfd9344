"""Pad, insert zeros, filter and thin out images: the resampling of StyleGAN2 (Karras et al. 2020, appendix B)."""
from __future__ import annotations

from ..runtime.backend import jt


def output_size(size: int, taps: int, up: int, down: int, pad: tuple[int, int]) -> int:
    """Return the length of one axis after `upfirdn2d`."""
    return (size * up + pad[0] + pad[1] - taps) // down + 1


def upfirdn2d_reference(x: jt.Var, kernel: jt.Var, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0)) -> jt.Var:
    """`upfirdn2d` written as one gather and one sum with Jittor's own operators: slow, short and differentiable."""
    b, c, h, w = x.shape
    kh, kw = kernel.shape
    oh, ow = output_size(h, kh, up, down, pad), output_size(w, kw, up, down, pad)
    row, column = (f"(i{out}*{down}+i{tap}-({pad[0]}))" for out, tap in ((2, 4), (3, 5)))
    taps = x.reindex([b, c, oh, ow, kh, kw], ["i0", "i1", f"{row}/{up}", f"{column}/{up}"],
                     overflow_conditions=[f"{p}<0||{p}%{up}!=0" for p in (row, column)])
    return (taps * kernel.reindex([kh, kw], [f"{kh - 1}-i0", f"{kw - 1}-i1"])).sum([4, 5])


def upfirdn2d(x: jt.Var, kernel: jt.Var, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0)) -> jt.Var:
    """Upsample `x` [B, C, H, W] by inserting zeros, pad, convolve with `kernel` [kh, kw] and keep every `down`-th sample.

    `pad` is (before, after), applied to both axes and counted in upsampled pixels; negative numbers crop. Returns
    [B, C, (H up + pad - kh) // down + 1, ...]. Matches `upfirdn2d` of the rosinality StyleGAN2 code.
    """
    assert x.ndim == 4 and kernel.ndim == 2 and up >= 1 and down >= 1, (x.shape, kernel.shape, up, down)
    return upfirdn2d_reference(x, kernel, up, down, tuple(pad))
