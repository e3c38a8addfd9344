"""Put a stopped pretraining back where it was."""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from jittor_ipl.runtime.backend import jt
from jittor_ipl.train.optim import Adam


def restore(tensors: Mapping[str, jt.Var], optimiser: Adam | None, state: Mapping[str, np.ndarray]) -> None:
    """Assign `weights/<name>` to every tensor and `opt/...` to the optimiser, if any; KeyError when a tensor is missing."""
    for name, var in tensors.items():
        trains = var.requires_grad
        var.assign(jt.array(state[f"weights/{name}"]))
        var.requires_grad = trains      # assign takes the flag of the new value
    if optimiser is not None:
        optimiser.load_state({key.removeprefix("opt/"): value for key, value in state.items() if key.startswith("opt/")})
