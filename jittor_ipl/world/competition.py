"""A small competition in the demo world: styles that the embedded diffusion model never saw, pictures and prompts.

Everything follows from the numbers below, so that what a prompt says can be told from the prompt alone.
"""
from __future__ import annotations

import json
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np

from jittor_ipl.disk import atomic
from jittor_ipl.disk.names import SUFFIX
from jittor_ipl.images.files import save_png
from jittor_ipl.runtime.streams import rng
from jittor_ipl.world.drawing.attributes import Face
from jittor_ipl.world.subjects import PORTRAITS
from jittor_ipl.world.teaching.captions import PORTRAIT

UNSEEN = ("ukiyo-e", "werewolf", "cartoon", "pointillism", "wall painting")
PICTURES, PROMPTS = 3, 10       # of each style
_SEED = 2024
_VARIED = ("hair", "expression", "background")      # in which the pictures of a style all differ
_ALWAYS, _AT_TIMES = ("gender", "hair", "expression"), ("length", "curl", "glasses", "beard", "pose", "background")


def write_set(folder: Path) -> None:
    """Write `folder/<NN>/images/<description>.png` and `folder/<NN>/prompt.json` of every style, whole or not at all.

    Raises UserError where the disk refuses.
    """
    staged = Path(tempfile.mkdtemp(dir=atomic.output_folder(folder.parent), prefix=f".{folder.name}-", suffix=".tmp"))
    try:
        with atomic.as_user_error(folder):
            for number in range(len(UNSEEN)):
                _write_style(staged / f"{number:02d}", number)
            staged.chmod(0o755)     # mkdtemp made it private
            atomic.replace_folder(staged, folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _write_style(folder: Path, number: int) -> None:
    faces = _varied_faces(number)
    pictures = np.moveaxis(PORTRAITS.render(faces, UNSEEN[number]), 1, -1)
    labels = PORTRAITS.table.labels(faces)
    atomic.output_folder(folder / "images")
    for picture, face in zip(pictures, labels):
        said = _phrase(face, tuple(PORTRAITS.table.values))
        save_png(folder / "images" / f"{said.replace(' ', '_')}{SUFFIX}", picture)
    prompts = {str(index): prompt for index, prompt in enumerate(prompts_of(number))}
    atomic.write_bytes(folder / "prompt.json", (json.dumps(prompts, indent=1) + "\n").encode())


@lru_cache(maxsize=None)
def prompts_of(number: int) -> dict[str, tuple[int, ...]]:
    """Return the prompts of the style at `number`, each with the labels it says, -1 for attributes it leaves open."""
    found: dict[str, tuple[int, ...]] = {}
    for step in range(1000):
        random = rng(_SEED, "competition prompts", step, number)
        labels = PORTRAITS.table.labels(PORTRAITS.table.sample(random, 1))[0]
        said = (*_ALWAYS, *random.choice(_AT_TIMES, 2, replace=False))
        if len(found) < PROMPTS:
            found.setdefault(_phrase(labels, said), tuple(np.where(_is_said(labels, said), labels, -1).tolist()))
    return found


def said_by(prompt: str) -> tuple[int, ...] | None:
    """Return the labels that a prompt of any of the styles says, in the table's order; None for a foreign prompt."""
    return next((prompts_of(n)[prompt] for n in range(len(UNSEEN)) if prompt in prompts_of(n)), None)


def _varied_faces(number: int) -> Face:
    """Draw faces of both genders until they differ in what a few pictures would otherwise be taken for."""
    for step in range(10_000):
        faces = PORTRAITS.table.sample(rng(_SEED, "competition pictures", step, number), PICTURES)
        if len(set(faces["gender"])) == 2 and all(len(set(faces[name])) == PICTURES for name in _VARIED):
            return faces
    raise AssertionError("no varied faces")


def _is_said(labels: np.ndarray, said: tuple[str, ...]) -> np.ndarray:
    """Of labels [attributes] which are put into words [attributes]; nobody says that a girl has no beard."""
    names = list(PORTRAITS.table.values)
    girl = labels[names.index("gender")] == 1
    return np.array([name in said and not (girl and name == "beard") for name in names])


def _phrase(labels: np.ndarray, said: tuple[str, ...]) -> str:
    return PORTRAIT.noun_phrase(np.concatenate([[-1], np.where(_is_said(labels, said), labels, -1)]))
