"""Write small checkpoints in the containers of pSp/e4e/ReStyle, StyleCLIP, ArcFace, MoCo, Inception heads and LPIPS
heads.

    python tests/parity/make_checkpoint_fixtures.py [folder]

Run in the reference environment: `torch.save` writes them, tensors are few channels wide. The names are checked against
those of the published programs elsewhere (make_network_names.py); here it is the containers that count.
"""
from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent))

import face_trunk  # noqa: E402

FOLDER = Path(__file__).resolve().parents[1] / "fixtures"
DIM, CHANNELS, STYLES = 8, 4, 4                 # an 8 px generator has four styles


def linear(name: str, n_out: int, n_in: int) -> dict[str, torch.Tensor]:
    return {f"{name}.weight": torch.randn(n_out, n_in), f"{name}.bias": torch.randn(n_out)}


def decoder() -> dict[str, torch.Tensor]:
    """Return an 8 px generator under rosinality's names."""
    tensors = {name: value for i in (1, 2) for name, value in linear(f"style.{i}", DIM, DIM).items()}
    tensors["input.input"] = torch.randn(1, CHANNELS, 4, 4)
    for name, upsample in (("conv1", False), ("convs.0", True), ("convs.1", False)):
        tensors |= {f"{name}.conv.weight": torch.randn(1, CHANNELS, CHANNELS, 3, 3),
                    f"{name}.noise.weight": torch.zeros(1),
                    f"{name}.activate.bias": torch.zeros(CHANNELS), **linear(f"{name}.conv.modulation", CHANNELS, DIM)}
        if upsample:
            tensors[f"{name}.conv.blur.kernel"] = torch.outer(*2 * [torch.tensor([1., 3., 3., 1.])]) / 16
    for name, upsample in (("to_rgb1", False), ("to_rgbs.0", True)):
        tensors |= {f"{name}.bias": torch.zeros(1, 3, 1, 1), f"{name}.conv.weight": torch.randn(1, 3, CHANNELS, 1, 1),
                    **linear(f"{name}.conv.modulation", CHANNELS, DIM)}
        if upsample:
            tensors[f"{name}.upsample.kernel"] = torch.outer(*2 * [torch.tensor([1., 3., 3., 1.])]) / 16
    return tensors | {f"noises.noise_{i}": torch.randn(1, 1, r, r) for i, r in enumerate((4, 8, 8))}


class Head(nn.Module):
    """One map2style head of the flat encoders: four halvings of a 16 px map."""

    def __init__(self, n_in: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(*(layer for i in range(4) for layer in (
            nn.Conv2d(n_in if i == 0 else DIM, DIM, 3, 2, 1), nn.LeakyReLU())))
        self.linear = nn.Linear(DIM, DIM)


class Encoder(nn.Module):
    """ReStyle's encoder on a face trunk, one channel wide."""

    def __init__(self) -> None:
        super().__init__()
        for name, module in face_trunk.trunk(50, True, 1, 6).items():
            setattr(self, name, module)
        self.styles = nn.ModuleList(Head(8) for _ in range(STYLES))


def prefixed(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in tensors.items()}


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for family in ("encoders", "styleclip", "arcface", "lpips"):
        (folder / family).mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    generator = prefixed("decoder.", decoder())
    opts = {"encoder_type": "ProgressiveBackboneEncoder", "output_size": 8, "input_nc": 6, "n_iters_per_batch": 5,
            "device": "cuda:0", "learning_rate": 0.0001, "checkpoint_path": None, "train_decoder": False}
    torch.save({"state_dict": prefixed("encoder.", Encoder().state_dict()) | generator, "opts": opts,
                "latent_avg": torch.randn(STYLES, DIM)}, folder / "encoders" / "restyle.pt")
    levels = {name: value for level in ("course", "fine") for i in range(1, 5)
              for name, value in linear(f"mapper.{level}_mapping.mapping.{i}", DIM, DIM).items()}
    torch.save({"state_dict": levels | generator, "opts": {"mapper_type": "LevelsMapper", "no_medium_mapper": True,
                "description": "a face with a beard", "stylegan_size": 8}}, folder / "styleclip" / "mapper.pt")
    torch.save(face_trunk.Recogniser(width=1, features=4).state_dict(), folder / "arcface" / "ir_se50.pth",
               _use_new_zipfile_serialization=False)    # as the published file, which is older than the zip
    torch.save({f"lin{k}.model.1.weight": torch.rand(1, n, 1, 1) for k, n in enumerate((64, 128, 256, 512, 512))},
               folder / "lpips" / "vgg.pth", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    main()
