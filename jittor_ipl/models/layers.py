"""The layers that networks share. Tensors are zero, scales one, until they are loaded or drawn.

Attribute names equal PyTorch's, so that published weights load without renaming. Where Jittor's own layer gives other
numbers (its norms) or compiles one kernel per geometry (its convolution), `ops` takes its place.
"""
from __future__ import annotations

from collections import OrderedDict

from jittor_ipl.models.strict import named_tensors
from jittor_ipl.ops import bfloat16
from jittor_ipl.ops.conv import conv2d
from jittor_ipl.ops.frozen import frozen_conv2d, frozen_linear
from jittor_ipl.ops.group_norm import group_norm
from jittor_ipl.ops.linear import linear
from jittor_ipl.ops.norms import batch_norm_inference, layer_norm
from jittor_ipl.runtime.backend import jt, nn


class Holder(nn.Module):
    """Tensors or modules under the names that checkpoints have for them; who owns it does the arithmetic."""

    def __init__(self, **members: jt.Var | nn.Module):
        for name, member in members.items():
            setattr(self, name, member)


def in_order(**modules) -> nn.Sequential:
    """Return modules one after the other, under the names that the checkpoint has for them."""
    return nn.Sequential(OrderedDict(modules))


class Conv(nn.Module):
    """Convolution [B, n_in, H, W] -> [B, n_out, H', W'].

    kernel    height and width, one number for both
    padding   zeros around the picture, above and beside, one number for both
    """

    _lora = _base = None    # of `models.lora`: a branch added to the output; the weight before a LoRA was fused into it
    _bfloat16 = False       # of `models.bfloat16`: products of rounded operands, but for a LoRA's

    def __init__(self, n_in: int, n_out: int, kernel: int | tuple[int, int], stride: int = 1,
                 padding: int | tuple[int, int] = 0, bias: bool = True):
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        self.weight = jt.zeros([n_out, n_in, height, width])
        self.bias = jt.zeros([n_out]) if bias else None
        self.stride, self.padding = stride, padding

    def execute(self, x: jt.Var) -> jt.Var:
        frozen = self.bias is not None and self.weight.is_stop_grad() and self.bias.is_stop_grad()
        if frozen and not self._bfloat16:
            y = frozen_conv2d(x, self.weight, self.bias, self.stride, self.padding)
        else:
            convolved = bfloat16.conv2d if self._bfloat16 else conv2d
            y = convolved(x, self.weight, self.stride, self.padding)
            y = y if self.bias is None else y + self.bias.reshape(1, -1, 1, 1)
        return y if self._lora is None else y + self._lora(x, self._convolved, conv2d)

    def _convolved(self, x: jt.Var, weight: jt.Var) -> jt.Var:
        return conv2d(x, weight, self.stride, self.padding)


class Linear(nn.Module):
    """Linear layer [..., n_in] -> [..., n_out].

    batch_free   a row's numbers never depend on the other rows (`ops.linear`): slower, for features to compare
    """

    _lora = _base = None    # these two and the next as of a convolution
    _bfloat16 = False

    def __init__(self, n_in: int, n_out: int, batch_free: bool = False, bias: bool = True):
        self.weight, self.bias = jt.zeros([n_out, n_in]), jt.zeros([n_out]) if bias else None
        self.product = linear if batch_free else nn.matmul_transpose

    def execute(self, x: jt.Var) -> jt.Var:
        lora = self._lora
        frozen = self.weight.is_stop_grad() and (self.bias is None or self.bias.is_stop_grad())
        if frozen and self.product is not linear and not self._bfloat16:
            factors = () if lora is None else (lora.down, lora.up, lora.scale)
            return frozen_linear(x, self.weight, self.bias, *factors)
        y = (bfloat16.matmul_transpose if self._bfloat16 else self.product)(x, self.weight)
        y = y if self.bias is None else y + self.bias
        return y if lora is None else y + lora(x, self.product, self.product)


class LayerNorm(nn.Module):
    """Layer norm of [..., width] over the last axis (Ba et al. 2016)."""

    def __init__(self, width: int, eps: float = 1e-5):
        self.weight, self.bias, self.eps = jt.ones([width]), jt.zeros([width]), eps

    def execute(self, x: jt.Var) -> jt.Var:
        return layer_norm(x, self.weight, self.bias, self.eps)


class GroupNorm(nn.Module):
    """Group norm of [B, channels, ...] over each of `groups` groups of channels (Wu & He 2018), and SiLU if wished."""

    def __init__(self, groups: int, channels: int, eps: float = 1e-5, silu: bool = False):
        self.weight, self.bias = jt.ones([channels]), jt.zeros([channels])
        self.groups, self.eps, self.silu = groups, eps, silu

    def execute(self, x: jt.Var) -> jt.Var:
        return group_norm(x, self.groups, self.weight, self.bias, self.eps, self.silu)


class BatchNorm(nn.Module):
    """Batch norm of [B, channels, ...] with the stored statistics, which are never updated (Ioffe & Szegedy 2015)."""

    def __init__(self, channels: int, eps: float = 1e-5, affine: bool = True):
        self.weight, self.bias = (jt.ones([channels]), jt.zeros([channels])) if affine else (None, None)
        self.running_mean = jt.zeros([channels]).stop_grad()
        self.running_var, self.eps = jt.ones([channels]).stop_grad(), eps

    def execute(self, x: jt.Var) -> jt.Var:
        ones = jt.ones_like(self.running_var)
        weight, bias = (ones, ones * 0) if self.weight is None else (self.weight, self.bias)
        return batch_norm_inference(x, self.running_mean, self.running_var, weight, bias, self.eps)


def freeze(network: nn.Module) -> None:
    """Make every tensor of a network that is never trained a constant of the graph: gradients reach its inputs only."""
    for var in named_tensors(network).values():
        var.stop_grad()
