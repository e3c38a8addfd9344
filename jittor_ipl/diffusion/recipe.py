"""All that a picture of a diffusion model depends on besides weights, its name and its seed."""
from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from jittor_ipl.config import LoraRun
from jittor_ipl.config.lora import Sampler, StyleId


class DiffusionRecipe(BaseModel):
    """The settings of the sampling; every one is written down, so that no default can change a recorded picture."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    caption: str                        # {} is the picture's name
    negative: str
    sampler: Sampler
    steps: int = Field(ge=1, le=1000)
    guidance: float = Field(ge=0, le=100)
    start: Literal["noise", "mean"]     # mean: of the style's pictures
    strength: float = Field(ge=0, le=1)
    aligned: bool                       # StyleAligned with one of the style's pictures
    style_id: StyleId                   # StyleID with the same one
    size: int | None                    # in pixels; None is the base model's own

    def prompt(self, name: str) -> str:
        """Return what the model is told for the picture of this name."""
        return self.caption.replace("{}", name)

    @property
    def looks(self) -> bool:
        """Whether one of the style's own pictures takes part."""
        return self.aligned or self.style_id.on

    def of_the_base(self, caption: str) -> DiffusionRecipe:
        """Return the recipe of a base model that is told `caption` and has no picture of the style."""
        return self.model_copy(update={"caption": caption, "start": "noise", "aligned": False, "style_id": StyleId()})


def recipe_of(run: LoraRun, caption: str | None = None) -> DiffusionRecipe:
    """Return the recipe that a run's configuration asks for, with another caption where one is given."""
    sample = run.sample
    return DiffusionRecipe(caption=caption or run.caption, negative=sample.negative, sampler=sample.sampler,
                           steps=sample.steps, guidance=sample.guidance, start=sample.start, strength=sample.strength,
                           aligned=sample.aligned, style_id=sample.style_id, size=run.lora.resolution)
