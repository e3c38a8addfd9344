"""The typed, closed sections of a suite: every number that a run depends on, with its range and its default."""
from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from jittor_ipl.disk.names import safe_name
from jittor_ipl.errors import UserError, nearest

MAX_SEED = 2**32 - 1  # of NumPy's RandomState
MAX_PROMPT_CHARACTERS = 1000  # far above what 77 tokens hold: only a guard before the tokenizer

Steps = Annotated[int, Field(ge=0, le=10_000_000)]
Batch = Annotated[int, Field(ge=1, le=4096)]
Rate = Annotated[float, Field(gt=0, le=10)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Words = Annotated[str, Field(max_length=MAX_PROMPT_CHARACTERS)]
SuiteName = Annotated[str, AfterValidator(partial(safe_name, what="suite name"))]
StyleName = Annotated[str, AfterValidator(partial(safe_name, what="style name", reserve=len("00-")))]
# No mapping network: both generators are given the source's w, so the target's own mapping would never learn.
TrainGroup = Literal["convs", "rgb", "modulation", "const", "noise", "maps"]
Phase = Literal["auto", "all", "texture", "shape", "shape_expanded", "no_fine", "no_mapping", "coarse", "medium",
                "fine"]


class Section(BaseModel):
    """A closed, immutable group of settings: an unknown key is refused with the nearest known one."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True,
                              populate_by_name=False, hide_input_in_errors=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        known = [field.alias or name for name, field in cls.model_fields.items()]
        for key in given:
            if key not in known:
                near = nearest(key, known) or f"; known keys: {', '.join(known)}"
                raise UserError(f"unknown key {key!r}{near}")
        return given


class Source(Section):
    """The frozen generator to start from."""

    class_name: Words = Field("photo", alias="class", min_length=1)  # what its images are, in words
    generator: str = Field("demo:generator", min_length=1)           # a weight file, or demo:<name>
    mean_latent_samples: int = Field(4096, ge=1, le=1_000_000)        # z draws behind the centre of truncation


class ClipModel(Section):
    """One CLIP of the ensemble that listens to the images."""

    model: str = Field(min_length=1)  # a weight file or folder, or demo:<name>
    weight: Weight = 1.0              # of its losses in the sum
    activation: Literal["quick_gelu", "gelu"] | None = None  # for weights that do not tell (OpenCLIP)


class MapperTraining(Section):
    """Stage 1: the prompt mapper (IPL, section 3.2)."""

    architecture: Literal["ipl", "transformer_v1", "transformer_v2", "transformer_v3", "levels"] = "ipl"
    n_ctx: int = Field(4, ge=1, le=64)      # prompt vectors per image
    init: Words = "a photo of a"            # the hand-written prompt beside the learned one; one word per vector
    steps: Steps = 300
    batch: Batch = 32
    lr: Rate = 0.05
    lambda_domain: Weight = 1.0             # pulls target prompts towards the 79 templates of the target
    lambda_source: Weight = 0.0             # the same for the source, relative to lambda_domain
    lambda_prompts: Weight = 0.0            # the same towards a list, relative to lambda_domain (thesis: 0.2)
    prompts: str | None = Field(None, min_length=1, max_length=4096)   # the list: a text file, shipped or demo
    replace_domain: bool = False            # the list takes the place of the 79 templates
    mixing: Fraction = 0.0                  # probability of two codes in one image
    seed: Seed | None = None                # the suite's when not given

    @model_validator(mode="after")
    def _numbers_fit(self) -> MapperTraining:
        if self.lambda_prompts and self.prompts is None:
            raise UserError("lambda_prompts needs a list: set prompts to a text file, shipped or demo")
        if self.replace_domain and not self.lambda_prompts:
            raise UserError("replace_domain without lambda_prompts leaves nothing to pull the prompts towards the "
                            "style: set lambda_prompts to 1")
        if self.architecture == "levels" and self.n_ctx < 3:
            raise UserError(f"a mapper of levels writes at least 3 prompt vectors, n_ctx is {self.n_ctx}")
        words = len(self.init.split())
        if words and words != self.n_ctx:
            raise UserError(f"init {self.init!r} has {words} words but n_ctx is {self.n_ctx}: make them equal")
        return self


class AnchorSteps(Section):
    """When the loss on anchors takes the half-adapted generator as a new place to start from, in steps of stage 2."""

    first: int = Field(130, ge=1, le=10_000_000)
    every: int = Field(30, ge=1, le=10_000_000)


class GeneratorTraining(Section):
    """Stage 2: how the target generator trains (IPL, section 3.3)."""

    steps: Steps = 300
    batch: Batch = 2
    lr: Rate = 0.002
    betas: list[Decay] = Field([0.0, 0.99], min_length=2, max_length=2)
    lazy_ratio: float = Field(0.8, gt=0, le=1)   # Adam runs with lr * ratio and betas ** ratio; the originals: 4 / 5
    schedule: Literal["constant", "cosine"] = "constant"
    ema: Decay = 0.99                            # of the averaged generator, the one that is kept
    mixing: Fraction = 0.0                       # probability of two codes in one image
    noise: Literal["random", "const"] = "random"  # of the synthesis layers while training
    layers: Phase = "auto"                       # which layers train: chosen by CLIP, all, or a fixed phase
    auto_layers_k: int = Field(12, ge=1, le=18)  # how many layers the automatic choice keeps
    auto_layers_batch: Batch = 8
    auto_layers_iters: int = Field(1, ge=1, le=100)   # SGD steps on W+ before layers are ranked
    auto_layers_every: int = Field(1, ge=1, le=10_000_000)  # training steps between two choices
    train: list[TrainGroup] = ["convs"]          # parameter groups of the chosen layers that move
    maps_rate: float = Field(1.0, gt=0, le=1000)  # learning rate of the stored noise maps, as a multiple of lr
    views: int = Field(0, ge=0, le=16)           # random views of each image in the loss beside the plain one
    view_scale: float = Field(0.6, gt=0, le=1)   # smallest side of a view, as a part of the image's
    view_noise: float = Field(0.0, ge=0, le=10)   # largest deviation of noise on views, for CLIPs trained under it
    direction_floor: float = Field(0.0, ge=0, le=10)  # image directions below this are not stretched to unit length
    variations: str = Field("portraits", min_length=1, max_length=4096)   # questions: a text file, portraits or pets
    # Domains that images must not be taken for, for the loss on naming.
    others: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field([], max_length=100)
    spread: float = Field(0.25, gt=0, le=10)     # of covariance's text directions, in lengths of the direction
    anchors: AnchorSteps = AnchorSteps()
    seed: Seed | None = None                     # the suite's when not given

    @model_validator(mode="after")
    def _no_group_twice(self) -> GeneratorTraining:
        if len(set(self.train)) != len(self.train) or not self.train:
            raise UserError("train must name at least one group, none of them twice")
        return self

    def adam(self) -> tuple[float, tuple[float, float]]:
        """Return the learning rate and betas after the lazy-regularisation correction (StyleGAN2, appendix B)."""
        return self.lr * self.lazy_ratio, (self.betas[0] ** self.lazy_ratio, self.betas[1] ** self.lazy_ratio)


class Losses(Section):
    """Weights of the stage 2 losses; 0 leaves a loss out."""

    directional: Weight = 1.0
    global_: Weight = Field(0.0, alias="global")  # image against target text
    manifold: Weight = 0.0
    texture: Weight = 0.0
    patch: Weight = 0.0
    variations: Weight = 0.0                       # answers to the questions of generator.variations stay
    naming: Weight = 0.0                           # images are named as the target, not as source or generator.others
    mean_direction: Weight = 0.0                   # the images' mean change points as the text does
    covariance: Weight = 0.0                       # image directions are as far apart as varied text directions
    anchor: Weight = 0.0                           # direction from the half-adapted generator to the target
    consolidation: Weight = 0.0                    # weights that the source's images depend on stay
    structure: Weight = 0.0                        # contours of the source image stay
    range: Weight = 0.0                            # penalty on values outside [-1, 1]

    @model_validator(mode="after")
    def _something_to_minimise(self) -> Losses:
        if not any(weight for name, weight in self.model_dump().items() if name not in ("anchor", "consolidation")):
            raise UserError("no loss that asks for a change has a weight: nothing would train")
        return self


class Generate(Section):
    """The seeded test set."""

    seeds: str = Field("0-24", min_length=1, max_length=10_000)  # like "0,1,5-10"
    truncation: float = Field(0.7, ge=-2, le=2)
    noise: Literal["const", "none", "random"] = "const"  # random: drawn from each image's own seed

    @field_validator("seeds", mode="before")
    @classmethod
    def _numbers_are_seeds(cls, given: Any) -> Any:
        """Take 7 and [1, 2, 3] as YAML reads them, for "7" and "1,2,3"."""
        if isinstance(given, str):
            return given
        numbers = given if isinstance(given, list) else [given]
        if not numbers or not all(type(number) is int for number in numbers):
            raise UserError(f"{repr(given)[:60]} are no seeds; write 7, [1, 2] or 0,1,5-10")
        return ",".join(map(str, numbers))


class Run(Section):
    """What a run writes while it works; nothing here changes the weights."""

    sample_every: int = Field(50, ge=1)
    samples: int = Field(8, ge=0, le=256)        # images in a sample grid; 0 for no grids
    checkpoint_every: int = Field(100, ge=1)
    keep: int = Field(2, ge=1, le=1000)          # checkpoints kept
    log_every: int = Field(10, ge=1)
    tensorboard: bool = True
