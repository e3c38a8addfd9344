"""The ensemble of CLIPs that a configuration asks for, loaded, checked against its words, and told what to listen for."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from jittor_ipl.adaptation.directions import Listener, image_offset, listen, varied
from jittor_ipl.config import StyleRun
from jittor_ipl.errors import UserError, nearest
from jittor_ipl.images.files import list_images, load_image
from jittor_ipl.images.pixels import from_uint8
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import rng
from jittor_ipl.text.questions import read_variations, variations_path
from jittor_ipl.text.tokenizer import class_prompts, tokenize, tokenizer
from jittor_ipl.weights.clip import load_clip

FEW_SHOT_SOURCES = 16  # generated images behind a few-shot direction (NADA's img2img_batch)


def make_listeners(config: StyleRun, source: Generator) -> list[Listener]:
    """Return one listener per entry of `clip:`, in order.

    Raises `UserError` for weights that cannot be read, words that a CLIP never saw, or a texture loss without a ResNet.
    """
    clips = [load_clip(model.model, activation=model.activation) for model in config.clip]
    for model, clip in zip(config.clip, clips):
        check_known_words(clip, model.model, config)
    if config.losses.texture and not any(clip.is_resnet for clip in clips):
        raise UserError("losses.texture needs a CLIP with a ResNet image tower; add one to clip: or set the weight to 0")
    pictures = _style_pictures(config, source)
    questions = variations_of(config)
    listeners = [listen(clip, model.weight, config.source.class_name, config.target, parts=bool(config.losses.patch),
                        image_offset=image_offset(clip, *pictures) if pictures else None, questions=questions,
                        names=other_names(config))
                 for model, clip in zip(config.clip, clips)]
    if config.losses.covariance:
        listeners = [replace(one, varied=varied(one.direction, config.generator.spread, rng(config.generator_seed, "covariance", index=index)))
                     for index, one in enumerate(listeners)]
    return listeners


def other_names(config: StyleRun) -> list[str] | None:
    """Return what images must not be taken for beside the source class, None where the loss on naming has no weight."""
    if not config.losses.naming:
        return None
    return [name for name in config.generator.others if name not in (config.source.class_name, config.target)]


def variations_of(config: StyleRun) -> list[list[str]]:
    """Return the questions of the loss on variations, [] where it has no weight."""
    if not config.losses.variations:
        return []
    return read_variations(variations_path(config.generator.variations), (config.source.class_name, config.target))


def check_known_words(clip: Clip, ref: str, config: StyleRun) -> None:
    """Raise `UserError` when the prompts hold a word that this CLIP has no embedding for (compact demo weights)."""
    known = getattr(clip, "known_tokens", None)
    if known is None:
        return
    words = {int(token): tokenizer().decode([token]).strip() for token in known}
    for class_name in (config.source.class_name, config.target, *(other_names(config) or ())):
        prompt = class_prompts(class_name, config.mapper.init, config.mapper.n_ctx)
        unknown = [int(token) for token in tokenize(prompt.text)[0] if token and int(token) not in words]
        if unknown:
            word = tokenizer().decode(unknown[:1]).strip()
            raise UserError(f"{ref} has never seen {word!r} of the prompt {prompt.text!r}{nearest(word, words.values())}; "
                            "use other words or a full CLIP")


def known_share(clip: Clip, texts: Sequence[str]) -> float:
    """Return which part of the tokens of `texts` this CLIP has an embedding for; 1 for all but compact demo weights.

    Unknown ones are zero vectors: a prompt keeps its place for them, and they say nothing.
    """
    known = getattr(clip, "known_tokens", None)
    if known is None:
        return 1.0
    tokens = np.concatenate([tokenizer().encode(text) for text in texts])
    return float(np.isin(tokens, known).mean())


def _style_pictures(config: StyleRun, source: Generator) -> tuple[np.ndarray, list[np.ndarray]] | None:
    """Return generated source images [16, 3, H, W] and the style pictures, all in [-1, 1]; None without style images."""
    if config.style_images is None:
        return None
    styles = [from_uint8(load_image(path)) for path in list_images(config.style_images)]
    z = rng(config.generator_seed, "few-shot.z").standard_normal((FEW_SHOT_SOURCES, source.style_dim), np.float32)
    with jt.no_grad():
        images = source.synthesis(source.mapping(jt.array(z)), "const").numpy()
    return images, styles
