"""A Stable Diffusion pipeline of a few thousand weights, built by diffusers, and the outputs of its parts.

Imported by the scripts that make and check the fixtures of diffusion folders and LoRA files, in the reference
environment.
"""
from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path

# transformers imports torchvision when it is there; its build for another device fails to load, and nothing here needs
# it.
sys.modules["torchvision"] = None

import torch  # noqa: E402
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel  # noqa: E402
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer  # noqa: E402

WORDS = ["!", "a", "ring", "</w>", "a</w>", "ring</w>", "<|startoftext|>", "<|endoftext|>"]
UNET = dict(sample_size=8, block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=2, cross_attention_dim=8,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            attention_head_dim=(2, 4), use_linear_projection=True)
UNET_OF_CONVOLUTIONS = {**UNET, "use_linear_projection": False, "attention_head_dim": 2}     # as in 1.x
VAE = dict(sample_size=16, block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=2, latent_channels=4,
           down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2)
TEXT = dict(hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, vocab_size=len(WORDS),
            max_position_embeddings=12, hidden_act="gelu", projection_dim=8, bos_token_id=6, eos_token_id=7,
            pad_token_id=0)


def fill(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Give every weight a multiple of 1/64 (exact in float16, small when packed), every norm's scale one near 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            value = torch.randint(-24, 25, weight.shape, generator=generator) / 64
            weight.copy_(value / 4 + 1 if "norm" in name and name.endswith("weight") else value)
    return module.eval()


def build(folder: Path, seed: int = 0, unet: dict = UNET) -> StableDiffusionPipeline:
    """Return the pipeline; `folder` takes the tokenizer's two files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(WORDS)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=12)
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
                              set_alpha_to_one=False, steps_offset=1, prediction_type="v_prediction")
    return StableDiffusionPipeline(
        vae=fill(AutoencoderKL(**VAE), seed + 1), text_encoder=fill(CLIPTextModel(CLIPTextConfig(**TEXT)), seed + 2),
        tokenizer=tokenizer, unet=fill(UNet2DConditionModel(**unet), seed), scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False)


@torch.no_grad()
def outputs(pipeline: StableDiffusionPipeline) -> dict[str, torch.Tensor]:
    """Return what the parts compute for fixed inputs: the text's states, one U-Net step, an encoded and a decoded
    picture.
    """
    generator = torch.Generator().manual_seed(5)
    noise, picture = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(1, 3, 16, 16, generator=generator)
    tokens = torch.tensor([[6, 4, 5, 7, 0, 0, 0, 0, 0, 0, 0, 0], [6, 5, 1, 2, 4, 5, 1, 4, 5, 4, 5, 7]])
    text = pipeline.text_encoder(tokens)[0]
    return {"text": text, "unet": pipeline.unet(noise, torch.tensor([3, 700]), encoder_hidden_states=text).sample,
            "latent": pipeline.vae.encode(picture).latent_dist.mode(), "picture": pipeline.vae.decode(noise[:1]).sample}


def pack(folder: Path, archive: Path) -> None:
    """Pack a folder; equal folders give equal archives."""
    with tarfile.open(archive, "w:xz", preset=9) as packed:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                packed.add(path, path.relative_to(folder).as_posix(), filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
