"""The dictionary of global directions: what every channel of the style space changes in CLIP's space [channels, d].

A file is StyleCLIP's fs3.npy, PaddleGAN's *-global-directions.pdparams, or one of `edit prepare`, which says in its
metadata which generator and which CLIPs it was measured with, and how.
"""
from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jittor_ipl.disk.integrity import file_sha256
from jittor_ipl.editing.codes import file_positions, layers_of
from jittor_ipl.errors import UserError
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.models.stylegan2.style_space import SUBSETS, rows, subset
from jittor_ipl.weights.containers.safetensors import write_safetensors
from jittor_ipl.weights.generator import require_generator
from jittor_ipl.weights.network import read_network
from jittor_ipl.weights.refs import locate

KIND, NAME = "style-directions", "direction"
REMAKE = "make one for this generator with edit prepare"        # what to do about a dictionary of another
SAMPLED = "sampled"         # the way whose rows have lengths: those of the others are unit vectors


@dataclass(frozen=True)
class Dictionary:
    """Global directions and where their rows belong.

    directions  float32 [rows, d]
    layers      positions in `Generator.styles` of the style layers that the rows run through, in the order of files
    facts       metadata of the file: `way`, `generator_sha256`, `clips`, ...; {} for files of other programs
    label       what messages call it
    """

    directions: np.ndarray
    layers: tuple[int, ...]
    facts: dict[str, Any]
    label: str

    @property
    def relative(self) -> bool:
        """Whether thresholds count in parts of the largest relevance: where rows are no unit vectors."""
        return self.facts.get("way") == SAMPLED or bool(self.targets)

    @property
    def targets(self) -> tuple[str, ...]:
        """The only targets that it answers for, () for one that answers for any words."""
        return tuple(self.facts.get("targets", ()))

    @property
    def clips(self) -> tuple[str, ...]:
        """The CLIPs that it was measured with, () when the file does not say."""
        return tuple(self.facts.get("clips", ()))


def save_dictionary(path: str | os.PathLike, directions: np.ndarray, facts: dict[str, Any], *,
                    half: bool = False) -> None:
    """Write directions [rows, d] with all that is known of them; `half` rounds to float16."""
    write_safetensors(path, {NAME: directions.astype(np.float16 if half else np.float32)}, metadata_of(facts))


def metadata_of(facts: dict[str, Any]) -> dict[str, str]:
    """Return what is known of a dictionary as its file's metadata."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()}
    return {**texts, "kind": KIND}


def load_dictionary(ref: str | os.PathLike, generators: Sequence[Generator]) -> Dictionary:
    """Return the dictionary at `ref`, which must belong to one of `generators`: the one that draws, and its source.

    Raises UserError when it is something else, has values that are not finite, has other rows than the generator's
    style layers, or was measured on another generator, which its hash tells where the file has one.
    """
    network, label = read_network(ref, kind=KIND), os.fspath(ref)
    directions = network.tensors[NAME].astype(np.float32)
    facts = {name: _value(text) for name, text in network.info.metadata.items()}
    if "generator_sha256" in facts:
        require_generator(facts["generator_sha256"], generators, label, REMAKE)
    if not np.isfinite(directions).all():
        raise UserError(f"{label}: a direction in it is not finite; make it again with edit prepare")
    return Dictionary(directions, _layers(generators[0], directions, facts, label), facts, label)


def _value(text: str) -> Any:
    try:
        return json.loads(text) if text[:1] in ("[", "{") or text.replace(".", "", 1).isdigit() else text
    except (ValueError, RecursionError):
        return text


def _layers(generator: Generator, directions: np.ndarray, facts: dict[str, Any], label: str) -> tuple[int, ...]:
    """Return where the rows belong; UserError when no set of this generator's layers has so many."""
    layers, positions = layers_of(generator), file_positions(generator)
    if isinstance(facts.get("layers"), list):
        named = {layer.name: position for layer, position in zip(layers, positions)}
        found = [named.get(name) for name in facts["layers"]]
        channels = sum(layer.channels for layer in layers if layer.name in facts["layers"])
        if None not in found and channels == len(directions):
            return tuple(found)
    for name in SUBSETS:
        if rows(layers, name) == len(directions):
            return tuple(positions[i] for i in subset(layers, name))
    numbers = ", ".join(str(rows(layers, name)) for name in SUBSETS)
    raise UserError(f"{label} has {len(directions)} directions; this {generator.size} px generator has {numbers} "
                    f"channels ({', '.join(SUBSETS)}): give the generator that it was made for")


def require_clips(dictionary: Dictionary, refs: Sequence[str], clips: Sequence[Clip]) -> None:
    """Raise UserError when `clips`, loaded from `refs`, are not those that `dictionary` was measured with."""
    width = sum(clip.settings.embed_dim for clip in clips)
    if width != dictionary.directions.shape[1]:
        raise UserError(f"{dictionary.label} has directions of {dictionary.directions.shape[1]} numbers, "
                        f"{', '.join(refs)} of {width}: give with --clip the CLIP that it was measured with"
                        + (f", {', '.join(dictionary.clips)}" if dictionary.clips else ""))
    if "clip_sha256" in dictionary.facts and dictionary.facts["clip_sha256"] != clip_hashes(refs):
        raise UserError(f"{dictionary.label} was measured with another CLIP than {', '.join(refs)} (SHA-256): give "
                        "that one with --clip, or measure again with edit prepare")


def clip_hashes(refs: Sequence[str]) -> list[str]:
    """Return the SHA-256 of every CLIP's file, "" for one that is a folder."""
    paths = [locate(ref) for ref in refs]
    return [file_sha256(path) if path.is_file() else "" for path in paths]


def measured_layers(generator: Generator, side: int) -> list[str]:
    """Return the names of the convolutions whose styles a picture of `side` pixels still shows, from coarse to fine.

    The level that CLIP sees is the first of `side` pixels or more; ToRGB layers are left out, as StyleCLIP does.
    """
    layers = layers_of(generator)
    level = next((layer.resolution for layer in layers if layer.resolution >= side), generator.size)
    return [layer.name for layer in layers if not layer.rgb and layer.resolution <= level]
