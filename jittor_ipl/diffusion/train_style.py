"""One style's run, from its configuration and its pictures to a LoRA in a run folder.

The folder: config.yaml, prompts.json (of the test set), metrics.jsonl, tensorboard/, samples/, checkpoints/, the LoRA,
what its pictures need besides (`style_files`), report.json (last). Files appear whole or not at all. The run's pictures
of the prior lie beside it, for all styles.
"""
from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TextIO

import numpy as np

from jittor_ipl.config import LoraRun, save_config
from jittor_ipl.diffusion.competition_data import StyleData
from jittor_ipl.diffusion.dreambooth import new_feature, train_lora
from jittor_ipl.diffusion.examples import Examples, Picture
from jittor_ipl.diffusion.memory import memory_warning
from jittor_ipl.diffusion.recipe import DiffusionRecipe, recipe_of
from jittor_ipl.diffusion.style_aligned import StyleReference
from jittor_ipl.diffusion.style_files import (
    files_beside,
    painter,
    read_mean,
    read_shown,
    save_mean,
    save_shown,
    save_style,
)
from jittor_ipl.disk.atomic import output_folder, sweep
from jittor_ipl.disk.integrity import file_sha256, read_sealed, write_sealed
from jittor_ipl.disk.layout import CONFIG, LORA, PROMPTS, REPORT, SAMPLES
from jittor_ipl.disk.lock import locked
from jittor_ipl.disk.names import SUFFIX
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import load_image, save_png
from jittor_ipl.images.pixels import from_uint8
from jittor_ipl.images.sheets import grid
from jittor_ipl.jobs.signals import StopOnSignal
from jittor_ipl.models.lora import fused
from jittor_ipl.models.strict import load_into
from jittor_ipl.runtime.memory import lack_as_user_error
from jittor_ipl.train.stage import Stage, claim
from jittor_ipl.train.state import State, part_of
from jittor_ipl.weights.diffusion import LatentDiffusion, sha256_of, shared_diffusion
from jittor_ipl.weights.lora import from_tensors


@dataclass(frozen=True)
class LoraReport:
    """The outcome of one style's run."""

    suite: str
    number: int
    style: str
    method: str
    base: str
    base_sha256: str
    identity: str               # of settings, base model, pictures and their names
    config_hash: str            # of the settings alone, see `LoraRun.training_hash`
    seconds: float              # over all sittings of an interrupted run
    files: dict[str, str]       # name -> SHA-256 of the LoRA and of what its pictures may need besides
    skipped: bool = False       # True when the run was found finished


def train_style(run: LoraRun, data: StyleData, run_dir: Path, *, restart: bool = False,
                stream: TextIO | None = None) -> LoraReport:
    """Train one style in `run_dir` and return its report; progress goes to `stream` (stderr).

    A finished run is returned as it is (`skipped`), an interrupted one goes on after its newest whole checkpoint and,
    on a CPU with the same number of threads, ends with the same bits. Settings, pictures or a base model that differ
    from the folder's last run start it anew; `restart` always does.
    Raises `UserError` for a bad base model or picture, and `Interrupted` (exit code 130 or 143) after a signal.
    """
    with locked(run_dir), StopOnSignal() as stop:
        report = None if restart else _finished(run, data, run_dir)
        model = None if report else shared_diffusion(run.base)      # checked before the folder is claimed
        if model:
            identity = identity_of(run, data, model.sha256)
            claim(run_dir, identity, restart, stream)
            sweep(run_dir)
        # Before the training: by its configuration an interrupted run is known as one that is not finished.
        save_config(run, run_dir / CONFIG)
        write_sealed(run_dir / PROMPTS, {"prompts": list(data.prompts)})
        return _trained(run, data, model, run_dir, identity, stop, stream or sys.stderr) if model else report


def identity_of(run: LoraRun, data: StyleData, base_sha256: str) -> str:
    """Return the SHA-256 (hex) of all that decides a run's weights and what lies beside them."""
    parts = [run.training_hash(), base_sha256]
    parts += [part for path, said in zip(data.images, data.descriptions) for part in (said, file_sha256(path))]
    if run.lora.prior.weight:
        parts.append(prior_recipe(run).model_dump_json())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _finished(run: LoraRun, data: StyleData, run_dir: Path) -> LoraReport | None:
    """Return the report of this run when it is finished and its weights are the reported ones."""
    try:
        report = LoraReport(**read_sealed(run_dir / REPORT, "report"))
    except (UserError, TypeError):
        return None
    whole = report.files == files_of(run_dir) and report.identity == identity_of(run, data, sha256_of(run.base))
    return replace(report, skipped=True) if whole else None


def files_of(run_dir: Path) -> dict[str, str]:
    """Return the SHA-256 of a run's LoRA and of what its pictures may need besides, by name in its folder."""
    return {path.relative_to(run_dir).as_posix(): file_sha256(path)
            for path in (run_dir / LORA, *files_beside(run_dir)) if path.is_file()}


