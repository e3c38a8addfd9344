"""Write a tiny Stable Diffusion pipeline in every form that diffusers has saved one.

    python tests/parity/make_diffusion_fixtures.py FOLDER [--seed N] [--pack FILE.tar.xz]

Run in the environment of requirements-parity.txt. FOLDER/pipeline is a whole folder (float32 safetensors),
FOLDER/variants one with fp16 files and a sharded text encoder, FOLDER/pickled one of .bin files; FOLDER/vae-old is the
autoencoder under the names of diffusers up to 0.16, which today's diffusers reads and turns into the same network.
FOLDER/unet-conv is a U-Net of the 1.x kind. `--pack` makes tests/fixtures/diffusion/files.tar.xz.
"""
from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from tiny_diffusion import UNET_OF_CONVOLUTIONS, build, outputs, pack

OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def old_name(name: str) -> str:
    for new, old in OLD.items():
        name = name.replace(f".attentions.0.{new}.", f".attentions.0.{old}.")
    return name


def write_old_autoencoder(folder: Path, pipeline: Path, expected: dict[str, torch.Tensor]) -> None:
    """Rename the attention, and let diffusers confirm that the old names mean the same network."""
    shutil.copytree(pipeline / "vae", folder)
    file = folder / "diffusion_pytorch_model.safetensors"
    save_file({old_name(name): value for name, value in load_file(file).items()}, file, {"format": "pt"})
    vae = AutoencoderKL.from_pretrained(folder)
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        assert torch.equal(vae.decode(noise[:1]).sample, expected["picture"]), "diffusers reads the old names otherwise"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pack", type=Path)
    options = parser.parse_args()
    folder = options.folder
    pipeline = build(folder / "words", options.seed)
    shutil.rmtree(folder / "words")
    pipeline.save_pretrained(folder / "pipeline")
    expected = outputs(pipeline)
    save_file({name: value.contiguous() for name, value in expected.items()}, folder / "outputs.safetensors")
    write_old_autoencoder(folder / "vae-old", folder / "pipeline", expected)
    pipeline.save_pretrained(folder / "pickled", safe_serialization=False)
    build(folder / "words", options.seed, UNET_OF_CONVOLUTIONS).unet.save_pretrained(folder / "unet-conv")
    shutil.rmtree(folder / "words")
    pipeline.to(torch.float16).save_pretrained(folder / "variants", variant="fp16")
    shutil.rmtree(folder / "variants" / "text_encoder")
    pipeline.text_encoder.float().save_pretrained(folder / "variants" / "text_encoder", max_shard_size="3KB")
    counts = {name: sum(p.numel() for p in getattr(pipeline, name).parameters())
              for name in ("unet", "vae", "text_encoder")}
    (folder / "counts.json").write_text(json.dumps(counts))
    if options.pack:
        pack(folder, options.pack)


if __name__ == "__main__":
    main()
