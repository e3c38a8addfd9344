"""Record the small weight files of tests/weights/data with PyTorch; run in the environment of the parity tests.

    python tests/parity/record_weight_files.py

Each <name>.pt gets the arrays that PyTorch itself reads from it as <name>.npz (bfloat16 widened to float32).
"""
from __future__ import annotations

import argparse
import collections
from pathlib import Path

import numpy as np
import torch
from torch import nn

DATA = Path(__file__).resolve().parents[1] / "weights" / "data"


def every_kind() -> dict[str, torch.Tensor]:
    """Every number type, and every way in which a tensor can lie in its storage."""
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4) / 7
    kinds = {str(t).split(".")[1]: (torch.arange(5) - 2).to(t) for t in (
        torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.int16, torch.int8)}
    return {**kinds, "uint8": torch.tensor([0, 255], dtype=torch.uint8), "bool": torch.tensor([True, False, True]),
            "scalar": torch.tensor(4.6), "empty": torch.zeros(0, 3), "whole": base, "shared": base, "offset": base[1],
            "transposed": base.permute(2, 0, 1), "stepped": base[:, ::2, 1::2], "expanded": torch.ones(1).expand(3),
            "parameter": nn.Parameter(torch.ones(2))}


class Attention(nn.Module):
    """The shape of OpenAI's transformer block: packed projections and a mask that is no parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.randn(6, 2))
        self.out_proj = nn.Linear(2, 2)
        self.mask = torch.full((3, 3), float("-inf")).triu(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out_proj(x @ self.in_proj_weight[:2]) + self.mask.to(x.dtype)[:, :2].clamp(min=-1)


class Clip(nn.Module):
    """A few layers under OpenAI's names."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = nn.Sequential(collections.OrderedDict(conv1=nn.Conv2d(3, 2, 2, bias=False),
                                                            bn1=nn.BatchNorm2d(2)))
        self.transformer = nn.Sequential(collections.OrderedDict(resblocks=nn.Sequential(Attention(), Attention())))
        self.token_embedding = nn.Embedding(5, 2)
        self.logit_scale = nn.Parameter(torch.tensor(4.6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.transformer(self.token_embedding(x)) * self.logit_scale.exp()


def to_numpy(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: (t.float() if t.dtype == torch.bfloat16 else t).detach().numpy() for name, t in tensors.items()}


def record(name: str, holder: object, tensors: dict[str, torch.Tensor], legacy: bool = False) -> None:
    torch.save(holder, DATA / f"{name}.pt", _use_new_zipfile_serialization=not legacy)
    np.savez_compressed(DATA / f"{name}.npz", **to_numpy(tensors))


def main() -> None:
    torch.manual_seed(0)
    DATA.mkdir(exist_ok=True)
    record("zip", {**every_kind(), "uint16": torch.tensor([1, 65535], dtype=torch.uint16)},
           {**every_kind(), "uint16": torch.tensor([1, 65535], dtype=torch.uint16)})
    record("legacy", every_kind(), every_kind(), legacy=True)
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    optimiser = torch.optim.Adam(net.parameters())
    net(torch.randn(4, 2)).sum().backward()
    optimiser.step()
    checkpoint = {"g": net.state_dict(), "g_ema": net.state_dict(), "g_optim": optimiser.state_dict(),
                  "args": argparse.Namespace(size=8, path=None), "latent_avg": torch.ones(2), "ada_aug_p": 0.0}
    for name, legacy in (("rosinality", False), ("rosinality_legacy", True)):
        record(name, checkpoint, {**net.state_dict(), "latent_avg": torch.ones(2)}, legacy)
    mapper = {"mapping.mapping.1.weight": torch.randn(2, 2), "mapping.mapping.1.bias": torch.zeros(2)}
    record("mapper", {"m": mapper, "m_optim": {"state": {}, "param_groups": []}}, mapper)
    record("tiny", {"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([1.0, 2.0])})
    record("tiny_legacy", {"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([1.0, 2.0])}, legacy=True)
    clip = Clip().half().eval()
    traced = torch.jit.trace(clip, torch.zeros(3, dtype=torch.long), check_trace=False)
    torch.jit.save(traced, DATA / "torchscript.pt")
    np.savez_compressed(DATA / "torchscript.npz", **to_numpy(traced.state_dict()))


if __name__ == "__main__":
    main()
