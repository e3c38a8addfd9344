"""The CLIPs that a configuration asks for, each with its weight and all that it knows of the two classes."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from jittor_ipl.adaptation import directions
from jittor_ipl.adaptation.batches import at_once
from jittor_ipl.config import StyleRun, class_prompts_of
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import list_images, load_image
from jittor_ipl.images.pixels import from_uint8
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.clip.texts import constant, encode_texts, template_features
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.models.stylegan2.pictures import pictures
from jittor_ipl.ops.norms import unit
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import rng
from jittor_ipl.text.questions import read_variations, variations_path
from jittor_ipl.text.templates import PART_TEMPLATES
from jittor_ipl.text.tokenizer import fill_templates, tokenizer
from jittor_ipl.weights.clip import load_clip

FEW_SHOT_SOURCES = 16  # generated images behind a few-shot direction (NADA's img2img_batch)


@dataclass(frozen=True)
class Listener:
    """One CLIP of the ensemble, its weight, and all that it knows of the two classes; every feature is constant."""

    clip: Clip
    weight: float
    direction: jt.Var          # [1, d] unit: from the source class to the target class
    length: float              # of the way between them, before it was made a unit
    source_text: jt.Var        # [1, d] mean of the 79 normalised template features
    target_text: jt.Var        # [1, d]
    global_text: jt.Var        # [1, d] "a <target>", for the global loss
    class_text: jt.Var         # [1, d] "<target>", for the choice of layers
    part_directions: jt.Var    # [15, d] unit, or [0, d] when no patch loss needs them
    scale: float               # exp(logit_scale)
    answers: tuple[tuple[jt.Var, jt.Var], ...] = ()    # per question: unit [n, d] in words of the source, of the target
    names: jt.Var | None = None     # [2 + n, d]: target class, source class, and what else images must not be taken for
    varied: jt.Var | None = None    # [K, d] unit: text directions around `direction`, for the loss on covariance


def listen(clip: Clip, weight: float, source_class: str, target_class: str, *, parts: bool = False,
           image_offset: jt.Var | None = None, questions: Sequence[Sequence[str]] = (),
           names: Sequence[str] | None = None) -> Listener:
    """Return the listener of `clip` for these classes; `image_offset` [1, d] (few-shot) replaces the texts'.

    `parts` prepares the patch loss: 30 class names more in 79 templates each. `questions`: lists of answers with {} in
    place of the class, for the loss on variations; `names`: further classes that images must not be taken for, for the
    loss on naming. Raises UserError for an over-long class.
    """
    source, target = (template_features(clip, name) for name in (source_class, target_class))
    mean_source, mean_target = directions.mean_feature(source), directions.mean_feature(target)
    if image_offset is None:
        offset, direction = mean_target - mean_source, directions.class_direction(source, target)
    else:
        offset, direction = image_offset, constant(unit(image_offset, eps=1e-8))
    answers = tuple((_answers(clip, asked, source_class), _answers(clip, asked, target_class)) for asked in questions)
    if names is not None:
        others = [directions.mean_feature(template_features(clip, name)) for name in names]
        names = constant(jt.concat([mean_target, mean_source, *others], 0))
    global_text, class_text = (encode_texts(clip, [text]) for text in (f"a {target_class}", target_class))
    return Listener(
        clip, weight, direction, float(np.linalg.norm(offset.numpy())), mean_source, mean_target,
        global_text=global_text, class_text=class_text,
        part_directions=_part_directions(clip, source_class, target_class) if parts else jt.zeros([0, source.shape[1]]),
        scale=float(clip.logit_scale.exp().item()), answers=answers, names=names)


def _part_directions(clip: Clip, source_class: str, target_class: str) -> jt.Var:
    pairs = zip(*(fill_templates(name, PART_TEMPLATES) for name in (source_class, target_class)))
    features = ([template_features(clip, name) for name in pair] for pair in pairs)
    return jt.concat([directions.class_direction(*pair) for pair in features], 0).stop_grad()


def _answers(clip: Clip, question: Sequence[str], class_name: str) -> jt.Var:
    texts = [answer.replace("{}", class_name) for answer in question]
    return constant(unit(encode_texts(clip, texts)))


def make_listeners(config: StyleRun, source: Generator) -> list[Listener]:
    """Return one listener per entry of `clip:`, in order.

    Raises `UserError` for weights that cannot be read, or a texture loss without a ResNet.
    """
    clips = [load_clip(model.model, activation=model.activation) for model in config.clip]
    if config.losses.texture and not any(clip.is_resnet for clip in clips):
        raise UserError("losses.texture needs a CLIP with a ResNet image tower; "
                        "add one to clip: or set the weight to 0")
    few_shot = None
    if config.style_images is not None:
        styles = [from_uint8(load_image(path)) for path in list_images(config.style_images)]
        z = rng(config.generator_seed, "few-shot.z").standard_normal((FEW_SHOT_SOURCES, source.style_dim), np.float32)
        few_shot = pictures(source, z, at_once(source.size)), styles
    classes = config.source.class_name, config.target
    asked = config.losses.variations
    questions = read_variations(variations_path(config.generator.variations), classes) if asked else []
    listeners = [listen(clip, model.weight, *classes, parts=bool(config.losses.patch), questions=questions,
                        image_offset=directions.image_offset(clip, *few_shot) if few_shot else None,
                        names=other_names(config)) for model, clip in zip(config.clip, clips)]
    if not config.losses.covariance:
        return listeners
    return [replace(one, varied=directions.varied(one.direction, config.generator.spread,
                                       rng(config.generator_seed, "covariance", index=index)))
            for index, one in enumerate(listeners)]


def other_names(config: StyleRun) -> list[str] | None:
    """Return what images must not be taken for beside the source class, None where the loss on naming has no weight."""
    if not config.losses.naming:
        return None
    return [name for name in config.generator.others if name not in (config.source.class_name, config.target)]


def unknown_words(clips: Sequence[Clip], config: StyleRun) -> list[str]:
    """Return the words of the prompts that one of the CLIPs has no embedding for (compact demo weights)."""
    prompts = [prompt.text for prompt in class_prompts_of(config)] + (other_names(config) or [])
    words = dict.fromkeys(word for prompt in prompts for word in prompt.replace("_", " ").split())
    return [word for word in words if any(known_share(clip, [word]) < 1 for clip in clips)]


def known_share(clip: Clip, texts: Sequence[str]) -> float:
    """Return which part of the tokens of `texts` this CLIP has an embedding for; 1 for all but compact demo weights.

    Unknown ones are zero vectors: a prompt keeps its place for them, and they say nothing.
    """
    known = getattr(clip, "known_tokens", None)
    if known is None:
        return 1.0
    tokens = np.concatenate([tokenizer().encode(text) for text in texts])
    return float(np.isin(tokens, known).mean())
