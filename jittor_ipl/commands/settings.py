"""The settings of a suite under the names that users of IPL, StyleGAN-NADA, diffusers and kohya's scripts know."""
from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import click

from jittor_ipl.commands.options import Option, note
from jittor_ipl.errors import UserError

# names: (key, what it is); all other settings go by --set key=value.
SETTINGS = {
    "--method": ("method", "ipl, nada or teacher"),
    "--seed": ("seed", "seed of both stages"),
    "--seed1": ("mapper.seed", "seed of stage 1"),
    "--seed2": ("generator.seed", "seed of stage 2"),
    "--iter --steps --max-train-steps": ("generator.steps", "steps of stage 2"),
    "--learning-rate --lr": ("generator.lr", "learning rate of stage 2"),
    "--lr-scheduler": ("generator.schedule", "constant or cosine"),
    "--batch --train-batch-size": ("generator.batch", "images per step of stage 2"),
    "--ema-decay": ("generator.ema", "decay of the moving average of the weights"),
    "--mixing": ("generator.mixing", "probability of style mixing"),
    "--auto-layer-k": ("generator.auto_layers_k", "layers chosen when layers: auto"),
    "--auto-layer-batch": ("generator.auto_layers_batch", "images behind the choice of layers"),
    "--auto-layer-iters": ("generator.auto_layers_iters", "steps behind the choice of layers"),
    "--phase": ("generator.layers", "which layers move"),
    "--iter-mapper": ("mapper.steps", "steps of stage 1"),
    "--lr-mapper": ("mapper.lr", "learning rate of stage 1"),
    "--batch-mapper": ("mapper.batch", "latents per step of stage 1"),
    "--ctx-init": ("mapper.init", "words beside the learned prompt"),
    "--n-ctx": ("mapper.n_ctx", "learned prompt vectors"),
    "--lambda-l": ("mapper.lambda_domain", "weight of the domain loss"),
    "--lambda-src": ("mapper.lambda_source", "weight of the source loss, relative to it"),
    "--mapper": ("mapper.architecture", "ipl, transformer_v1, _v2, _v3 or levels"),
    "--prompts": ("mapper.prompts", "list of prompts: a text file, shipped or demo"),
    "--lambda-prompts": ("mapper.lambda_prompts", "weight of the loss on that list, relative to the domain loss"),
    "--lambda-direction": ("losses.directional", "weight of the directional loss"),
    "--lambda-global": ("losses.global", "weight of the global loss"),
    "--lambda-manifold": ("losses.manifold", "weight of the manifold loss"),
    "--lambda-texture": ("losses.texture", "weight of the texture loss"),
    "--lambda-patch": ("losses.patch", "weight of the patch loss"),
    "--source-class": ("source.class", "what the source's images are, in words"),
    "--frozen-gen-ckpt --pretrained-model-name-or-path": ("source.generator", "weight file of the source generator"),
    "--n-sample --num-grid-outputs --num-validation-images": ("run.samples", "images in a sample grid"),
    "--sample-truncation": ("generate.truncation", "psi of the seeded test set"),
    "--output-interval --sample-every --sample-every-n-steps": ("run.sample_every", "steps between sample grids"),
    "--save-interval --checkpointing-steps --save-every-n-steps": ("run.checkpoint_every", "steps between checkpoints"),
    "--checkpoints-total-limit": ("run.keep", "checkpoints kept"),
}
HEADING = "settings (each is short for --set)"

