"""Stable Diffusion from and to a folder in diffusers' layout: its three networks, its tokenizer, its noise schedule."""
from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jittor_ipl.disk.atomic import as_user_error, make_folder, replace_folder, write_json
from jittor_ipl.errors import UserError
from jittor_ipl.models.clip.config import TextConfig
from jittor_ipl.models.diffusion.config import UNetConfig, VaeConfig
from jittor_ipl.models.strict import load_into, named_tensors, numpy_tensors
from jittor_ipl.runtime.memory import give_back_freed_memory
from jittor_ipl.text.bpe_folder import write_tokenizer
from jittor_ipl.text.tokenizer import Tokenizer
from jittor_ipl.weights.containers.safetensors import write_safetensors
from jittor_ipl.weights.families.clip import huggingface
from jittor_ipl.weights.families.diffusion.text_encoder import config_of_tower, tower_numbers
from jittor_ipl.weights.folder import SUFFIXES, find_file_set
from jittor_ipl.weights.network import open_network
from jittor_ipl.weights.pipeline import INCOMPLETE, Pipeline, Scheduler, read_pipeline, scheduler_config
from jittor_ipl.weights.refs import PIPELINE_INDEX, locate

if TYPE_CHECKING:
    from jittor_ipl.models.clip.model import TextTower
    from jittor_ipl.models.diffusion.unet import UNet
    from jittor_ipl.models.diffusion.vae import Vae
    from jittor_ipl.runtime.backend import jt

_KINDS = {"unet": "unet", "vae": "vae", "text_encoder": "text-encoder"}
_LAYOUT = "a folder in diffusers' layout (model_index.json, unet, vae, text_encoder, tokenizer, scheduler) is expected"
_MAKE = "StableDiffusionPipeline.from_single_file(...).save_pretrained(...)"


@dataclass(frozen=True)
class LatentDiffusion:
    """A latent diffusion model that listens to texts (Rombach et al. 2022); see `base_sha256` for `sha256`."""

    unet: "UNet"
    vae: "Vae"
    text: "TextTower"
    tokenizer: Tokenizer
    scheduler: Scheduler
    sha256: str

    def text_states(self, texts: Sequence[str]) -> "jt.Var":
        """Return what the U-Net listens to, [N, L, D], of texts; "" stands for no text."""
        return self.text.hidden_states(self.tokenizer.padded(texts))

    @property
    def size(self) -> int:
        """Side of the pictures that the model was trained on."""
        return self.unet.config.sample_size * self.vae.config.factor


def load_diffusion(ref: str | os.PathLike) -> LatentDiffusion:
    """Load the Stable Diffusion 1.x or 2.x at `ref`, a folder in diffusers' layout or `demo:diffusion`, in float32.

    Files may be safetensors or .bin, in any floating-point type, variants or shards (`weights.folder`). Everything is
    checked before a network is built. Raises UserError for a folder of another kind, a part that is missing, damaged or
    unsupported, and parts that do not fit each other.
    """
    from jittor_ipl.runtime.backend import jt
    folder, pipeline = sound_pipeline(ref)
    stored = stored_parts(folder)
    unet, vae, text = _networks(pipeline)
    load_into(unet, stored["unet"], source=str(folder / "unet"))
    load_into(vae, stored["vae"], source=str(folder / "vae"))
    packed = huggingface.to_ours(stored["text_encoder"], named_tensors(text))
    load_into(text, packed, source=str(folder / "text_encoder"))
    del packed      # it is as large as the text encoder, and what is freed later stays with the process
    give_back_freed_memory(jt)
    return LatentDiffusion(unet, vae, text, pipeline.tokenizer, pipeline.scheduler, base_sha256(stored))


@lru_cache(maxsize=1)
def shared_diffusion(ref: str) -> LatentDiffusion:
    """Load the model at `ref` once per process, as `load_diffusion`; it has the LoRA of whoever asked last."""
    return load_diffusion(ref)


def sha256_of(ref: str | os.PathLike) -> str:
    """Return the `base_sha256` of the model at `ref` without building it; UserError as in `load_diffusion`."""
    return base_sha256(stored_parts(sound_pipeline(ref)[0]))


def sound_pipeline(ref: str | os.PathLike) -> tuple[Path, Pipeline]:
    """Return the folder that `ref` names and what it consists of, before any weights; UserError where it is not sound.
    """
    folder = _folder(ref)
    pipeline = read_pipeline(folder)
    if pipeline.problems:
        raise UserError(f"{folder}: {'; '.join(pipeline.problems)}")
    return folder, pipeline


def _folder(ref: str | os.PathLike) -> Path:
    """Return the pipeline folder that `ref` names; UserError, with what it is instead, for anything else."""
    folder = locate(ref)
    if not folder.is_dir():
        raise UserError(f"{ref} is a single file; {_LAYOUT}: {_MAKE} makes one")
    if (folder / PIPELINE_INDEX).is_file():
        return folder
    inner = next((path.parent for pattern in (PIPELINE_INDEX, f"snapshots/*/{PIPELINE_INDEX}", f"*/{PIPELINE_INDEX}")
                  for path in sorted(folder.glob(pattern))), None)
    above = folder.parent if (folder.parent / PIPELINE_INDEX).is_file() else None
    near = f"; did you mean {str(inner or above)!r}?" if inner or above else ""
    raise UserError(f"{folder} has no {PIPELINE_INDEX}: {_LAYOUT}{near}")


