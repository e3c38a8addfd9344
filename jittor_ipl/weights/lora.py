"""LoRA files read into modules and written for this project, for diffusers and for kohya's scripts."""
from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jittor_ipl.disk.atomic import make_folder, write_json
from jittor_ipl.errors import UserError
from jittor_ipl.models.strict import compare, require_fit
from jittor_ipl.weights.containers.safetensors import write_safetensors
from jittor_ipl.weights.families.lora import export
from jittor_ipl.weights.families.lora.family import convert, layout_of
from jittor_ipl.weights.families.lora.modules import TEXT, UNET, VAE, Base
from jittor_ipl.weights.families.lora.names import ALPHA, DOWN, UP, looks_like_lora
from jittor_ipl.weights.folder import find_file_set
from jittor_ipl.weights.network import open_network
from jittor_ipl.weights.refs import locate, split_place

if TYPE_CHECKING:
    from jittor_ipl.weights.diffusion import LatentDiffusion

BASE_KEY = "base_sha256"        # in a file's metadata: `weights.diffusion.base_sha256` of the model it was trained on


class LoraModule(NamedTuple):
    """The change of one module's weight: alpha / rank * up @ down; down [rank, in, *kernel], up [out, rank, 1, 1]."""

    down: np.ndarray
    up: np.ndarray
    alpha: float

    @property
    def rank(self) -> int:
        """The number of rows of down."""
        return self.down.shape[0]

    def delta(self) -> np.ndarray:
        """Return what is added to the weight, float32 in the weight's shape, the same bits on every machine."""
        up, down = (part.reshape(len(part), -1).astype(np.float64) for part in (self.up, self.down))
        product = (up @ down) * (self.alpha / self.rank)
        return product.astype(np.float32).reshape(len(self.up), *self.down.shape[1:])


Lora = dict[str, LoraModule]        # by "<part>.<module path>", such as "unet.mid_block.attentions.0.proj_in"


def read_lora(ref: str | os.PathLike, base: Base | None = None) -> Lora:
    """Read a LoRA file or folder of any dialect, strictly checked against `base` (by default what it seems made for).

    Raises UserError when it holds no plain LoRA, names an unknown module, or a tensor is missing, extra or mis-shaped.
    """
    return _read(ref, base)[0]


def read_lora_for(model: "LatentDiffusion", ref: str | os.PathLike, *, autoencoder: bool = False) -> Lora:
    """Read a LoRA file or folder of any dialect for `model`, strictly checked against its networks.

    Those are the U-Net and the text encoder; with `autoencoder` that one, too.

    Raises UserError as `read_lora` does, and when the file says that it was trained on another base; one line on stderr
    says so where a file does not tell.
    """
    from jittor_ipl.models.lora import places
    known = places({UNET: model.unet, TEXT: model.text, VAE: model.vae})
    lora, metadata = _read(ref, Base("given", {name: place.shape for name, place in known.items()}))
    if not autoencoder and any(name.startswith(f"{VAE}.") for name in lora):
        raise UserError(f"{os.fspath(ref)} changes the autoencoder too: no LoRA of a style; a suite names it as "
                        "teacher.base_lora")
    require_base(metadata, model.sha256, os.fspath(ref))
    return lora


def require_base(metadata: Mapping[str, str], sha256: str, label: str) -> None:
    """Raise UserError when a file's metadata name another base model than the one with this hash."""
    stated = metadata.get(BASE_KEY)
    if stated is None:
        print(f"note: {label} does not tell which base model it was trained on; by names and shapes it fits this one",
              file=sys.stderr, flush=True)
    elif stated != sha256:
        raise UserError(f"{label} was trained on another base model ({stated[:12]}) than the one that is loaded "
                        f"({sha256[:12]}): load that one, or train the style again")


def _read(ref: str | os.PathLike, base: Base | None) -> tuple[Lora, Mapping[str, str]]:
    """Return a LoRA and what its file says beside it."""
    path, (_, place) = locate(ref), split_place(ref)
    tensors, info, hints, *_ = open_network(find_file_set(path), place, "lora")
    if not looks_like_lora(tensors.shapes):
        raise UserError(f"{path} holds no LoRA (its first tensor is {next(iter(tensors), '')[:80]!r})")
    try:
        layout = layout_of(tensors.shapes, hints, base)
        require_fit(compare(layout.expected, layout.optional, tensors.shapes, tensors.stored, limit=3), str(path))
        return from_tensors(convert(tensors, layout)), info.metadata
    except UserError as error:
        raise error if str(error).startswith(str(path)) else UserError(f"{path}: {error}") from error


