"""Write LoRA files of a tiny Stable Diffusion pipeline with diffusers and peft, and check LoRA files with diffusers.

    python tests/parity/make_lora_fixtures.py make FOLDER [--pack FILE.tar.xz]
    python tests/parity/make_lora_fixtures.py check PLAIN_OR_ALPHA FILE...

Run in the environment of requirements-parity.txt. Two LoRA are trained (drawn, here): `plain` changes attention with
rank 2 and alpha = rank, `alpha` changes every kind of module that kohya's scripts do (not conv_in, whose name in
kohya's spelling diffusers does not find), with two ranks and alphas of their own. deltas.safetensors holds what peft
adds to every weight. `check` loads files with diffusers' load_lora_weights and prints, as JSON, how far the U-Net's and
the text encoder's outputs are from those of the LoRA as it was trained, and from those without it. `--pack` makes
tests/fixtures/lora/files.tar.xz.
"""
from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers, convert_state_dict_to_kohya
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from tiny_diffusion import build, outputs, pack

ATTENTION, TEXT = ["to_q", "to_k", "to_v", "to_out.0"], ["q_proj", "k_proj", "v_proj", "out_proj"]
PLAIN = {"unet": LoraConfig(r=2, lora_alpha=2, target_modules=ATTENTION),
         "text_encoder": LoraConfig(r=2, lora_alpha=2, target_modules=TEXT)}
ALPHA = {
    "unet": LoraConfig(r=4, lora_alpha=2, rank_pattern={"conv1": 2, "to_q": 2},
                       alpha_pattern={"conv1": 8, "proj_in": 3},
                       target_modules=[*ATTENTION, "conv1", "conv_shortcut", "proj_in", "ff.net.0.proj", "ff.net.2",
                                       "time_emb_proj", "downsamplers.0.conv"]),
    "text_encoder": LoraConfig(r=3, lora_alpha=1, target_modules=[*TEXT, "fc1", "fc2"])}
CONFIGS = {"plain": PLAIN, "alpha": ALPHA}


def trained(which: str) -> StableDiffusionPipeline:
    """Return the tiny pipeline with the LoRA of that name in it."""
    with tempfile.TemporaryDirectory() as folder:
        pipeline = build(Path(folder))
    generator = torch.Generator().manual_seed(7)
    for part, config in CONFIGS[which].items():
        module = getattr(pipeline, part)
        module.add_adapter(config)
        with torch.no_grad():
            for name, weight in sorted(module.named_parameters()):
                if ".lora_" in name:
                    weight.copy_(torch.randint(-16, 17, weight.shape, generator=generator) / 32)
    return pipeline


def states(pipeline: StableDiffusionPipeline) -> dict[str, dict[str, torch.Tensor]]:
    return {part: get_peft_model_state_dict(getattr(pipeline, part)) for part in ("unet", "text_encoder")}


def deltas(pipeline: StableDiffusionPipeline) -> dict[str, torch.Tensor]:
    """Return what peft adds to every weight."""
    return {f"{part}.{name}": module.get_delta_weight("default").detach().contiguous()
            for part in ("unet", "text_encoder")
            for name, module in getattr(pipeline, part).named_modules() if hasattr(module, "get_delta_weight")}


def write_plain(folder: Path) -> dict[str, torch.Tensor]:
    """The LoRA without alpha in every generation of diffusers' names, the first two as diffusers writes them today."""
    pipeline = trained("plain")
    raw = states(pipeline)
    named = {part: convert_state_dict_to_diffusers(state) for part, state in raw.items()}
    for name, layers, safe in (("diffusers", named, True), ("diffusers-bin", named, False), ("peft-names", raw, True)):
        StableDiffusionPipeline.save_lora_weights(folder / name, layers["unet"], layers["text_encoder"],
                                                  safe_serialization=safe)
    whole = {f"{part}.{name}": value for part, state in raw.items() for name, value in state.items()}
    save_file({name: value for name, value in convert_state_dict_to_kohya(whole).items()},
              folder / "plain-kohya.safetensors")
    old = {oldest(name): value.contiguous() for name, value in whole.items()}
    torch.save(old, folder / "plain-old.bin")
    unet = {name.removeprefix("unet."): value for name, value in old.items() if name.startswith("unet.")}
    torch.save(unet, folder / "plain-bare-unet.bin")
    return {f"plain.{name}": value for name, value in deltas(pipeline).items()}


