"""Inversion encoders: pixel2style2pixel, encoder4editing and ReStyle checkpoints.

`{"state_dict": {"encoder.*", "decoder.*"}, "latent_avg", "opts"}` (Richardson et al. 2021, Tov et al. 2021, Alaluf et
al. 2021). Names and shapes tell the trunk (IR-SE50 or ResNet-34), the input (3 channels, or 6 with ReStyle's last
picture) and the heads. They do not tell pSp from e4e, which differ only in arithmetic: that is in the options.
The converted names are those of the encoder module alone; the generator under "decoder." is a file of its own.
"""
from __future__ import annotations

import math

from jittor_ipl.errors import UserError
from jittor_ipl.models.encoders.config import COARSE, MIDDLE, TYPES, UNITS
from jittor_ipl.weights.families.family import Family, Hints, Layout, Shapes
from jittor_ipl.weights.families.features.face_trunk import describe, trunk
from jittor_ipl.weights.families.schema import TRACKED, Schema, batch_norm, conv, count, linear, prefixed, solve

_PREFIX, _MEAN = "encoder.", "latent_avg"


def recognise(shapes: Shapes, hints: Hints) -> Layout | None:
    """Return the layout of an inversion encoder; UserError when the file's options name an encoder of another form."""
    prefix = _PREFIX if any(name.startswith(_PREFIX) for name in shapes) else ""
    encoder = {name[len(prefix):]: shape for name, shape in shapes.items() if name.startswith(prefix)}
    kind = _trunk(encoder)
    heads = _heads(encoder)
    if kind is None or heads is None or (kind, heads) not in TYPES:
        return None
    config = _numbers(encoder, kind, heads, hints) | {"encoder_type": _type(kind, heads, hints)}
    expected, dim = prefixed(prefix, schema(config)), config["style_dim"]
    mean = shapes.get(_MEAN, hints.extras.get(_MEAN))
    if mean is not None:        # what codes are relative to: W+, or one W
        expected[_MEAN] = mean if mean in ((dim,), (1, dim)) else (config["n_styles"], dim)
    return Layout("inversion-encoder", "pixel2style2pixel" if prefix else "ours", config, expected, (TRACKED,),
                  parts=("decoder.",) if prefix else (), extras=(_MEAN,))


def _trunk(encoder: Shapes) -> str | None:
    if any(name.startswith("input_layer.") or ".res_layer." in name for name in encoder):
        return "ir"
    resnet = any(name.startswith("body.0.conv") for name in encoder) or {"conv1.weight", "relu.weight"} <= set(encoder)
    return "resnet34" if resnet else None


def _heads(encoder: Shapes) -> str | None:
    if any(name.startswith("latlayer") for name in encoder):
        return "pyramid"
    if any(name.startswith("styles.") for name in encoder):
        return "flat"
    if any(name.startswith("output_layer_2.") for name in encoder):
        return "w+"
    return "w" if "linear.weight" in encoder and "output_layer.3.weight" not in encoder else None


def _numbers(encoder: Shapes, kind: str, heads: str, hints: Hints) -> dict:
    """Return the sizes of an encoder: majority votes, or the stored or published sizes where no tensor tells."""
    first = "input_layer.0" if kind == "ir" else "conv1"
    votes = solve({f"{first}.weight": ("w", "c", 3, 3), "input_layer.1.weight": ("w",), "input_layer.2.weight": ("w",),
                   "bn1.weight": ("w",), "relu.weight": ("w",), "linear.weight": ("lw", "ld"), "linear.bias": ("lw",),
                   "styles.0.linear.weight": ("s", "s"), "styles.0.linear.bias": ("s",), "styles.1.linear.bias": ("s",),
                   "output_layer_2.3.bias": ("s",), "output_layer_2.3.weight": ("s", "flat")}, encoder, 0)
    style_dim = votes["s"] or votes["ld"] or 512
    layers, squeeze = describe(encoder) if kind == "ir" else (34, False)
    n_styles = votes["lw"] // style_dim if heads == "w+" else count(encoder, r"styles\.(\d+)\.")
    halvings = (count(encoder, r"styles\.[012]\.convs\.(\d+)\.") + 1) // 2     # convolutions, with ReLUs between
    size = 16 << halvings
    if size == 16:
        stored = hints.stored.get("input_size")
        size = stored if isinstance(stored, int) and stored > 0 else 256
    return {"trunk": kind, "heads": heads, "layers": layers, "squeeze": squeeze, "width": votes["w"] or 64,
            "input_channels": votes["c"] or 3, "input_size": size, "style_dim": style_dim,
            "n_styles": n_styles or (1 if heads == "w" else 18)}


