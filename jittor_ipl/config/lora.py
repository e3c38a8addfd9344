"""A suite with `method: lora`: one base diffusion model, and for each style a LoRA taught by a few pictures of it."""
from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from jittor_ipl.config.sections import Fraction, Rate, Run, Section, Seed, Steps, StyleName, SuiteName, Weight, Words
from jittor_ipl.config.styles import StyleList
from jittor_ipl.disk.names import MAX_NUMBER, MAX_STYLES, check_distinct, folder_of
from jittor_ipl.errors import UserError

UNET_TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj"]
TEXT_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj"]
Target = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$", max_length=200)]
Sampler = Literal["ddpm", "ddim", "pndm", "euler", "euler-a", "dpm++2m"]


class Captions(Section):
    """What the base model is told, in training and for the test set; the blanks are filled in by name."""

    template: Words = "{description}, {word}"     # {description}: a picture's file name, or a prompt of the test set
    word: Words = Field("style_{number}", min_length=1)   # what stands for the style: {number} of two digits, {style}
    base: Words | None = None     # what the base model alone is told for comparison; null compares nothing

    @model_validator(mode="after")
    def _blanks_are_known(self) -> Captions:
        known = {"template": ("description", "word"), "word": ("number", "style"),
                 "base": ("description", "style", "number")}
        for field, blanks in known.items():
            text = getattr(self, field) or ""
            for blank in re.findall(r"[{}][^{}]*\}?", text):
                if blank[1:-1] not in blanks or not blank.startswith("{"):
                    raise UserError(f"{field} {text!r}: {blank!r} is no blank; there are "
                                    + " and ".join(f"{{{name}}}" for name in blanks))
        if "{description}" not in self.template:
            raise UserError(f"template {self.template!r} has no {{description}}: all pictures would be told alike")
        return self


class PriorPreservation(Section):
    """Pictures of the base model that keep the LoRA from changing all else (DreamBooth, section 3.2)."""

    weight: Weight = 0.0                          # of their loss; 0 makes none
    pictures: int = Field(50, ge=1, le=10_000)
    caption: Words = "a picture"


class StyleFeature(Section):
    """Where the style's pictures lie in the VAE's latents, as convolutions, added to the prompt's features."""

    on: bool = False
    weight: Weight = 0.01
    lr: Rate = 0.001                              # of its convolutions


class LoraTraining(Section):
    """DreamBooth: what trains, and how."""

    rank: int = Field(4, ge=1, le=1024)
    alpha: float | None = Field(None, gt=0, le=1e4)      # the rank when not given
    unet_targets: list[Target] = Field(UNET_TARGETS, min_length=1, max_length=100)  # ends of diffusers' module names
    text_targets: list[Target] = Field(TEXT_TARGETS, max_length=100)   # [] leaves the text encoder as it is
    initial: Literal["gaussian", "kaiming"] = "gaussian"    # how down is drawn, by peft's names; up starts at zero
    latents: Literal["sample", "mean"] = "sample"   # of a picture: drawn anew each time, or the autoencoder's best one
    caption_dropout: Fraction = 0.0               # of the pictures that are told the empty prompt
    steps: Steps = 700
    batch: int = Field(1, ge=1, le=256)
    accumulation: int = Field(1, ge=1, le=1000)   # batches whose gradients make one step
    lr_unet: Rate = 1e-4
    lr_text: Rate = 5e-5
    lora_plus: float = Field(1.0, gt=0, le=1000)  # learning rate of up over that of down (LoRA+)
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: int = Field(0, ge=0, le=10_000_000)   # steps with a rising learning rate
    weight_decay: Weight = 0.01
    max_norm: float | None = Field(1.0, gt=0)     # gradients are scaled down to it; null leaves them
    min_snr: float | None = Field(None, gt=0, le=1000)   # gamma of the min-SNR weights; null weighs all times alike
    resolution: int | None = Field(None, ge=8, le=4096, multiple_of=8)   # in pixels; the base model's own size
    checkpointing: bool = False                   # compute activations again in the backward pass: less memory
    bfloat16: bool = False                        # the U-Net's blocks multiply in it
    prior: PriorPreservation = PriorPreservation()
    feature: StyleFeature = StyleFeature()
    seed: Seed | None = None                      # the suite's when not given


