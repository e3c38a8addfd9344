"""Make tests/fixtures/stylegan2/rosinality* with rosinality's own model.py; run in the reference environment.

    python tests/parity/make_stylegan2_rosinality_fixtures.py --repository PATH [--out DIR]
    python tests/parity/make_stylegan2_rosinality_fixtures.py --repository PATH --check FILE.pt --size 64
    python tests/parity/make_stylegan2_rosinality_fixtures.py --repository PATH --names

PATH is your checkout of stylegan2-pytorch. The second form loads a file of ours strictly into the full-width network
and writes its pictures to FILE.npz; the third prints names and shapes of the network's state for 8 to 1024 px as JSON.
"""
from __future__ import annotations

import argparse
import json
import re
import sys
import types
from pathlib import Path

import numpy as np
import torch
import torch.utils.cpp_extension

OUT = Path(__file__).resolve().parents[1] / "fixtures" / "stylegan2"


def model(repository: Path, narrow: bool) -> types.ModuleType:
    """Return their model.py; `narrow` makes its channel table 12, 12, 8, ... so that a file of it is small."""
    torch.utils.cpp_extension.load = lambda *_, **__: None      # the CUDA kernels; the CPU has its own path
    sys.path.insert(0, str(repository))
    text = (repository / "model.py").read_text()
    if narrow:
        text = re.sub(r"(\d+): \d+( \* channel_multiplier)?,\n", lambda m: f"{m[1]}: {12 if int(m[1]) < 16 else 8},\n",
                      text)
    module = types.ModuleType("rosinality_model")
    # your own checkout, in the reference environment
    exec(compile(text, "model.py", "exec"), module.__dict__)
    return module


def images(net: torch.nn.Module, z: np.ndarray, centre: torch.Tensor) -> dict[str, np.ndarray]:
    """Return w and the pictures of z: stored noise, no noise, truncated towards `centre`."""
    latents = torch.from_numpy(z)
    silent = [torch.zeros(1)] * net.num_layers
    with torch.no_grad():
        return {"z": z, "w": net.style(latents).numpy(), "const": net([latents], randomize_noise=False)[0].numpy(),
                "none": net([latents], noise=silent)[0].numpy(),
                "truncated": net([latents], truncation=0.5, truncation_latent=centre, randomize_noise=False)[0].numpy()}


def disturb(net: torch.nn.Module) -> None:
    """Give every parameter that starts at zero or one a random part."""
    for name, parameter in net.named_parameters():
        if name.endswith(("bias", "noise.weight")):
            parameter.data += (20 if name.startswith("style.") else 0.3) * torch.randn(parameter.shape)


def fixtures(repository: Path, out: Path) -> None:
    """Write a training checkpoint and the pictures of its averaged generator."""
    torch.manual_seed(0)
    net = model(repository, narrow=True).Generator(16, 16, 3)
    disturb(net)
    state, centre = net.state_dict(), 0.3 * torch.randn(16)
    z = np.random.RandomState(7).randn(2, 16).astype(np.float32)
    optimiser = {"state": {}, "param_groups": [{"lr": 0.002, "betas": (0.0, 0.99), "params": [0, 1]}]}
    zeros = {name: torch.zeros(1).expand(tensor.shape) for name, tensor in state.items()}
    torch.save({"g": zeros, "d": {"final_linear.1.bias": torch.zeros(1)}, "g_ema": state, "g_optim": optimiser,
                "args": argparse.Namespace(size=16, iter=800000), "ada_aug_p": 0.0, "latent_avg": centre},
                out / "rosinality.pt")
    np.savez_compressed(out / "rosinality_images.npz", **images(net, z, centre))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--check", type=Path)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--names", action="store_true")
    arguments = parser.parse_args()
    if arguments.names:
        full = model(arguments.repository, narrow=False)
        states = {size: full.Generator(size, 512, 8).state_dict() for size in (8, 16, 32, 64, 128, 256, 512, 1024)}
        print(json.dumps({size: {name: list(t.shape) for name, t in state.items()} for size, state in states.items()}))
    elif arguments.check:
        net = model(arguments.repository, narrow=False).Generator(arguments.size, 512, 8)
        loaded = torch.load(arguments.check, weights_only=True)
        net.load_state_dict(loaded["g_ema"], strict=True)
        z = np.random.RandomState(7).randn(1, 512).astype(np.float32)
        np.savez_compressed(arguments.check.with_suffix(".npz"), **images(net, z, loaded["latent_avg"]))
    else:
        arguments.out.mkdir(parents=True, exist_ok=True)
        fixtures(arguments.repository, arguments.out)


if __name__ == "__main__":
    main()
