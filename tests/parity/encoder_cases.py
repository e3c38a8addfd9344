"""The inversion encoders that are compared with PyTorch: every published class, narrow, on pictures of 64 px."""
from __future__ import annotations

SEED = 15
_SMALL = {"width": 4, "style_dim": 32, "n_styles": 10, "input_size": 64}
_IR, _RESNET = {"trunk": "ir", "layers": 50, "squeeze": True}, {"trunk": "resnet34", "layers": 34, "squeeze": False}


def _case(trunk: dict, heads: str, encoder_type: str, channels: int, **more: int) -> dict:
    return {**trunk, **_SMALL, "heads": heads, "encoder_type": encoder_type, "input_channels": channels, **more}


CASES = {case["encoder_type"]: case for case in (
    _case(_IR, "pyramid", "GradualStyleEncoder", 3),
    _case(_IR, "pyramid", "Encoder4Editing", 3),
    _case(_IR, "flat", "BackboneEncoder", 6),
    _case(_IR, "flat", "ProgressiveBackboneEncoder", 6),
    _case(_IR, "w", "BackboneEncoderUsingLastLayerIntoW", 3, n_styles=1),
    _case(_IR, "w+", "BackboneEncoderUsingLastLayerIntoWPlus", 3),
    _case(_RESNET, "pyramid", "ResNetGradualStyleEncoder", 6),
    _case(_RESNET, "flat", "ResNetBackboneEncoder", 6),
    _case(_RESNET, "flat", "ResNetProgressiveBackboneEncoder", 6))}
# Gradients of these tensors are recorded, of those that an encoder has: at the start, in the trunk, in the heads.
TENSORS = ("input_layer.0.weight", "conv1.weight", "input_layer.2.weight", "body.0.res_layer.1.weight",
           "body.3.shortcut_layer.1.weight", "body.9.res_layer.5.fc1.weight", "body.3.downsample.0.weight",
           "body.15.bn2.bias", "body.23.res_layer.4.bias", "latlayer1.weight", "latlayer2.bias",
           "styles.0.convs.0.weight", "styles.0.linear.weight", "styles.4.convs.2.bias", "styles.9.linear.bias",
           "linear.weight", "output_layer_2.3.weight")
