"""Record the projector's arithmetic in PyTorch into tests/golden/projector.npz (needs PyTorch; not a test).

    python tests/parity/record_projector.py

The noise regulariser of Karras et al. (2020, appendix D.1) with its gradient, written with torch.roll and avg_pool2d,
and a projection of a small differentiable drawing: rates, noise on the code, Adam, standardised maps, step by step.
"""
import math
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import avg_pool2d

STEPS, LR, WEIGHT = 12, 0.1, 10.0
SIDES = (4, 8, 16, 32)


def regulariser(maps: list[torch.Tensor]) -> torch.Tensor:
    total = torch.zeros(())
    for noise in maps:
        while True:
            total = total + (noise * torch.roll(noise, 1, 3)).mean() ** 2
            total = total + (noise * torch.roll(noise, 1, 2)).mean() ** 2
            if noise.shape[2] <= 8:
                break
            noise = avg_pool2d(noise, 2)
    return total


def main() -> None:
    rng = np.random.default_rng(0)
    start = [rng.standard_normal((1, 1, r, r)).astype(np.float32) for r in SIDES]
    maps = [torch.nn.Parameter(torch.tensor(one)) for one in start]
    loss = regulariser(maps)
    loss.backward()
    out = {f"map/{r}": one for r, one in zip(SIDES, start)} | {"regulariser": np.float32([loss.item()])}
    out |= {f"gradient/{r}": one.grad.numpy().copy() for r, one in zip(SIDES, maps)}
    # The drawing: a map moved by a code through a fixed matrix. The target is another one's.
    matrix = rng.standard_normal((12, 16 * 16)).astype(np.float32) / 4
    target = rng.standard_normal((1, 1, 16, 16)).astype(np.float32)
    moved = rng.standard_normal((STEPS, 1, 12)).astype(np.float32)
    code = torch.nn.Parameter(torch.zeros(1, 12))
    noise = torch.nn.Parameter(torch.tensor(start[2]))
    adam = torch.optim.Adam([code, noise], lr=LR, betas=(0.9, 0.999), foreach=False)
    out |= {"matrix": matrix, "target": target, "moved": moved}
    for step in range(STEPS):
        t = step / STEPS
        strength = 2.0 * 0.05 * max(0.0, 1.0 - t / 0.75) ** 2
        ramp = min(1.0, (1.0 - t) / 0.25)
        rate = LR * (0.5 - 0.5 * math.cos(ramp * math.pi)) * min(1.0, t / 0.05)
        for group in adam.param_groups:
            group["lr"] = rate
        drawn = ((code + strength * torch.tensor(moved[step])) @ torch.tensor(matrix)).reshape(1, 1, 16, 16) + noise
        loss = (drawn - torch.tensor(target)).square().mean() + WEIGHT * regulariser([noise])
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            noise -= noise.mean()
            noise *= noise.square().mean().rsqrt()
        out[f"rate/{step}"], out[f"strength/{step}"] = np.float64([rate]), np.float64([strength])
        out[f"loss/{step}"], out[f"code/{step}"] = np.float32([loss.item()]), code.detach().numpy().copy()
    out["noise"] = noise.detach().numpy()
    np.savez(Path(__file__).parents[1] / "golden" / "projector.npz", **out)


if __name__ == "__main__":
    main()
