"""Record tests/golden/samplers.npz: whole trajectories of diffusers' schedulers; run in the reference environment.

    python tests/parity/record_samplers.py [--out FILE | --check FILE]

The cases, the network and the noise stand in sampler_cases.py; diffusers' own random numbers are replaced by that
noise. Every step's latents are recorded, in the scaling that the scheduler itself uses. --check compares instead of
writing.
"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path
from unittest import mock

import numpy as np

sys.modules["torchvision"] = None       # its build for another device fails to load, and nothing here needs it
import diffusers  # noqa: E402
import sampler_cases as cases  # noqa: E402
import torch  # noqa: E402

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
USES_CLIP = ("DDPMScheduler", "DDIMScheduler", "DDIMInverseScheduler")


def scheduler(case: cases.Case):
    """Return diffusers' scheduler of a case, its timesteps set."""
    name = "DDIMInverseScheduler" if case.inverted else cases.CLASSES[case.sampler]
    settings = {"clip_sample": False} if name in USES_CLIP else {}
    if name == "PNDMScheduler":
        settings["skip_prk_steps"] = True
    made = getattr(diffusers, name)(**case.config, **settings)
    if case.inverted:
        made.config.clip_sample = False     # it asks for the setting without having it among its own
    made.set_timesteps(case.steps)
    return made


def visited(made, case: cases.Case) -> torch.Tensor:
    """Return the timesteps to call `step` with. An img2img of PNDM repeats its own second one, as text-to-image does:
    diffusers' pipeline cuts the list and so leaves a level out.
    """
    if not case.taken:
        return made.timesteps
    left = case.steps - case.taken
    if hasattr(made, "set_begin_index"):
        made.set_begin_index(left)
    if case.sampler != "pndm":
        return made.timesteps[left:]
    distinct = torch.unique(made.timesteps).flip(0)[left:]
    return torch.cat([distinct[:2], distinct[1:]])


def first(made, case: cases.Case, timestep: torch.Tensor) -> torch.Tensor:
    """Return the latents that the loop starts with."""
    z, picture = (torch.from_numpy(cases.draw(name)) for name in ("z", "picture"))
    if case.inverted:
        return picture
    return made.add_noise(picture, z, timestep[None]) if case.taken else z * made.init_noise_sigma


def trajectory(case: cases.Case) -> np.ndarray:
    """Return the latents after every step, [calls of the network, 2, 4, 6, 5]."""
    made = scheduler(case)
    steps = visited(made, case)
    x, found = first(made, case, steps[0]), []
    for index, t in enumerate(steps):
        output = torch.from_numpy(cases.network(made.scale_model_input(x, t).numpy(), float(t)))
        noise = torch.from_numpy(cases.draw(f"noise {index}"))
        with mock.patch(f"{type(made).__module__}.randn_tensor", lambda *_, **__: noise, create=True):
            x = made.step(output, t, x).prev_sample
        found.append(x.numpy())
    return np.stack(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=GOLDEN / "samplers.npz")
    parser.add_argument("--check", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = {case.name: trajectory(case) for case in cases.CASES}
    if arguments.check is None:
        np.savez_compressed(arguments.out, **found)
        return
    with np.load(arguments.check) as kept:
        assert set(kept.files) == set(found), set(kept.files) ^ set(found)
        worst = max(float(np.abs(kept[name] - value).max() / np.abs(value).max()) for name, value in found.items())
    print(f"{worst:.3g}")
    assert worst < 1e-5, worst


if __name__ == "__main__":
    main()