def oldest(name: str) -> str:
    """Return the name of diffusers up to 0.16: LoRA layers belong to attention processors."""
    module, _, factor = name.removesuffix(".weight").rpartition(".lora_")
    role = {"A": "down", "B": "up"}[factor]
    if name.startswith("unet."):
        attention, _, projection = module.rpartition(".attn")
        number, _, projection = projection.partition(".")
        return f"{attention}.attn{number}.processor.{projection.removesuffix('.0')}_lora.{role}.weight"
    head, _, last = module.rpartition(".")
    return f"{head}.{'to_out' if last == 'out_proj' else f'to_{last[0]}'}_lora.{role}.weight"


def write_alpha(folder: Path) -> dict[str, torch.Tensor]:
    """The LoRA with alphas: diffusers' metadata, kohya's alpha tensors, peft's folder."""
    pipeline = trained("alpha")
    raw = states(pipeline)
    StableDiffusionPipeline.save_lora_weights(
        folder / "metadata", raw["unet"],
        {name: value for name, value in convert_state_dict_to_diffusers(raw["text_encoder"]).items()},
        unet_lora_adapter_metadata=pipeline.unet.peft_config["default"].to_dict(),
        text_encoder_lora_adapter_metadata=pipeline.text_encoder.peft_config["default"].to_dict())
    whole = {f"{part}.{name}": value for part, state in raw.items() for name, value in state.items()}
    kohya = {name.replace("lora_te1_", "lora_te_"): value.contiguous()
             for name, value in convert_state_dict_to_kohya(whole).items()}
    for part in ("unet", "text_encoder"):
        for name, module in getattr(pipeline, part).named_modules():
            if hasattr(module, "get_delta_weight"):
                prefix = "lora_unet_" if part == "unet" else "lora_te_"
                kohya[f"{prefix}{name.replace('.', '_')}.alpha"] = torch.tensor(float(module.lora_alpha["default"]))
    save_file(kohya, folder / "alpha-kohya.safetensors", {"ss_network_module": "networks.lora", "ss_network_dim": "4"})
    return {f"alpha.{name}": value for name, value in deltas(pipeline).items()}


def write_peft_folder(folder: Path) -> dict[str, torch.Tensor]:
    """peft's own folder of one network, with rank-stabilised scaling."""
    with tempfile.TemporaryDirectory() as scratch:
        unet = build(Path(scratch)).unet
    config = LoraConfig(r=4, lora_alpha=3, use_rslora=True, alpha_pattern={"attn1.to_k": 5},
                        target_modules=["to_k", "conv2"])
    model = get_peft_model(unet, config)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            if ".lora_" in name:
                weight.copy_(torch.randint(-16, 17, weight.shape, generator=generator) / 32)
    model.save_pretrained(folder / "peft")
    (folder / "peft" / "README.md").unlink()
    assert isinstance(model, PeftModel)
    return {f"peft.unet.{name}": module.get_delta_weight("default").detach().contiguous()
            for name, module in model.base_model.model.named_modules() if hasattr(module, "get_delta_weight")}


def check(which: str, files: list[str]) -> dict[str, dict[str, float]]:
    """Return the largest differences of the outputs under each file from those under the LoRA, and its effect."""
    with tempfile.TemporaryDirectory() as folder:
        plain = outputs(build(Path(folder)))
    wanted, results = outputs(trained(which)), {}
    for file in files:
        with tempfile.TemporaryDirectory() as folder:
            pipeline = build(Path(folder))
        pipeline.load_lora_weights(str(Path(file).parent), weight_name=Path(file).name)
        found = outputs(pipeline)
        results[file] = {**{name: float((found[name] - wanted[name]).abs().max()) for name in ("unet", "text")},
                         "effect": float(min((wanted[name] - plain[name]).abs().max() for name in ("unet", "text")))}
    return results


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=("make", "check"))
    parser.add_argument("arguments", nargs="+")
    parser.add_argument("--pack", type=Path)
    options = parser.parse_args()
    if options.task == "check":
        print(json.dumps(check(options.arguments[0], options.arguments[1:])))
        return
    folder = Path(options.arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    save_file({**write_plain(folder), **write_alpha(folder), **write_peft_folder(folder)},
              folder / "deltas.safetensors")
    if options.pack:
        pack(folder, options.pack)


if __name__ == "__main__":
    main()
