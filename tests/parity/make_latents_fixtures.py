"""Write the files of tests/fixtures/latents with the libraries that write them for real; run in the reference
environment.

    python tests/parity/make_latents_fixtures.py [folder]

torch.save (W+ codes), numpy.save (W, W+, directions), pickle (StyleCLIP's S and S_mean_std), paddle.save (PaddleGAN's).
Sizes are those of an 8 px or 32 px config-f generator, and few codes.
"""
from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).resolve().parents[1] / "fixtures" / "latents"


def codes(*shape: int) -> np.ndarray:
    """Return plain numbers that differ from one to the next."""
    return (np.arange(np.prod(shape), dtype=np.float32).reshape(shape) % 251) / 64 - 1


def styles(layers: int, *shape: int) -> list[np.ndarray]:
    """Return one array [*shape, 512] per style layer, in Python as StyleCLIP's scripts collect them."""
    return [codes(*shape, 512) + index for index in range(layers)]


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(torch.from_numpy(codes(1, 18, 16)), folder / "w_plus.pt")
    torch.save([torch.from_numpy(codes(1, 18, 16)), torch.from_numpy(codes(1, 18, 16) + 1)], folder / "w_plus_list.pt")
    torch.save([torch.from_numpy(style.reshape(1, 1, 512, 1, 1)) for style in styles(5, 1)], folder / "s.pt")
    np.save(folder / "w_plus.npy", codes(2, 18, 16))
    np.save(folder / "dst.npy", codes(18, 16))                  # PaddleGAN's inversion: one code without a batch
    np.save(folder / "W.npy", codes(7, 16))
    np.save(folder / "fs3.npy", codes(1536, 2))      # all convolutions of 8 px
    (folder / "S").write_bytes(pickle.dumps([[f"G_synthesis_1/{i}" for i in range(5)], styles(5, 1)]))
    (folder / "S_mean_std").write_bytes(pickle.dumps([styles(5), [style / 8 for style in styles(5)]]))
    write_paddle(folder)


def write_paddle(folder: Path) -> None:
    """Write PaddleGAN's three files, if Paddle is there."""
    try:
        import paddle
    except ImportError:
        print("without paddle: no .pdparams written")
        return
    paddle.save(paddle.to_tensor(codes(1536, 2)), str(folder / "global-directions.pdparams"))
    paddle.save([paddle.to_tensor(style) for style in styles(5, 1)], str(folder / "S-ffhq.pdparams"))
    paddle.save({part: [paddle.to_tensor(style) for style in styles(5)] for part in ("mean", "std")},
                str(folder / "stats.pdparams"))


if __name__ == "__main__":
    main()
