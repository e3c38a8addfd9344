"""CLIP as a library, in the shape of OpenAI's `clip` and of JCLIP: `load`, `tokenize`, `available_models`.

    from PIL import Image
    from jittor_ipl import clip
    model, preprocess = clip.load("ViT-B/32")
    image = preprocess(Image.open("face.png")).unsqueeze(0)
    per_image, per_text = model(image, clip.tokenize(["a photo", "a sketch"]))

Nothing is downloaded: `load` says where it looked for a file. Importing this module does not start Jittor.
"""
from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jittor_ipl.errors import UserError, nearest
from jittor_ipl.runtime.bootstrap import require_device
from jittor_ipl.text import tokenizer
from jittor_ipl.weights.refs import ASSETS, split_place

if TYPE_CHECKING:
    from PIL.Image import Image

    from jittor_ipl.models.clip.model import Clip
    from jittor_ipl.runtime.backend import jt

__all__ = ["available_models", "find", "load", "tokenize"]

MODELS = ("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px")
SUFFIXES = (".safetensors", ".pt", ".pkl")


def available_models() -> list[str]:
    """Return the names that `load` understands: OpenAI's nine models (you need the file) and the demo world's own."""
    return [*MODELS, *(f"demo:{path.stem}" for path in sorted(ASSETS.glob("clip-*.safetensors")))]


def folders() -> list[Path]:
    """Return where OpenAI's files are looked for: `weights/` here, our cache, the cache of OpenAI's package."""
    return [Path("weights"), Path.home() / ".cache" / "jittor_ipl" / "clip", Path.home() / ".cache" / "clip"]


def find(name: str | os.PathLike, download_root: str | os.PathLike | None = None) -> str:
    """Return the weight reference (a path, or `demo:<name>`) that `name` stands for.

    `name` is one of `available_models()` or a path; `download_root` is a folder to look into first. Raises UserError
    naming every place that was looked at.
    """
    name = os.fspath(name)
    if name.startswith("demo:"):
        return name
    if name in MODELS:
        stem = name.replace("/", "-").replace("@", "-")         # OpenAI's file names: ViT-L-14-336px.pt
        homes = [*([] if download_root is None else [Path(download_root).expanduser()]), *folders()]
        places = [folder / (stem + suffix) for folder in homes for suffix in SUFFIXES]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            looked = ", ".join(str(folder / stem) for folder in homes)
            raise UserError(f"CLIP {name} is not here, and nothing is downloaded; looked for {looked} with "
                            f"{', '.join(SUFFIXES)}: put OpenAI's {stem}.pt there, or give its path")
        return str(found)
    if "\0" not in name and Path(split_place(name)[0]).expanduser().exists():
        return name
    names = available_models()
    raise UserError(f"no CLIP named {name[:200]!r} and no such file{nearest(name, names)}; give the path of a file, or "
                    f"one of {', '.join(names)}")


def load(name: str | os.PathLike, device: str | None = None, jit: bool = False,
         download_root: str | os.PathLike | None = None, *,
         activation: str | None = None) -> "tuple[Clip, Callable[[Image], jt.Var]]":
    """Return (model, preprocess): a float32 `Clip` and the function from a PIL image to its input [3, R, R].

    name            one of `available_models()`, or the path of a file or folder: OpenAI's .pt, JCLIP's .pkl, OpenCLIP's
                    and Hugging Face's .bin, .safetensors or folder; `FILE#KEY` for one of several networks in a file
    device          "cpu" or "cuda", which must be the process's own; None takes that
    jit             of no effect: Jittor compiles every model
    download_root   folder to look for OpenAI's files in; nothing is downloaded
    activation      "quick_gelu" or "gelu" for a file that does not tell

    Raises UserError when there is no such file, it holds no CLIP, or the device is another one.
    """
    from jittor_ipl.images.centre import normalised_centre
    from jittor_ipl.weights.clip import load_clip
    require_device(device)
    model = load_clip(find(name, download_root), activation=activation)
    side, (mean, std) = model.visual.input_resolution, model.settings.normalisation()
    return model, lambda image: _as_var(normalised_centre(image, side, side, mean, std))


def tokenize(texts: str | Sequence[str], context_length: int = 77, truncate: bool = False) -> "jt.Var":
    """Return token ids, int32 [N, context_length], exactly OpenAI's, empty texts too; UserError for a long one."""
    return _as_var(tokenizer.tokenize(texts, context_length, truncate, checked=False))


def _as_var(array: np.ndarray) -> "jt.Var":
    from jittor_ipl.runtime.backend import jt
    return jt.array(array)
