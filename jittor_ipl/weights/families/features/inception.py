"""Inception v3: the network FID is defined with, and torchvision's, which has nearly the same names.

FID's (`pt_inception-2015-12-05-6726825d.pth` of pytorch-fid, `weights-inception-2015-12-05-6726825d.pth` of
torch-fidelity, the same file) was converted from TensorFlow: 1,008 classes, no auxiliary head, other pools. Features of
torchvision's network (1,000 classes) give numbers that nobody else's can be compared with, so the two are told apart.
"""
from __future__ import annotations

import numpy as np

from jittor_ipl.weights.families.family import Family, Hints, Layout, Shapes, Tensors
from jittor_ipl.weights.families.schema import TRACKED, Schema, batch_norm, conv, linear

FID_CLASSES, TORCHVISION_CLASSES = 1008, 1000
_ROW, _COLUMN = (1, 7), (7, 1)                  # kernels (height, width)
# The first cells, as (name, output channels, input channels, kernel).
_STEM = (("Conv2d_1a_3x3", 32, 3, 3), ("Conv2d_2a_3x3", 32, 32, 3), ("Conv2d_2b_3x3", 64, 32, 3),
         ("Conv2d_3b_1x1", 80, 64, 1), ("Conv2d_4a_3x3", 192, 80, 3))
# A block as (branch, output channels, kernel).
_BRANCHES_E = (("branch1x1", 320, 1), ("branch3x3_1", 384, 1), ("branch3x3_2a", 384, (1, 3)),
               ("branch3x3_2b", 384, (3, 1)), ("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3),
               ("branch3x3dbl_3a", 384, (1, 3)), ("branch3x3dbl_3b", 384, (3, 1)), ("branch_pool", 192, 1))


def schema(dialect: str) -> Schema:
    """Return the tensors of Inception v3 in the dialect "fid" or "torchvision"."""
    names: Schema = {}
    for name, n_out, n_in, kernel in _STEM:
        names |= _cell(name, n_out, n_in, kernel)
    for name, n_in, pool in (("Mixed_5b", 192, 32), ("Mixed_5c", 256, 64), ("Mixed_5d", 288, 64)):
        names |= _block(name, n_in, _branches_a(pool))
    names |= _block("Mixed_6a", 288, (("branch3x3", 384, 3), *_tower("branch3x3dbl", (64, 1), (96, 3), (96, 3))))
    for name, c7 in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
        names |= _block(name, 768, _branches_c(c7))
    if dialect == "torchvision":
        names |= _cell("AuxLogits.conv0", 128, 768, 1) | _cell("AuxLogits.conv1", 768, 128, 5)
        names |= linear("AuxLogits.fc", TORCHVISION_CLASSES, 768)
    names |= _block("Mixed_7a", 768, (*_tower("branch3x3", (192, 1), (320, 3)),
                                      *_tower("branch7x7x3", (192, 1), (192, _ROW), (192, _COLUMN), (192, 3))))
    names |= _block("Mixed_7b", 1280, _BRANCHES_E) | _block("Mixed_7c", 2048, _BRANCHES_E)
    return names | linear("fc", FID_CLASSES if dialect == "fid" else TORCHVISION_CLASSES, 2048)


def _cell(name: str, n_out: int, n_in: int, kernel: int | tuple[int, int]) -> Schema:
    return conv(f"{name}.conv", n_out, n_in, kernel) | batch_norm(f"{name}.bn", n_out)


def _tower(name: str, *cells: tuple) -> tuple:
    """Return convolutions one after the other: name_1, name_2, ..."""
    return tuple((f"{name}_{index}", n_out, kernel) for index, (n_out, kernel) in enumerate(cells, 1))


def _branches_a(pool: int) -> tuple:
    return (("branch1x1", 64, 1), *_tower("branch5x5", (48, 1), (64, 5)),
            *_tower("branch3x3dbl", (64, 1), (96, 3), (96, 3)), ("branch_pool", pool, 1))


def _branches_c(c7: int) -> tuple:
    return (("branch1x1", 192, 1), *_tower("branch7x7", (c7, 1), (c7, _ROW), (192, _COLUMN)),
            *_tower("branch7x7dbl", (c7, 1), (c7, _COLUMN), (c7, _ROW), (c7, _COLUMN), (192, _ROW)),
            ("branch_pool", 192, 1))


def _block(name: str, n_in: int, branches: tuple) -> Schema:
    """Return the tensors of a block; a branch continues the one before it when its name ends in a number above 1."""
    names: Schema = {}
    previous: dict[str, int] = {}
    for branch, n_out, kernel in branches:
        tower, _, step = branch.rpartition("_")
        starts = not step[:1].isdigit() or step == "1"
        names |= _cell(f"{name}.{branch}", n_out, n_in if starts else previous[tower], kernel)
        if not step.endswith(("a", "b")):       # 2a and 2b both read what came before
            previous[tower] = n_out
    return names


def recognise(shapes: Shapes, hints: Hints) -> Layout | None:
    """Return the layout of an Inception v3: FID's, unless it has torchvision's auxiliary head or number of classes."""
    if not any(name.startswith(("Mixed_5b.", "Mixed_6a.", "Mixed_7c.", "Conv2d_1a_3x3.")) for name in shapes):
        return None
    classes = shapes.get("fc.bias", shapes.get("fc.weight", (0,)))[:1]
    torchvision = classes == (TORCHVISION_CLASSES,) or (classes != (FID_CLASSES,) and _has_aux(shapes))
    dialect = "torchvision" if torchvision else "fid"
    aux = torchvision and _has_aux(shapes)
    expected = {name: shape for name, shape in schema(dialect).items() if aux or not name.startswith("AuxLogits.")}
    config = {"weights": dialect, "classes": TORCHVISION_CLASSES if torchvision else FID_CLASSES}
    return Layout(FAMILY.kind, dialect, config, expected, (TRACKED,))


def _has_aux(shapes: Shapes) -> bool:
    return any(name.startswith("AuxLogits.") for name in shapes)


def convert(tensors: Tensors, layout: Layout) -> dict[str, np.ndarray]:
    """Return the tensors under the published names, without the auxiliary head, which only training needs."""
    return {name: tensors[name] for name in layout.expected if not name.startswith("AuxLogits.")}


FAMILY = Family("inception-v3", recognise, convert,
                landmarks=("Mixed_5b.branch1x1.conv.weight", "Conv2d_1a_3x3.conv.weight"),
                next_step="jittor_ipl.weights.features.load_inception({file}) gives the network, if it is FID's")
