"""LoRA out of our names: the tensors and the metadata that diffusers and kohya's scripts expect."""
from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from statistics import mode
from typing import Any

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.weights.families.family import Config, Tensors
from jittor_ipl.weights.families.lora.alpha import METADATA_KEY
from jittor_ipl.weights.families.lora.modules import TEXT, UNET, VAE, kohya_name
from jittor_ipl.weights.families.lora.names import ALPHA, DOWN, UP, diffusers_names


def modules_of(tensors: Tensors) -> list[str]:
    """Return the modules of a LoRA in our names, in alphabetical order."""
    return sorted(name.removesuffix(f".{DOWN}") for name in tensors if name.endswith(f".{DOWN}"))


def known_elsewhere(tensors: Tensors) -> list[str]:
    """Return the modules of a LoRA; UserError where it changes the autoencoder, of which no other program reads one."""
    modules = modules_of(tensors)
    if any(module.startswith(f"{VAE}.") for module in modules):
        raise UserError("this LoRA changes the autoencoder too, and no other program reads that: convert it --as ours")
    return modules


def to_diffusers(tensors: Tensors, config: Config) -> dict[str, np.ndarray]:
    """Return the tensors under the names of diffusers' training scripts.

    diffusers has no tensor for alpha: `diffusers_metadata` says it, and `folded` makes it the rank.
    """
    return {name: tensors[f"{module}.{role}"] for module in known_elsewhere(tensors)
            for name, role in zip(diffusers_names(module), (DOWN, UP))}


def to_kohya(tensors: Tensors, config: Config) -> dict[str, np.ndarray]:
    """Return the tensors under kohya's names, alpha with every module."""
    roles = (("lora_down.weight", DOWN), ("lora_up.weight", UP), ("alpha", ALPHA))
    return {f"{kohya_name(module)}.{theirs}": tensors[f"{module}.{ours}"] for module in known_elsewhere(tensors)
            for theirs, ours in roles}


