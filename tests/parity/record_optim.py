"""Record torch.optim's numbers into tests/golden/optim.npz (run with an environment that has PyTorch; not a test).

    python tests/parity/record_optim.py
"""
from pathlib import Path

import numpy as np
import torch

CASES = {
    "adam": (torch.optim.Adam, dict(lr=0.05)),
    "adam_ipl": (torch.optim.Adam, dict(lr=0.0016, betas=(0.0, 0.99 ** 0.8))),
    "adam_l2": (torch.optim.Adam, dict(lr=0.01, weight_decay=0.1)),
    "adamw": (torch.optim.AdamW, dict(lr=0.01, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2)),
}
STEPS = 6


def main() -> None:
    rng = np.random.default_rng(0)
    shapes = {"conv": (3, 2, 3), "bias": (5,), "late": (4, 2)}
    start = {k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()}
    # Magnitudes over many decades: that is where the place of eps shows.
    grads = {k: (rng.standard_normal((STEPS, *s)) * 10.0 ** rng.uniform(-9, 2, (STEPS, *s))).astype(np.float32)
             for k, s in shapes.items()}
    out = {**{f"start/{k}": v for k, v in start.items()}, **{f"grad/{k}": v for k, v in grads.items()}}
    for case, (kind, numbers) in CASES.items():
        params = {k: torch.nn.Parameter(torch.tensor(v)) for k, v in start.items()}
        optimiser = kind(list(params.values()), foreach=False, **numbers)
        for step in range(STEPS):
            for k, p in params.items():          # "late" has a gradient at odd steps only
                p.grad = None if k == "late" and step % 2 == 0 else torch.tensor(grads[k][step])
            optimiser.step()
            for k, p in params.items():
                out[f"{case}/{step}/{k}"] = p.detach().numpy().copy()
    scheduler_of = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.004)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(scheduler_of, 10)
    rates = []
    for _ in range(11):
        rates.append(schedule.get_last_lr()[0])
        scheduler_of.step()
        schedule.step()
    out["cosine"] = np.float64(rates)
    np.savez(Path(__file__).parents[1] / "golden" / "optim.npz", **out)


if __name__ == "__main__":
    main()
