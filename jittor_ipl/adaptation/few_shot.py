"""A teacher that a few pictures of a style teach first: their LoRA is trained in the run's folder and fused into it."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from jittor_ipl.adaptation.captions import captions
from jittor_ipl.config import StyleRun
from jittor_ipl.diffusion.teacher import DiffusionTeacher, lora_of_pictures
from jittor_ipl.disk.layout import FEW_SHOT
from jittor_ipl.errors import UserError
from jittor_ipl.images.centre import normalised_centre
from jittor_ipl.images.files import list_images, load_image
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.text.descriptions import descriptions_path, read_description
from jittor_ipl.train.stage import Stage

MOST = 100      # pictures of a style; more are a data set, and the LoRA's steps are not meant for it


def style_pictures(folder: str | Path, side: int) -> np.ndarray:
    """Return the centres of a folder's pictures, float32 [N, 3, side, side] in [-1, 1], the shorter side resized.

    Raises UserError for a folder without pictures or with more than MOST, and for one that cannot be read.
    """
    paths = list_images(folder)
    if len(paths) > MOST:
        raise UserError(f"{str(folder)!r} holds {len(paths)} pictures, and a style is learnt from at most {MOST}: "
                        "choose some that differ")
    half = np.full(3, 0.5, np.float32)
    return np.stack([normalised_centre(Image.fromarray(load_image(path)), side, side, half, half) for path in paths])


def said_of(config: StyleRun, clips: Sequence[Clip], pictures: np.ndarray) -> list[str]:
    """Return what the LoRA is told of style pictures [N, 3, H, W]: its token, and what is each picture's own.

    In the words that the teacher is later told of the adapted pictures: the token takes what is left, the style.
    """
    named, own = config.teacher.describe, [""] * len(pictures)
    if named is not None:
        own = captions(clips, read_description(descriptions_path(named)), pictures)
    return [config.teacher.target.format(target=config.taught_word, description=text) for text in own]


def few_shot_teacher(config: StyleRun, run_dir: Path, teacher: DiffusionTeacher, clips: Sequence[Clip],
                     pictures: np.ndarray, stage: Stage) -> DiffusionTeacher:
    """Return the teacher with the style of pictures [N, 3, size, size]; Interrupted after a signal."""
    with stage:
        lora = lora_of_pictures(teacher, pictures, said_of(config, clips, pictures), config.teacher.few_shot,
                                run_dir / FEW_SHOT, seed=config.generator_seed, loop=stage)
    stage.stop.raise_if_received()
    return teacher.with_lora(lora)
