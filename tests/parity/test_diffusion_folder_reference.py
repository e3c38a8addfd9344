"""A folder that we wrote, loaded by diffusers: the same networks, the same tokens, the same schedule."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from reference import require_reference, run_reference

from jittor_ipl.models.clip.config import TextConfig
from jittor_ipl.models.clip.model import TextTower
from jittor_ipl.models.diffusion.config import UNetConfig, VaeConfig
from jittor_ipl.models.diffusion.unet import UNet
from jittor_ipl.models.diffusion.vae import Vae
from jittor_ipl.models.strict import load_into, named_tensors
from jittor_ipl.runtime.backend import jt
from jittor_ipl.text.bpe_folder import small_vocabulary
from jittor_ipl.weights.diffusion import load_diffusion, save_diffusion
from jittor_ipl.weights.pipeline import Scheduler

pytestmark = pytest.mark.reference
TEXTS = ["a photo of a ring", "", "ukiyo-e waves & foam!"]
THEIRS = """
import json, sys
sys.modules["torchvision"] = None
import numpy as np, torch
from diffusers import StableDiffusionPipeline
pipe = StableDiffusionPipeline.from_pretrained(sys.argv[1], local_files_only=True)
given = np.load(sys.argv[2])
with torch.no_grad():
    ids = pipe.tokenizer(json.loads(sys.argv[4]), padding="max_length", truncation=True, return_tensors="pt").input_ids
    text = pipe.text_encoder(ids)[0]
    noise = torch.tensor(given["noise"])
    unet = pipe.unet(noise, torch.tensor([3, 700, 999]), encoder_hidden_states=text).sample
    latent = pipe.vae.encode(torch.tensor(given["images"])).latent_dist.mode() * pipe.vae.config.scaling_factor
    picture = pipe.vae.decode(noise / pipe.vae.config.scaling_factor).sample
    made = pipe(prompt=["a ring"], num_inference_steps=2, output_type="np").images
np.savez(sys.argv[3], ids=ids.numpy(), text=text, unet=unet, latent=latent, picture=picture, made=made)
print(json.dumps({**pipe.scheduler.config, "size": pipe.unet.config.sample_size * pipe.vae_scale_factor}))
"""


def tiny(rng: np.random.Generator):
    """Return networks of the embedded model's kind with random weights."""
    codec = small_vocabulary(TEXTS, length=20)
    unet = UNet(UNetConfig(block_out_channels=(8, 16), down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                           up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), layers_per_block=(1, 1),
                           transformer_layers_per_block=(1, 1), cross_attention_dim=(16, 16), attention_head_dim=(2, 4),
                           norm_num_groups=4, sample_size=8, addition_embed_type="text",
                           addition_embed_type_num_heads=4))
    vae = Vae(VaeConfig(block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, scaling_factor=0.5))
    text = TextTower(TextConfig(context_length=20, vocab_size=len(codec.words), transformer_width=16, activation="gelu",
                                transformer_heads=2, transformer_layers=2, transformer_mlp=40))
    for network in (unet, vae, text):
        shapes = {name: tuple(var.shape) for name, var in named_tensors(network).items()}
        load_into(network, {name: draw(name, shape, rng) for name, shape in shapes.items()}, source="drawn")
    scheduler = Scheduler("DDIMScheduler", 1000, 0.00085, 0.012, "scaled_linear", "v_prediction",
                          {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1})
    return unet, vae, text, codec, scheduler


def draw(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    value = rng.standard_normal(shape).astype(np.float32)
    if "norm" in name or "ln_" in name:
        value = 0.1 * value + name.endswith("weight")
    elif len(shape) > 1:
        value /= np.sqrt(np.prod(shape[1:]))
    return value.astype(np.float16).astype(np.float32)


def test_diffusers_loads_what_we_write(tmp_path: Path) -> None:
    require_reference("diffusers", "transformers", "ftfy")
    rng = np.random.default_rng(0)
    save_diffusion(tmp_path / "model", *tiny(rng))
    given = {"noise": rng.standard_normal((3, 4, 8, 8)).astype(np.float32),
             "images": rng.uniform(-1, 1, (2, 3, 16, 16)).astype(np.float32)}
    np.savez(tmp_path / "given.npz", **given)
    told = run_reference(THEIRS, tmp_path / "model", tmp_path / "given.npz", tmp_path / "theirs.npz", json.dumps(TEXTS))
    config = json.loads(told.splitlines()[-1])
    model = load_diffusion(tmp_path / "model")
    assert config["size"] == model.size == 16 and config["prediction_type"] == "v_prediction"
    assert model.unet.config.addition_embed_type == "text"
    noise = jt.array(given["noise"])
    ours = {"text": model.text_states(TEXTS), "latent": model.vae.encode(jt.array(given["images"])),
            "unet": model.unet(noise, jt.array(np.float32([3, 700, 999])), model.text_states(TEXTS)),
            "picture": model.vae.decode(noise)}
    with np.load(tmp_path / "theirs.npz") as theirs:
        assert np.array_equal(theirs["ids"], model.tokenizer.padded(TEXTS)) and theirs["made"].shape == (1, 16, 16, 3)
        for name, value in ours.items():
            error = np.abs(value.numpy() - theirs[name]).max() / np.abs(theirs[name]).max()
            print(f"{name}: {error:.1e} of the largest value")
            assert error < 1e-5, name
