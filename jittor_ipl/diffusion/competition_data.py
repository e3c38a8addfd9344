"""The competition's data: for each style `<data>/<NN>/images/*` and `<data>/<NN>/prompt.json`, {"0": "Ring", ...}.

A picture's file name is its description, a prompt is the name of the picture that is made for it.
"""
from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from jittor_ipl.disk.names import image_names
from jittor_ipl.disk.small_files import TEXT_BYTES, read_small
from jittor_ipl.errors import UserError
from jittor_ipl.images.centre import normalised_centre
from jittor_ipl.images.files import list_images, load_image
from jittor_ipl.text.tokenizer import check_prompt

IMAGES, PROMPTS = "images", "prompt.json"
MAX_PROMPTS = 10_000        # of a style; the competition has 25


@dataclass(frozen=True)
class StyleData:
    """One style's pictures with what each shows, and the prompts of its test set in order."""

    images: tuple[Path, ...]
    descriptions: tuple[str, ...]
    prompts: tuple[str, ...]

    def pixels(self, side: int) -> np.ndarray:
        """Return the centres of the pictures, float32 [N, 3, side, side] in [-1, 1], the shorter side resized."""
        half = np.full(3, 0.5, np.float32)
        return np.stack([normalised_centre(Image.fromarray(load_image(path)), side, side, half, half)
                         for path in self.images])


def read_style(data: Path, number: int, style: str) -> StyleData:
    """Return the data of one style, every picture decoded once.

    Raises UserError, in a line that names the style, when there is no picture or one cannot be read, when prompt.json
    is missing or malformed, or when a prompt is repeated or is no file name.
    """
    folder = data / f"{number:02d}"
    try:
        if not folder.is_dir():
            raise UserError(f"there is no folder {str(folder)!r}; data names the folder of 00, 01, ...")
        prompts = read_prompt_list(folder / PROMPTS)
        images = list_images(folder / IMAGES)
        for path in images:
            load_image(path)
        return StyleData(tuple(images), tuple(map(description_of, images)), prompts)
    except UserError as error:
        raise UserError(f"style {number:02d} ({style}): {error}") from error


def read_prompt_list(path: Path) -> tuple[str, ...]:
    """Return the prompts of a prompt.json, by their numbers; UserError when one is repeated or is no file name."""
    try:
        found = json.loads(read_small(path, "list of prompts", TEXT_BYTES), object_pairs_hook=_once)
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a valid list of prompts: {str(error)[:100]}") from None
    if not isinstance(found, dict) or not found:
        raise UserError(f'{path} is not a list of prompts: write {{"0": "Ring", "1": "Cat"}}')
    for key, prompt in found.items():
        if not (key.isascii() and key.isdigit()) or not isinstance(prompt, str):
            raise UserError(f"{path}: {ascii(key)[:60]}: {ascii(prompt)[:60]} is not a number and a prompt, as in "
                            '"0": "Ring"')
    prompts = [found[key] for key in sorted(found, key=int)]
    if len(prompts) > MAX_PROMPTS:
        raise UserError(f"{path} holds {len(prompts)} prompts, at most {MAX_PROMPTS} are made")
    for prompt in prompts:
        check_prompt(prompt)
    twice = next((prompt for prompt in prompts if prompts.count(prompt) > 1), None)
    if twice is not None:
        raise UserError(f"{path} holds the prompt {twice!r} twice")
    return tuple(image_names(prompts))


def description_of(path: Path) -> str:
    """Return what a picture's file name says: `woman_walking_a_dog.png` shows "woman walking a dog"."""
    text = " ".join(path.stem.replace("_", " ").split())
    check_prompt(text)
    return text


def _once(pairs: list[tuple[str, object]]) -> Mapping[str, object]:
    """Refuse a key that JSON would silently let the last one win."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is given twice")
    return found
