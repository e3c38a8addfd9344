"""What a training leaves of a style, in files of one folder, and a base model that paints in it."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jittor_ipl.diffusion.mean_image import mean_image
from jittor_ipl.diffusion.pipeline import generate
from jittor_ipl.diffusion.recipe import DiffusionRecipe
from jittor_ipl.diffusion.style_aligned import StyleReference
from jittor_ipl.diffusion.style_id import restyle
from jittor_ipl.disk.layout import FEATURE, LORA, MEAN, SHOWN
from jittor_ipl.disk.names import SUFFIX
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import load_image, save_png
from jittor_ipl.images.pixels import from_uint8
from jittor_ipl.weights.containers.safetensors import read_safetensors, write_safetensors
from jittor_ipl.weights.lora import (
    BASE_KEY,
    from_tensors,
    read_lora,
    read_lora_for,
    require_base,
    to_tensors,
    write_diffusers_lora,
)

if TYPE_CHECKING:
    from jittor_ipl.diffusion.dreambooth import Feature
    from jittor_ipl.runtime.backend import jt
    from jittor_ipl.weights.diffusion import LatentDiffusion

_STATISTICS, _WEIGHT, _SHAPE = "statistics", "weight", "shape"


@dataclass(frozen=True)
class Painter:
    """A base model with a style.

    feature   [1, L, D], added to prompts
    mean      [1, 3, H, W] of the style's pictures, where img2img starts
    shown     one of the style's pictures, which others are aligned to or painted again like, and what it shows
    """

    model: LatentDiffusion
    feature: jt.Var | None = None
    mean: np.ndarray | None = None
    shown: StyleReference | None = None

    def paint(self, names: Sequence[str], seeds: Sequence[int], recipe: DiffusionRecipe) -> Iterator[np.ndarray]:
        """Yield one picture, uint8 [H, W, 3], for each name and seed; it depends on no other.

        Raises UserError for a start from the mean, or a look at a picture, without one, a size that does not fit, and
        values not finite.
        """
        if recipe.start == "mean" and self.mean is None:
            raise UserError(f"the pictures start from the mean of the style's own, and there is no {MEAN}: train anew")
        if recipe.looks and self.shown is None:
            raise UserError(f"the pictures look at one of the style's own, and there is no folder {SHOWN}: train anew")
        self._check_sides(recipe)
        size = None if recipe.size is None else (recipe.size, recipe.size)
        reference = self.shown._replace(caption=recipe.prompt(self.shown.caption)) if recipe.aligned else None
        made = generate(self.model, [recipe.prompt(name) for name in names], seeds, recipe, size=size,
                        pictures=self.mean if recipe.start == "mean" else None, feature=self.feature,
                        reference=reference)
        return restyle(self.model, map(from_uint8, made), self.shown.picture, recipe.style_id) \
            if recipe.style_id.on else made

    def _check_sides(self, recipe: DiffusionRecipe) -> None:
        side = recipe.size or self.model.size
        beside = {MEAN: self.mean} if recipe.start == "mean" else {}
        beside |= {SHOWN: self.shown.picture} if recipe.looks else {}
        for name, picture in beside.items():
            height, width = picture.shape[2:]
            if (height, width) != (side, side):
                raise UserError(f"size {side}: this style's pictures need its {name}, which has {width} x {height} px: "
                                f"choose size {height}, or train anew with lora.resolution={side}")


def save_style(folder: Path, lora: Mapping[str, np.ndarray], feature: Feature | None, base_sha256: str,
               half: bool = False) -> None:
    """Write a LoRA, and the style feature if there is one, with the hash of their base model; float16 if `half`."""
    from jittor_ipl.models.strict import numpy_tensors

    def stored(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: value.astype(np.float16) if half and value.ndim else value for name, value in tensors.items()}
    if feature is not None:
        tensors = {**numpy_tensors(feature.projection), _STATISTICS: feature.statistics}
        write_safetensors(folder / FEATURE, stored(tensors),
                          {BASE_KEY: base_sha256, _WEIGHT: repr(feature.weight),
                           _SHAPE: ",".join(map(str, feature.projection.shape))})
    write_diffusers_lora(folder / LORA, from_tensors(stored(lora)), metadata={BASE_KEY: base_sha256})


def copy_style(source: Path, folder: Path, recipe: DiffusionRecipe, half: bool) -> None:
    """Write the style's weights of one folder into another, in float16 if `half`, and the pictures that it needs."""
    _, metadata = read_safetensors(source / LORA)
    lora = to_tensors(read_lora(source / LORA))
    save_style(folder, lora, read_feature(source / FEATURE) if (source / FEATURE).is_file() else None,
               metadata.get(BASE_KEY, ""), half)
    for path in files_beside(source, recipe):
        if path.suffix == SUFFIX:
            save_png(folder / path.relative_to(source), load_image(path))


