"""What can be asked for, one closed model a kind of job; the page and the JSON API fill in the same ones."""
from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from jittor_ipl.disk.names import safe_name
from jittor_ipl.runtime.streams import MAX_SEED, parse_seeds
from jittor_ipl.webui.page_error import PageError, near, phrase_of
from jittor_ipl.webui.pages.words import Phrase

REDRAWN = "redrawn"     # of the methods: the diffusion model redraws the source's picture, no generator is adapted
MOST_SEEDS, MOST_STYLES, MOST_PICTURES = 64, 12, 256
MOST_TEXT = 400         # characters of a list of seeds
# pydantic's kinds of mistakes that have words of ours, which name its bounds as its context does.
BOUNDS = {"too_short": "error.too_few", "too_long": "error.too_many", "string_too_short": "error.empty",
          "string_too_long": "error.long_text", "greater_than_equal": "error.too_small",
          "less_than_equal": "error.too_large"}
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Id = Annotated[str, Field(min_length=1, max_length=160)]
Text = Annotated[str, Field(min_length=1, max_length=200)]
Name = Annotated[str, Field(min_length=1, max_length=60)]
Coordinate = Annotated[float, Field(ge=-1, le=100_000)]
Point = tuple[Coordinate, Coordinate]
Truncation = Annotated[float, Field(ge=-2, le=2)]
Strength = Annotated[float, Field(ge=0, le=1.5)]
Offset = Annotated[float, Field(ge=-20, le=20)]