def _type(kind: str, heads: str, hints: Hints) -> str | None:
    """Return the encoder's class: the one its options state, the only possible one, or None when two are possible."""
    possible = TYPES[kind, heads]
    stated = hints.values.get("encoder_type") or hints.stored.get("encoder_type")
    if stated is None:
        return possible[0] if len(possible) == 1 else None
    if stated not in possible:
        raise UserError(f"the options name the encoder {str(stated)[:60]!r}, its tensors are those of "
                        f"{' or '.join(possible)}")
    return stated


# ---- Names and shapes -----------------------------------------------------------------------------------------------

def schema(config: dict) -> Schema:
    """Return the tensors of an encoder with these numbers, in the order of the original modules."""
    width, top, dim, n = config["width"], 8 * config["width"], config["style_dim"], config["n_styles"]
    ir = config["trunk"] == "ir"
    size = config["input_size"]
    names = trunk(config["layers"], config["squeeze"], width, config["input_channels"]) if ir else _resnet(config)
    if config["heads"] in ("pyramid", "flat"):
        flat = config["heads"] == "flat"
        for index in range(n):
            side = size // 16 << (0 if flat or index < COARSE else 1 if index < MIDDLE else 2)    # of the map it reads
            names |= _head(f"styles.{index}", top if flat else dim, dim, side)
    if config["heads"] == "pyramid":
        names |= conv("latlayer1", dim, 4 * width, 1, bias=True) | conv("latlayer2", dim, 2 * width, 1, bias=True)
    if config["heads"] == "w":
        names |= linear("linear", dim, top)
    if config["heads"] == "w+":
        names |= batch_norm("output_layer_2.0", top) | linear("output_layer_2.3", dim, top * 7 * 7)
        names |= linear("linear", dim * n, dim)
    return names


def _head(name: str, n_in: int, dim: int, side: int) -> Schema:
    """Return one map2style head: a stride-2 convolution per halving of the map, then an equalised linear layer."""
    names: Schema = {}
    for index in range(int(math.log2(side))):
        names |= conv(f"{name}.convs.{2 * index}", dim, n_in if index == 0 else dim, 3, bias=True)
    return names | linear(f"{name}.linear", dim, dim)


def _resnet(config: dict) -> Schema:
    """Return the tensors of ResNet-34's blocks behind a 7x7 convolution and a PReLU."""
    width = config["width"]
    names = conv("conv1", width, config["input_channels"], 7) | batch_norm("bn1", width) | {"relu.weight": (width,)}
    depths = [width * 2**stage for stage, number in enumerate(UNITS["resnet34"][34]) for _ in range(number)]
    for index, (c_in, c_out) in enumerate(zip([width, *depths], depths)):
        name = f"body.{index}"
        names |= conv(f"{name}.conv1", c_out, c_in, 3) | batch_norm(f"{name}.bn1", c_out)
        names |= conv(f"{name}.conv2", c_out, c_out, 3) | batch_norm(f"{name}.bn2", c_out)
        if c_in != c_out:
            names |= conv(f"{name}.downsample.0", c_out, c_in, 1) | batch_norm(f"{name}.downsample.1", c_out)
    return names


FAMILY = Family("inversion-encoder", recognise, our_name=lambda name: name.removeprefix(_PREFIX),
                landmarks=("encoder.input_layer.0.weight", "encoder.styles.0.convs.0.weight",
                           "encoder.latlayer1.weight", "encoder.conv1.weight"),
                next_step="the generator under decoder. is written as a file of its own")
