"""Record tests/golden/editing.npz: StyleCLIP's mappers, losses and Ranger in PyTorch; run in the reference environment.

    python tests/parity/record_editing.py [--out FILE | --check FILE]

Written from the published formulas (the programs are no packages), on OpenAI's CLIP and the tests' face recogniser, all
tiny: outputs and gradients of every kind of mapper; the CLIP loss (nearest upsampling by 7, average pooling by
size / 32, no normalisation), the identity loss and those on latents with the gradient to pictures; thirteen steps of
Ranger. Weights come from tests/golden/fill.py. --check compares instead of writing.
"""
from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parent / "golden"
sys.path[:0] = [str(GOLDEN), str(HERE)]
import editing_cases as cases  # noqa: E402
import face_trunk  # noqa: E402
import fill  # noqa: E402
from recording import keep_or_check  # noqa: E402


class Equal(nn.Module):
    """Rosinality's EqualLinear with leaky ReLU, learning-rate factor 0.01."""

    def __init__(self, width: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(width, width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.linear(x, self.weight * (0.01 / self.weight.shape[1] ** 0.5)) + self.bias * 0.01
        return F.leaky_relu(y, 0.2) * 2 ** 0.5


class Norm(nn.Module):
    """Rosinality's PixelNorm, which divides by the root mean square over axis 1; over the last axis with `codes`."""

    def __init__(self, codes: bool):
        super().__init__()
        self.axis = -1 if codes else 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(torch.mean(x ** 2, dim=self.axis, keepdim=True) + 1e-8)


def mapper(width: int, codes: bool) -> nn.Module:
    holder = nn.Module()
    holder.mapping = nn.Sequential(Norm(codes), *(Equal(width) for _ in range(4)))
    return holder


def filled(net: nn.Module) -> nn.Module:
    for name, parameter in net.named_parameters():
        parameter.data = torch.from_numpy(fill.latent_mapper(name, tuple(parameter.shape), cases.SEED))
    return net


def mappers() -> dict[str, np.ndarray]:
    """Return outputs of every mapper on given codes, and gradients of weighted sums of them."""
    found: dict[str, np.ndarray] = {}
    ws = torch.from_numpy(cases.ws())
    for case, (kind, levels, codes) in cases.W_MAPPERS.items():
        net = nn.Module()
        for name in ("mapping",) if kind == "SingleMapper" else [f"{level}_mapping" for level in levels]:
            setattr(net, name, mapper(cases.WIDTH, codes))
        filled(net)
        x = ws.clone().requires_grad_()
        if kind == "SingleMapper":
            y = net.mapping.mapping(x)
        else:
            parts = {"course": x[:, :4], "medium": x[:, 4:8], "fine": x[:, 8:]}
            y = torch.cat([getattr(net, f"{level}_mapping").mapping(part) if level in levels else torch.zeros_like(part)
                           for level, part in parts.items()], 1)
        (y * torch.from_numpy(cases.cotangent("ws", y.shape))).sum().backward()
        found |= {f"{case}/out": y.detach().numpy(), f"{case}/grad_codes": x.grad.numpy()}
        found |= {f"{case}/grad/{name}": p.grad.numpy() for name, p in net.named_parameters()}
    net = nn.Module()
    for i, width in enumerate(cases.STYLES):
        setattr(net, f"mapper_{i}", mapper(width, True))
    filled(net)
    total = 0.0
    for i, width in enumerate(cases.STYLES):
        y = getattr(net, f"mapper_{i}").mapping(torch.from_numpy(cases.style(i)))
        total = total + (y * torch.from_numpy(cases.cotangent(f"s{i}", y.shape))).sum()
        found[f"styles/out/{i}"] = y.detach().numpy()
    total.backward()
    return found | {f"styles/grad/{name}": p.grad.numpy() for name, p in net.named_parameters() if "weight" in name}


def openai_model() -> ModuleType:
    """Return the package's clip/model.py alone; the rest of it wants a module that new setuptools do not have."""
    path = Path(importlib.util.find_spec("clip").submodule_search_locations[0]) / "model.py"
    spec = importlib.util.spec_from_file_location("openai_clip_model", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def losses() -> dict[str, np.ndarray]:
    """Return the three terms and the gradient of their weighted sum to the pictures and the latents."""
    clip = openai_model().CLIP(**cases.CLIP_NUMBERS).float().eval()
    clip.load_state_dict({name: torch.from_numpy(np.asarray(fill.clip(name, tuple(value.shape), cases.SEED)))
                          for name, value in clip.state_dict().items()})
    clip.logit_scale.data.fill_(float(np.log(100.0)))       # as in all of OpenAI's models
    recogniser = face_trunk.Recogniser(**cases.RECOGNISER).eval()
    recogniser.load_state_dict({
        name: torch.zeros(value.shape, dtype=torch.long) if name.endswith("num_batches_tracked")
        else torch.from_numpy(np.asarray(fill.features(name, tuple(value.shape), cases.SEED), np.float32))
        for name, value in recogniser.state_dict().items()})
    found: dict[str, np.ndarray] = {}
    for size in cases.SIZES:
        before, now = (torch.from_numpy(cases.pictures(size, seed)) for seed in (1, 2))
        now.requires_grad_()
        small = F.avg_pool2d(F.interpolate(now, scale_factor=7), size // 32)
        seen = (1 - clip(small, torch.from_numpy(cases.TOKENS).long())[0] / 100).mean()
        person = (1 - (recogniser.embed(now) * recogniser.embed(before).detach()).sum(1)).mean()
        (seen + cases.ID_LAMBDA * person).backward()
        found |= {f"loss/{size}/small": small.detach().numpy()[:, :, ::8, ::8],
                  f"loss/{size}/clip": seen.detach().numpy(), f"loss/{size}/id": person.detach().numpy(),
                  f"loss/{size}/grad": now.grad.numpy()[:, :, ::4, ::4]}
    w, moved = torch.from_numpy(cases.ws()), torch.from_numpy(cases.ws(1))
    styles = [(torch.from_numpy(cases.style(i)), torch.from_numpy(cases.style(i, 1))) for i in range(len(cases.STYLES))]
    return found | {"l2/sum": ((w - moved) ** 2).sum().numpy(), "l2/mean": F.mse_loss(moved, w).numpy(),
                    "l2/styles_sum": sum(((a - b) ** 2).sum() for a, b in styles).numpy(),
                    "l2/styles_mean": sum(F.mse_loss(b, a) for a, b in styles).numpy()}


def ranger() -> dict[str, np.ndarray]:
    """Return tensors after each of some steps of Ranger as L. Wright's program of April 2020 computes it."""
    found: dict[str, np.ndarray] = {}
    beta1, beta2, eps, alpha, k = 0.95, 0.999, 1e-5, 0.5, 6
    for name, shape in cases.TENSORS.items():
        p = torch.from_numpy(fill.draw(name, shape, cases.SEED))
        slow, first, second = p.clone(), torch.zeros_like(p), torch.zeros_like(p)
        for step in range(1, cases.STEPS + 1):
            g = torch.from_numpy(cases.gradient(name, step))
            if g.dim() > 1:
                g = g - g.mean(dim=tuple(range(1, g.dim())), keepdim=True)
            second = second * beta2 + (1 - beta2) * g * g
            first = first * beta1 + (1 - beta1) * g
            longest = 2 / (1 - beta2) - 1
            sma = longest - 2 * step * beta2 ** step / (1 - beta2 ** step)
            if sma > 5:
                size = ((1 - beta2 ** step) * (sma - 4) / (longest - 4) * (sma - 2) / sma * longest
                        / (longest - 2)) ** 0.5 / (1 - beta1 ** step)
                p = p - size * cases.LR * first / (second.sqrt() + eps)
            else:
                p = p - cases.LR / (1 - beta1 ** step) * first
            if step % k == 0:
                slow = slow + alpha * (p - slow)
                p = slow.clone()
            found[f"ranger/{step}/{name}"] = p.numpy().copy()
    return found


if __name__ == "__main__":
    keep_or_check(__doc__, GOLDEN / "editing.npz", lambda: mappers() | losses() | ranger())