def stored_parts(folder: Path) -> dict[str, Mapping[str, np.ndarray]]:
    """Return the tensors of every part in diffusers' names of today, still in their files; UserError for wrong ones."""
    stored = {}
    for part, kind in _KINDS.items():
        if not any(path.name.endswith(SUFFIXES) for path in (folder / part).iterdir()):
            raise UserError(f"{folder / part} holds no weights; {INCOMPLETE}")
        stored[part] = open_network(find_file_set(folder / part), kind=kind).in_the_file(str(folder / part))
    return stored


def _networks(pipeline: Pipeline) -> "tuple[UNet, Vae, TextTower]":
    from jittor_ipl.models.clip.model import TextTower
    from jittor_ipl.models.diffusion.unet import UNet
    from jittor_ipl.models.diffusion.vae import Vae
    configs = pipeline.configs
    return (UNet(UNetConfig.from_json(configs["unet"])), Vae(VaeConfig.from_json(configs["vae"])),
            TextTower(TextConfig(**tower_numbers(configs["text_encoder"]))))


def base_sha256(parts: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """Return the SHA-256 that ties a LoRA to its base: of "unet", "vae" and "text_encoder", in diffusers' names.

    Over parts and names in order of the alphabet: the JSON text [part, name, shape], then the values rounded to
    float16, little-endian. Containers, shards and float32 or float16 files of one release therefore have one hash.
    """
    digest = hashlib.sha256()
    for part in sorted(parts):
        for name in sorted(parts[part]):
            with np.errstate(over="ignore"):
                value = np.ascontiguousarray(parts[part][name], "<f2")
            digest.update(json.dumps([part, name, list(value.shape)]).encode())
            digest.update(value.tobytes() if not value.size else value.data)
    return digest.hexdigest()


def tensors_of(model: LatentDiffusion) -> dict[str, dict[str, np.ndarray]]:
    """Return copies of the tensors of every part in diffusers' names, float32."""
    return {"unet": numpy_tensors(model.unet), "vae": numpy_tensors(model.vae),
            "text_encoder": huggingface.unpacked(numpy_tensors(model.text))}


def save_diffusion(folder: str | os.PathLike, unet: "UNet", vae: "Vae", text: "TextTower", tokenizer: Tokenizer,
                   scheduler: Scheduler, *, dtype: str = "float16", overwrite: bool = False) -> str:
    """Write a whole folder in diffusers' layout, as `load_diffusion` and diffusers read it; return its `base_sha256`.

    The folder appears whole, or not at all. Raises UserError when there is one already (unless `overwrite`), when it
    cannot be written, or when a value is beyond the range of `dtype` ("float16" or "float32").
    """
    target = Path(folder)
    if target.exists() and not overwrite:
        raise UserError(f"{str(target)!r} exists; choose another folder, or remove it first")
    model = LatentDiffusion(unet, vae, text, tokenizer, scheduler, "")
    stored = {part: {name: _rounded(value, dtype, f"{part} {name}") for name, value in tensors.items()}
              for part, tensors in tensors_of(model).items()}
    new = target.with_name(f".{target.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    for path, content in _files(model, stored, dtype):
        make_folder((new / path).parent)
        if path.endswith(".json"):
            write_json(new / path, content)
        else:
            write_safetensors(new / path, content, {"format": "pt"})    # without it transformers refuses the file
    write_tokenizer(make_folder(new / "tokenizer"), tokenizer)
    with as_user_error(target):
        replace_folder(new, target)
    return base_sha256(stored)


def _rounded(value: np.ndarray, dtype: str, label: str) -> np.ndarray:
    assert dtype in ("float16", "float32"), dtype
    with np.errstate(over="ignore"):
        rounded = value.astype(dtype)
    if not np.isfinite(rounded).all():
        raise UserError(f"{label} has values that are not finite in {dtype}")
    return rounded


def _files(model: LatentDiffusion, stored: Mapping[str, Mapping[str, np.ndarray]],
           dtype: str) -> Iterator[tuple[str, Any]]:
    """Yield path and content of every file but the tokenizer's."""
    unet, vae, codec = model.unet.config.to_json(), model.vae.config, model.tokenizer
    whole = {name: value[0] if name in _UNIFORM and len(set(value)) == 1 else value for name, value in unet.items()}
    text = {**config_of_tower(asdict(model.text.settings)), "bos_token_id": codec.start, "eos_token_id": codec.end,
            "pad_token_id": codec.pad, "torch_dtype": dtype}
    yield PIPELINE_INDEX, _INDEX | {"scheduler": ["diffusers", model.scheduler.class_name],
                                    "text_encoder": ["transformers", text["architectures"][0]]}
    yield "scheduler/scheduler_config.json", scheduler_config(model.scheduler)
    yield "unet/config.json", {"_class_name": "UNet2DConditionModel", **whole}
    yield "vae/config.json", {"_class_name": "AutoencoderKL", **vae.to_json(), "sample_size": model.size}
    yield "text_encoder/config.json", text
    yield "unet/diffusion_pytorch_model.safetensors", stored["unet"]
    yield "vae/diffusion_pytorch_model.safetensors", stored["vae"]
    yield "text_encoder/model.safetensors", stored["text_encoder"]


# Numbers where diffusers wants one, not a list of equal ones (the first alone, with addition_embed_type).
_UNIFORM = ("cross_attention_dim", "layers_per_block", "transformer_layers_per_block", "attention_head_dim")
_INDEX = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.35.2", "feature_extractor": [None, None],
          "image_encoder": [None, None], "requires_safety_checker": False, "safety_checker": [None, None],
          "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
          "vae": ["diffusers", "AutoencoderKL"]}
