"""How much is projected and tuned where nobody says it: the published numbers, and those for small generators."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jittor_ipl.inversion.projection import Projection
from jittor_ipl.inversion.tuning import Tuning

SMALL = 64          # px: generators up to here need fewer and longer steps than the published ones for 1024 px


def settings_of(size: int, encoded: bool, *, maps: bool = False, seed: int = 0,
                given: Mapping[str, Any] | None = None) -> tuple[Projection, Tuning]:
    """Return how to project and tune with a `size` px generator: PTI's numbers (Roich et al. 2022), or those for small
    generators, and in their place what is `given` and not None.

    encoded   an encoder begins: few steps follow, and no noise moves the code away from where it put it
    maps      whether noise maps are fitted
    given     "space", "steps", "lr" of the projection, "tune_steps", "tune_lr", "tune_parts", "stop", "locality"
    """
    said = {name: value for name, value in (given or {}).items() if value is not None}
    small = size <= SMALL
    project = {"space": "w", "steps": 30 if encoded else 100 if small else 450, "lr": .03 if small else .01}
    tune = {"tune_steps": 30 if small else 350, "tune_lr": 3e-3 if small else 3e-4}
    project |= {name: said[name] for name in project if name in said}
    tune |= {name: said[name] for name in (*tune, "tune_parts", "stop", "locality") if name in said}
    return (Projection(**project, noise=0.0 if encoded else .05, maps=maps, seed=seed),
            Tuning(**{name.removeprefix("tune_"): value for name, value in tune.items()},
                   distance=5.0 if small else 30.0, seed=seed))
