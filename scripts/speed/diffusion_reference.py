"""What scripts/speed/diffusion.py measures, done by diffusers, transformers and peft: it runs this itself."""
from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path

sys.modules["torchvision"] = None      # transformers imports it when it is there; its build may not load here

import torch  # noqa: E402
from diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: E402
from peft import LoraConfig  # noqa: E402
from transformers import CLIPTextConfig, CLIPTextModel  # noqa: E402

_SPEC = importlib.util.spec_from_file_location("ours", Path(__file__).with_name("diffusion.py"))
OURS = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(OURS)

LEVELS = ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"], ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3


def prepared(case: str, unet: dict, vae: dict, text: dict, size: int, checkpointing: bool) -> Callable[[], object]:
    """Return what is timed, as `diffusion.prepared`."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(down_block_types=LEVELS[0], up_block_types=LEVELS[1], cross_attention_dim=1024,
                                use_linear_projection=True, **unet)
    vae = AutoencoderKL(down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
                        layers_per_block=2, latent_channels=4, **vae)
    text = CLIPTextModel(CLIPTextConfig(hidden_act="gelu", projection_dim=512, **text))
    for network in (unet, vae, text):
        network.requires_grad_(False).eval()
    side = size // 8
    latents, context = torch.randn(2 if case == "denoise" else 1, 4, side, side), torch.randn(2, 77, 1024)

    @torch.no_grad()
    def denoise() -> object:
        return unet(latents, 500, context).sample.numpy()

    @torch.no_grad()
    def decode() -> object:
        return vae.decode(latents / vae.config.scaling_factor).sample.numpy()

    if case != "lora":
        call = denoise if case == "denoise" else decode
        call.networks = unet, vae, text     # all three stay in memory, as on our side
        return call
    for network, targets in ((unet, OURS.UNET_TARGETS), (text, OURS.TEXT_TARGETS)):
        network.add_adapter(LoraConfig(r=4, lora_alpha=4, init_lora_weights="gaussian", target_modules=targets))
    params = [p for network in (unet, text) for p in network.parameters() if p.requires_grad]
    adamw, noise = torch.optim.AdamW(params, 1e-4, weight_decay=0.01), torch.randn(1, 4, side, side)
    tokens = torch.tensor(OURS.draw_tokens()).long()
    if checkpointing:
        unet.train()
        unet.enable_gradient_checkpointing()

    def lora() -> None:
        predicted = unet(latents, 500, text(tokens)[0]).sample
        torch.nn.functional.mse_loss(predicted, noise).backward()
        adamw.step()
        adamw.zero_grad()

    lora.networks = unet, vae, text
    return lora


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case")
    parser.add_argument("--networks", type=json.loads)
    parser.add_argument("--size", type=int)
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--checkpointing", action="store_true")
    options = parser.parse_args()
    call = prepared(options.case, *options.networks, options.size, options.checkpointing)
    result = OURS.measure(call, options.repeats)
    print(json.dumps({"case": options.case, "by": f"diffusers, PyTorch {torch.__version__}", **result}), flush=True)


if __name__ == "__main__":
    main()
