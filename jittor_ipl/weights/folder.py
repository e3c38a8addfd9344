"""Folders that hold networks: Hugging Face's and diffusers' layouts, sharded files, and this project's own folders.

Which file is the network follows from fixed names; a folder without them gives every weight file in it, and a folder of
folders (a diffusion pipeline, a released suite) gives those of each. Nothing outside the folder is named by its files:
an index may only list plain file names beside it.
"""
from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jittor_ipl.disk.small_files import read_json
from jittor_ipl.errors import UserError, nearest
from jittor_ipl.models.strict import check_names
from jittor_ipl.weights.containers.lazy import LazyArray, LazyTensors
from jittor_ipl.weights.containers.read import WeightFile, open_weights, read_tensors
from jittor_ipl.weights.delta import fingerprint
from jittor_ipl.weights.refs import PIPELINE_INDEX

MAX_CONFIG_BYTES, MAX_INDEX_BYTES, MAX_SHARDS = 1 << 20, 32 << 20, 500     # every shard stays open
CONFIGS = ("config.json", "adapter_config.json", "open_clip_config.json")
TENSORS_SHA256 = "tensors_sha256"              # metadata of converted files
PREPROCESSOR = "preprocessor_config.json"      # how a CLIP's images are normalised
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".pkl", ".pdparams", ".ckpt", ".npy")
# Best first: of one network in two formats the safe one is read.
_STEMS = ("model", "diffusion_pytorch_model", "open_clip_model", "adapter_model", "pytorch_lora_weights",
          "pytorch_model", "open_clip_pytorch_model")
_NAMES = tuple(f"{stem}{suffix}{index}" for suffix in (".safetensors", ".bin") for stem in _STEMS
               for index in (".index.json", ""))
_VARIANT = re.compile(r"(.+)\.(fp16|bf16|fp32|non_ema)(\.(?:safetensors|bin)(?:\.index\.json)?)")
_MAX_FOLDERS = 200
PASSED_OVER = ("safety_checker", "feature_extractor")      # of a diffusion pipeline: they judge finished pictures


