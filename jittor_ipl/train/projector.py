"""The learning rate of StyleGAN2's projector, which optimisations of a single code share."""
from __future__ import annotations

import math


def projector_rate(lr: float, t: float, rampdown: float = 0.25, rampup: float = 0.05) -> float:
    """Return the learning rate at the part t in [0, 1] of all steps: a linear rise, then a cosine down to 0.

    Karras et al. 2020, appendix D; StyleCLIP and PTI took it over. At t = 0 it is 0 where there is a rise.
    """
    down = min(1.0, (1.0 - t) / rampdown) if rampdown else 1.0
    up = min(1.0, t / rampup) if rampup else 1.0
    return lr * (0.5 - 0.5 * math.cos(down * math.pi)) * up