# What these tools set and this project does not, with the place of that setting here. A name before VALUE takes one.
NOTED = {
    "--size --resolution --channel-multiplier VALUE": "read from the weight file of the source generator",
    "--source-model-type VALUE": "the source is the weight file of source.generator (--frozen-gen-ckpt)",
    "--auto-compute": "the size is read from the weights; --auto-layer-k says how many layers train",
    "--run-stage1 --run-stage2": "stage 1 belongs to the method ipl, stage 2 to all: --method says which",
    "--img2img-batch VALUE": "16 source pictures stand behind the pictures of a style",
    "--report-to --log-with --logging-dir VALUE": "metrics.jsonl and TensorBoard files lie in the run folder "
                                                  "(run.tensorboard)",
    "--mixed-precision VALUE": "networks train in float32",
    "--gradient-checkpointing": "not needed: memory follows generator.batch",
}
REFUSED = {
    "--train-gen-ckpt --ckpt VALUE": "the target starts as a copy of source.generator (--frozen-gen-ckpt)",
    "--adapted-gen-ckpt VALUE": "pictures of an adapted generator are made by: generate --weights",
    "--sg3 --sgxl": "StyleGAN3 and StyleGAN-XL are not adapted here, StyleGAN2 is",
    "--crop-for-cars": "pictures that are not square are not adapted here",
    "--gradient-accumulation-steps VALUE": "a step has one batch: generator.batch (--batch)",
    "--adam-beta1 --adam-beta2 --optimizer-type VALUE": "the optimiser is Adam with generator.betas",
    "--num-train-epochs --max-train-epochs VALUE": "training counts steps: generator.steps (--steps)",
    "--instance-data-dir --train-data-dir --instance-prompt --rank --network-dim --network-module VALUE":
        "this trains a generator by words, without pictures: --style says what it becomes",
}
Function = Callable[..., Any]


def settings_options(function: Function) -> Function:
    """Decorate a command with every name of SETTINGS, with CLIPs by name, and with the names that only tell a place."""
    function = named_options(SETTINGS)(function)
    for names, text in (("--clip-model-weights", "weights of their losses (clip)"),
                        ("--clip-models", "CLIPs: ViT-B/32 ..., files or demo:<name> (clip)")):
        option = click.option(names, cls=Option, heading=HEADING, several=True, metavar="VALUE ...", help=text)
        function = option(function)
    return places_options(NOTED, REFUSED)(function)


def named_options(settings: Mapping[str, tuple[str, str]]) -> Callable[[Function], Function]:
    """Return what decorates a command with every name of `settings` (names -> key, what it is)."""
    def decorate(function: Function) -> Function:
        for names, (key, text) in reversed(settings.items()):
            function = click.option(*names.split(), cls=Option, heading=HEADING, metavar="VALUE",
                                    help=f"{text} ({key})")(function)
        return function
    return decorate


def parameter(names: str) -> str:
    """Return by what name click hands over the value of an option with these names."""
    return names.split()[0][2:].replace("-", "_")


def places_options(noted: Mapping[str, str], refused: Mapping[str, str]) -> Callable[[Function], Function]:
    """Return what decorates a command with names that are no settings: their place is told, or the call is refused."""
    def decorate(function: Function) -> Function:
        for names, place in {**noted, **refused}.items():
            for name in names.removesuffix(" VALUE").split():
                tell = partial(_tell, f"{name} is not a setting here: {place}", names in refused)
                function = click.option(name, is_flag=not names.endswith(" VALUE"), hidden=True, expose_value=False,
                                        callback=tell)(function)
        return function
    return decorate


def _tell(text: str, refused: bool, ctx: click.Context, param: click.Parameter, value: object) -> None:
    if value and refused:
        raise UserError(text)
    if value:
        note(text)


def as_overrides(settings: Mapping[str, Any]) -> list[str]:
    """Return the values of `settings_options` as overrides of a suite; UserError for a CLIP that is not there."""
    named = [f"{key}={scalar(text)}" for names, (key, _) in SETTINGS.items()
             if (text := settings[parameter(names)]) is not None]
    return named + _clips(settings["clip_models"], settings["clip_model_weights"])


def _clips(models: tuple[str, ...], weights: tuple[str, ...]) -> list[str]:
    if not models:
        return [f"clip.{index}.weight={scalar(weight)}" for index, weight in enumerate(weights)]
    if weights and len(weights) != len(models):
        raise UserError(f"{len(weights)} --clip-model-weights for {len(models)} --clip-models: give one for each")
    from jittor_ipl.clip import find
    entries = [f"{{model: {json.dumps(find(model), ensure_ascii=False)}, weight: {scalar(weight)}}}"
               for model, weight in zip(models, weights or ["1.0"] * len(models))]
    return [f"clip=[{', '.join(entries)}]"]


def scalar(text: str) -> str:
    """Return `text` as a YAML number or truth value when it is one, else quoted: words may hold any character."""
    try:
        float(text)
    except ValueError:
        return text if text in ("true", "false") else json.dumps(text, ensure_ascii=False)
    return text
