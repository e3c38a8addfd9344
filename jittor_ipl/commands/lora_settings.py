"""The settings of a suite of LoRA under the names that users of diffusers' and kohya's scripts know."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from jittor_ipl.commands.options import Option
from jittor_ipl.commands.settings import HEADING, NOTED, named_options, parameter, places_options, scalar

# names: (key, what it is); all other settings go by --set key=value.
SETTINGS = {
    "--seed": ("seed", "seed of the training"),
    "--pretrained-model-name-or-path --base": ("base", "folder of the base model, or demo:diffusion"),
    "--instance-data-dir --data": ("data", "folder of <NN>/images and <NN>/prompt.json, or demo"),
    "--instance-prompt": ("captions.word", "what stands for the style in captions"),
    "--rank --network-dim": ("lora.rank", "rank of the LoRA"),
    "--lora-alpha --network-alpha": ("lora.alpha", "its alpha"),
    "--max-train-steps --steps": ("lora.steps", "steps of training"),
    "--train-batch-size": ("lora.batch", "pictures a pass"),
    "--gradient-accumulation-steps": ("lora.accumulation", "passes a step"),
    "--learning-rate --unet-lr": ("lora.lr_unet", "learning rate of the U-Net's LoRA"),
    "--text-encoder-lr": ("lora.lr_text", "learning rate of the text encoder's LoRA"),
    "--lr-scheduler": ("lora.schedule", "constant or cosine"),
    "--lr-warmup-steps": ("lora.warmup", "steps with a rising learning rate"),
    "--loraplus-lr-ratio": ("lora.lora_plus", "learning rate of up over that of down"),
    "--max-grad-norm": ("lora.max_norm", "gradients are scaled down to it"),
    "--snr-gamma --min-snr-gamma": ("lora.min_snr", "gamma of the min-SNR weights"),
    "--resolution": ("lora.resolution", "side of the pictures"),
    "--prior-loss-weight": ("lora.prior.weight", "weight of prior preservation"),
    "--num-class-images": ("lora.prior.pictures", "pictures of the prior"),
    "--class-prompt": ("lora.prior.caption", "what they are told to show"),
    "--num-inference-steps": ("sample.steps", "steps of the sampling"),
    "--guidance-scale": ("sample.guidance", "classifier-free guidance"),
    "--negative-prompt": ("sample.negative", "negative prompt"),
    "--sample-every-n-steps": ("run.sample_every", "steps between sample pictures"),
    "--checkpointing-steps --save-every-n-steps": ("run.checkpoint_every", "steps between checkpoints"),
    "--checkpoints-total-limit": ("run.keep", "checkpoints kept"),
}
FLAGS = {"--gradient-checkpointing": ("lora.checkpointing", "compute activations again on the way back")}
NULLABLE = ("lora.alpha", "lora.max_norm", "lora.min_snr", "lora.resolution")     # take the word null


def lora_settings_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with every name of SETTINGS and FLAGS, and with one that has no effect."""
    precision = "--mixed-precision VALUE"
    function = places_options({precision: NOTED[precision]}, {})(function)
    for name, (key, text) in FLAGS.items():
        function = click.option(name, cls=Option, heading=HEADING, is_flag=True, help=f"{text} ({key})")(function)
    return named_options(SETTINGS)(function)


def as_lora_overrides(settings: Mapping[str, Any]) -> list[str]:
    """Return the values of `lora_settings_options` as overrides of a suite."""
    flags = [f"{key}=true" for name, (key, _) in FLAGS.items() if settings[parameter(name)]]
    values = {key: text for names, (key, _) in SETTINGS.items() if (text := settings[parameter(names)]) is not None}
    return flags + [f"{key}={text if text == 'null' and key in NULLABLE else scalar(text)}"
                    for key, text in values.items()]