class Request(BaseModel):
    """One job, in what its sender may say."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    kind: str


class _OfSubject(Request):
    subject: Name = "portraits"


class GenerateRequest(_OfSubject):
    """Pictures of seeds in the source and in one or several styles."""

    kind: Literal["generate"] = "generate"
    styles: tuple[Id, ...] = Field((), max_length=MOST_STYLES)      # ids of the catalogue, or names
    seeds: tuple[Seed, ...] = Field((0,), min_length=1, max_length=MOST_SEEDS)      # or a text, "0,1,5-10"
    truncation: Truncation = 0.7
    strength: Strength = 1.0        # 0 is the source, 1 the style; what lies between are mixed weights
    noise: Literal["const", "none", "random"] = "const"

    @field_validator("seeds", mode="before")
    @classmethod
    def _as_list(cls, given: Any) -> Any:
        return _seeds(given)

    @model_validator(mode="after")
    def _not_too_many(self) -> GenerateRequest:
        if len(set(self.styles)) < len(self.styles):
            raise PageError("error.style_twice")
        if (count := (len(self.styles) + 1) * len(self.seeds)) > MOST_PICTURES:
            raise PageError("error.many_pictures", count=count, most=MOST_PICTURES)
        return self


class CompareRequest(_OfSubject):
    """One seed in one style by every method that has it, side by side."""

    kind: Literal["compare"] = "compare"
    style: Name                     # its name, the same in all methods
    seed: Seed = 0
    truncation: Truncation = 0.7
    methods: tuple[Name, ...] = Field((), max_length=MOST_STYLES)   # () is all; REDRAWN among them


class _OfFace(Request):
    """A picture that was uploaded, and where the face is in it."""

    upload: Id
    eyes: tuple[Point, Point] | None = None     # in pixels of the upload, the one on the picture's left first
    mouth: Point | None = None
    subject: Name = "portraits"

    @model_validator(mode="after")
    def _both(self) -> _OfFace:
        if (self.eyes is None) != (self.mouth is None):
            raise PageError("error.eyes_and_mouth")
        return self


class AlignRequest(_OfFace):
    """The face of a photograph cut out as generators know faces."""

    kind: Literal["align"] = "align"


class InvertRequest(_OfFace):
    """A photograph into the generator, and out in styles."""

    kind: Literal["invert"] = "invert"
    align: Literal["auto", "always", "never"] = "auto"
    styles: tuple[Id, ...] = Field((), max_length=MOST_STYLES)
    strength: Strength = 1.0
    tune: bool = True               # move the generator, too, until it draws the picture


class EditRequest(_OfSubject):
    """Faces changed by words, in the source and in a style."""

    kind: Literal["edit"] = "edit"
    seeds: tuple[Seed, ...] = Field((0,), min_length=1, max_length=8)
    face: Id | None = None          # an inversion's job in place of the seeds
    style: Id | None = None
    neutral: Text = "face"
    target: Text
    keep: tuple[Text, ...] = Field((), max_length=4)        # what is not to change along with it
    offsets: tuple[Offset, ...] | None = Field(None, min_length=1, max_length=9)    # None: found by the CLIP
    beta: Annotated[float, Field(ge=0, le=1)] | None = None
    truncation: Truncation = 0.7
    strength: Strength = 1.0

    @field_validator("seeds", mode="before")
    @classmethod
    def _as_list(cls, given: Any) -> Any:
        return _seeds(given)


class _Kept(_OfSubject):
    name: Name                      # what the style is called afterwards

    @field_validator("name")
    @classmethod
    def _a_folder(cls, given: str) -> str:
        return safe_name(given, "name")


class LearnRequest(_Kept):
    """A style learnt from its name."""

    kind: Literal["learn"] = "learn"
    words: Text
    method: Literal["teacher", "nada", "ipl"] | None = None     # None: the subject's own
    new_style: bool = False         # take the words as they are, however near a listed style's


class ScoreRequest(Request):
    """The figures of a suite that run_all.py made, as `summary` tells them."""

    kind: Literal["score"] = "score"
    suite: Name
    subject: Name = "portraits"


class PicturesRequest(_Kept):
    """A style learnt from a few pictures: a LoRA of the diffusion model, then the generator by it."""

    kind: Literal["learn-pictures"] = "learn-pictures"
    uploads: tuple[Id, ...] = Field(min_length=3, max_length=10)


KINDS: dict[str, type[Request]] = {
    model.model_fields["kind"].default: model
    for model in (GenerateRequest, CompareRequest, AlignRequest, InvertRequest, EditRequest, LearnRequest,
                  PicturesRequest, ScoreRequest)}


def parse(given: Any) -> Request:
    """Return the request that an object of JSON is; UserError, one line, for anything else."""
    if not isinstance(given, dict):
        raise PageError("error.no_object", kinds=", ".join(KINDS))
    kind = given.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise PageError("error.no_kind", kind=str(kind)[:40], near=near(str(kind)[:40], KINDS), kinds=", ".join(KINDS))
    try:
        return KINDS[kind].model_validate(given)
    except ValidationError as error:
        raise _first(error, KINDS[kind]) from None


def _first(error: ValidationError, model: type[Request]) -> PageError:
    """Return the first mistake, and where it is. What pydantic says but of BOUNDS is English in every language."""
    mistake = error.errors(include_url=False)[0]
    if mistake["type"] == "extra_forbidden":
        name = str(mistake["loc"][-1])[:60]
        return PageError("error.no_part", name=name, near=near(name, model.model_fields))
    if mistake["type"] == "value_error":        # a UserError, worded in full
        text = phrase_of(mistake["ctx"]["error"])
    elif mistake["type"] == "missing":
        text = Phrase("error.missing")
    else:
        said, given, bound = mistake["msg"], repr(mistake["input"]), BOUNDS.get(mistake["type"])
        reason = Phrase("error.in_english", {"text": f"{said[0].lower()}{said[1:]}"}) if bound is None else \
            Phrase(bound, mistake["ctx"])
        text = Phrase("error.value", {"text": reason, "given": given if len(given) <= 60 else given[:59] + "…"})
    if not mistake["loc"]:      # of the whole request
        return PageError(text.key, **text.fields)
    return PageError("error.at", where=_part(mistake["loc"]), text=text)


def _part(place: tuple[str | int, ...]) -> Phrase:
    """Return which part of a request a place in it is: a field, or what has a name or number inside of one."""
    whole, *inside = place
    part = Phrase(f"part.{whole}")
    return Phrase("part.inside", {"part": part, "place": ".".join(map(str, inside))}) if inside else part


def _seeds(given: Any) -> Any:
    if isinstance(given, str):
        if len(given) > MOST_TEXT:
            raise PageError("error.long_seeds", most=MOST_TEXT)
        found = parse_seeds(given)
        if len(found) > MOST_SEEDS:
            raise PageError("error.many_seeds", count=len(found), most=MOST_SEEDS)
        return found
    return [given] if isinstance(given, int) else given
