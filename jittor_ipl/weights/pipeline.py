"""A diffusers pipeline folder: the parts that its model_index.json names, its noise schedule, and whether they fit.

Read without any weights. The networks in the folder are sources of their own (see `folder`).
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jittor_ipl.disk.small_files import read_json
from jittor_ipl.errors import UserError, nearest
from jittor_ipl.text.bpe_folder import read_tokenizer
from jittor_ipl.text.tokenizer import Tokenizer
from jittor_ipl.weights.families.diffusion.fields import count, one_of
from jittor_ipl.weights.families.diffusion.text_encoder import text_config
from jittor_ipl.weights.families.diffusion.unet import unet_config
from jittor_ipl.weights.families.diffusion.vae import vae_config
from jittor_ipl.weights.folder import MAX_CONFIG_BYTES, PASSED_OVER
from jittor_ipl.weights.refs import PIPELINE_INDEX

SCHEDULERS = tuple(f"{name}Scheduler" for name in (
    "DDIM", "DDPM", "PNDM", "LMSDiscrete", "EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete",
    "DPMSolverMultistep", "DPMSolverSinglestep", "UniPCMultistep", "DEISMultistep", "KDPM2Discrete",
    "KDPM2AncestralDiscrete", "DDIMInverse"))
SCHEDULES, PREDICTIONS = ("scaled_linear", "linear", "squaredcos_cap_v2"), ("epsilon", "v_prediction", "sample")
_PARTS = {"unet": ("UNet2DConditionModel",), "vae": ("AutoencoderKL",),
          "text_encoder": ("CLIPTextModel", "CLIPTextModelWithProjection"),
          "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"), "scheduler": SCHEDULERS}
INCOMPLETE = "the download may be incomplete: fetch it again"
_CONFIGS = {"unet": unet_config, "vae": vae_config, "text_encoder": text_config}


@dataclass(frozen=True)
class Scheduler:
    """The noise schedule of the training, which every sampler shares; `others` are the sampler's own settings."""

    class_name: str
    num_train_timesteps: int
    beta_start: float
    beta_end: float
    beta_schedule: str          # one of SCHEDULES
    prediction_type: str        # what the U-Net predicts, one of PREDICTIONS
    others: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pipeline:
    """A checked pipeline folder: the class of every part, the networks' numbers, and what is wrong between them."""

    class_name: str
    parts: Mapping[str, str]
    configs: Mapping[str, Mapping[str, Any]]
    scheduler: Scheduler
    tokenizer: Tokenizer
    passed_over: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Side of the pictures that the model was trained on."""
        return self.configs["unet"]["sample_size"] * 2 ** (len(self.configs["vae"]["block_out_channels"]) - 1)


def read_pipeline(folder: Path) -> Pipeline:
    """Return what a pipeline folder consists of; UserError for a missing or unsupported part, or a damaged file."""
    index = read_json(folder / PIPELINE_INDEX, "configuration", MAX_CONFIG_BYTES)
    parts = {name: _class_of(folder, name, value) for name, value in index.items()
             if isinstance(value, list) and value != [None, None]}
    for name in _PARTS:
        if name not in parts:
            raise UserError(f"{folder / PIPELINE_INDEX} names no {name}{nearest(name, parts)}")
        if not (folder / name).is_dir():
            raise UserError(f"{folder} has no folder {name}, which {PIPELINE_INDEX} names; {INCOMPLETE}")
    configs = {name: _checked(read, folder / name / "config.json") for name, read in _CONFIGS.items()}
    scheduler = _checked(read_scheduler, folder / "scheduler" / "scheduler_config.json")
    codec = read_tokenizer(folder / "tokenizer", configs["text_encoder"]["max_position_embeddings"])
    return Pipeline(str(index.get("_class_name", ""))[:100], parts, configs, scheduler, codec,
                    tuple(name for name in PASSED_OVER if name in parts), tuple(_contradictions(configs, codec)))


def read_scheduler(config: Mapping[str, Any]) -> Scheduler:
    """Return the schedule of a scheduler_config.json, with diffusers' defaults; UserError for what is not supported."""
    class_name = one_of(config.get("_class_name", ""), "scheduler", SCHEDULERS)
    if config.get("trained_betas") is not None:
        raise UserError("a scheduler with trained_betas of its own is not supported")
    schedule = one_of(config.get("beta_schedule", "linear"), "beta_schedule", SCHEDULES)
    prediction = one_of(config.get("prediction_type", "epsilon"), "prediction_type", PREDICTIONS)
    start, end = (config.get(name, default) for name, default in (("beta_start", 0.0001), ("beta_end", 0.02)))
    for name, value in (("beta_start", start), ("beta_end", end)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
            raise UserError(f"the scheduler's {name} must lie between 0 and 1, the config says {value!r:.60}")
    own = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type")
    steps = count(config.get("num_train_timesteps", 1000), "num_train_timesteps", 100_000)
    others = {name: value for name, value in config.items() if name not in own and not name.startswith("_")}
    return Scheduler(class_name, steps, float(start), float(end), schedule, prediction, others)


def scheduler_config(scheduler: Scheduler) -> dict[str, Any]:
    """Return the scheduler_config.json of a schedule, the way back of `read_scheduler`."""
    numbers = {name: value for name, value in vars(scheduler).items() if name not in ("class_name", "others")}
    return {"_class_name": scheduler.class_name, **numbers, **scheduler.others}


def _class_of(folder: Path, name: str, value: list) -> str:
    """Return the class of a part [library, class]; UserError for a part or a class that is not supported."""
    if len(value) != 2 or not all(isinstance(item, str) for item in value):
        raise UserError(f"{folder / PIPELINE_INDEX}: {name[:60]!r} must be [library, class]")
    if name not in (*_PARTS, *PASSED_OVER):
        later = name.endswith(("_2", "_3", "transformer"))
        hint = " (Stable Diffusion XL and later have it; 1.x and 2.x are supported)" if later else \
            nearest(name[:60], _PARTS)
        raise UserError(f"{folder / PIPELINE_INDEX}: the part {name[:60]!r} is not supported{hint}")
    return one_of(value[1], f"{folder / PIPELINE_INDEX}: {name}", _PARTS[name]) if name in _PARTS else value[1]


def _checked(read: Callable[[Mapping[str, Any]], Any], path: Path) -> Any:
    """Return what `read` makes of a configuration; its complaints begin with the file's name."""
    config = read_json(path, "configuration", MAX_CONFIG_BYTES)
    try:
        return read(config)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _contradictions(configs: Mapping[str, Mapping[str, Any]], codec: Tokenizer) -> list[str]:
    """Return where the parts do not fit each other."""
    unet, vae, text = (configs[name] for name in ("unet", "vae", "text_encoder"))
    problems = []
    if unet["attention_head_dim"] is None:
        problems.append("the U-Net's config does not tell attention_head_dim, its number of heads")
    if set(unet["cross_attention_dim"]) != {text["hidden_size"]}:
        problems.append(f"the text encoder is {text['hidden_size']} wide, "
                        f"the U-Net listens to {unet['cross_attention_dim'][0]}")
    if unet["out_channels"] != vae["latent_channels"]:
        problems.append(f"the U-Net makes {unet['out_channels']} channels, "
                        f"the autoencoder's latents have {vae['latent_channels']}")
    if unet["in_channels"] != vae["latent_channels"]:
        problems.append(f"the U-Net takes {unet['in_channels']} channels, the autoencoder's latents have "
                        f"{vae['latent_channels']}: models for inpainting, depth or upscaling are not supported")
    if vae["in_channels"] != 3 or vae["out_channels"] != 3:
        problems.append(f"the autoencoder takes {vae['in_channels']} channels and makes {vae['out_channels']}; "
                        "pictures have 3")
    number = 1 + max(len(codec.words) - 1, *codec.specials.values())
    if number > text["vocab_size"]:
        problems.append(f"the tokenizer knows {number} tokens, the text encoder {text['vocab_size']}")
    if codec.length > text["max_position_embeddings"]:
        problems.append(f"the tokenizer makes {codec.length} tokens of a text, the text encoder reads "
                        f"{text['max_position_embeddings']}")
    return problems
