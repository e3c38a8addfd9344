"""Pictures of the source generator and what a teacher made of them, made once and kept in the run's folder."""
from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from jittor_ipl.config.teacher import PairsTraining
from jittor_ipl.diffusion.teacher import DiffusionTeacher
from jittor_ipl.disk.atomic import make_folder, sweep
from jittor_ipl.errors import UserError
from jittor_ipl.images.pixels import from_uint8, to_uint8
from jittor_ipl.jobs.signals import StopOnSignal
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.models.stylegan2.pictures import pictures
from jittor_ipl.runtime.streams import rng
from jittor_ipl.train.stage import Watch
from jittor_ipl.weights.containers.safetensors import read_safetensors, write_safetensors


@dataclass(frozen=True)
class Pairs:
    """Latents z [N, style_dim], the redrawn pictures of them, uint8 [N, H, W, 3], and the seconds that took."""

    z: np.ndarray
    redrawn: np.ndarray
    seconds: float

    def pictures(self, rows: np.ndarray) -> np.ndarray:
        """Return redrawn pictures [B, 3, H, W] in [-1, 1]."""
        return np.stack([from_uint8(picture) for picture in self.redrawn[rows]])


def latents(seed: int, settings: PairsTraining, width: int) -> np.ndarray:
    """Return the latents z [count, width] of a run's pairs."""
    return rng(seed, "teacher.z").standard_normal((settings.count, width), np.float32)


def make_pairs(folder: Path, source: Generator, teacher: DiffusionTeacher, settings: PairsTraining,
               words: Callable[[np.ndarray], tuple[Sequence[str], Sequence[str]]], seed: int, identity: str, *,
               title: str = "", stop: StopOnSignal | None = None, stream: TextIO | None = None,
               watch: Watch | None = None) -> Pairs:
    """Return the pairs of a run, made in parts of `settings.at_once`; parts that are in `folder` are read.

    words: what the teacher is told of pictures [B, 3, H, W] of the source, and of what it shall make of them. A part
    appears whole or not at all, so that an interrupted run goes on after the last, and counts only with the `identity`
    of this run's (`inputs.pairs_identity`). After every part `stop` is looked at, and
    `watch` is called, as of a stage "redrawing".
    """
    make_folder(folder)
    sweep(folder)
    z = latents(seed, settings, source.style_dim)
    redrawn, seconds = [], 0.0
    for first in range(0, settings.count, settings.at_once):
        part = z[first:first + settings.at_once]
        path = folder / f"{first:06d}.safetensors"
        kept = _kept(path, len(part), source.size, identity)
        if kept is None:
            began = time.monotonic()
            before = np.clip(pictures(source, part), -1, 1)
            made = to_uint8(teacher.redraw(before, *words(before), inversion=settings.inversion,
                                           steps=settings.sampling_steps, guidance=settings.guidance,
                                           residual=settings.residual))
            kept = made, time.monotonic() - began
            write_safetensors(path, {"redrawn": made},
                              {"kind": "pairs", "seconds": f"{kept[1]:.2f}", "identity": identity})
            print(f"{title} pairs {first + len(part)}/{settings.count} | {seconds + kept[1]:.0f} s",
                  file=stream or sys.stderr, flush=True)
        redrawn.append(kept[0])
        seconds += kept[1]
        if stop is not None:
            stop.raise_if_received()
        if watch is not None:
            watch("redrawing", first + len(part), settings.count, {})
    return Pairs(z, np.concatenate(redrawn), seconds)


def _kept(path: Path, count: int, size: int, identity: str) -> tuple[np.ndarray, float] | None:
    """Return a part's redrawn pictures and the seconds they took, None where there is none that is whole."""
    try:
        tensors, metadata = read_safetensors(path) if path.exists() else ({}, {})
        made, seconds = tensors["redrawn"], float(metadata["seconds"])
    except (UserError, KeyError, ValueError):
        return None
    fits = made.shape == (count, size, size, 3) and made.dtype == np.uint8 and metadata.get("identity") == identity
    return (made, seconds) if fits else None
