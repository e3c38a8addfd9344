"""Pictures of any prompt: by a style's LoRA, by a LoRA file of whatever program on its base, or by a base alone."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from jittor_ipl.config.lora import Sampling, StyleId
from jittor_ipl.diffusion.recipe import DiffusionRecipe
from jittor_ipl.disk.names import seed_name
from jittor_ipl.errors import UserError
from jittor_ipl.runtime.streams import parse_seeds
from jittor_ipl.submission.records import StyleSeeds
from jittor_ipl.submission.sets import SetEntry, one_of
from jittor_ipl.weights.refs import PIPELINE_INDEX, locate


def open_prompted(ref: str, seeds: str, prompt: str, changes: Mapping[str, Any], *, style: str | None = None,
                  base: str | None = None) -> SetEntry:
    """Return the entry that makes the `seeds` ("0,1,5-10") of one prompt, named by seed.

    ref       a run folder, a released style, a suite's folder with `style`, a LoRA file with its `base`, or a base
    changes   of the recipe, such as {"steps": 20}
    Raises UserError when `ref` is none of these, or for a change out of its range.
    """
    images = {seed_name(seed): seed for seed in parse_seeds(seeds)}
    if base is not None:
        entry = SetEntry("00", _plan(base, images), locate(ref), is_delta=False)
    elif (locate(ref) / PIPELINE_INDEX).is_file():
        entry = SetEntry("00", _plan(ref, images), None, is_delta=False)
    elif locate(ref).is_dir():
        entry = one_of(Path(ref), style)
    else:
        raise UserError(f"{ref}: name the base model of a LoRA file with --base")
    if not entry.is_lora:
        raise UserError(f"{entry.label} is a generator, which reads no prompt: leave --prompt out")
    try:
        recipe = DiffusionRecipe.model_validate({**dict(entry.plan.recipe), **changes,
                                                 "caption": entry.plan.recipe.prompt(prompt)})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise UserError(f"{first['loc'][0]} {changes[first['loc'][0]]!r}: {first['msg']}") from None
    return replace(entry, plan=entry.plan.model_copy(update={"recipe": recipe, "images": images}))


def _plan(base: str, images: Mapping[str, int]) -> StyleSeeds:
    """Return what a base model makes without a suite: by the defaults of a suite's sampling."""
    sample = Sampling()
    recipe = DiffusionRecipe(caption="{}", negative=sample.negative, sampler=sample.sampler, steps=sample.steps,
                             guidance=sample.guidance, start="noise", strength=sample.strength, aligned=False,
                             style_id=StyleId(), size=None)
    return StyleSeeds(style=Path(base).name, source=base, recipe=recipe, images=dict(images))
