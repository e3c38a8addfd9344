"""The residual trunk of InsightFace networks, shared by face recognisers (`arcface`) and encoders (`inversion`).

Deng et al. 2019, in TreB1eN's PyTorch form: units of batch norm, 3x3 convolution, PReLU, strided 3x3 convolution and
batch norm, with squeeze-and-excitation ("ir_se") or without ("ir"). A trunk is `width` channels wide at its start and
eight times that at its end.
"""
from __future__ import annotations

from jittor_ipl.models.features.ir_units import IR_UNITS
from jittor_ipl.weights.families.family import Shapes
from jittor_ipl.weights.families.schema import Schema, batch_norm, conv, count

SQUEEZE = 16


def describe(shapes: Shapes) -> tuple[int, bool]:
    """Return (number of layers, whether units squeeze and excite) of a trunk with these names.

    The depth is the one whose number of units is nearest to that of the names: 24 for 50 layers.
    """
    units = count(shapes, r"body\.(\d+)\.")
    layers = min(IR_UNITS, key=lambda layers: abs(sum(IR_UNITS[layers]) - units))
    return layers, any(".res_layer.5.fc" in name for name in shapes)


def trunk(layers: int, squeeze: bool, width: int, n_in: int) -> Schema:
    """Return the tensors of the input layer and the body."""
    schema = conv("input_layer.0", width, n_in, 3) | batch_norm("input_layer.1", width)
    schema |= {"input_layer.2.weight": (width,)}
    widths = [width * 2**stage for stage, number in enumerate(IR_UNITS[layers]) for _ in range(number)]
    for index, (c_in, c_out) in enumerate(zip([width, *widths], widths)):
        schema |= _unit(f"body.{index}", c_in, c_out, squeeze)
    return schema


def _unit(name: str, c_in: int, c_out: int, squeeze: bool) -> Schema:
    schema: Schema = {}
    if c_in != c_out:
        schema |= conv(f"{name}.shortcut_layer.0", c_out, c_in, 1) | batch_norm(f"{name}.shortcut_layer.1", c_out)
    layer = f"{name}.res_layer"
    schema |= batch_norm(f"{layer}.0", c_in) | conv(f"{layer}.1", c_out, c_in, 3) | {f"{layer}.2.weight": (c_out,)}
    schema |= conv(f"{layer}.3", c_out, c_out, 3) | batch_norm(f"{layer}.4", c_out)
    if squeeze:
        narrow = max(c_out // SQUEEZE, 1)
        schema |= conv(f"{layer}.5.fc1", narrow, c_out, 1) | conv(f"{layer}.5.fc2", c_out, narrow, 1)
    return schema
