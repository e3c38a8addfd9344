"""The words that all weight formats are described in: what a family of networks is, and how one file of it is laid out.

A path becomes tensors under the names of the program that wrote it (`containers.read`, `folder`), a family recognises
those names (`registry`), the strict check compares them with what the family expects, and `convert` gives them ours.
"""
from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from jittor_ipl.errors import UserError

Shapes = Mapping[str, tuple[int, ...]]          # tensor names as the file has them, in the file's order
Tensors = Mapping[str, np.ndarray]
Config = Mapping[str, Any]                      # constructor numbers, JSON-able


@dataclass(frozen=True)
class Hints:
    """What is known about a file beside the names and shapes of its tensors; every part may be empty.

    `format` and `container` are those of `containers.read.FileInfo`; `metadata` is that of safetensors; `config` is the
    parsed config.json beside the file; `extras` are the shapes of tensors beside the container (`latent_avg`); `values`
    are plain numbers and texts found in the file (training options); `name` is the file's name without its
    ending; `beside` names what else lay beside the container (optimisers, ...).
    """

    format: str = ""
    container: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    config: Config = field(default_factory=dict)
    extras: Shapes = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    beside: tuple[str, ...] = ()

    @cached_property
    def stored(self) -> Config:
        """The constructor numbers in the file's metadata, {} without any; UserError when they are no JSON object."""
        return self.json_object("config")

    def json_object(self, key: str) -> dict[str, Any]:
        """Return what the metadata has under `key`, {} without it; UserError when it is no JSON object."""
        try:
            content = json.loads(self.metadata.get(key, "{}"))
        except (ValueError, RecursionError) as error:
            raise UserError(f"the {key!r} in its metadata is not JSON") from error
        if not isinstance(content, dict):
            raise UserError(f"the {key!r} in its metadata is not a JSON object")
        return content


@dataclass(frozen=True)
class Layout:
    """How one recognised file is laid out.

    `kind` says what the network is ("stylegan2", "clip", "lora", ...), `dialect` whose names it uses ("rosinality",
    "openai", "kohya", ...), `config` our constructor's numbers. `expected` holds every name that must be there, in the
    file's dialect, with its shape; `optional` are regular expressions (matched in full) of names that may be there or
    not and are not checked. `parts` are prefixes under which the same file holds further networks (a pSp checkpoint's
    "decoder."): those names are no concern of this layout, each part is recognised on its own without its prefix.
    `extras` names tensors beside the container (`latent_avg`) that belong to the network: they are checked and
    converted with the others when the file has them; each stands in `expected` or `optional` as well.
    `remarks` say in a sentence each what is assumed because nothing in the file tells it, and why.
    """

    kind: str
    dialect: str
    config: dict[str, Any]
    expected: dict[str, tuple[int, ...]]
    optional: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Family:
    """One kind of network and all dialects it is stored in.

    `recognise(shapes, hints)` is cheap and returns None when the names clearly belong to something else; a damaged file
    of the family must still be recognised, so that the strict check can say what is missing. It raises UserError when
    names and config contradict each other.
    `our_name(name)` gives a name of the file in our words (the names of the networks in `models`, or the published
    names where there is no such network). Where more than names differ, `convert(tensors, layout)` turns checked
    tensors into ours; pure: it changes no argument, and may return the same arrays.
    `exports` maps a dialect to a function that turns our tensors and config back into that dialect; `export_metadata`
    gives the safetensors metadata that its programs read, where there is any.
    `landmarks` are a few names that only this family has; they make the message about an unknown file helpful.
    `next_step` says in one line what takes a converted file ("{file}" stands for it, "{source}" for the
    source that its metadata names).
    `faults` tells what is wrong with the values of a file whose names and shapes fit, where `convert` would raise.
    """

    kind: str
    recognise: Callable[[Shapes, Hints], "Layout | None"]
    convert: Callable[[Tensors, Layout], dict[str, np.ndarray]] | None = None
    exports: Mapping[str, Callable[[Tensors, Config], dict[str, np.ndarray]]] = field(default_factory=dict)
    landmarks: tuple[str, ...] = ()
    next_step: str = ""
    export_metadata: Mapping[str, Callable[[Tensors, Config], dict[str, str]]] = field(default_factory=dict)
    faults: Callable[[Tensors, Layout], list[str]] = lambda tensors, layout: []
    our_name: Callable[[str], str] = str

    def under_our_names(self, tensors: Tensors, layout: Layout) -> dict[str, np.ndarray]:
        """Return the checked tensors of a file as our networks have them, in the layout's order."""
        if self.convert is not None:
            return self.convert(tensors, layout)
        return {self.our_name(name): tensors[name] for name in layout.expected if name in tensors}
