"""Networks that know faces, and MoCo's, which know other things: IR-SE50 ArcFace, CurricularFace, MoCo ResNet-50.

`model_ir_se50.pth` (TreB1eN's InsightFace) is the one that this project measures identity with; IR networks without
squeeze-and-excitation, such as `CurricularFace_Backbone.pth`, have the same layers. MoCo's checkpoint is what ReStyle
compares cars, churches and horses with; of its two encoders only the query encoder is kept.
"""
from __future__ import annotations

import math

from jittor_ipl.errors import UserError
from jittor_ipl.weights.families.family import Family, Hints, Layout, Shapes
from jittor_ipl.weights.families.features.face_trunk import describe, trunk
from jittor_ipl.weights.families.schema import TRACKED, Schema, batch_norm, bottlenecks, conv, linear, prefixed, solve

_FEATURES = 512
_QUERY = "module.encoder_q."


def _recogniser(shapes: Shapes, squeeze: bool) -> Layout | None:
    parts = {name.partition(".")[0] for name in shapes}
    if {"prelu", "layer1", "features"} <= parts or "repeat_1" in parts:
        raise UserError("this is a face recogniser of another form (InsightFace's own iresnet, or FaceNet); identity "
                        "is measured with ArcFace's IR-SE50 (model_ir_se50.pth)")
    layers, has_squeeze = describe(shapes)
    trunk_only = "output_layer" not in parts or "styles" in parts
    if trunk_only or not parts & {"body", "input_layer"} or has_squeeze != squeeze:
        return None
    numbers = solve({"input_layer.0.weight": ("w", 3, 3, 3), "input_layer.1.weight": ("w",),
                     "input_layer.2.weight": ("w",), "output_layer.3.weight": ("f", "flat"),
                     "output_layer.3.bias": ("f",), "output_layer.4.running_mean": ("f",)}, shapes, 0)
    width, features = numbers["w"] or 64, numbers["f"] or _FEATURES
    side = math.isqrt(numbers["flat"] // (8 * width)) or 7          # 7 for pictures of 112 px, 14 for 224 px
    affine = "output_layer.4.weight" in shapes or "output_layer.4.bias" in shapes
    config = {"layers": layers, "squeeze": squeeze, "width": width, "input_size": 16 * side, "features": features,
              "affine": affine}
    return Layout(FAMILIES[0].kind if squeeze else FAMILIES[1].kind, "insightface", config, schema(config), (TRACKED,))


def schema(config: dict) -> Schema:
    """Return the tensors of a recogniser with these numbers (those of `models.arcface.Backbone`)."""
    top, features, side = 8 * config["width"], config["features"], config["input_size"] // 16
    return (trunk(config["layers"], config["squeeze"], config["width"], 3) | batch_norm("output_layer.0", top)
            | linear("output_layer.3", features, top * side * side)
            | batch_norm("output_layer.4", features, config["affine"]))


# ---- MoCo -----------------------------------------------------------------------------------------------------------

def recognise_moco(shapes: Shapes, hints: Hints) -> Layout | None:
    """Return the layout of a MoCo v2 checkpoint; the key encoder, the queue and both heads are of no use here."""
    if not any(name.startswith(_QUERY) for name in shapes):
        return None
    return Layout("moco-resnet50", "moco", {"layers": 50}, prefixed(_QUERY, resnet50()),
                  (TRACKED, r"module\.encoder_q\.fc\..*", r"module\.encoder_k\..*", r"module\.queue(_ptr)?"))


def resnet50() -> Schema:
    """Return the tensors of torchvision's ResNet-50 without its last layer."""
    return conv("conv1", 64, 3, 7) | batch_norm("bn1", 64) | bottlenecks((3, 4, 6, 3), 64)


FAMILIES = (
    Family("ir-se50", lambda shapes, hints: _recogniser(shapes, True),
           landmarks=("body.0.res_layer.5.fc1.weight", "output_layer.3.weight", "input_layer.0.weight"),
           next_step="jittor_ipl.weights.features.load_arcface({file}) gives the network"),
    Family("ir-face", lambda shapes, hints: _recogniser(shapes, False),
           next_step="jittor_ipl.weights.features.load_arcface({file}) gives the network"),
    Family("moco-resnet50", recognise_moco, landmarks=(_QUERY + "conv1.weight",),
           our_name=lambda name: name.removeprefix(_QUERY),        # torchvision's
           next_step="nothing takes it; identity of faces is measured with model_ir_se50.pth"),
)
