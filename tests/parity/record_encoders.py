"""Record tests/golden/encoders.npz: inversion encoders as PyTorch computes them; run in the reference environment.

    python tests/parity/record_encoders.py [--out FILE | --check FILE]
    cd .../restyle-encoder && python .../tests/parity/record_encoders.py --out FILE --checkout restyle-encoder

Of every class: codes of two pictures, and the gradients of a weighted sum of them in the pictures and in a dozen
tensors. Weights and pictures come from tests/golden/fill.py. In a checkout of pixel2style2pixel, encoder4editing or
restyle-encoder it is its own classes that run, in their published size, instead of the descriptions in
encoder_reference.py, in float32 and in float64. --check compares and writes nothing.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parent / "golden"
sys.path[:0] = [str(HERE), str(GOLDEN)]
import fill  # noqa: E402
from encoder_cases import CASES, SEED, TENSORS  # noqa: E402
from encoder_reference import Encoder  # noqa: E402
from make_network_names import checkout, without_extensions  # noqa: E402


def filled(model: nn.Module) -> nn.Module:
    """Return the network in evaluation with the weights of the record."""
    model.load_state_dict({name: torch.from_numpy(np.asarray(fill.features(name, tuple(value.shape), SEED), np.float32))
                           if value.is_floating_point() else value for name, value in model.state_dict().items()})
    return model.eval()


def summary(value: torch.Tensor) -> np.ndarray:
    """Return the L2 norm and up to 64 entries at regular steps."""
    flat = value.detach().double().numpy().reshape(-1)
    return np.concatenate([[np.linalg.norm(flat)], flat[::max(1, flat.size // 64)][:64]])


def run(model: nn.Module, channels: int, side: int) -> dict[str, np.ndarray]:
    """Return the codes of two pictures, and the gradients of a weighted sum of them, in the network's precision."""
    dtype = next(model.parameters()).dtype
    model.zero_grad()
    pictures = fill.pictures(4, side, side, SEED).astype(np.float32).reshape(2, 6, side, side)[:, :channels]
    x = torch.from_numpy((pictures - 128) / np.float32(127.5)).to(dtype).requires_grad_()
    codes = model(x)
    (codes * torch.from_numpy(fill.draw("cotangent", tuple(codes.shape), SEED)).to(dtype)).sum().backward()
    tensors = dict(model.named_parameters())
    found = {f"grad/{name}": summary(tensors[name].grad) for name in TENSORS if name in tensors}
    return {"codes": codes.detach().numpy(), "grad/pictures": summary(x.grad), **found}


def described() -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yield the narrow encoders of `CASES`."""
    for name, numbers in CASES.items():
        yield name, run(filled(Encoder(numbers)), numbers["input_channels"], numbers["input_size"])


def published(repository: str) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yield the encoders of the repository in the current folder: what float64 gives, under "float32/" what float32."""
    without_extensions()
    sys.path.insert(0, ".")
    for family, name, model, _ in checkout(repository):
        if family == "encoders":
            channels, model = 6 if repository == "restyle-encoder" else 3, filled(model)
            plain = {f"float32/{key}": value for key, value in run(model, channels, 256).items()}
            yield name.split()[-1], plain | run(model.double(), channels, 256)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=GOLDEN / "encoders.npz")
    parser.add_argument("--check", type=Path)
    parser.add_argument("--checkout", metavar="REPOSITORY")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    encoders = published(arguments.checkout) if arguments.checkout else described()
    found = {f"{name}/{key}": value.astype(np.float32) for name, arrays in encoders for key, value in arrays.items()}
    if arguments.check is None:
        np.savez_compressed(arguments.out, **found)
        return
    with np.load(arguments.check) as kept:
        assert set(kept.files) == set(found), set(kept.files) ^ set(found)
        worst = max(float(np.abs(kept[name] - value).max() / np.abs(value).max()) for name, value in found.items())
    print(f"{worst:.3g}")
    assert worst < 1e-4, worst


if __name__ == "__main__":
    main()
