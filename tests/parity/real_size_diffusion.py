"""Stable Diffusion 2.1's real size with random weights, loaded from a folder: ours beside diffusers. Run by hand:

    python tests/parity/real_size_diffusion.py FOLDER --reference-python PYTHON

FOLDER (2.5 GB, float16) is written when it is not there. In turn, so that 8 GiB will do, diffusers and this project
load it and compute in float32: the states of two texts, one pass of the U-Net for 256 px, a picture of 256 px, the
latents of one of 128 px. Prints times, peaks and the largest difference over the largest value.
"""
from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

TEXTS = ["a photo of a cat, wow!!!", ""]
UNET = {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True,
        "sample_size": 96}
VAE = {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "latent_channels": 4,
       "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
TEXT = {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model", "hidden_size": 1024,
        "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16, "hidden_act": "gelu",
        "vocab_size": 49408}
SCHEDULER = {"_class_name": "DDIMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1,
             "beta_schedule": "scaled_linear", "prediction_type": "v_prediction", "clip_sample": False}
CLASSES = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "text_encoder": "CLIPTextModel",
           "tokenizer": "CLIPTokenizer", "scheduler": "DDIMScheduler"}


def write_folder(folder: Path) -> None:
    """Write the folder: every weight normal with deviation 0.02, every norm's scale near 1."""
    from jittor_ipl.text.bpe_folder import write_tokenizer
    from jittor_ipl.text.tokenizer import END, START, Tokenizer, tokenizer
    from jittor_ipl.weights.containers.safetensors import write_safetensors
    from jittor_ipl.weights.families.diffusion.text_encoder import text_config, text_schema
    from jittor_ipl.weights.families.diffusion.unet import unet_config, unet_schema
    from jittor_ipl.weights.families.diffusion.vae import vae_config, vae_schema
    random = np.random.default_rng(0)
    pool = (random.standard_normal(1 << 22) * 0.02).astype(np.float16)

    def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
        value = np.resize(np.roll(pool, random.integers(1 << 22)), shape)
        return value * np.float16(0.1) + np.float16(1) if "norm" in name and name.endswith("weight") else value
    schemas = {"unet": (UNET, unet_schema(unet_config(UNET))), "vae": (VAE, vae_schema(vae_config(VAE))),
               "text_encoder": (TEXT, text_schema(text_config(TEXT)))}
    for part in CLASSES:
        (folder / part).mkdir(parents=True)
    for part, (config, schema) in schemas.items():
        (folder / part / "config.json").write_text(json.dumps({"_class_name": CLASSES[part], **config}))
        file = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        write_safetensors(folder / part / f"{file}.safetensors",
                          {name: drawn(name, shape) for name, shape in schema.items()}, {"format": "pt"})
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER))
    full = tokenizer()
    specials = {text: full.ids[text] for text in ("!", START, END)}
    write_tokenizer(folder / "tokenizer", Tokenizer(full.words, full.merges, specials=specials, entities=False))
    (folder / "model_index.json").write_text(json.dumps(
        {"_class_name": "StableDiffusionPipeline", **{part: ["", name] for part, name in CLASSES.items()}}))


def inputs() -> dict[str, np.ndarray]:
    """Return latents of 256 px for two texts, their timesteps, and a picture of 128 px."""
    random = np.random.default_rng(1)
    return {"latents": random.standard_normal((2, 4, 32, 32), np.float32), "timesteps": np.float32([500, 20]),
            "image": np.tanh(random.standard_normal((1, 3, 128, 128), np.float32))}


def theirs(folder: Path, out: Path) -> None:
    """Write what diffusers computes; the networks are in memory one at a time."""
    sys.modules["torchvision"] = None       # as in tiny_diffusion
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer
    given = {name: torch.from_numpy(value) for name, value in inputs().items()}
    codec = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    ids = codec(TEXTS, padding="max_length", truncation=True, return_tensors="pt").input_ids
    with torch.no_grad():
        states = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32)(ids)[0]
        unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
        made = unet(given["latents"], given["timesteps"], encoder_hidden_states=states).sample
        del unet
        vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32)
        picture = vae.decode(given["latents"][:1] / vae.config.scaling_factor).sample
        latents = vae.encode(given["image"]).latent_dist.mode() * vae.config.scaling_factor
    np.savez(out, ids=ids.numpy(), states=states, unet=made, picture=picture, encoded=latents)


def compare(folder: Path, recorded: Path) -> None:
    """Load the folder into our networks, compute the same, and print how far it is from diffusers'."""
    from jittor_ipl.runtime.backend import jt
    from jittor_ipl.weights.diffusion import load_diffusion
    started, processor = time.monotonic(), time.process_time()
    model, given = load_diffusion(folder), {name: jt.array(value) for name, value in inputs().items()}
    print(f"loaded: {time.monotonic() - started:.0f} s, processor {time.process_time() - processor:.0f} s, "
          f"peak {peak():.1f} GiB, base_sha256 {model.sha256[:12]}")
    with np.load(recorded) as data, jt.no_grad():
        assert np.array_equal(model.tokenizer.padded(TEXTS), data["ids"]), "other tokens"
        states = model.text_states(TEXTS)
        ours = {"states": states, "unet": model.unet(given["latents"], given["timesteps"], states),
                "picture": model.vae.decode(given["latents"][:1]), "encoded": model.vae.encode(given["image"])}
        for name, value in ours.items():
            print(f"{name}: {np.abs(value.numpy() - data[name]).max() / np.abs(data[name]).max():.1e}")
    print(f"peak {peak():.1f} GiB")


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--reference-python", help="a Python with diffusers and transformers")
    parser.add_argument("--theirs", type=Path, help="only write what diffusers computes (what that Python is told)")
    options = parser.parse_args()
    if options.theirs:
        theirs(options.folder, options.theirs)
        return
    if not options.folder.exists():
        write_folder(options.folder)
    recorded = options.folder.with_name(f"{options.folder.name}-diffusers.npz")
    if options.reference_python:
        subprocess.run([options.reference_python, __file__, options.folder, "--theirs", recorded], check=True)
    compare(options.folder, recorded)


if __name__ == "__main__":
    main()
