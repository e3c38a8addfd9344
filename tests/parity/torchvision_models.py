"""torchvision's models without its compiled operators, for the scripts of the reference environment.

The wheel for CUDA cannot load them on a machine without CUDA, and its import then fails on their names; no model
here needs one. Import this before lpips, torch-fidelity or torchmetrics.
"""
from __future__ import annotations

import sys

import torch

_OPERATORS = ("nms", "qnms")


def _import() -> object:
    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name in _OPERATORS:
            LIBRARY.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision
    return torchvision


LIBRARY = torch.library.Library("torchvision", "FRAGMENT")     # the names go when this object goes
torchvision = _import()
models = torchvision.models