class StyleId(Section):
    """StyleID behind the sampling: every picture painted again in the style of one of the style's own."""

    on: bool = False
    gamma: Fraction = 0.75                        # share of the first picture's queries, the rest are the new one's
    temperature: float = Field(1.5, gt=0, le=10)  # factor of the attention's logits
    layers: int = Field(5, ge=1, le=100)          # how many self-attentions at the end of the way up
    steps: int = Field(20, ge=1, le=1000)         # of DDIM, there and back


class Sampling(Section):
    """How the pictures of the test set, and the samples during training, are made."""

    sampler: Sampler = "dpm++2m"
    steps: int = Field(25, ge=1, le=1000)
    guidance: float = Field(7.5, ge=0, le=100)    # 1 leaves the empty prompt out
    negative: Words = ""                          # in place of the empty prompt
    start: Literal["noise", "mean"] = "noise"     # mean: img2img from the mean of the style's pictures
    strength: Fraction = 0.9                      # of the noise on that start
    aligned: bool = False                         # StyleAligned: share the style of one of the style's pictures
    style_id: StyleId = StyleId()
    seed: int = Field(0, ge=0, le=2_000_000_000)  # the first prompt's; each next one's is one more
    candidates: int = Field(1, ge=1, le=100)      # pictures a prompt, of which the local score chooses


class LoraShared(Section):
    """What a suite of LoRA and each of its style runs have in common."""

    suite: SuiteName
    method: Literal["lora"]
    seed: Seed = 2
    base: str = Field("demo:diffusion", min_length=1)   # a folder in diffusers' layout, or demo:<name>
    data: str = Field("demo", min_length=1)             # a folder of <NN>/images/* and <NN>/prompt.json, or demo
    captions: Captions = Captions()
    lora: LoraTraining = LoraTraining()
    sample: Sampling = Sampling()
    run: Run = Run()


class LoraRun(LoraShared):
    """All that one style's run depends on: the suite's settings with the style's overrides merged in."""

    number: int = Field(ge=0, lt=MAX_NUMBER)
    style: StyleName

    @property
    def folder(self) -> str:
        """The run's folder inside `runs/<suite>/`: `00-ukiyo-e`."""
        return folder_of(self.number, self.style)

    @property
    def training_seed(self) -> int:
        """The seed of the training."""
        return self.seed if self.lora.seed is None else self.lora.seed

    @property
    def word(self) -> str:
        """What stands for the style in captions: `style_00`."""
        return self._filled(self.captions.word)

    @property
    def caption(self) -> str:
        """The caption with {} for the description: `{}, style_00`."""
        return self._filled(self.captions.template.replace("{word}", self.captions.word), description="{}")

    @property
    def base_caption(self) -> str | None:
        """What the base model alone is told, with {} for the description; None when it is not compared."""
        return None if self.captions.base is None else self._filled(self.captions.base, description="{}")

    def _filled(self, text: str, **more: str) -> str:
        for blank, value in {"number": f"{self.number:02d}", "style": self.style, **more}.items():
            text = text.replace(f"{{{blank}}}", value)
        return text

    def training_hash(self) -> str:
        """Return the SHA-256 (hex) of every setting that can change the weights.

        Files are not among them, nor where they lie: who compares runs adds the hashes of base model and pictures.
        """
        settings = self.model_dump(by_alias=True,
                                   exclude={"run", "sample", "number", "suite", "base", "data", "captions"})
        settings["caption"] = self.caption
        if not self.lora.bfloat16:
            del settings["lora"]["bfloat16"]
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


class LoraEntry(Section):
    """One entry of `styles:`: a name alone, or a name with overrides of the suite's settings."""

    name: StyleName
    seed: Seed | None = None
    captions: dict[str, Any] = {}
    lora: dict[str, Any] = {}
    sample: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given

    def overrides(self) -> dict[str, Any]:
        """Return the suite settings that this entry changes."""
        return {key: value for key, value in self if key != "name" and value not in (None, {})}


class LoraSuite(StyleList, LoraShared):
    """A validated suite of LoRA: the style at place N of the list has its pictures in the data's folder NN."""

    styles: list[LoraEntry] = Field(min_length=1, max_length=MAX_STYLES)

    @field_validator("styles")
    @classmethod
    def _names_differ(cls, entries: list[LoraEntry]) -> list[LoraEntry]:
        check_distinct(entry.name for entry in entries)
        return entries

    def resolve(self, number: int) -> LoraRun:
        """Return the run of the style listed at `number`: the suite's settings with its own."""
        return LoraRun.model_validate({**self.settings_of(self.styles[number]), "number": number,
                                       "style": self.styles[number].name})
