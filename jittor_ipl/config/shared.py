"""What a suite and each of its style runs have in common."""
from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from jittor_ipl.config.sections import (
    ClipModel,
    Generate,
    GeneratorTraining,
    Losses,
    MapperTraining,
    Run,
    Section,
    Seed,
    Source,
    SuiteName,
)
from jittor_ipl.config.teacher import Teacher
from jittor_ipl.errors import UserError


class Shared(Section):
    """What a suite and each of its style runs have in common."""

    suite: SuiteName
    seed: Seed = 2
    source: Source = Source()
    clip: list[ClipModel] = Field([ClipModel(model="demo:clip-local")], min_length=1, max_length=8)
    method: Literal["ipl", "nada", "teacher"] = "ipl"   # prompts per image, one text direction for all, or `teacher`
    teacher: Teacher | None = None                   # a diffusion model; read by method "teacher" alone
    compat: Literal["none", "official"] = "none"     # official: reproduce the quirks of the original code
    mapper: MapperTraining = MapperTraining()
    generator: GeneratorTraining = GeneratorTraining()
    bfloat16: list[Literal["generator", "clip"]] = Field([], max_length=2)   # networks whose blocks multiply in it
    losses: Losses = Losses()
    generate: Generate = Generate()
    run: Run = Run()

    @model_validator(mode="after")
    def _the_teacher_is_there(self) -> Shared:
        if self.method == "teacher" and self.teacher is None:
            raise UserError("method teacher needs a section teacher: teacher={} takes the embedded model")
        return self
