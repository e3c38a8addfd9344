"""The trajectories that are compared with those of diffusers' schedulers, in NumPy for both sides."""
from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

SHAPE = (1, 4, 5, 4)
LATENT = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
CLASSES = {"ddpm": "DDPMScheduler", "ddim": "DDIMScheduler", "pndm": "PNDMScheduler", "euler": "EulerDiscreteScheduler",
           "euler-a": "EulerAncestralDiscreteScheduler", "dpm++2m": "DPMSolverMultistepScheduler"}


@dataclass(frozen=True)
class Case:
    """One trajectory: a sampler, what the network predicts, the scheduler's settings, and where it starts."""

    sampler: str
    prediction: str
    settings: tuple[tuple[str, object], ...] = ()
    steps: int = 10
    taken: int = 0          # of an img2img, the last so many steps; 0: from noise
    inverted: bool = False

    @property
    def name(self) -> str:
        parts = [self.sampler, self.prediction, *(f"{key}={value}" for key, value in self.settings), str(self.steps)]
        return " ".join(parts + [f"last {self.taken}"] * bool(self.taken) + ["inverted"] * self.inverted)

    @property
    def config(self) -> dict[str, object]:
        """The scheduler_config.json, without its class."""
        return {**LATENT, "prediction_type": self.prediction, **dict(self.settings)}


PREDICTIONS = ("epsilon", "v_prediction")
LEADING = (("steps_offset", 1), ("timestep_spacing", "leading"))
SAID = {"ddim": LEADING + (("set_alpha_to_one", False),), "pndm": LEADING + (("set_alpha_to_one", False),)}
CASES = [
    *(Case(*pair) for pair in product(CLASSES, PREDICTIONS)),                                       # by their defaults
    *(Case(name, kind, SAID.get(name, LEADING), 7) for name, kind in product(CLASSES, PREDICTIONS)),
    *(Case(name, "epsilon", (("timestep_spacing", "trailing"),)) for name in CLASSES),
    *(Case(name, "v_prediction", (("timestep_spacing", "linspace"),), 10) for name in ("euler", "euler-a", "dpm++2m")),
    *(Case(name, kind, SAID.get(name, LEADING), 20, 12) for name, kind in product(CLASSES, PREDICTIONS)),
    *(Case("ddim", kind, SAID["ddim"], 10, inverted=True) for kind in (*PREDICTIONS, "sample")),
    *(Case("ddim", kind, (("set_alpha_to_one", True),), 10, inverted=True) for kind in PREDICTIONS),
    Case("ddim", "sample"), Case("ddpm", "sample"), Case("dpm++2m", "sample"), Case("euler", "sample"),
    Case("ddim", "epsilon", (("beta_schedule", "linear"), ("beta_start", 0.0001), ("beta_end", 0.02))),
    Case("dpm++2m", "v_prediction", (("beta_schedule", "squaredcos_cap_v2"), ("timestep_spacing", "leading"))),
    Case("pndm", "epsilon", (("set_alpha_to_one", True),), 1), Case("dpm++2m", "epsilon", (), 25),
]


def draw(name: str) -> np.ndarray:
    """Return standard normal numbers float32 [1, 4, 5, 4]: "z", "picture", or "noise 3" of a step."""
    seed = {"z": 1, "picture": 2}.get(name) or 100 + int(name.split()[1])
    drawn = np.random.RandomState(seed).standard_normal(SHAPE).astype(np.float32)
    return drawn * np.float32(0.8) + np.float32(0.2) if name == "picture" else drawn


def network(latents: np.ndarray, timestep: float) -> np.ndarray:
    """Return what the 'network' says of latents [B, 4, h, w] at a timestep: smooth, nowhere linear, mixing channels and
    neighbours.
    """
    mixing = np.random.RandomState(7).standard_normal((4, 4)).astype(np.float32) / 4
    mixed = np.einsum("oc,bchw->bohw", mixing, latents + 0.5 * np.roll(latents, 1, 3))
    t = np.float32(timestep / 1000)
    return (0.6 * latents * np.cos(t) + np.tanh(mixed + np.sin(3 * t)) * (0.4 + 0.3 * t)).astype(np.float32)
