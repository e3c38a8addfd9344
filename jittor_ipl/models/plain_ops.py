"""TEMPORARY stand-ins for jittor_ipl.ops until that room has landed."""
import numpy as np
from ..runtime.backend import jt, nn


def quick_gelu(x):
    return x * (1.702 * x).sigmoid()


def layer_norm(x, weight, bias, eps=1e-5):
    n = x.shape[-1]
    d = x - x.sum(-1, keepdims=True) / n
    v = (d * d).sum(-1, keepdims=True) / n
    return d / (v + eps).sqrt() * weight + bias


def group_norm(x, groups, weight, bias, eps=1e-5):
    b, c, h, w = x.shape
    y = x.reshape(b, groups, -1)
    n = y.shape[2]
    d = y - y.sum(2, keepdims=True) / n
    y = d / ((d * d).sum(2, keepdims=True) / n + eps).sqrt()
    return y.reshape(b, c, h, w) * weight.reshape(1, c, 1, 1) + bias.reshape(1, c, 1, 1)


def batch_norm_inference(x, weight, bias, mean, var, eps=1e-5):
    s = weight / (var + eps).sqrt()
    return x * s.reshape(1, -1, 1, 1) + (bias - mean * s).reshape(1, -1, 1, 1)


def attention(q, k, v, mask=None):
    s = jt.matmul(q, k.transpose(2, 3)) * (q.shape[-1] ** -0.5)
    if mask is not None:
        s = s + mask
    s = (s - s.max(-1, keepdims=True)).exp()
    return jt.matmul(s / s.sum(-1, keepdims=True), v)


def _matrix(n, m):
    a, s, M = -0.75, n / m, np.zeros((m, n), np.float32)
    def cub(t):
        t = abs(t)
        return (a + 2) * t ** 3 - (a + 3) * t ** 2 + 1 if t <= 1 else a * t ** 3 - 5 * a * t ** 2 + 8 * a * t - 4 * a if t < 2 else 0.
    for i in range(m):
        c = (i + .5) * s - .5
        f = int(np.floor(c))
        for j in range(f - 1, f + 3):
            M[i, min(max(j, 0), n - 1)] += cub(c - j)
    return M


def resize(x, size, mode="bicubic", antialias=False):
    assert mode == "bicubic" and not antialias
    b, c, h, w = x.shape
    x = jt.matmul(x.reshape(-1, w), jt.array(_matrix(w, size[1]).T.copy())).reshape(b, c, h, size[1]).transpose(2, 3)
    return jt.matmul(x.reshape(-1, h), jt.array(_matrix(h, size[0]).T.copy())).reshape(b, c, size[1], size[0]).transpose(2, 3)