def _trained(run: LoraRun, data: StyleData, model: LatentDiffusion, run_dir: Path, identity: str,
             stop: StopOnSignal, stream: TextIO) -> LoraReport:
    """Train, save, and report."""
    settings, side = run.lora, run.lora.resolution or model.size
    images = data.pixels(side)
    pictures = [Picture(image, run.caption.replace("{}", said)) for image, said in zip(images, data.descriptions)]
    with lack_as_user_error(f"{settings.batch} pictures of {side} px a step",
                            "lower lora.batch (and raise lora.accumulation), or set lora.checkpointing=true"):
        prior = prior_pictures(model, run, run_dir.parent) if settings.prior.weight else ()
        # For any recipe: other settings of the sampling must not ask for another training.
        save_mean(run_dir, images)
        save_shown(run_dir, StyleReference(images[:1], data.descriptions[0]))
        show = _samples(run, data.prompts[:run.run.samples], model, pictures, run_dir) if run.run.samples else None
        if problem := memory_warning(model, settings, side):
            print(f"{run.folder}: {problem}", file=stream, flush=True)
        with Stage(run_dir, "lora", settings.steps, run.run, identity=identity, title=run.folder, stop=stop, show=show,
                   advice=f"lower lora.lr_unet (now {settings.lr_unet}) and lora.lr_text", stream=stream) as stage:
            trained = train_lora(model, pictures, settings, seed=run.training_seed, prior=prior, loop=stage)
    stop.raise_if_received()
    save_style(run_dir, trained.lora, trained.feature, model.sha256)
    report = LoraReport(run.suite, run.number, run.style, run.method, run.base, model.sha256, identity,
                        run.training_hash(), round(stage.seconds(), 2), files_of(run_dir))
    values = asdict(report)
    del values["skipped"]
    write_sealed(run_dir / REPORT, values)
    return report


def _samples(run: LoraRun, names: Sequence[str], model: LatentDiffusion, pictures: Sequence[Picture],
             run_dir: Path) -> Callable[[int, State], None]:
    """Return what shows prompts of the test set the way that it will be made; the start is shown at once."""
    seeds, recipe = [run.sample.seed + index for index in range(len(names))], recipe_of(run)
    folder = run_dir / SAMPLES
    untrained = painter(model, None)
    feature = None
    if run.lora.feature.on:
        feature = new_feature(model, Examples(model, pictures), run.lora, run.training_seed)

    def show(step: int, state: State) -> None:
        if feature is not None and state:
            tensors = {name.removeprefix("feature."): array for name, array in part_of(state, "lora").items()
                       if name.startswith("feature.")}
            load_into(feature.projection, tensors, source="training")
        now = replace(untrained, feature=None if feature is None else feature.states(), mean=read_mean(run_dir),
                      shown=read_shown(run_dir))
        # As the test set will be painted, to the bit: fused.
        with fused({"unet": model.unet, "text_encoder": model.text}, changes_of(run, part_of(state, "lora"))):
            made = list(now.paint(names, seeds, recipe))
        save_png(folder / f"{step:06d}{SUFFIX}", grid(made, columns=len(made)), {"step": str(step)})
    if not (folder / f"{0:06d}{SUFFIX}").exists():
        show(0, {})
    return show


def changes_of(run: LoraRun, state: State) -> list[tuple[str, np.ndarray]]:
    """Return what a training's state, "<module>.down" and ".up", changes in the weights: (module, change)."""
    alpha = np.asarray(run.lora.alpha or run.lora.rank, np.float32)
    alphas = {f"{name.removesuffix('.down')}.alpha": alpha for name in state if name.endswith(".down")}
    return [(name, module.delta()) for name, module in from_tensors({**state, **alphas}).items()]


def prior_recipe(run: LoraRun) -> DiffusionRecipe:
    """Return the recipe of the pictures that stand for all that the style shall leave alone."""
    return recipe_of(run).of_the_base(run.lora.prior.caption)


def prior_pictures(model: LatentDiffusion, run: LoraRun, folder: Path) -> list[Picture]:
    """Return the base model's own pictures, from `folder/prior-<hash>`, where those that are missing are made."""
    recipe, caption = prior_recipe(run), run.lora.prior.caption
    digest = hashlib.sha256(f"{model.sha256}\n{recipe.model_dump_json()}".encode()).hexdigest()
    folder = output_folder(folder / f"prior-{digest[:12]}")
    paths = {seed: folder / f"{seed:04d}{SUFFIX}" for seed in range(run.lora.prior.pictures)}
    missing = [seed for seed, path in paths.items() if not path.is_file()]
    for seed, picture in zip(missing, painter(model, None).paint([""] * len(missing), missing, recipe)):
        save_png(paths[seed], picture)
    return [Picture(from_uint8(load_image(path)), caption) for path in paths.values()]