def to_peft(tensors: Tensors, part: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the tensors of one part ("unet", "text_encoder") under peft's names, and its adapter_config.json."""
    start = f"{part}."
    mine = {module.removeprefix(start): module for module in known_elsewhere(tensors) if module.startswith(start)}
    named = {f"base_model.model.{path}.lora_{letter}.weight": tensors[f"{module}.{role}"]
             for path, module in mine.items() for letter, role in (("A", DOWN), ("B", UP))}
    ranks = {path: tensors[f"{module}.{DOWN}"].shape[0] for path, module in mine.items()}
    alphas = {path: _whole(float(tensors[f"{module}.{ALPHA}"])) for path, module in mine.items()}
    return named, {**_peft_config(ranks, alphas), "task_type": None, "base_model_name_or_path": None}


def folded(tensors: Tensors) -> dict[str, np.ndarray]:
    """Return the same LoRA with one rank in each part and alpha = rank: what any release of diffusers reads right.

    alpha / rank is multiplied into up (exact for powers of two); lower ranks are filled with zeros, for diffusers takes
    one alpha for all modules where a file states none.
    """
    plain: dict[str, np.ndarray] = {}
    ranks = {module: tensors[f"{module}.{DOWN}"].shape[0] for module in modules_of(tensors)}
    for module, rank in ranks.items():
        most = max(other for name, other in ranks.items() if name.split(".")[0] == module.split(".")[0])
        down, up = tensors[f"{module}.{DOWN}"], tensors[f"{module}.{UP}"]
        scale = float(tensors[f"{module}.{ALPHA}"]) / rank
        scaled = up if scale == 1 else (up.astype(np.float32) * np.float32(scale)).astype(up.dtype)
        more = (0, most - rank)         # rows of zeros at the end
        plain |= {f"{module}.{DOWN}": np.pad(down, [more] + [(0, 0)] * (down.ndim - 1)),
                  f"{module}.{UP}": np.pad(scaled, [(0, 0), more] + [(0, 0)] * (up.ndim - 2)),
                  f"{module}.{ALPHA}": np.asarray(most, np.float32)}
    return plain


def diffusers_metadata(tensors: Tensors) -> dict[str, str]:
    """Return the safetensors metadata with which diffusers scales the modules.

    Nothing but the format where it would do so without: one rank in each part, and alpha = rank.
    """
    fields: dict[str, Any] = {}
    plain = True
    for part in (UNET, TEXT):
        start = f"{part}."
        mine = {module.removeprefix(start): module for module in modules_of(tensors) if module.startswith(start)}
        if not mine:
            continue
        ranks = {path: tensors[f"{module}.{DOWN}"].shape[0] for path, module in mine.items()}
        alphas = {path: _whole(float(tensors[f"{module}.{ALPHA}"])) for path, module in mine.items()}
        plain &= len(set(ranks.values())) == 1 and alphas == ranks
        fields |= {f"{part}.{name}": value for name, value in _peft_config(ranks, alphas).items()}
    return {"format": "pt", **({} if plain else {METADATA_KEY: json.dumps(fields, sort_keys=True)})}


def _peft_config(ranks: Mapping[str, int], alphas: Mapping[str, float]) -> dict[str, Any]:
    """Return peft's LoraConfig of one part: the commonest rank and alpha, and the modules that differ from them."""
    rank, alpha = mode(ranks.values()), mode(alphas.values())
    return {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "target_modules": sorted(ranks),
            "rank_pattern": {path: value for path, value in ranks.items() if value != rank},
            "alpha_pattern": {path: value for path, value in alphas.items() if value != alpha}}


def kohya_metadata(tensors: Tensors, base: str, *, title: str = "LoRA", v_prediction: bool = False,
                   resolution: int | None = None, more: Mapping[str, str] | None = None,
                   hashed: bool = True) -> dict[str, str]:
    """Return the metadata that kohya's scripts write, as the tensors tell it: ss_*, sshs_model_hash, modelspec 1.0.1.

    `base` is "sd1" or "sd2" (another says nothing about the model); `more` adds or replaces entries (ss_seed, ...).
    `hashed` is for tensors that are written in the types they have. No time is written: equal LoRA give equal files.
    """
    modules = modules_of(tensors)
    ranks = {tensors[f"{module}.{DOWN}"].shape[0] for module in modules}
    alphas = {float(tensors[f"{module}.{ALPHA}"]) for module in modules}
    facts = {"ss_network_module": "networks.lora", "ss_network_dim": _one(ranks), "ss_network_alpha": _one(alphas),
             "ss_output_name": title, "modelspec.sai_model_spec": "1.0.1", "modelspec.title": title,
             "modelspec.implementation": "diffusers"}
    if hashed:
        digest = data_hash(to_kohya(tensors, {}))
        facts |= {"sshs_model_hash": digest, "modelspec.hash_sha256": f"0x{digest}"}
    if base in ("sd1", "sd2"):
        side = resolution or (768 if base == "sd2" and v_prediction else 512)
        version = "sd_v2" if base == "sd2" else "sd_v1"
        model = "stable-diffusion-v1" if base == "sd1" else f"stable-diffusion-v2-{'768-v' if v_prediction else '512'}"
        facts |= {"ss_base_model_version": version + ("_v" if v_prediction else ""), "ss_v2": str(base == "sd2"),
                  "ss_resolution": f"({side}, {side})", "modelspec.architecture": f"{model}/lora",
                  "modelspec.resolution": f"{side}x{side}",
                  "modelspec.prediction_type": "v" if v_prediction else "epsilon"}
    return {"format": "pt", **facts, **(more or {})}


def data_hash(tensors: Tensors) -> str:
    """Return the SHA-256 of the data part of the safetensors file with these tensors: the hash that web UIs show."""
    digest = hashlib.sha256()
    for name in sorted(tensors, key=lambda name: (-tensors[name].itemsize, name)):
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()


def _one(values: set) -> str:
    return str(_whole(next(iter(values)))) if len(values) == 1 else "Dynamic"


def _whole(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value