@dataclass(frozen=True)
class FileSet:
    """The files of one network: one file, or the shards that an index lists, and the configuration beside them.

    `label` tells it from the others in a folder ("unet", "generator", "" for the only one); `unread` names files that
    hold the same network in another format.
    """

    label: str
    files: tuple[Path, ...]
    index: Path | None = None
    config: dict[str, Any] = field(default_factory=dict)
    unread: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The file that stands for all in messages: the index, or the only file."""
        return self.index or self.files[0]


def find_file_sets(path: Path) -> list[FileSet]:
    """Return the networks of a file or folder, in order of their labels, without reading any weights.

    Raises UserError for a folder without weight files, and for an index or configuration that is damaged or unsafe.
    """
    if not path.is_dir():
        config = _config(path.parent, path.name) if path.name in _NAMES or _VARIANT.fullmatch(path.name) else {}
        return [_file_set("", path, config)]
    pipeline = (path / PIPELINE_INDEX).is_file()       # its parts; checkpoints beside them are the same in one file
    found = [] if pipeline else _in_folder(path, "")
    if not found:
        passed_over = PASSED_OVER if pipeline else ()
        inner = [entry for entry in sorted(path.iterdir())
                 if entry.is_dir() and not entry.name.startswith(".") and entry.name not in passed_over]
        found = [files for entry in inner[:_MAX_FOLDERS] for files in _in_folder(entry, entry.name)]
    if not found:
        names = [ascii(entry.name) for entry in sorted(path.iterdir())]
        content = "it has " + ", ".join(names[:6] + ["..."] * (len(names) > 6)) if names else "it is empty"
        raise UserError(f"{str(path)!r} holds no weight file: {content}; give the folder that has "
                        f"model.safetensors, pytorch_model.bin or another of {', '.join(SUFFIXES)}")
    return found


def find_file_set(path: Path) -> FileSet:
    """Return the only network of a file or folder; UserError that names all where there are several."""
    found = find_file_sets(path)
    if len(found) > 1:
        labels = ", ".join(files.label for files in found[:8])
        raise UserError(f"{path} holds several networks ({labels}); name one of them")
    return found[0]


def open_file_set(files: FileSet) -> WeightFile:
    """Return the opened file, or the shards as one file.

    Raises UserError when a shard does not hold exactly the tensors that its index gives it, or when the tensors do not
    have the SHA-256 that the metadata of a converted file tells (`tensors_sha256`, see `delta.fingerprint`).
    """
    if files.index is not None:
        return _joined(files, files.index)
    opened = open_weights(files.files[0])
    stated = opened.metadata.get(TENSORS_SHA256)
    if stated and stated != fingerprint(opened.at()[0]):
        raise UserError(f"{opened.name} is damaged: its tensors do not have the SHA-256 that its metadata tells")
    return opened


def _joined(files: FileSet, index: Path) -> WeightFile:
    wanted = _weight_map(index)
    joined: dict[str, LazyArray] = {}
    for file in files.files:
        tensors, info = read_tensors(file)
        mine = {name: None for name, shard in wanted.items() if shard == file.name}
        check_names(mine, tensors, f"{file} against {index.name}")
        joined |= tensors.entries
    return WeightFile.flat(LazyTensors({name: joined[name] for name in wanted}, str(index)), info)


def _in_folder(folder: Path, label: str) -> list[FileSet]:
    """Return the one network under a well-known name, else every weight file."""
    names = sorted(entry.name for entry in folder.iterdir())
    known = _ranked(names)
    config = _config(folder, known[0] if known else "")
    if known:
        rest = tuple(name for name in known[1:] if not re.search(r"-\d{5}-of-\d{5}\.", name))
        return [_file_set(label, folder / known[0], config, rest)]
    files = [folder / name for name in names if name.endswith(SUFFIXES) and not name.startswith(".")]
    files = [file for file in files if file.is_file()]
    labels = [file.stem if len(files) > 1 else "" for file in files]
    return [FileSet("/".join(filter(None, (label, inner))), (file,), config=config)
            for inner, file in zip(labels, files)]


def _ranked(names: list[str]) -> list[str]:
    """Return the well-known names among `names`, best first; a variant (fp16) comes right after its full form."""
    def rank(name: str) -> tuple[int, str]:
        match = _VARIANT.fullmatch(name)
        return (2 * _NAMES.index(match[1] + match[3]) + 1 if match else 2 * _NAMES.index(name), name)
    variants = (m[1] + m[3] if (m := _VARIANT.fullmatch(name)) else name for name in names)
    return sorted((name for name, base in zip(names, variants) if base in _NAMES), key=rank)


def _file_set(label: str, index: Path, config: dict[str, Any], unread: tuple[str, ...] = ()) -> FileSet:
    """Return one file, or the shards that it lists when it is an index."""
    if not index.name.endswith(".index.json"):
        return FileSet(label, (index,), config=config, unread=unread)
    shards = dict.fromkeys(_weight_map(index).values())
    for shard in shards:
        if not (index.parent / shard).is_file():
            beside = [entry.name for entry in index.parent.iterdir()]
            raise UserError(f"{index}: the shard {shard!r} is missing{nearest(shard, beside)}")
    return FileSet(label, tuple(index.parent / shard for shard in shards), index, config, unread)


def _weight_map(index: Path) -> dict[str, str]:
    """Return tensor name -> shard of an index file; a shard must be a plain file name beside it."""
    names = read_json(index, "index of shards", MAX_INDEX_BYTES).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(shard, str) for shard in names.values()):
        raise UserError(f"{index}: 'weight_map' must map tensor names to shard files")
    for shard in set(names.values()):
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}", shard) or shard == index.name:
            raise UserError(f"{index}: {ascii(shard[:80])} is not a plain file name; a shard lies beside its index")
    if len(set(names.values())) > MAX_SHARDS:
        raise UserError(f"{index} lists more than {MAX_SHARDS} shards")
    return names


def _config(folder: Path, file: str) -> dict[str, Any]:
    """Return the configuration beside `file`; a folder of Hugging Face may hold OpenCLIP's with its own as well."""
    names = sorted(CONFIGS, key=lambda name: not file.startswith("open_clip") or not name.startswith("open_clip"))
    name = next((name for name in names if (folder / name).exists()), None)
    config = read_json(folder / name, "configuration", MAX_CONFIG_BYTES) if name else {}
    pixels = folder / PREPROCESSOR
    if config.get("model_type") == "clip" and pixels.exists():
        config[pixels.stem] = read_json(pixels, "configuration", MAX_CONFIG_BYTES)
    return config
