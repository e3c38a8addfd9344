"""Adaptation by a diffusion model: the teacher's ways one after the other, each from where the one before it ended."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from jittor_ipl.adaptation.captions import captions
from jittor_ipl.adaptation.cost import tell_cost
from jittor_ipl.adaptation.draws import Draws
from jittor_ipl.adaptation.inputs import pairs_identity
from jittor_ipl.adaptation.lessons import PairDraws, PairLesson, ScoreLesson
from jittor_ipl.adaptation.listeners import Listener
from jittor_ipl.adaptation.pairs import make_pairs
from jittor_ipl.adaptation.stage2 import train_generator
from jittor_ipl.config import StyleRun
from jittor_ipl.config.sections import GeneratorTraining, Losses
from jittor_ipl.diffusion.teacher import DiffusionTeacher
from jittor_ipl.disk.layout import PAIRS
from jittor_ipl.jobs.signals import StopOnSignal
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.text.descriptions import descriptions_path, read_description
from jittor_ipl.train.ranks import Ranks
from jittor_ipl.train.stage import Stage, Watch


class Told:
    """What the teacher is told of each of the source's pictures, and of what it shall make of it."""

    def __init__(self, config: StyleRun, clips: Sequence[Clip]):
        self.config, self.clips = config, clips
        named = config.teacher.describe
        self.description = None if named is None else read_description(descriptions_path(named))

    def __call__(self, before: np.ndarray) -> tuple[list[str], list[str]]:
        """Return the words for pictures [B, 3, H, W] of the source: theirs, and the target's."""
        said = [""] * len(before) if self.description is None else captions(self.clips, self.description, before)
        teacher, source, target = self.config.teacher, self.config.source.class_name, self.config.taught_word
        return ([teacher.source.format(**{"class": source}, description=text) for text in said],
                [teacher.target.format(target=target, description=text) for text in said])


def numbers_of(config: StyleRun, way: str) -> GeneratorTraining:
    """Return the settings of stage 2 for one of the teacher's ways."""
    if way != "pairs":
        own = config.teacher.scores
        return config.generator.model_copy(update={"steps": own.steps, "batch": own.batch, "lr": own.lr})
    own = config.teacher.pairs
    # The pairs were drawn from one code each, with the stored noise.
    return config.generator.model_copy(update={"steps": own.steps, "batch": own.batch, "lr": own.lr, "mixing": 0.0,
                                               "noise": "const"})


def teach(config: StyleRun, run_dir: Path, source: Generator, target: Generator, listeners: Sequence[Listener],
          teacher: DiffusionTeacher, stage_of: Callable[[str, GeneratorTraining], Stage], stop: StopOnSignal,
          stream: TextIO, watch: Watch | None = None,
          ranks: Ranks | None = None) -> tuple[dict[str, np.ndarray], float]:
    """Train `target` in place in every way of `config.teacher`; return its average and the seconds of all sittings.

    stage_of: the harness of a way's training, from its name and numbers. watch: is told how many pairs there are.
    ranks: the processes that share every batch.
    Raises Interrupted after a signal.
    """
    seed, told, seconds = config.generator_seed, Told(config, [one.clip for one in listeners]), 0.0
    weights = scaled(config.losses, config.teacher.clip) if config.teacher.clip else Losses()
    hearing = listeners if config.teacher.clip else []
    averaged: Mapping[str, np.ndarray] = {}
    tell_cost(config.teacher, teacher, config.folder, stream)
    for way in config.teacher.ways:
        numbers = numbers_of(config, way)
        if averaged:
            target.put(averaged)
        if way == "pairs":
            pairs = make_pairs(run_dir / PAIRS, source, teacher, config.teacher.pairs, told, seed,
                               pairs_identity(config), title=config.folder, stop=stop, stream=stream,
                               watch=watch)
            seconds += pairs.seconds
            draws = PairDraws(seed, source, numbers, pairs)
            lesson = PairLesson(draws, config.teacher)
        else:
            draws = Draws(seed, source, numbers)
            lesson = ScoreLesson(way, teacher, source, told, config.teacher, seed, first=not averaged)
        with stage_of(way, numbers) as stage:
            averaged = train_generator(source, target, hearing, numbers, weights, seed=seed, loop=stage, draws=draws,
                                       lesson=lesson, ranks=ranks)
        stop.raise_if_received()
        seconds += stage.seconds()
    return dict(averaged), seconds


def scaled(losses: Losses, factor: float) -> Losses:
    """Return losses with every weight multiplied."""
    return losses.model_copy(update={name: getattr(losses, name) * factor for name in type(losses).model_fields})
