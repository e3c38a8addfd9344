"""One style's run, from its configuration to adapted weights in a run folder.

The folder: config.yaml, metrics.jsonl, tensorboard/, samples/, checkpoints/, mapper.safetensors (stage 1),
generator.safetensors (stage 2, the moving average), report.json (last). Files appear whole or not at all; only
metrics.jsonl and tensorboard/ grow. A run goes on from its checkpoints alone: what else it finds, it makes again.
"""
from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import numpy as np

from jittor_ipl.adaptation.directions import Prompts, encode_texts
from jittor_ipl.adaptation.few_shot import few_shot_teacher, style_pictures
from jittor_ipl.adaptation.inputs import run_identity
from jittor_ipl.adaptation.listeners import known_share, make_listeners, unknown_words
from jittor_ipl.adaptation.report import Report, direction_similarity, read_report
from jittor_ipl.adaptation.samples import SampleGrid
from jittor_ipl.adaptation.stage1 import train_mapper
from jittor_ipl.adaptation.stage2 import train_generator
from jittor_ipl.adaptation.taught import teach
from jittor_ipl.config import StyleRun, class_prompts_of, prompts_of, save_config
from jittor_ipl.config.sections import GeneratorTraining, MapperTraining
from jittor_ipl.diffusion.teacher import load_teacher
from jittor_ipl.disk.atomic import remove_tree, sweep
from jittor_ipl.disk.integrity import file_sha256
from jittor_ipl.disk.layout import CONFIG, GENERATOR, MAPPER, SAMPLES
from jittor_ipl.disk.lock import locked
from jittor_ipl.jobs.signals import StopOnSignal
from jittor_ipl.models.bfloat16 import bfloat16_products
from jittor_ipl.models.mappers import Mapper, make_mapper
from jittor_ipl.models.strict import numpy_tensors
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.memory import lack_as_user_error
from jittor_ipl.runtime.streams import rng
from jittor_ipl.text.prompt_lists import ENOUGH_KNOWN
from jittor_ipl.train.ranks import Ranks
from jittor_ipl.train.stage import Stage, Watch, claim
from jittor_ipl.train.state import State, part_of
from jittor_ipl.weights.containers.safetensors import write_safetensors
from jittor_ipl.weights.generator import keep_center, load_generator, save_generator

# What arrays of a checkpoint were called before their part's name stood before them.
_RENAMED = {"chosen_layers": "chosen/layers", "anchor_step": "anchor/step"}


def adapt_style(config: StyleRun, run_dir: str | Path, *, restart: bool = False,
                stream: TextIO | None = None, watch: Watch | None = None,
                ranks_of: Callable[[StopOnSignal], Ranks] | None = None) -> Report:
    """Adapt the source generator to one style in `run_dir` and return its report; progress goes to `stream` (stderr).

    A finished run is returned as it is (`skipped`), an interrupted one goes on after its newest whole checkpoint and,
    on a CPU with the same number of threads, ends with the same bits. Settings or weight files that differ from the
    folder's last run start it anew; `restart` always does.
    Raises `UserError` for bad weights, words or folders, and `Interrupted` (exit code 130 or 143) after a signal.
    `watch` is called after every step of every stage, see `train.stage.Watch`. ranks_of: makes the processes that share
    every batch of stage 2; all call this with the same folder, which the first one fills.
    """
    finished, run_dir = Path(run_dir), Path(run_dir)
    with StopOnSignal() as stop, ExitStack() as held:
        ranks = held.enter_context(closing(ranks_of(stop))) if ranks_of else None
        if ranks and ranks.rank:
            run_dir, stream = run_dir / f".rank-{ranks.rank}", io.StringIO()    # of use until the end alone
        held.enter_context(locked(run_dir))
        identity = run_identity(config)
        report = None if restart else _finished(finished, identity)
        if ranks:
            ranks.require_equal(int(report is None), "ends")
            stop = ranks.stop
        # Everything is read and checked before the folder is claimed: a mistake must not cost an earlier run.
        run = None if report else _Run(config, run_dir, identity, stop, stream or sys.stderr, watch, ranks)
        if run:
            claim(run_dir, identity, restart, stream)
            for folder in (run_dir, run_dir / SAMPLES):
                sweep(folder)
        save_config(config, run_dir / CONFIG)
        report = run.finish() if run else replace(report, skipped=True)
        if ranks:
            ranks.wait()        # until the first one's report is written
    if run_dir != finished:
        remove_tree(run_dir)
    return report