def save_mean(folder: Path, pictures: np.ndarray) -> None:
    """Write the mean of a style's pictures [N, 3, H, W] in [-1, 1]."""
    save_png(folder / MEAN, mean_image(pictures)[0])


def read_mean(folder: Path) -> np.ndarray | None:
    """Return the mean picture [1, 3, H, W] in [-1, 1] of a folder, None when it has none."""
    path = folder / MEAN
    return from_uint8(load_image(path))[None] if path.is_file() else None


def save_shown(folder: Path, shown: StyleReference) -> None:
    """Write one of the style's pictures under the name of what it shows."""
    save_png(folder / SHOWN / f"{shown.caption}{SUFFIX}", shown.picture[0])


def read_shown(folder: Path) -> StyleReference | None:
    """Return the picture that `save_shown` wrote, None when there is none."""
    path = next(iter(sorted((folder / SHOWN).glob(f"*{SUFFIX}"))), None)
    return None if path is None else StyleReference(from_uint8(load_image(path))[None], path.stem)


def files_beside(folder: Path, recipe: DiffusionRecipe | None = None) -> tuple[Path, ...]:
    """Return the files beside a LoRA that pictures by a recipe, by any when it is None, depend on, too."""
    mean = [folder / MEAN] if recipe is None or recipe.start == "mean" else []
    shown = sorted((folder / SHOWN).glob(f"*{SUFFIX}")) if recipe is None or recipe.looks else []
    return tuple(path for path in (folder / FEATURE, *mean, *shown) if path.is_file())


def painter(model: LatentDiffusion, lora: Path | None) -> Painter:
    """Return `model` with the style of the file `lora` and what lies beside it, in place of the one that it had.

    The LoRA is fused into the weights: a picture then costs what it costs without.

    Raises UserError for files that do not load, do not fit the model, or were trained on another base.
    """
    from jittor_ipl.models.lora import detach, fuse, unfuse
    networks = {"unet": model.unet, "text_encoder": model.text}
    detach(networks)
    unfuse(networks)
    if lora is None:
        return Painter(model)
    fuse(networks, ((name, module.delta()) for name, module in read_lora_for(model, lora).items()))
    feature, states = lora.with_name(FEATURE), None
    if feature.is_file():
        require_base(read_safetensors(feature)[1], model.sha256, str(feature))
        states = read_feature(feature).states().stop_grad()
    return Painter(model, states, read_mean(lora.parent), read_shown(lora.parent))


def read_feature(path: Path) -> Feature:
    """Read a style feature; UserError for a file that is none, or is damaged."""
    from jittor_ipl.diffusion.dreambooth import Feature
    from jittor_ipl.models.diffusion.style_feature import StyleProjection
    from jittor_ipl.models.strict import load_into
    tensors, metadata = read_safetensors(path)
    try:
        statistics, weight = tensors.pop(_STATISTICS), float(metadata[_WEIGHT])
        length, width = map(int, metadata[_SHAPE].split(","))
    except (KeyError, ValueError):
        raise UserError(f"{path} is no style feature of this project's: train anew") from None
    channels, *sides = statistics.shape[1:]
    projection = StyleProjection((channels // 2, *sides), length, width)
    load_into(projection, tensors, source=str(path))
    return Feature(projection, statistics.astype(np.float32), weight)

