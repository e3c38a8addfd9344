"""A suite: one source generator, several target styles, each with its own overrides."""
from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import Field, model_validator

from jittor_ipl.config.sections import GeneratorTraining, Section, Seed, StyleName, Words
from jittor_ipl.config.shared import Shared
from jittor_ipl.config.styles import StyleList
from jittor_ipl.disk.names import MAX_NUMBER, MAX_STYLES, check_distinct, folder_of, number_of, safe_name
from jittor_ipl.errors import UserError

# Losses younger than published weights, and what of `generator` they alone read. Without a weight they stay out of
# the hash, which so remains what it was.
_YOUNGER = {"mean_direction": (), "covariance": ("spread",), "anchor": ("anchors",), "consolidation": ()}


class StyleRun(Shared):
    """Everything that one style's run depends on: the suite's settings with the style's overrides merged in."""

    number: int = Field(ge=0, lt=MAX_NUMBER)
    style: StyleName
    target: Words = Field(min_length=1)              # the target class in words
    style_images: str | None = None     # a folder of pictures: CLIP's direction leads there, a teacher learns them

    @model_validator(mode="after")
    def _losses_can_act(self) -> StyleRun:
        first, steps = self.generator.anchors.first, self.generator.steps
        if self.losses.anchor and first >= steps:
            raise UserError(f"the first anchor would come at step {first} of {steps}: lower generator.anchors.first")
        if self.losses.covariance and self.generator.batch < 2:
            raise UserError("losses.covariance compares the images of a step: generator.batch must be 2 or more")
        return self

    @model_validator(mode="after")
    def _one_lora(self) -> StyleRun:
        if self.style_images is not None and self.teacher is not None and self.teacher.lora is not None:
            raise UserError("style_images make a LoRA of the teacher, and teacher.lora names another: leave one out")
        return self

    @property
    def taught_word(self) -> str:
        """What a teacher calls the adapted pictures: the target, or the token of a style that it learns first."""
        return self.target if self.style_images is None else self.teacher.few_shot.token

    @model_validator(mode="after")
    def _what_a_teacher_reads(self) -> StyleRun:
        for name in ("steps", "batch", "lr") if self.method == "teacher" else ():
            value, ways = getattr(self.generator, name), self.teacher.ways
            if value != GeneratorTraining.model_fields[name].default:
                read = [f"teacher.pairs.{name}"] * ("pairs" in ways) + [f"teacher.scores.{name}"] * (ways != ["pairs"])
                raise UserError(f"a teacher does not read generator.{name}: set {' or '.join(read)}, such as --set "
                                f"{read[0]}={value}, or choose the method nada or ipl, which do")
        return self

    @property
    def folder(self) -> str:
        """The run's folder inside `runs/<suite>/`: `00-anime-painting`."""
        return folder_of(self.number, self.style)

    @property
    def mapper_seed(self) -> int:
        """The seed of stage 1."""
        return self.seed if self.mapper.seed is None else self.mapper.seed

    @property
    def generator_seed(self) -> int:
        """The seed of stage 2."""
        return self.seed if self.generator.seed is None else self.generator.seed

    def training_hash(self) -> str:
        """Return the SHA-256 (hex) of every setting that can change the weights: all but `run` and `generate`."""
        settings = self.model_dump(by_alias=True, exclude={"run", "generate", "number", "suite"})
        if self.method != "teacher":
            del settings["teacher"]
        elif self.style_images is None:
            del settings["teacher"]["few_shot"]
        if self.method == "teacher":        # what is younger than published weights
            if self.teacher.scores.distance == "auto":
                del settings["teacher"]["scores"]["distance"]
            if self.teacher.base_lora is None:
                del settings["teacher"]["base_lora"]
        if not self.bfloat16:
            del settings["bfloat16"]
        for loss, names in _YOUNGER.items():
            if not settings["losses"][loss]:
                del settings["losses"][loss]
                for name in names:
                    del settings["generator"][name]
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


class StyleEntry(Section):
    """One entry of `styles:`: a name alone, or a name with overrides of the suite's settings."""

    name: StyleName
    target: Words | None = Field(None, min_length=1)  # the name when not given
    style_images: str | None = Field(None, min_length=1)
    seed: Seed | None = None
    method: Any = None
    compat: Any = None
    clip: list[Any] | None = None
    teacher: dict[str, Any] = {}
    source: dict[str, Any] = {}
    mapper: dict[str, Any] = {}
    generator: dict[str, Any] = {}
    losses: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given

    def overrides(self) -> dict[str, Any]:
        """Return the suite settings that this entry changes."""
        own = ("name", "target", "style_images")
        return {key: value for key, value in self if key not in own and value not in (None, {})}


class Suite(StyleList, Shared):
    """A validated suite file."""

    styles: list[StyleEntry] = Field(min_length=1, max_length=MAX_STYLES)

    @model_validator(mode="after")
    def _names_differ(self) -> Suite:
        check_distinct(self.names())
        return self

    def run_of_words(self, style: str) -> StyleRun:
        """Return the run of a style that is not listed: the suite's settings, and a number that belongs to its name.

        Raises `UserError` for words that cannot be a folder's name, or whose folder would be a listed style's.
        """
        safe_name(style, "style name", reserve=len("000000-"))
        check_distinct([*self.names(), style])
        return self.resolve(number_of(style), StyleEntry(name=style))

    def resolve(self, number: int, entry: StyleEntry | None = None) -> StyleRun:
        """Return the run of an entry, by default of the one listed at `number`: the suite's settings with its own."""
        entry = entry or self.styles[number]
        return StyleRun.model_validate({**self.settings_of(entry), "number": number, "style": entry.name,
                                        "target": entry.target or entry.name, "style_images": entry.style_images})
