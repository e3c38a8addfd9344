"""The typed section of a suite that makes a diffusion model the generator's teacher."""
from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from jittor_ipl.config.lora import UNET_TARGETS, LoraTraining, Target
from jittor_ipl.config.sections import Batch, Fraction, Rate, Section, Steps, Weight, Words
from jittor_ipl.errors import UserError

Distance = Literal["auto", "absolute", "squared"]
Way = Literal["pairs", "dds", "sds", "ld"]
Guidance = Annotated[float, Field(ge=0, le=100)]


class PairsTraining(Section):
    """Way `pairs`: the source's pictures, redrawn by the teacher, are what the generator learns by regression."""

    count: int = Field(256, ge=1, le=100_000)   # pictures of the source that the teacher redraws, once
    steps: Steps = 250                          # of the generator's training
    batch: Batch = 8
    lr: Rate = 0.015
    inversion: Fraction = 0.75                  # how far into the noise a picture is taken, 1 all the way (tau)
    sampling_steps: int = Field(10, ge=1, le=1000)   # of the inversion, and of the way back
    guidance: Guidance = 2.0                    # towards the target's words; 1 without
    residual: Fraction = 0.5                    # share of what the autoencoder lost on the source that is given back
    sharpen: float = Field(0.0, ge=0, le=4)     # unsharp mask on what the generator learns from: regression blurs
    at_once: Batch = 32                         # pictures that the teacher redraws together

    @model_validator(mode="after")
    def _enough_for_a_batch(self) -> PairsTraining:
        if self.batch > self.count:
            raise UserError(f"pairs.batch {self.batch} is more than pairs.count {self.count}")
        return self


class ScoreTraining(Section):
    """Ways `dds`, `sds` and `ld`: at every step the teacher says how the generator's own pictures should change."""

    steps: Steps = 220
    batch: Batch = 6
    lr: Rate = 0.006
    guidance: Guidance = 3.0
    noise_from: Fraction = 0.02                 # range of t, as a share of the teacher's timesteps
    noise_to: Fraction = 0.98                   # upper end at the first step ...
    noise_last: Fraction = 0.5                  # ... and at the last
    strength: Weight = 1.0                      # of a step in latents
    distance: Distance = "auto"                 # squared where the way begins with the source, absolute after another

    @model_validator(mode="after")
    def _a_range(self) -> ScoreTraining:
        if self.noise_from >= min(self.noise_to, self.noise_last):
            raise UserError(f"noise_from {self.noise_from} must be below noise_to {self.noise_to} and noise_last "
                            f"{self.noise_last}")
        return self


class FewShot(LoraTraining):
    """The LoRA that a run's `style_images` make of the teacher: as in a suite of LoRA, with values for a few pictures.

    The adapted pictures are then called by its `token`, in place of the target's name.
    """

    token: Words = Field("style_00", min_length=1)
    rank: int = Field(8, ge=1, le=1024)
    unet_targets: list[Target] = Field([*UNET_TARGETS, "conv1", "conv2"], min_length=1, max_length=100)
    steps: Steps = 200
    batch: int = Field(4, ge=1, le=256)
    lr_unet: Rate = 2e-3
    lr_text: Rate = 1e-3
    caption_dropout: Fraction = 0.1

    @model_validator(mode="after")
    def _words_alone_tell_the_style(self) -> FewShot:
        if self.feature.on or self.prior.weight:
            raise UserError("teacher.few_shot has neither feature nor prior: leave them out")
        return self


class Teacher(Section):
    """The diffusion model that teaches, what it is told, and in which ways it teaches, one after the other.

    `source` may name {class} and {description}, `target` {target} and {description}, which says of each picture what
    a CLIP sees in it. Which tensors train, with which betas, schedule, average and noise, is `generator`'s to say.
    """

    model: str = Field("demo:diffusion-all", min_length=1)     # a folder in diffusers' layout, or demo:<name>
    base_lora: str | None = Field(None, min_length=1)   # a LoRA file or demo:<name> of what it cannot draw yet
    lora: str | None = Field(None, min_length=1)   # a LoRA file of a style; it hears the source's words without
    ways: list[Way] = Field(["pairs"], min_length=1, max_length=4)
    source: Words = Field("{class}", min_length=1)     # what it is told of the source's pictures
    target: Words = Field("{target}", min_length=1)    # and of the adapted ones
    describe: str | None = Field(None, min_length=1, max_length=4096)   # portraits, faces, pets or a file
    pairs: PairsTraining = PairsTraining()
    scores: ScoreTraining = ScoreTraining()
    edges: Weight = 0.5                        # of the differences between neighbouring pixels in the regression
    coarse: Weight = 1.0                       # of the same regression at a quarter of the side
    few_shot: FewShot = FewShot()              # what a run with style_images makes of the model first
    clip: Weight = 0.0                         # of the suite's `losses` beside the teacher's

    @model_validator(mode="after")
    def _words_can_be_filled(self) -> Teacher:
        for name, known in (("source", ("class", "description")), ("target", ("target", "description"))):
            for slot in re.findall(r"\{(\w*)\}", getattr(self, name)):
                if slot not in known:
                    raise UserError(f"teacher.{name} names {{{slot}}}; choose {' or '.join(f'{{{k}}}' for k in known)}")
        asked = any("{description}" in words for words in (self.source, self.target))
        if asked != (self.describe is not None):
            raise UserError("teacher.describe names the list behind {description}: "
                            + ("set it to portraits, faces, pets or a file" if asked else "say {description} in source "
                               "and target, or leave it out"))
        if len(set(self.ways)) != len(self.ways):
            raise UserError("teacher.ways names a way twice")
        return self
