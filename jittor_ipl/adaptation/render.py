"""From a generator and seeds to pictures: the same seed gives the same pixels whatever the batch, order or worker."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from jittor_ipl.errors import UserError
from jittor_ipl.images.pixels import to_uint8
from jittor_ipl.runtime.memory import lack_as_user_error
from jittor_ipl.runtime.streams import MAX_SEED, rng, z_from_seeds

if TYPE_CHECKING:
    from jittor_ipl.models.stylegan2.generator import Generator


class Recipe(BaseModel):
    """All that a picture depends on besides the weights and its seed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    truncation: float = Field(0.7, ge=-2, le=2)                 # psi of the truncation trick; 1 keeps w as it is
    noise: Literal["const", "none", "random"] = "const"         # "random" draws each picture's noise from its own seed
    mean_latent_samples: int = Field(4096, ge=1, le=1_000_000)  # z draws behind the centre, without latent_avg
    mean_latent_seed: int = Field(2, ge=0, le=MAX_SEED)


def render(generator: Generator, seeds: Sequence[int], recipe: Recipe, *, batch: int = 8) -> Iterator[np.ndarray]:
    """Yield one picture, uint8 [H, W, 3], per seed and in the order of `seeds`, with z = RandomState(seed).randn.

    Each picture is a pass of its own: oneDNN and cuDNN choose the order of their sums by the batch size, so that a
    shared pass moves some pixels by one level. `batch` only says how many passes are handed to Jittor at once. Raises
    UserError for seeds outside 0..2**32-1 and for weights that give values that are not finite.
    """
    from jittor_ipl.models.stylegan2.pictures import picture
    from jittor_ipl.runtime.backend import jt
    assert batch >= 1, batch
    center = None if recipe.truncation == 1 else generator.center(recipe.mean_latent_samples, recipe.mean_latent_seed)
    for start in range(0, len(seeds), batch):
        passes = []
        with jt.no_grad(), lack_as_user_error(f"{batch} pictures of {generator.size} px at once",
                                              "lower --batch and --workers"):
            for seed in seeds[start:start + batch]:
                noise = generator.draw_noise(rng(seed, "noise"), 1) if recipe.noise == "random" else recipe.noise
                z = z_from_seeds([seed], generator.style_dim)
                passes.append((seed, picture(generator, z, noise, recipe.truncation, center)))      # [1, 3, H, W]
            jt.sync([image for _, image in passes])
        for seed, image in passes:
            pixels = image.numpy()[0]
            if not np.isfinite(pixels).all():
                raise UserError(f"the generator gives values that are not finite for seed {seed}: "
                                "the weights are damaged or the training diverged")
            yield to_uint8(pixels)
