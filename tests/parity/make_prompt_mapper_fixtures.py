"""Make tests/fixtures/prompt_mapper: IPL's mapper.pt and a transformer mapper's, small; run in the reference
environment.

    python tests/parity/make_prompt_mapper_fixtures.py --repository PATH [--out DIR]
    python tests/parity/make_prompt_mapper_fixtures.py --repository PATH --thesis PATH

The first PATH is your checkout of rosinality's stylegan2-pytorch, whose EqualLinear and PixelNorm both mappers are made
of. The second form prints names and shapes of the transformer mappers in a checkout of the thesis (mapper/) as JSON.
"""
from __future__ import annotations

import argparse
import json
import sys
import types
from pathlib import Path

import numpy as np
import torch
from make_stylegan2_rosinality_fixtures import model
from torch import nn

OUT = Path(__file__).resolve().parents[1] / "fixtures" / "prompt_mapper"
WIDTH, TOKENS = 8, 4


def ipl(layers: types.ModuleType) -> nn.Module:
    """Return a mapper of IPL's structure and names, 8 wide."""
    widths = [WIDTH] * 4 + [WIDTH * TOKENS]
    inner, outer = nn.Module(), nn.Module()
    inner.mapping = nn.Sequential(layers.PixelNorm(), *(
        layers.EqualLinear(a, b, lr_mul=0.01, activation="fused_lrelu") for a, b in zip(widths, widths[1:])))
    outer.mapping = inner
    return outer


def transformer(layers: types.ModuleType) -> nn.Module:
    """Return a transformer mapper with every part under two names, 8 wide."""
    net = nn.Module()
    encoder = nn.TransformerEncoderLayer(d_model=WIDTH, nhead=2, dim_feedforward=16)
    net.transformer_encoder = nn.TransformerEncoder(encoder, num_layers=2)
    net.linear = layers.EqualLinear(WIDTH, WIDTH, lr_mul=0.01, activation="fused_lrelu")
    net.final_linear = layers.EqualLinear(WIDTH, WIDTH * TOKENS, lr_mul=0.01, activation="fused_lrelu")
    net.mapping = nn.Sequential(net.transformer_encoder, net.linear, net.final_linear)
    return net


def thesis_names(path: Path, layers: types.ModuleType) -> dict[str, dict[str, list[int]]]:
    """Return names and shapes of the three transformer mappers of the thesis."""
    for name in ("mapper", "mapper.stylegan2"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["mapper.stylegan2.model"] = layers
    module = types.ModuleType("latent_mappers")
    # your own checkout, in the reference environment
    exec(compile((path / "mapper" / "latent_mappers.py").read_text(), "latent_mappers.py", "exec"), module.__dict__)
    options = types.SimpleNamespace(n_ctx=TOKENS)
    nets = {version: getattr(module, f"TransformerMapper{version}")(options, 512) for version in ("V1", "V2", "V3")}
    return {version: {name: list(t.shape) for name, t in net.state_dict().items()} for version, net in nets.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--thesis", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    layers = model(arguments.repository, narrow=True)
    if arguments.thesis:
        print(json.dumps(thesis_names(arguments.thesis, layers)))
        return
    torch.manual_seed(0)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, net in (("ipl", ipl(layers)), ("transformer", transformer(layers))):
        for parameter in net.parameters():
            parameter.data += torch.randn(parameter.shape)
        torch.save({"m": net.state_dict(), "m_optim": torch.optim.Adam(net.parameters()).state_dict()},
                   arguments.out / f"{name}.pt")
        if name == "ipl":
            w = torch.randn(3, WIDTH)
            np.savez(arguments.out / "ipl_prompts.npz", w=w.numpy(),
                     prompts=net.mapping.mapping(w).reshape(3, TOKENS, WIDTH).detach().numpy())


if __name__ == "__main__":
    main()
