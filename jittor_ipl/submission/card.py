"""The model card beside a released LoRA: README.md with the front matter that hubs read."""
from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from jittor_ipl.config import LoraRun
from jittor_ipl.disk.layout import FEATURE, LORA
from jittor_ipl.submission.records import StyleSeeds

LICENCE, UNKNOWN = "apache-2.0", "other"      # of this project and its demo world; of a base that KNOWN lacks
# By the usual name of their folder: base models on the hub, whose licences bind a LoRA too.
KNOWN = {"stable-diffusion-2-1": ("stabilityai/stable-diffusion-2-1", "openrail++"),
         "stable-diffusion-2-1-base": ("stabilityai/stable-diffusion-2-1-base", "openrail++"),
         "stable-diffusion-v1-5": ("stable-diffusion-v1-5/stable-diffusion-v1-5", "creativeml-openrail-m")}


def front_matter(run: LoraRun, plan: StyleSeeds) -> dict[str, Any]:
    """Return what a hub reads of a LoRA: base, trigger, tags, and a few prompts to try."""
    widgets = [{"text": plan.recipe.prompt(name)} for name in sorted(plan.images)[:3]]
    name = Path(run.base).name
    base, licence = (run.base, LICENCE) if run.base.startswith("demo:") else KNOWN.get(name, (name, UNKNOWN))
    return {"base_model": base, "library_name": "diffusers", "license": licence, "instance_prompt": run.word,
            "tags": ["text-to-image", "diffusers", "lora", "dreambooth", "stable-diffusion", "jittor",
                     "template:sd-lora"], "widget": widgets}


def model_card(run: LoraRun, plan: StyleSeeds) -> str:
    """Return the card's text; equal for equal runs."""
    head = yaml.safe_dump(front_matter(run, plan), sort_keys=False, allow_unicode=True, width=120)
    lora, sample = run.lora, run.sample
    facts: Mapping[str, object] = {
        "base model": f"`{run.base}`", "style": run.style, "word that calls it": f"`{run.word}`",
        "prompt": f"`{run.caption.replace('{}', '<description>')}`",
        "rank, alpha": f"{lora.rank}, {lora.alpha or lora.rank}",
        "modules of the U-Net": ", ".join(lora.unet_targets),
        "modules of the text encoder": ", ".join(lora.text_targets) or "none",
        "steps, batch, accumulation": f"{lora.steps}, {lora.batch}, {lora.accumulation}",
        "learning rates": f"U-Net {lora.lr_unet}, text encoder {lora.lr_text}"
                          + (f", style feature {lora.feature.lr}" if lora.feature.on else ""),
        "prior preservation": f"{lora.prior.weight}" if lora.prior.weight else "none", "seed": run.training_seed,
        "sampler": f"{sample.sampler}, {sample.steps} steps, guidance {sample.guidance}",
        "negative prompt": json.dumps(sample.negative, ensure_ascii=False)}
    table = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    extra = f"\n`{FEATURE}` is the VAE style feature, which only jittor_ipl reads.\n" if lora.feature.on else ""
    return f"""---
{head}---
# {run.style}

A LoRA for `{run.base}`, trained by `python -m jittor_ipl dreambooth` (jittor_ipl) on a few pictures of the style.
`{LORA}` loads with diffusers' `load_lora_weights`; its metadata hold the SHA-256 of the base model (`base_sha256`).
{extra}
| | |
|---|---|
{table}

`python test.py` makes the recorded pictures again and compares them.
"""