def _finished(run_dir: Path, identity: str) -> Report | None:
    """Return the report of this run when it is finished and its weights are the reported ones."""
    report, weights = read_report(run_dir), run_dir / GENERATOR
    whole = report is not None and report.identity == identity and weights.is_file() \
        and file_sha256(weights) == report.generator_sha256
    return report if whole else None


class _Run:
    """The networks of a run and its two stages."""

    def __init__(self, config: StyleRun, run_dir: Path, identity: str, stop: StopOnSignal, stream: TextIO,
                 watch: Watch | None = None, ranks: Ranks | None = None):
        self.ranks = ranks
        self.config, self.run_dir, self.identity, self.stop, self.stream = config, run_dir, identity, stop, stream
        self.watch = watch
        self.official = config.compat == "official"
        self.source = load_generator(config.source.generator)
        self.listeners = make_listeners(config, self.source)
        self.teacher = load_teacher(config.teacher.model, config.teacher.lora, config.teacher.base_lora) \
            if config.method == "teacher" else None
        learns = self.teacher is not None and config.style_images is not None
        self.shown = style_pictures(config.style_images, config.teacher.few_shot.resolution or self.teacher.size) \
            if learns else None
        unknown = [] if learns else unknown_words([listener.clip for listener in self.listeners], config)
        if unknown:
            print(f"warning: {config.folder}: {', '.join(model.model for model in config.clip)} never saw "
                  f"{', '.join(map(repr, unknown))}, so the pictures will not show it; use other words or a full CLIP",
                  file=stream, flush=True)
        self.untrained = make_mapper(
            config.mapper.architecture, self.source.style_dim, config.mapper.n_ctx,
            self.listeners[0].clip.config()["transformer_width"], batch_is_sequence=self.official,
            rng=rng(config.mapper_seed, "mapper.init")) if config.method == "ipl" else None

    def finish(self) -> Report:
        """Do what is left of both stages, measure, and write the report."""
        config = self.config
        mapper, prompts, seconds_mapper = None, None, 0.0
        if config.method == "ipl":
            prompts = Prompts(self.listeners[0].clip, *class_prompts_of(config), official=self.official)
            with lack_as_user_error(f"a mapper from {config.mapper.batch} latents a step", "lower mapper.batch"):
                mapper, seconds_mapper = self.train_mapper(prompts)
        with lack_as_user_error(f"{config.generator.batch} images of {self.source.size} px a step",
                                "lower generator.batch, name fewer CLIPs, or take a smaller generator"):
            target, seconds_generator = self.train_generator(prompts, mapper)
            similarity = direction_similarity(self.source, target, self.listeners)
        report = Report(config.suite, config.number, config.style, config.target, config.method, self.identity,
                        config.training_hash(), round(seconds_mapper, 2), round(seconds_generator, 2),
                        file_sha256(self.run_dir / GENERATOR), round(similarity, 4))
        report.save(self.run_dir)
        return report

    def train_mapper(self, prompts: Prompts) -> tuple[Mapper, float]:
        """Stage 1: return the trained prompt mapper, saved, and the seconds it took."""
        config, mapper, listener = self.config, self.untrained, self.listeners[0]
        listed = prompts_of(config, listener.clip.context_length)
        share = known_share(listener.clip, listed) if listed else 1.0
        if share < ENOUGH_KNOWN:
            print(f"{config.folder}: {config.clip[0].model} knows {share:.0%} of the words in the list of prompts, "
                  "the others say nothing to it; mapper.prompts=demo is made of words it knows",
                  file=self.stream, flush=True)
        with self._stage("mapper", config.mapper) as stage:
            train_mapper(self.source, mapper, prompts, listener, config.mapper, seed=config.mapper_seed,
                         noise=config.generator.noise, loop=stage,
                         listed=encode_texts(listener.clip, listed) if listed else None)
        self.stop.raise_if_received()
        facts = {"kind": "prompt_mapper", "architecture": config.mapper.architecture,
                 "config": json.dumps(mapper.config())}
        write_safetensors(self.run_dir / MAPPER, numpy_tensors(mapper), facts)
        return mapper, stage.seconds()

    def train_generator(self, prompts: Prompts | None, mapper: Mapper | None) -> tuple[Generator, float]:
        """Stage 2: return the averaged target generator, saved, and the seconds it took."""
        config = self.config
        target, shown = (load_generator(config.source.generator) for _ in range(2))
        show = None
        if config.run.samples:      # of seeds from 0 on, drawn as the test set will be
            center = self.source.center(config.source.mean_latent_samples, config.seed)
            noise = "none" if config.generate.noise == "none" else "const"
            samples = SampleGrid(self.run_dir / SAMPLES, self.source, range(config.run.samples),
                                 config.generate.truncation, center, noise,
                                 {"style": config.style, "config": config.training_hash()})
            if not (samples.folder / "000000.png").exists():
                samples.save(0, self.source)

            def show(step: int, state: State) -> None:
                shown.put(part_of(state, "ema"))
                samples.save(step, shown)

        trained = {"generator": (self.source, target), "clip": [listener.clip for listener in self.listeners]}
        lower = bfloat16_products(*(network for name in config.bfloat16 for network in trained[name]))
        if config.method == "teacher":
            learning = 0.0
            if self.shown is not None:
                learning = self.learn_style()
            with lower:
                averaged, seconds = teach(
                    config, self.run_dir, self.source, target, self.listeners, self.teacher,
                    lambda way, numbers: self._stage(way, numbers, show), self.stop, self.stream, self.watch,
                    self.ranks)
            seconds += learning
        else:
            with self._stage("generator", config.generator, show) as stage, lower:
                averaged = train_generator(
                    self.source, target, self.listeners, config.generator, config.losses, seed=config.generator_seed,
                    prompts=prompts, mapper=mapper, official=self.official, loop=stage,
                    ranks=self.ranks)
            self.stop.raise_if_received()
            seconds = stage.seconds()
        shown.put(unmoved_as_they_were(averaged, target, self.source))
        keep_center(shown, self.source)
        save_generator(shown, self.run_dir / GENERATOR, {"suite": config.suite, "style": config.style})
        return shown, seconds

    def learn_style(self) -> float:
        """Teach the teacher the style of `config.style_images`; return the seconds."""
        few = self.config.teacher.few_shot
        stage = Stage(self.run_dir, "lora", few.steps, self.config.run, identity=self.identity,
                      title=self.config.folder, stop=self.stop, stream=self.stream,
                      watch=self.watch, advice=f"lower teacher.few_shot.lr_unet (now {few.lr_unet}) and lr_text")
        self.teacher = few_shot_teacher(self.config, self.run_dir, self.teacher, [one.clip for one in self.listeners],
                                        self.shown, stage)
        return stage.seconds()

    def _stage(self, name: str, settings: MapperTraining | GeneratorTraining,
               show: Callable[[int, State], None] | None = None) -> Stage:
        config = self.config
        return Stage(self.run_dir, name, settings.steps, config.run, identity=self.identity, title=config.folder,
                     advice=f"lower {name}.lr (now {settings.lr})", stop=self.stop, show=show, renamed=_RENAMED,
                     stream=self.stream, watch=self.watch)


def unmoved_as_they_were(averaged: Mapping[str, np.ndarray], target: Generator,
                         source: Generator) -> dict[str, np.ndarray]:
    """Return the averages, with the source's own bits wherever training left a parameter as it was.

    Averaging a constant rounds it; without this every tensor would differ from the source and release files would be
    as large as the generator.
    """
    now, before = target.trainable(), source.trainable()
    same = {name for name in averaged if np.array_equal(now[name].numpy(), before[name].numpy())}
    return {name: before[name].numpy() if name in same else value for name, value in averaged.items()}
