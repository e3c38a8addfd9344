"""What a run is made of, as one hash: its settings and the bytes of every file it reads."""
from __future__ import annotations

import hashlib
import json
from pathlib import Path

from jittor_ipl.config import StyleRun, prompts_path
from jittor_ipl.config.teacher import Teacher
from jittor_ipl.disk.integrity import file_sha256
from jittor_ipl.disk.layout import FEATURE
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import list_images
from jittor_ipl.text.descriptions import descriptions_path
from jittor_ipl.text.questions import variations_path
from jittor_ipl.weights.folder import CONFIGS, PREPROCESSOR, find_file_sets
from jittor_ipl.weights.refs import locate, resolve, split_place


def run_identity(config: StyleRun) -> str:
    """Return the SHA-256 (hex) of all that decides a run's weights: settings, weight files, prompts, style images.

    Raises `UserError` when one of the files is missing.
    """
    parts = [config.training_hash(), *(file_sha256(path) for path in run_files(config))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def pairs_identity(config: StyleRun) -> str:
    """Return the SHA-256 (hex) of all that decides a teacher's pairs, and not of how the generator learns from them."""
    teacher = config.teacher.model_dump(include={"source", "target", "describe", "pairs"})
    for name in ("steps", "batch", "lr", "sharpen", "at_once"):
        del teacher["pairs"][name]
    settings = [teacher, config.source.class_name, config.taught_word, config.generator_seed,
                [model.model_dump() for model in config.clip] if config.teacher.describe else []]
    files = [resolve(config.source.generator), *_teacher_files(config.teacher),
             *(file for model in config.clip if config.teacher.describe for file in _clip_files(model.model))]
    if config.teacher.base_lora is not None:        # which of the two files it is, and what of the file
        settings.append(["base_lora", split_place(config.teacher.base_lora)[1]])
    if config.style_images is not None:
        settings.append(config.teacher.few_shot.model_dump())
        files += list_images(config.style_images)
    parts = [json.dumps(settings, sort_keys=True), *map(file_sha256, files)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def run_files(config: StyleRun) -> list[Path]:
    """Return every file that a run reads, in a fixed order; raises `UserError` when one is missing."""
    files = [resolve(config.source.generator), *(file for model in config.clip for file in _clip_files(model.model))]
    listed = prompts_path(config)
    if listed is not None:
        files.append(listed)
    if config.losses.variations:
        files.append(variations_path(config.generator.variations))
    if config.style_images is not None:
        files += list_images(config.style_images)
    if config.method == "teacher":
        files += _teacher_files(config.teacher)
    return files


def _teacher_files(teacher: Teacher) -> list[Path]:
    """Return every file below the teacher's folder, its LoRA, and the list of descriptions."""
    folder = locate(teacher.model)
    if not folder.is_dir():
        raise UserError(f"the teacher {teacher.model!r} is no folder: name one in diffusers' layout, or demo:<name>")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if teacher.base_lora is not None:
        files.append(resolve(teacher.base_lora))
    if teacher.lora is not None:
        lora = locate(teacher.lora)
        files += [path for path in (lora, lora.with_name(FEATURE)) if path == lora or path.is_file()]
    return files + ([] if teacher.describe is None else [descriptions_path(teacher.describe)])


def _clip_files(ref: str) -> list[Path]:
    """Return the file of a CLIP, or of a folder its weight files, their index and the configuration beside them."""
    path = locate(ref)
    if not path.is_dir():
        return [path]
    found = {file for files in find_file_sets(path) for file in (*files.files, files.index) if file is not None}
    return sorted(found | {path / name for name in (*CONFIGS, PREPROCESSOR) if (path / name).is_file()})