def weighted_sum(loras: Sequence[tuple[Mapping[str, LoraModule], float]]) -> Lora:
    """Return the one LoRA that changes every weight as these (LoRA, weight) do together.

    Ranks add up; weights and alphas are multiplied into up, so that alpha is the rank.
    """
    total = {}
    for name in sorted({name for lora, _ in loras for name in lora}):
        parts = [(lora[name], weight * lora[name].alpha / lora[name].rank) for lora, weight in loras if name in lora]
        down = np.concatenate([module.down.astype(np.float32) for module, _ in parts])
        up = np.concatenate([module.up.astype(np.float32) * np.float32(scale) for module, scale in parts], axis=1)
        total[name] = LoraModule(down, up, len(down))
    return total


def read_sum(parts: Sequence[tuple[str | os.PathLike, float]]) -> tuple[Lora, dict[str, str]]:
    """Read LoRA files and return their `weighted_sum`, and the metadata that name the base model where a file does.

    A single one with a weight of 1 comes back as it is.

    Raises UserError as `read_lora` does, and where two files name different base models.
    """
    read = [(*_read(ref, None), ref, weight) for ref, weight in parts]
    bases = {metadata[BASE_KEY]: ref for _, metadata, ref, _ in read if BASE_KEY in metadata}
    if len(bases) > 1:
        (first, one), (second, other) = list(bases.items())[:2]
        raise UserError(f"{one} was trained on the base model {first[:12]}, {other} on {second[:12]}: only LoRA of one "
                        "base add up")
    stated = {BASE_KEY: base for base in bases}
    if len(read) == 1 and read[0][3] == 1:
        return read[0][0], stated
    return weighted_sum([(lora, weight) for lora, _, _, weight in read]), stated


def from_tensors(tensors: Mapping[str, np.ndarray]) -> Lora:
    """Return the modules of a LoRA in our names."""
    return {module: LoraModule(tensors[f"{module}.{DOWN}"], tensors[f"{module}.{UP}"],
                               float(tensors[f"{module}.{ALPHA}"])) for module in export.modules_of(tensors)}


def to_tensors(lora: Mapping[str, LoraModule]) -> dict[str, np.ndarray]:
    """Return the tensors of a LoRA in our names."""
    return {f"{name}.{role}": value for name, module in lora.items()
            for role, value in ((DOWN, module.down), (UP, module.up), (ALPHA, np.asarray(module.alpha, np.float32)))}


def write_lora(path: str | os.PathLike, lora: Mapping[str, LoraModule],
               metadata: Mapping[str, str] | None = None) -> None:
    """Write a LoRA in our names; equal LoRA give equal bytes."""
    ranks = sorted({module.rank for module in lora.values()})
    write_safetensors(path, to_tensors(lora), {**(metadata or {}), "kind": "lora", "dialect": "ours",
                                               "config": json.dumps({"ranks": ranks})})


def write_diffusers_lora(path: str | os.PathLike, lora: Mapping[str, LoraModule], *, fold_alpha: bool = False,
                         metadata: Mapping[str, str] | None = None) -> None:
    """Write what diffusers' `load_lora_weights` reads; name it pytorch_lora_weights.safetensors.

    An alpha other than the rank goes into the metadata, which diffusers reads from 0.34 on; `fold_alpha` multiplies it
    into up instead, for any release.
    """
    tensors = export.folded(to_tensors(lora)) if fold_alpha else to_tensors(lora)
    facts = {**(metadata or {}), **export.diffusers_metadata(tensors)}
    write_safetensors(path, export.to_diffusers(tensors, {}), facts)


def write_peft_lora(folder: str | os.PathLike, lora: Mapping[str, LoraModule],
                    metadata: Mapping[str, str] | None = None) -> list[Path]:
    """Write `<folder>/<part>/adapter_{model.safetensors,config.json}` for each part of a LoRA; return these folders.

    They are what peft's `PeftModel.from_pretrained(network, folder)` loads, for "unet" and "text_encoder".
    """
    written = []
    for part in (UNET, TEXT):
        tensors, config = export.to_peft(to_tensors(lora), part)
        if tensors:
            target = make_folder(Path(folder) / part)
            write_json(target / "adapter_config.json", config)
            write_safetensors(target / "adapter_model.safetensors", tensors, {"format": "pt", **(metadata or {})})
            written.append(target)
    return written


def write_kohya_lora(path: str | os.PathLike, lora: Mapping[str, LoraModule], *, base: str = "", title: str = "LoRA",
                     v_prediction: bool = False, resolution: int | None = None,
                     metadata: Mapping[str, str] | None = None) -> None:
    """Write what kohya's scripts and the web UIs read, with their metadata; see `kohya_metadata`."""
    tensors = to_tensors(lora)
    facts = export.kohya_metadata(tensors, base, title=title, v_prediction=v_prediction, resolution=resolution,
                                  more=metadata)
    write_safetensors(path, export.to_kohya(tensors, {}), facts)
