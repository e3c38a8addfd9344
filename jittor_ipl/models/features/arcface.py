"""The face recogniser that identity is measured with: ArcFace on an IR-SE ResNet (Deng et al. 2019; Hu et al. 2018).

Attribute names are those of TreB1eN's InsightFace_Pytorch, whose `model_ir_se50.pth` StyleCLIP, pSp, ReStyle and the
works after them use. One core of an AMD EPYC handles 7.4 faces a second (PyTorch 6.9; scripts/speed/features.py).
"""
from __future__ import annotations

from jittor_ipl.models.features.ir_units import IR_UNITS
from jittor_ipl.models.layers import BatchNorm, Conv, Linear, freeze, in_order
from jittor_ipl.ops.norms import mean, unit
from jittor_ipl.ops.resize import resize
from jittor_ipl.runtime.backend import jt, nn

FACE, CROP = 256, (35, 223, 32, 220)      # rows, columns of a face in a 256 px portrait


class PReLU(nn.Module):
    """Leaky ReLU of [B, C, H, W] whose slope is learned for every channel (He et al. 2015)."""

    def __init__(self, channels: int):
        self.weight = jt.zeros([channels])

    def execute(self, x: jt.Var) -> jt.Var:
        return jt.maximum(x, 0.0) + self.weight.reshape(1, -1, 1, 1) * jt.minimum(x, 0.0)


class SqueezeExcite(nn.Module):
    """Scale every channel of [B, C, H, W] by what the mean of all of them says."""

    def __init__(self, channels: int, reduction: int = 16):
        narrow = max(channels // reduction, 1)
        self.fc1, self.fc2 = Conv(channels, narrow, 1, bias=False), Conv(narrow, channels, 1, bias=False)

    def execute(self, x: jt.Var) -> jt.Var:
        return x * jt.sigmoid(self.fc2(nn.relu(self.fc1(mean(x, (2, 3), keepdims=True)))))


class Unit(nn.Module):
    """Residual unit [B, c_in, H, W] -> [B, c_out, H / stride, W / stride]."""

    def __init__(self, c_in: int, c_out: int, stride: int, squeeze: bool):
        self.stride = stride
        shortcut = nn.Sequential(Conv(c_in, c_out, 1, stride, bias=False), BatchNorm(c_out)) if c_in != c_out else None
        self.shortcut_layer = shortcut
        layers = [BatchNorm(c_in), Conv(c_in, c_out, 3, 1, 1, bias=False), PReLU(c_out),
                  Conv(c_out, c_out, 3, stride, 1, bias=False), BatchNorm(c_out)]
        self.res_layer = nn.Sequential(*layers, *([SqueezeExcite(c_out)] if squeeze else []))

    def execute(self, x: jt.Var) -> jt.Var:
        if self.shortcut_layer is not None:
            shortcut = self.shortcut_layer(x)
        else:
            shortcut = x[:, :, ::self.stride, ::self.stride] if self.stride > 1 else x
        return self.res_layer(x) + shortcut


class Backbone(nn.Module):
    """Faces to unit vectors; frozen, zero until `weights.features.load_arcface` fills it.

    layers       18, 34, 50, 100 or 152
    squeeze      whether units have squeeze-and-excitation ("ir_se")
    width        channels of the first layer
    input_size   side of a face, 112 or 224 px
    features     width of the result
    affine       whether the last batch norm has weight and bias
    """

    def __init__(self, layers: int = 50, squeeze: bool = True, width: int = 64, input_size: int = 112,
                 features: int = 512, affine: bool = True):
        assert layers in IR_UNITS and input_size % 16 == 0, (layers, input_size)
        self.input_size, self.layers, self.squeezes = input_size, layers, squeeze
        self.input_layer = nn.Sequential(Conv(3, width, 3, padding=1, bias=False), BatchNorm(width), PReLU(width))
        units, c_in = [], width
        for stage, number in enumerate(IR_UNITS[layers]):
            for index in range(number):
                units.append(Unit(c_in, width * 2**stage, 2 if index == 0 else 1, squeeze))
                c_in = width * 2**stage
        self.body = nn.Sequential(*units)
        flat = Linear(c_in * (input_size // 16)**2, features, batch_free=True)
        last = BatchNorm(features, affine=affine)
        self.output_layer = in_order(**{"0": BatchNorm(c_in), "2": nn.Flatten(), "3": flat, "4": last})
        freeze(self)

    def execute(self, faces: jt.Var) -> jt.Var:
        """Return unit vectors [B, features] of `faces` [B, 3, input_size, input_size] in [-1, 1]."""
        size = self.input_size
        assert tuple(faces.shape[1:]) == (3, size, size), faces.shape
        return unit(self.output_layer(self.body(self.input_layer(faces))), dim=1)

    def embed(self, images: jt.Var) -> jt.Var:
        """Return unit vectors [B, features] of aligned portraits `images` [B, 3, H, W] in [-1, 1], any size.

        The dot product of two is their similarity, -1..1. As StyleCLIP's identity loss: area-averaged to 256 px, cut to
        the face (rows 35..223, columns 32..220), averaged again.
        """
        return self(face(images, self.input_size))


def face(images: jt.Var, size: int = 112) -> jt.Var:
    """Return the faces [B, 3, size, size] in aligned portraits `images` [B, 3, H, W]."""
    assert images.ndim == 4 and images.shape[1] == 3, images.shape
    top, bottom, left, right = CROP
    return resize(resize(images, FACE, "area")[:, :, top:bottom, left:right], size, "area")
