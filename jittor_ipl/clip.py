"""CLIP as a library, in the shape of OpenAI's `clip` and of JCLIP: `load`, `tokenize`, `available_models`.

    from PIL import Image
    from jittor_ipl import clip
    model, preprocess = clip.load("ViT-B/32")
    image = preprocess(Image.open("face.png")).unsqueeze(0)
    per_image, per_text = model(image, clip.tokenize(["a photo", "a sketch"]))

Nothing is downloaded: `load` says where it looked for a file. Importing this module does not start Jittor.
"""
from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jittor_ipl.errors import UserError, nearest
from jittor_ipl.models.clip.config import MEAN, STD
from jittor_ipl.text import tokenizer as text
from jittor_ipl.weights.refs import ASSETS

if TYPE_CHECKING:
    from PIL.Image import Image

    from jittor_ipl.models.clip.model import Clip
    from jittor_ipl.runtime.backend import jt

__all__ = ["available_models", "find", "load", "real_jclip_installed", "tokenize"]

MODELS = ("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px")
SUFFIXES = (".safetensors", ".pt", ".pkl")


def available_models() -> list[str]:
    """Names that `load` understands: OpenAI's nine models (when you have the file) and the demo world's own."""
    return [*MODELS, *(f"demo:{path.stem}" for path in sorted(ASSETS.glob("clip-*.safetensors")))]


def folders() -> list[Path]:
    """Where OpenAI's files are looked for: `weights/` here, this project's cache, then the cache of OpenAI's package."""
    return [Path("weights"), Path.home() / ".cache" / "jittor_ipl" / "clip", Path.home() / ".cache" / "clip"]


def find(name: str | os.PathLike) -> str:
    """Return the weight reference (a path, or `demo:<name>`) that `name` stands for.

    `name` is one of `available_models()` or a path. Raises UserError naming every place that was looked at.
    """
    name = os.fspath(name)
    if name.startswith("demo:"):
        return name
    if name in MODELS:
        stem = name.replace("/", "-").replace("@", "-")         # OpenAI's file names: ViT-L-14-336px.pt
        places = [folder / (stem + suffix) for folder in folders() for suffix in SUFFIXES]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            looked = ", ".join(str(folder / stem) for folder in folders())
            raise UserError(f"CLIP {name} is not here; looked for {looked} with {', '.join(SUFFIXES)}: "
                            f"put OpenAI's {stem}.pt into one of these folders, or give its path")
        return str(found)
    if "\0" not in name and Path(name).expanduser().exists():
        return name
    raise UserError(f"no CLIP named {name[:200]!r} and no such file{nearest(name, available_models())}; "
                    f"names: {', '.join(available_models())}")


def load(name: str | os.PathLike, activation: str | None = None) -> "tuple[Clip, Callable[[Image], jt.Var]]":
    """Return (model, preprocess): a float32 `Clip` and the function from a PIL image to its input [3, R, R].

    `name` is one of `available_models()`, or the path of a file or folder: OpenAI's .pt, JCLIP's .pkl, OpenCLIP's and
    Hugging Face's .bin, .safetensors or folder. `activation` is "quick_gelu" or "gelu" for a file that does not tell.
    Raises UserError when there is no such file or it holds no CLIP.
    """
    from jittor_ipl.weights.clip import load_clip
    model = load_clip(find(name), activation=activation)
    return model, lambda image: _as_var(preprocess_image(image, model.visual.input_resolution, *model.settings.normalisation()))


def tokenize(texts: str | Sequence[str], context_length: int = 77, truncate: bool = False) -> np.ndarray:
    """Token ids, int32 [N, context_length], exactly OpenAI's (an empty text is allowed); UserError when one is too long."""
    return text.tokenize(texts, context_length, truncate, checked=False)


def preprocess_image(image: "Image", resolution: int, mean: np.ndarray = MEAN, std: np.ndarray = STD) -> np.ndarray:
    """CLIP's pipeline for image files: float32 [3, R, R], normalised, from a PIL image of any size and mode.

    Pillow's own bicubic filter (antialiased, rounded to 8 bits) as in OpenAI's `preprocess`; tensors go through
    `Clip.preprocess`.
    """
    from PIL import Image as pil
    width, height = image.size
    short = min(width, height)
    if short == 0:
        raise UserError(f"an image of {width} x {height} pixels has no content")
    size = int(resolution * width / short), int(resolution * height / short)
    if size != image.size:
        image = image.resize(size, pil.Resampling.BICUBIC)
    left, top = (round((side - resolution) / 2) for side in size)
    image = image.crop((left, top, left + resolution, top + resolution)).convert("RGB")
    pixels = np.asarray(image, np.float32).transpose(2, 0, 1) / np.float32(255)
    return (pixels - mean.reshape(3, 1, 1)) / std.reshape(3, 1, 1)


def real_jclip_installed() -> bool:
    """Whether JCLIP, the port of CLIP, is installed; PyPI's `jclip` is a clipboard tool and does not count.

    Told by the package's files; nothing is imported. Neither is needed: JCLIP's .pkl weights load by path.
    """
    spec = importlib.util.find_spec("jclip")
    homes = [] if spec is None else [Path(home) for home in spec.submodule_search_locations or ()]
    return any(all((home / file).is_file() for file in ("clip.py", "model.py", "simple_tokenizer.py")) for home in homes)


def _as_var(array: np.ndarray) -> "jt.Var":
    from jittor_ipl.runtime.backend import jt
    return jt.array(array)
