"""Record tests/golden/mappers.npz: transformer mappers as PyTorch computes them; run in the reference environment.

    python tests/parity/record_mappers.py [--out FILE | --check FILE]

For V1, V2 and V3 of the thesis, narrow: prompts of one batch as one sequence (its code), prompts of every w alone, the
gradient of a weighted sum of the former, and a dropout step whose masks are given. And the loss on a list of prompts,
in the two forms of the thesis. Weights come from tests/golden/fill.py. --check compares instead of writing.
"""
from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
sys.path[:0] = [str(GOLDEN), str(Path(__file__).resolve().parent)]
import fill  # noqa: E402
from recording import keep_or_check  # noqa: E402

WIDTH, FEEDFORWARD, TOKENS, CONTEXT, BATCH = 16, 24, 4, 12, 5
VERSIONS = {"v1": (3, 2, 0), "v2": (2, 4, 32), "v3": (2, 2, 16)}       # layers, heads, hidden


class Equal(nn.Module):
    """Rosinality's EqualLinear with leaky ReLU, learning-rate factor 0.01."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(n_out, n_in)), nn.Parameter(torch.zeros(n_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = 0.01 / self.weight.shape[1] ** 0.5
        return F.leaky_relu(F.linear(x, self.weight * scale) + self.bias * 0.01, 0.2) * 2 ** 0.5


def network(version: str) -> nn.Module:
    """Return a narrow mapper of the thesis's structure with weights drawn from their names."""
    layers, heads, hidden = VERSIONS[version]
    net = nn.Module()
    layer = nn.TransformerEncoderLayer(WIDTH, heads, FEEDFORWARD, dropout=0.1)
    net.transformer_encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
    if hidden:
        net.linear = Equal(WIDTH, hidden)
    net.final_linear = Equal(hidden or WIDTH, TOKENS * CONTEXT)
    for name, parameter in net.named_parameters():
        parameter.data = torch.from_numpy(fill.mapper_transformer(name, tuple(parameter.shape), 0))
    return net.eval()


def run(net: nn.Module, w: torch.Tensor) -> torch.Tensor:
    """Return prompts [B, n_ctx, ctx_dim] as the thesis calls its mapper: w [B, d] enters as one sequence."""
    x = net.transformer_encoder(w)
    x = net.linear(x) if hasattr(net, "linear") else x
    return net.final_linear(x).reshape(len(w), TOKENS, CONTEXT)


class given_masks:      # noqa: N801 - used as a verb in a with statement
    """While it holds, dropout takes its factors from a NumPy generator, in the order of the calls."""

    def __init__(self, seed: int, rate: float = 0.1):
        self.rng, self.rate = np.random.default_rng(seed), rate

    def factors(self, shape: torch.Size) -> torch.Tensor:
        return torch.from_numpy((self.rng.random(tuple(shape),
                                                 np.float32) >= self.rate) / np.float32(1 - self.rate)).float()

    def attention(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        weights = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, -1)
        return (weights * self.factors(weights.shape)) @ v

    def __enter__(self) -> None:
        self.kept = F.dropout, F.scaled_dot_product_attention
        F.dropout = lambda x, *_, **__: x * self.factors(x.shape)
        F.scaled_dot_product_attention = self.attention

    def __exit__(self, *_: object) -> None:
        F.dropout, F.scaled_dot_product_attention = self.kept


def record() -> dict[str, np.ndarray]:
    """Return every array of the record."""
    w = torch.from_numpy(fill.draw("w", (BATCH, WIDTH), 1))
    levels = torch.from_numpy(fill.draw("ws", (BATCH, 3, WIDTH), 1))
    weight = torch.from_numpy(fill.draw("loss", (BATCH, TOKENS, CONTEXT), 1))
    found = {"w": w.numpy(), "ws": levels.numpy(), "loss_weight": weight.numpy()}
    for version in VERSIONS:
        net = network(version)
        prompts = run(net, w)
        (prompts * weight).sum().backward()
        found[f"{version}/sequence"] = prompts.detach().numpy()
        found |= {f"{version}/grad/{name}": p.grad.numpy() for name, p in net.named_parameters()}
        net.train().zero_grad()
        with given_masks(seed=3):
            prompts = run(net, w)
        (prompts * weight).sum().backward()
        found[f"{version}/dropped"] = prompts.detach().numpy()
        found |= {f"{version}/dropped_grad/{name}": p.grad.numpy() for name, p in net.named_parameters()
                  if name.startswith("transformer_encoder.layers.0.")}
        net.eval()
        with torch.no_grad():
            found[f"{version}/alone"] = torch.cat([run(net, row[None]) for row in w]).numpy()
            tokens = net.transformer_encoder(levels.permute(1, 0, 2)).mean(0)     # each image a sequence of its levels
            tokens = net.linear(tokens) if hasattr(net, "linear") else tokens
            found[f"{version}/levels"] = net.final_linear(tokens).reshape(BATCH, TOKENS, CONTEXT).numpy()
    return found | losses()


def losses() -> dict[str, np.ndarray]:
    """Return the thesis's losses on a list of prompts: with the domain loss in place of it, and beside it."""
    texts, listed, templates = (torch.from_numpy(fill.draw(name, (n, 10), 2)) for name, n in
                                (("texts", BATCH), ("listed", 7), ("templates", 9)))
    texts.requires_grad_()

    def pull(features: torch.Tensor) -> torch.Tensor:
        mean = (features / features.norm(dim=-1, keepdim=True)).mean(0)
        unit = texts / texts.norm(dim=-1, keepdim=True)
        return (1 - F.cosine_similarity(unit, mean[None].expand(len(unit), -1))).mean()
    prompts, domain, contrastive = pull(listed), pull(templates), torch.tensor(0.7)
    v2, v3 = contrastive + 1.5 * prompts, contrastive + 1.5 * (domain + 0.2 * prompts)
    grad, = torch.autograd.grad(v3, texts)
    return {"loss/texts": texts.detach().numpy(), "loss/listed": listed.numpy(), "loss/templates": templates.numpy(),
            "loss/v2": v2.detach().numpy(), "loss/v3": v3.detach().numpy(), "loss/grad": grad.numpy()}


if __name__ == "__main__":
    keep_or_check(__doc__, GOLDEN / "mappers.npz", record)
