"""Record tests/golden/diffusion.{npz,json}: Stable Diffusion's networks, tiny, as diffusers and transformers compute
them in float64; run in the reference environment.

    python tests/parity/record_diffusion.py [FOLDER]

Three pipelines: "sd2" (linear projections, heads by level, GELU), "sd1" (1x1 convolutions, one number of heads, quick
GELU) and "pooled" (text states that join the timestep). The json has each part's config.json with names and shapes, the
weights come from tests/golden/fill.py. Gradients are those of the sum of outputs times cotangents.
"""
from __future__ import annotations

import json
import sys
from pathlib import Path

sys.modules["torchvision"] = None       # as in tiny_diffusion

import numpy as np  # noqa: E402
import torch  # noqa: E402
from diffusers import AutoencoderKL, DDIMScheduler, PNDMScheduler, UNet2DConditionModel  # noqa: E402
from transformers import CLIPTextConfig, CLIPTextModel  # noqa: E402

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))
import fill  # noqa: E402

DOWN, UP = ("CrossAttnDownBlock2D", "DownBlock2D"), ("UpBlock2D", "CrossAttnUpBlock2D")
TEXT = dict(vocab_size=1000, max_position_embeddings=12, hidden_size=24, num_attention_heads=3, intermediate_size=60)
TWO = dict(block_out_channels=(16, 32), down_block_types=DOWN, up_block_types=UP, norm_num_groups=8,
           layers_per_block=1, cross_attention_dim=24)
VAE = dict(block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2, norm_num_groups=4,
           up_block_types=("UpDecoderBlock2D",) * 2)
V = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
CASES = {
    "sd2": (dict(block_out_channels=(16, 32, 32), down_block_types=(DOWN[0], *DOWN), up_block_types=(*UP, UP[1]),
                 layers_per_block=2, transformer_layers_per_block=(1, 2, 1), norm_num_groups=8, cross_attention_dim=24,
                 attention_head_dim=(2, 4, 8), use_linear_projection=True, sample_size=12),
            {**VAE, "block_out_channels": (8, 16, 16), "layers_per_block": 2,
             "down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3},
            {**TEXT, "num_hidden_layers": 3, "hidden_act": "gelu"},
            DDIMScheduler(**V, prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False)),
    "sd1": ({**TWO, "attention_head_dim": 2}, VAE, {**TEXT, "num_hidden_layers": 2, "hidden_act": "quick_gelu"},
            PNDMScheduler(**V, skip_prk_steps=True)),
    "pooled": ({**TWO, "attention_head_dim": 4, "use_linear_projection": True, "addition_embed_type": "text",
                "addition_embed_type_num_heads": 4}, {**VAE, "scaling_factor": 0.5},
               {**TEXT, "num_hidden_layers": 2, "hidden_act": "gelu"},
               DDIMScheduler(**V, prediction_type="v_prediction", clip_sample=False)),
}
# Of which the gradients are recorded, where a part has them.
WATCHED = {
    "unet": ("conv_in.weight", "time_embedding.linear_1.weight", "add_embedding.pool.q_proj.weight",
             "add_embedding.pool.positional_embedding", "add_embedding.norm1.weight", "conv_norm_out.weight",
             "down_blocks.0.attentions.0.proj_in.weight", "down_blocks.0.downsamplers.0.conv.weight",
             "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight",
             "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight",
             "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj.weight",
             "up_blocks.0.resnets.1.conv_shortcut.weight", "up_blocks.1.resnets.0.time_emb_proj.weight"),
    "text_encoder": ("text_model.embeddings.token_embedding.weight", "text_model.encoder.layers.0.mlp.fc1.weight",
                     "text_model.embeddings.position_embedding.weight",
                     *(f"text_model.encoder.layers.0.self_attn.{name}_proj.weight" for name in ("q", "k", "v", "out"))),
    "vae": ("encoder.conv_in.weight", "encoder.mid_block.attentions.0.to_q.weight", "quant_conv.weight",
            "encoder.down_blocks.0.downsamplers.0.conv.weight", "decoder.mid_block.attentions.0.to_out.0.weight",
            "decoder.up_blocks.0.resnets.0.conv1.weight", "decoder.conv_norm_out.bias"),
}
TOKENS = np.array([[512, 7, 300, 9, 513, 513, 513, 513, 513, 513, 513, 513], [512, 0, 999, 3, 3, 5, 8, 13, 21, 34, 55,
                                                                              513]])
TIMESTEPS = (3, 701)


def given(name: str, *shape: int) -> np.ndarray:
    """Return an input or a cotangent, a pure function of its name."""
    return fill.draw(f"diffusion input {name}", shape, 0)


def built(case: str) -> dict[str, torch.nn.Module]:
    """Return the networks of a case in float64, filled."""
    unet, vae, text, _ = CASES[case]
    config = CLIPTextConfig(**text, eos_token_id=513, bos_token_id=512)
    parts = {"unet": UNet2DConditionModel(**unet), "vae": AutoencoderKL(**vae), "text_encoder": CLIPTextModel(config)}
    for part, network in parts.items():
        for name, weight in network.named_parameters():
            weight.data = torch.from_numpy(fill.diffusion(f"{part}.{name}", tuple(weight.shape), 0))
        network.double().eval()
    return parts


def about(case: str, parts: dict[str, torch.nn.Module]) -> dict:
    """Return the configurations of a case, and every name and shape."""
    described = {}
    for part, network in parts.items():
        config = network.config.to_dict() if part == "text_encoder" else {
            "_class_name": type(network).__name__, **{k: v for k, v in network.config.items() if not k.startswith("_")}}
        if part == "text_encoder":
            config["architectures"], config["dtype"] = ["CLIPTextModel"], "float32"
        described[part] = {"config": config,
                           "shapes": {name: list(value.shape) for name, value in network.named_parameters()}}
    scheduler = CASES[case][3]
    settings = {name: value for name, value in scheduler.config.items() if not name.startswith("_")}
    return {**described, "scheduler": {**settings, "_class_name": type(scheduler).__name__}}


def computed(case: str, parts: dict[str, torch.nn.Module]) -> dict[str, np.ndarray]:
    """Return outputs and gradients of a case."""
    unet, vae, text = (parts[part] for part in ("unet", "vae", "text_encoder"))
    latents, images = leaf(given("latents", 2, 4, 8, 12)), leaf(given("images", 2, 3, 16, 24))
    states = text(torch.from_numpy(TOKENS))[0]
    states.retain_grad()
    made = unet(latents, torch.tensor(TIMESTEPS), encoder_hidden_states=states).sample
    (made * tensor(given("unet", *made.shape))).sum().backward()
    moments = vae.encode(images).latent_dist
    (moments.mean * tensor(given("mean", *moments.mean.shape))
     + moments.logvar * tensor(given("logvar", *moments.mean.shape))).sum().backward()
    coded = leaf(given("coded", *moments.mean.shape))
    picture = vae.decode(coded / vae.config.scaling_factor).sample
    (picture * tensor(given("picture", *picture.shape))).sum().backward()
    found = {"states": states, "unet": made, "mean": moments.mean, "logvar": moments.logvar, "picture": picture,
             "grad_latents": latents.grad, "grad_states": states.grad, "grad_images": images.grad,
             "grad_coded": coded.grad}
    for part, network in parts.items():
        weights = dict(network.named_parameters())
        found |= {f"grad/{part}.{name}": summary(weights[name].grad) for name in WATCHED[part] if name in weights}
    return {f"{case}/{name}": np.float32(value.detach() if isinstance(value, torch.Tensor) else value)
            for name, value in found.items()}


def leaf(value: np.ndarray) -> torch.Tensor:
    return tensor(value).requires_grad_()


def tensor(value: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(value).double()


def summary(value: torch.Tensor) -> np.ndarray:
    flat = value.numpy().reshape(-1)
    return np.concatenate([[np.linalg.norm(flat)], flat[::max(1, flat.size // 64)][:64]])


def main() -> None:
    torch.set_default_dtype(torch.float64)      # of which transformers makes its mask
    folder, record, described = Path(sys.argv[1] if len(sys.argv) > 1 else GOLDEN), {}, {}
    for case in CASES:
        parts = built(case)
        described[case], record = about(case, parts), record | computed(case, parts)
    np.savez_compressed(folder / "diffusion.npz", **record)
    text = json.dumps(described, separators=(",", ":"), default=list).replace('},"', '},\n"')
    (folder / "diffusion.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
